/** Operating errors of the consensus package. Each carries what a person needs to act. */
import type { Digest } from "@coppice/crypto"
import type { StorageError } from "@coppice/storage"
import type { Height, Round } from "@coppice/verify/certificate"
import { Data } from "effect"

/** The environment belongs to another chain, or to a format this program does not know. Nothing was written to it. */
export class ForeignEnvironment extends Data.TaggedError("ForeignEnvironment")<{
  readonly field: "format" | "chain" | "genesis"
  readonly expected: string
  readonly actual: string
}> {}

/** A row of the marshal's environment does not decode: the disk or another program changed it. */
export class CorruptRow extends Data.TaggedError("CorruptRow")<{
  readonly map: string
  readonly key: Uint8Array
  readonly reason: string
}> {}

/** The executor stands on a block other than the one finalized at that height. */
export class AnchorMismatch extends Data.TaggedError("AnchorMismatch")<{
  readonly height: Height
  readonly finalized: Digest
  readonly anchor: Digest
}> {}

/** The executor stands below a height that this node already processed and no longer holds. */
export class DeliveryHole extends Data.TaggedError("DeliveryHole")<{
  readonly anchor: Height
  readonly missing: Height
  readonly processed: Height
}> {}

/**
 * Two different blocks are final at one height (F20), or a final block has a wrong parent: more than f validators are faulty,
 * or the data belongs to another chain.
 */
export class ConflictingFinalized extends Data.TaggedError("ConflictingFinalized")<{
  readonly height: Height
  /** The block that was final here first. */
  readonly known: Digest
  readonly conflicting: Digest
}> {}

/** A finalization whose certificate does not verify. It was not stored. */
export class InvalidFinalization extends Data.TaggedError("InvalidFinalization")<{
  readonly round: Round
  readonly payload: Digest
}> {}

/** Why a marshal stopped for good. */
export type MarshalFailure =
  | StorageError
  | ForeignEnvironment
  | CorruptRow
  | AnchorMismatch
  | DeliveryHole
  | ConflictingFinalized

/** The marshal is no longer running; `cause` is its failure, or undefined after a clean stop. Nothing was promised. */
export class MarshalStopped extends Data.TaggedError("MarshalStopped")<{
  readonly cause: MarshalFailure | undefined
}> {}
