/**
 * What joining by state sync asks of others: databases from peers, and a few answers of the marshal.
 *
 *   join --- start, newer targets ---> SetSync ----> peers
 *        <-- recorded, joined set ----
 *
 * Terms: a *tip* is a finalized block with the targets that its header commits to. To *record* a tip is to promise that the
 * set will not come out below it.
 *
 * Invariant: a joined set stands at exactly one tip that it was given, in every member (INV-24), at or above its start and
 * every tip it has recorded (INV-23). What it answers for is verified; what peers say is not evidence against a block.
 */
import type { Anchor, Block, BlockSource, Finalization, Height, Round } from "@coppice/consensus"
import type { Effect, Scope } from "effect"
import type { Targets } from "../application.ts"
import type { DatabaseSet, Databases } from "../database-set.ts"
import type { StateSyncFailed } from "./errors.ts"

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

/** The newest tip that was not taken yet. Older ones are replaced: only the newest matters. */
export interface SyncUpdates<M extends Databases> {
  /** The update that waits, at once. Taking it obliges to call `recorded`. */
  readonly poll: () => SyncUpdate<M> | undefined
  /** Waits for one. Interruptible. */
  readonly next: Effect.Effect<SyncUpdate<M>>
}

/** Brings the databases of an application to the state of a finalized block. */
export interface SetSync<M extends Databases> {
  /**
   * Goes to the start tip, or to newer ones that arrive meanwhile, and succeeds with the set standing there. The set is durable,
   * lives as long as the scope and is not used by anything else. Goes on from what an earlier attempt left on disk.
   *
   * Waits for peers as long as it takes; interruptible. Errors: `StateSyncFailed`, the first one of any member (F44).
   */
  readonly run: (
    start: SyncTip<M>,
    updates: SyncUpdates<M>,
  ) => Effect.Effect<DatabaseSet<M>, StateSyncFailed, Scope.Scope>
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
