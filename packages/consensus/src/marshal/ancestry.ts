/**
 * A lazy walk from a block to genesis.
 *
 * Invariant: a pull that was cut off loses nothing; the next one asks for the same block again.
 */
import { Effect } from "effect"
import type { Block } from "../block.ts"
import type { Ancestry } from "../port.ts"

/** The walk that begins with `start` and goes on with `parentOf`. */
export const ancestryOf = <B extends Block>(
  start: B,
  parentOf: (block: B) => Effect.Effect<B | undefined>,
): Ancestry<B> => {
  let last: B | undefined
  let isOver = false
  return {
    next: Effect.suspend(() => {
      if (isOver) return Effect.succeed(undefined)
      return Effect.map(last === undefined ? Effect.succeed(start) : parentOf(last), (block) => {
        isOver = block === undefined
        last = block
        return block
      })
    }),
  }
}
