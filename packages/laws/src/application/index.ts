/** The laws of an application. */
import { agreementLaws } from "./agreement.ts"
import { badBlockLaws } from "./bad-blocks.ts"
import { determinismLaws } from "./determinism.ts"
import { interruptionLaws } from "./interruption.ts"
import { replayLaws } from "./replay.ts"
import { traceLaws } from "./traces.ts"
import type { ApplicationLaw } from "./world.ts"

export { type DrawTransactions, drawnInputs } from "@coppice/stateful/diagnosis"
export { type Liar, standardLiar } from "./liar.ts"
export {
  type ApplicationLaw,
  type ApplicationPower,
  type ApplicationSubject,
  type ApplicationSubjectOptions,
  type ApplicationWorld,
  applicationSubject,
  type TransitionOptions,
  transitionSubject,
} from "./world.ts"

/** Every law of applications. */
export const APPLICATION_LAWS: ReadonlyArray<ApplicationLaw> = [
  ...agreementLaws,
  ...badBlockLaws,
  ...traceLaws,
  ...interruptionLaws,
  ...replayLaws,
  ...determinismLaws,
]
