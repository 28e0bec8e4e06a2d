/** Ancestries whose first blocks were looked at before they are handed on. */
import type { Ancestry, Block } from "@coppice/consensus"
import { Effect } from "effect"

/** An ancestry that gives blocks already taken from it, then the rest. */
export const startingWith = <B extends Block>(first: ReadonlyArray<B>, rest: Ancestry<B>): Ancestry<B> => {
  let given = 0
  return { next: Effect.suspend(() => (given < first.length ? Effect.succeed(first[given++]) : rest.next)) }
}
