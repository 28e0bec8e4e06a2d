/**
 * Who waits for which block.
 *
 * Terms: a *key* says what is waited for: a digest, a final height, or the notarized block of a round (see state.ts).
 *
 * Invariant: a subscription ends with its block, with its caller, or with the marshal, and leaves nothing behind (CONS-17).
 */
import { Effect, Exit } from "effect"
import type { Block } from "../block.ts"
import type { MarshalStopped } from "../errors.ts"

/** A caller that waits. */
export interface Waiter<B extends Block> {
  readonly resume: (outcome: Exit.Exit<B, MarshalStopped>) => void
  /** Hears that it waits no more, whatever the reason. */
  readonly left: () => void
}

/** The open subscriptions of one marshal. */
export class Subscriptions<B extends Block> {
  readonly #waiters = new Map<string, Set<Waiter<B>>>()
  #open = 0

  /** How many callers wait. */
  get open(): number {
    return this.#open
  }

  /** Somebody waits under a key from now on. Returns what ends that, when its caller gives up. */
  join(key: string, waiter: Waiter<B>): Effect.Effect<void> {
    const waiters = this.#waiters.get(key) ?? new Set()
    this.#waiters.set(key, waiters.add(waiter))
    this.#open++
    return Effect.sync(() => this.#leave(key, waiter))
  }

  wake(key: string, block: B): void {
    this.#end(key, Exit.succeed(block))
  }

  /** Ends them all. */
  refuse(refusal: Exit.Exit<never, MarshalStopped>): void {
    for (const key of this.#waiters.keys()) this.#end(key, refusal)
  }

  #end(key: string, outcome: Exit.Exit<B, MarshalStopped>): void {
    for (const waiter of this.#waiters.get(key) ?? []) {
      this.#leave(key, waiter)
      waiter.resume(outcome)
    }
  }

  #leave(key: string, waiter: Waiter<B>): void {
    const waiters = this.#waiters.get(key)
    if (waiters?.delete(waiter) !== true) return
    this.#open--
    if (waiters.size === 0) this.#waiters.delete(key)
    waiter.left()
  }
}
