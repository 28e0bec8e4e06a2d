/**
 * Who waits for which block.
 *
 * Terms: a *key* says what is waited for: a digest, a final height, or the notarized block of a round (see state.ts).
 *
 * Invariant: a subscription ends with its block, with its caller, or with the marshal, and leaves nothing behind (CONS-17).
 */
import { Deferred, Effect, type Exit } from "effect"
import type { Block } from "../block.ts"
import type { MarshalStopped } from "../errors.ts"

type Waiter<B> = Deferred.Deferred<B, MarshalStopped>

/** The open subscriptions of one marshal. */
export class Subscriptions<B extends Block> {
  readonly #waiters = new Map<string, Set<Waiter<B>>>()
  #open = 0

  /** How many callers wait. */
  get open(): number {
    return this.#open
  }

  /**
   * Waits for the block of a key. `look` is tried first, once the subscription is in place, so that no block slips by;
   * `begin` and `end` frame the waiting of a caller that found nothing.
   */
  readonly wait = (
    key: string,
    look: Effect.Effect<B | undefined>,
    begin: () => void,
    end: () => void,
  ): Effect.Effect<B, MarshalStopped> => {
    const waiting = (waiter: Waiter<B>): Effect.Effect<B, MarshalStopped> =>
      Effect.acquireUseRelease(
        Effect.sync(begin),
        () => Deferred.await(waiter),
        () => Effect.sync(end),
      )
    return Effect.acquireUseRelease(
      Effect.sync(() => this.#join(key)),
      (waiter) => Effect.flatMap(look, (held) => (held === undefined ? waiting(waiter) : Effect.succeed(held))),
      (waiter) => Effect.sync(() => this.#leave(key, waiter)),
    )
  }

  wake(key: string, block: B): void {
    for (const waiter of this.#waiters.get(key) ?? []) Deferred.doneUnsafe(waiter, Effect.succeed(block))
  }

  /** Ends them all. */
  refuse(refusal: Exit.Exit<never, MarshalStopped>): void {
    for (const waiters of this.#waiters.values()) for (const waiter of waiters) Deferred.doneUnsafe(waiter, refusal)
  }

  #join(key: string): Waiter<B> {
    const waiter: Waiter<B> = Deferred.makeUnsafe()
    const waiters = this.#waiters.get(key) ?? new Set()
    this.#waiters.set(key, waiters.add(waiter))
    this.#open++
    return waiter
  }

  #leave(key: string, waiter: Waiter<B>): void {
    const waiters = this.#waiters.get(key)
    if (waiters?.delete(waiter) !== true) return
    this.#open--
    if (waiters.size === 0) this.#waiters.delete(key)
  }
}
