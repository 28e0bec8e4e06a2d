/** Comparing what executions gave. */
import { type Databases, type Targets, targetsEqual } from "@coppice/stateful"
import { claim } from "../law.ts"
import type { AnyApplication, AnySealed } from "./world.ts"

type AnyTargets = Targets<Databases>

const hex = (bytes: Uint8Array | undefined): string =>
  bytes === undefined ? "none" : Buffer.from(bytes).toString("hex")

/** Fails a law unless two executions gave the same: the same verdict, and in every member the same target. */
export const claimSame = (
  { databases }: Pick<AnyApplication, "databases">,
  one: AnyTargets | undefined,
  other: AnyTargets | undefined,
  what: string,
): void => {
  claim((one === undefined) === (other === undefined), `${what}: once valid and once not`)
  if (one === undefined || other === undefined) return
  for (const member of Object.keys(databases)) {
    const [a, b] = [one[member], other[member]]
    claim(
      a !== undefined && b !== undefined && targetsEqual(a, b),
      `${what}: member ${member} is once ${hex(a?.canonical ?? a?.root)} and once ${hex(b?.canonical ?? b?.root)}`,
    )
  }
}

/** The targets of a state, when there is one. */
export const targetsOf = (sealed: AnySealed | undefined): AnyTargets | undefined => sealed?.targets
