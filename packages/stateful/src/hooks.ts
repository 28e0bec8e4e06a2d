/**
 * Hooks as Effects, whichever of the two forms their author chose.
 *
 * Invariant: what a hook throws before it returns comes out like what it fails with after it.
 */
import { Effect } from "effect"
import type { Hook } from "./application.ts"

/** A hook as an Effect. What it throws or rejects with comes out as its failure or defect. */
export const runHook = <A>(hook: () => Hook<A>): Effect.Effect<A, unknown> =>
  Effect.suspend(() => {
    const result = hook()
    return Effect.isEffect(result) ? result : Effect.tryPromise({ try: () => result, catch: (cause) => cause })
  })
