/**
 * Errors of joining by state sync. Each ends the attempt: no ack is released any more, the plan still says that a sync is in
 * progress, and the next start goes on from there.
 */

import type { Height } from "@coppice/consensus"
import type { Digest } from "@coppice/crypto"
import type { SyncTarget } from "@coppice/qmdb"
import { Data } from "effect"

/** State sync of a member failed for good (F44): the first failure, whatever the others met because of it (F45). */
export class StateSyncFailed extends Data.TaggedError("StateSyncFailed")<{
  /** Undefined when the set as a whole could not be opened. */
  readonly member: string | undefined
  readonly cause: unknown
}> {}

/** A member's sync has ended before it was told to: the set has converged on no anchor, and cannot any more (F45). */
export class SyncEndedEarly extends Data.TaggedError("SyncEndedEarly") {}

/** No finalized block is at hand that covers what marshal has acknowledged already (F36): neither at the height nor after it. */
export class FloorUncovered extends Data.TaggedError("FloorUncovered")<{ readonly height: Height }> {}

/** State sync came out below a block that it had recorded and that is acknowledged (INV-23): its state would be lost. */
export class SyncedBelowRecorded extends Data.TaggedError("SyncedBelowRecorded")<{
  readonly recorded: Height
  readonly synced: Height
}> {}

/** State sync came out at a block that it was never given (INV-24). */
export class SyncedElsewhere extends Data.TaggedError("SyncedElsewhere")<{
  readonly height: Height
  readonly digest: Digest
}> {}

/** A joined member is not at the target of the block that the set says it stands at (F49). */
export class SyncedTargetMismatch extends Data.TaggedError("SyncedTargetMismatch")<{
  readonly member: string
  readonly height: Height
  readonly expected: SyncTarget
  readonly actual: SyncTarget
}> {}

/** Why a set did not come out. */
export type SetSyncError = StateSyncFailed | SyncedElsewhere | SyncedTargetMismatch

/** Every error by which state sync itself ends. */
export type SyncError = SetSyncError | FloorUncovered | SyncedBelowRecorded
