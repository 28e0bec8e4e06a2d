/**
 * A lazy walk from a block to genesis, one parent ahead of its reader.
 *
 * Invariant: a pull that was cut off loses nothing; the next one asks for the same block again.
 */
import { Effect } from "effect"
import type { Block } from "../block.ts"
import type { Ancestry } from "../port.ts"

/** The walk that begins with `start` and goes on with `parentOf`. `ahead` is told of each block before it is given. */
export const ancestryOf = <B extends Block>(
  start: B,
  parentOf: (block: B) => Effect.Effect<B | undefined>,
  ahead: (block: B) => Effect.Effect<void>,
): Ancestry<B> => {
  let last: B | undefined
  let isOver = false
  return {
    next: Effect.suspend(() => {
      if (isOver) return Effect.succeed(undefined)
      const pulled = Effect.tap(last === undefined ? Effect.succeed(start) : parentOf(last), (block) =>
        block === undefined ? Effect.void : ahead(block),
      )
      return Effect.map(pulled, (block) => {
        isOver = block === undefined
        last = block
        return block
      })
    }),
  }
}
