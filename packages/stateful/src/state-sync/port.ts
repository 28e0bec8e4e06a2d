/**
 * What joining by state sync asks of others: databases from peers, and a few answers of the marshal.
 *
 *   join --- start, newer targets ---> SetSync --- start, newer targets ---> MemberSync, one per database ----> peers
 *        <-- recorded, joined set ----         <-- reached, ended ----------
 *
 * Terms: a *tip* is a finalized block with the targets that its header commits to. To *record* a tip is to promise that the
 * set will not come out below it. A member has *reached* a target when it has all that belongs to it.
 *
 * Invariant: a joined set stands at exactly one tip that it was given, in every member (INV-24), at or above its start and
 * every tip it has recorded (INV-23). What it answers for is verified; what peers say is not evidence against a block.
 */
import type { Anchor, Block, BlockSource, Finalization, Height, Round } from "@coppice/consensus"
import type { SyncTarget } from "@coppice/qmdb"
import type { Effect, Scope } from "effect"
import type { Targets } from "../application.ts"
import type { DatabaseSet, Databases } from "../database-set.ts"
import type { SetSyncError } from "./errors.ts"

/** The newest of the values that were not taken yet. Older ones are replaced: only the newest matters. */
export interface LatestValue<A> {
  /** Takes what waits, at once. */
  readonly poll: () => A | undefined
  /** Waits until there is something to take, and takes nothing. Interruptible. */
  readonly arrival: Effect.Effect<void>
}

/** A finalized block to bring the databases to. */
export interface SyncTip<M extends Databases> {
  readonly anchor: Anchor
  readonly targets: Targets<M>
}

/** A newer tip. The caller goes on once it is recorded. */
export interface SyncUpdate<M extends Databases> extends SyncTip<M> {
  /** To be called after the tip is taken in, never before (INV-28), and also when it changes nothing (F46). */
  readonly recorded: () => void
}

/** Newer tips as they come. Taking one obliges to call `recorded`, unless the sync fails first. */
export type SyncUpdates<M extends Databases> = LatestValue<SyncUpdate<M>>

/** Brings the databases of an application to the state of a finalized block. */
export interface SetSync<M extends Databases> {
  /**
   * Goes to the start tip, or to newer ones that arrive meanwhile, and succeeds with the set standing there. The set is durable,
   * lives as long as the scope and is not used by anything else. Goes on from what an earlier attempt left on disk.
   *
   * Waits for peers as long as it takes; interruptible. Errors: `StateSyncFailed`, the first one of any member (F44);
   * `SyncedElsewhere` and `SyncedTargetMismatch` when the set is not at the tip that its members have reached (F49).
   */
  readonly run: (start: SyncTip<M>, updates: SyncUpdates<M>) => Effect.Effect<DatabaseSet<M>, SetSyncError, Scope.Scope>
}

/** What a member's sync hears while it runs, and whom it tells. */
export interface MemberCourse {
  /** Targets after the first. Each advances, and is sent once (INV-26); none comes after `finish`. */
  readonly newer: LatestValue<SyncTarget>
  /** To be called with each target that is reached, once, unless a newer one waits already. Returns at once. */
  readonly reached: (target: SyncTarget) => void
  /** Waits until the member is to end where it stands: at a target that it has told of. Interruptible. */
  readonly finish: Effect.Effect<void>
}

/** Brings one database of a set to its target of a finalized block. */
export interface MemberSync {
  /**
   * Goes to the start, or to newer targets that arrive meanwhile, tells what it has reached and waits there for a newer one.
   * Told to finish it succeeds, with all that it has written durable in the environment of the set: whoever opens the set
   * writes anchor and rows over it, for every member at once. Goes on from what an earlier attempt left there, of which it
   * drops what is above the start.
   *
   * Waits for peers as long as it takes; interruptible. To end before it is told to is a failure, whatever it ends with.
   */
  readonly run: (start: SyncTarget, course: MemberCourse) => Effect.Effect<void, unknown>
}

/** What marshal stood on when it opened, if it started from a floor ever. */
export interface DurableFloor {
  readonly height: Height
  readonly round: Round
}

/** What joining asks of the marshal besides blocks. */
export interface FloorSource<B extends Block> extends BlockSource<B> {
  readonly durableFloor: Effect.Effect<DurableFloor | undefined>
  /** The block that a finalization names, once marshal has it. Waits, for ever if need be. Interruptible. */
  readonly finalizedBlock: (finalization: Finalization) => Effect.Effect<B>
}
