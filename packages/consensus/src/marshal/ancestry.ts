/**
 * A lazy walk from a block to genesis, one parent ahead of its reader.
 *
 * Invariant: a pull that was cut off loses nothing; the next one asks for the same block again.
 */
import { Effect } from "effect"
import type { Block } from "../block.ts"
import type { Ancestry } from "../port.ts"

/**
 * The walk that begins with `start` and goes on with `parentOf`. `ahead` is told of each block before it is given, and gives
 * its parent if that is here.
 */
export const ancestryOf = <B extends Block>(
  start: B,
  parentOf: (block: B) => Effect.Effect<B | undefined>,
  ahead: (block: B) => Effect.Effect<B | undefined>,
): Ancestry<B> => {
  let last: B | undefined
  let held: B | undefined = start
  let isOver = false
  return {
    next: Effect.suspend(() => {
      if (isOver) return Effect.succeed(undefined)
      return Effect.flatMap(held === undefined ? parentOf(last!) : Effect.succeed(held), (block) => {
        if (block === undefined) {
          isOver = true
          return Effect.succeed(undefined)
        }
        return Effect.map(ahead(block), (parent) => {
          last = block
          held = parent
          return block
        })
      })
    }),
  }
}
