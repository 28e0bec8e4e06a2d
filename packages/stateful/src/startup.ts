/**
 * What must hold before blocks are delivered to a set that stands on its own replay (the marshal path).
 *
 *   set rows      ... [h-2] [h-1] [h = anchor]
 *   marshal       ... [h-2] [h-1] [h] [h+1] ...        the digests agree wherever both know a height
 *                                       ^ delivery starts here
 *
 * Invariant: the anchor decides. Marshal's own processed height may be behind it (an acknowledgement was lost) or ahead
 * (the set was restored from a backup): in both cases delivery starts after the anchor. Whether marshal still holds what
 * comes after it is for marshal to say.
 */

import { bytesEqual } from "@coppice/codec"
import type { Anchor, Block, BlockSource } from "@coppice/consensus"
import type { StorageError } from "@coppice/storage"
import { Effect } from "effect"
import type { DatabaseSet, Databases } from "./database-set.ts"
import { CompleteRegressed, RowMismatch, StateSyncUnfinished, type SyncPlanRefusal } from "./errors.ts"
import type { SyncPlan } from "./sync-plan.ts"

/** Why a set cannot be brought to the chain by replay. Nothing was changed. */
export type ReconcileError = StateSyncUnfinished | RowMismatch | SyncPlanRefusal | StorageError

/**
 * Checks a set against its plan and against the finalized chain, and succeeds with the block to deliver after.
 *
 * A set whose plan is absent is complete at its anchor from here on: at height 0 for a new one. State sync is possible
 * only before that.
 * Errors: `StateSyncUnfinished` when a floor is selected or persisted, `RowMismatch` when another block is final at a
 * height of the window (F35), `CompleteRegressed` when the set is behind what its plan says.
 * Cost: one lookup per height of the window.
 */
export const reconcile = Effect.fn("Stateful.reconcile")(function* <B extends Block, M extends Databases>(
  set: DatabaseSet<M>,
  plan: SyncPlan,
  source: Pick<BlockSource<B>, "finalizedAt">,
): Effect.fn.Return<Anchor, ReconcileError> {
  const { durable } = set
  const { floor, syncHeight } = plan
  if (floor !== undefined) return yield* new StateSyncUnfinished({ floor: floor.proposal.round })
  if (syncHeight !== undefined && syncHeight > durable.height) {
    return yield* new CompleteRegressed({ held: syncHeight, offered: durable.height })
  }
  for (let row = set.row(durable.height); row !== undefined; row = set.row((row.height - 1) as typeof row.height)) {
    const block = yield* source.finalizedAt(row.height)
    if (block !== undefined && !bytesEqual(block.digest, row.digest)) {
      return yield* new RowMismatch({ height: row.height, executed: row.digest, finalized: block.digest })
    }
  }
  if (syncHeight === undefined) yield* plan.setComplete(durable.height)
  return durable
})
