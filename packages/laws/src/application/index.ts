/** The laws of an application. */
import { agreementLaws } from "./agreement.ts"
import { determinismLaws } from "./determinism.ts"
import { interruptionLaws } from "./interruption.ts"
import { replayLaws } from "./replay.ts"
import { traceLaws } from "./traces.ts"
import type { ApplicationLaw } from "./world.ts"

export {
  type ApplicationLaw,
  type ApplicationSubject,
  type ApplicationSubjectOptions,
  type ApplicationWorld,
  applicationSubject,
  type DrawTransactions,
  drawnInputs,
  type TransitionOptions,
  transitionSubject,
} from "./world.ts"

/** Every law of applications. */
export const APPLICATION_LAWS: ReadonlyArray<ApplicationLaw> = [
  ...agreementLaws,
  ...traceLaws,
  ...interruptionLaws,
  ...replayLaws,
  ...determinismLaws,
]
