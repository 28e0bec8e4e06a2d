/** Operating errors of sets, sync plans and startup. Each carries what a person needs to act. */
import type { Height, Round } from "@coppice/consensus"
import type { Digest } from "@coppice/crypto"
import type { MemberCorrupt, StaleBatch, SyncTarget } from "@coppice/qmdb"
import type { StorageError } from "@coppice/storage"
import { Data } from "effect"

/**
 * The environment belongs to another chain or application, or has a format this program does not know. Nothing was
 * written to it: start with the right directory, or with the program that wrote it.
 */
export class ForeignSet extends Data.TaggedError("ForeignSet")<{
  readonly field: "format" | "chain" | "genesis" | "application" | "members"
  readonly expected: string
  readonly actual: string
}> {}

/** A row of the set's own maps does not decode, or rows contradict each other. Nothing was written. */
export class SetCorrupt extends Data.TaggedError("SetCorrupt")<{
  readonly row: string
  readonly reason: string
}> {}

/** The genesis block does not commit to the targets of freshly created databases (F37). Nothing was written. */
export class GenesisTargetsMismatch extends Data.TaggedError("GenesisTargetsMismatch")<{
  readonly member: string
  readonly expected: SyncTarget
  readonly actual: SyncTarget | undefined
}> {}

/** State sync began in this environment and has not completed: its databases are no state of any block yet. */
export class StateSyncUnfinished extends Data.TaggedError("StateSyncUnfinished")<{ readonly floor: Round }> {}

/** The sync plan's row does not decode or has an unknown tag (F38). No path is guessed. */
export class SyncPlanUnreadable extends Data.TaggedError("SyncPlanUnreadable")<{ readonly reason: string }> {}

/** State sync was asked for where a set is complete already (F39): a node syncs once per environment. */
export class SyncAfterComplete extends Data.TaggedError("SyncAfterComplete")<{
  readonly completed: Height
  readonly floor: Round
}> {}

/** State sync was asked to start below the floor that it started from before (F39). */
export class FloorRegressed extends Data.TaggedError("FloorRegressed")<{
  readonly held: Round
  readonly offered: Round
}> {}

/** Two different blocks are called final in one round (F39). */
export class FloorConflict extends Data.TaggedError("FloorConflict")<{
  readonly round: Round
  readonly held: Digest
  readonly offered: Digest
}> {}

/** A set was to be completed below the height at which it completed before (F39). */
export class CompleteRegressed extends Data.TaggedError("CompleteRegressed")<{
  readonly held: Height
  readonly offered: Height
}> {}

/**
 * The set executed another block than the one that is final at that height (F35): its environment and marshal's belong to
 * different chains, or one of them is damaged.
 */
export class RowMismatch extends Data.TaggedError("RowMismatch")<{
  readonly height: Height
  readonly executed: Digest
  readonly finalized: Digest
}> {}

/** A height outside the rewind window, or one whose state needs what has been pruned. Nothing was written. */
export class HeightNotRetained extends Data.TaggedError("HeightNotRetained")<{
  readonly height: Height
  readonly oldest: Height
  readonly newest: Height
}> {}

/** Why a sync plan refuses a transition. Nothing was written. */
export type SyncPlanRefusal = SyncAfterComplete | FloorRegressed | FloorConflict | CompleteRegressed

/** Why an environment cannot be opened as the set of an application. */
export type SetOpenError =
  | ForeignSet
  | SetCorrupt
  | GenesisTargetsMismatch
  | StateSyncUnfinished
  | SyncPlanUnreadable
  | MemberCorrupt
  | StorageError

/** Why batches cannot be sealed. All but `StaleBatch` mean that the environment is not to be trusted. */
export type SealError = StaleBatch | MemberCorrupt | StorageError

/** Why applied state cannot be made durable. Final: the set is dead. */
export type FlushError = MemberCorrupt | StorageError

const OPERATING: ReadonlySet<string> = new Set([
  "ForeignSet",
  "SetCorrupt",
  "GenesisTargetsMismatch",
  "StateSyncUnfinished",
  "SyncPlanUnreadable",
  "MemberCorrupt",
  "StaleBatch",
  "StorageWriteFailed",
  "StorageReadFailed",
  "StorageDead",
  "StorageLimitExceeded",
  "StorageOpenFailed",
])

/** True for the errors that synchronous code under a set throws on purpose; everything else is a programmer error. */
export const isOperatingError = (error: unknown): error is SetOpenError | SealError =>
  error instanceof Error && "_tag" in error && typeof error._tag === "string" && OPERATING.has(error._tag)
