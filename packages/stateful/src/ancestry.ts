/** Ancestries that are looked at on their way to a hook. */
import type { Ancestry, Block } from "@coppice/consensus"
import { Effect } from "effect"

/** An ancestry that gives blocks already taken from it, then the rest. */
export const startingWith = <B extends Block>(first: ReadonlyArray<B>, rest: Ancestry<B>): Ancestry<B> => {
  let given = 0
  return { next: Effect.suspend(() => (given < first.length ? Effect.succeed(first[given++]) : rest.next)) }
}

/** The same ancestry, and the first block that has been taken from it. */
export const rememberingFirst = <B extends Block>(ancestry: Ancestry<B>) => {
  let first: B | undefined
  const next = Effect.tap(ancestry.next, (block) =>
    Effect.sync(() => {
      first ??= block
    }),
  )
  return { ancestry: { next } as Ancestry<B>, first: () => first }
}
