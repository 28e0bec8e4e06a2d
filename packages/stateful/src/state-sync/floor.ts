/**
 * Where state sync starts: at the floor, or after it where marshal has gone on since.
 *
 *   marshal   ... pruned | F+9 F+10 ... p | p+1 ...     blocks up to p were acknowledged and are never delivered again
 *                                       ^ start here, or at p+1 if p is gone
 *
 * Invariant: the start covers everything marshal has seen acknowledged. A block that a newer floor has pruned is never waited
 * for (F43): it would not come.
 */
import { type Block, compareRounds, type Finalization, Height } from "@coppice/consensus"
import { Effect } from "effect"
import { FloorUncovered } from "./errors.ts"
import type { FloorSource } from "./port.ts"

const covering = Effect.fnUntraced(function* <B extends Block>(source: FloorSource<B>, height: Height) {
  const block = yield* source.finalizedAt(height)
  if (block !== undefined) return block
  // A floor's own installation prunes the block before it.
  const next = yield* source.finalizedAt(Height(height + 1))
  return next ?? (yield* new FloorUncovered({ height }))
})

/** The block to start from. Waits for the floor's block if marshal has not got it yet. Errors: `FloorUncovered` (F36). */
export const resolveFloor = Effect.fn("Stateful.resolveFloor")(function* <B extends Block>(
  source: FloorSource<B>,
  floor: Finalization,
): Effect.fn.Return<B, FloorUncovered> {
  const stood = yield* source.durableFloor
  if (stood !== undefined && compareRounds(stood.round, floor.proposal.round) >= 0) {
    return yield* covering(source, stood.height)
  }
  const block = yield* source.finalizedBlock(floor)
  const processed = yield* source.processedHeight
  if (processed === undefined || processed <= block.height) return block
  return yield* covering(source, processed)
})
