/**
 * A value that whoever takes it needs in its newest form alone.
 *
 * Invariant: an offer replaces what waits; each value is taken once.
 */
import { Latch } from "effect"
import type { LatestValue } from "./port.ts"

/** See the head of this file. */
export class LatestValueCell<A> implements LatestValue<A> {
  readonly #holds = Latch.makeUnsafe(false)
  #value: A | undefined

  /** Puts a value in place of the one that waits. */
  offer(value: A): void {
    this.#value = value
    this.#holds.openUnsafe()
  }

  readonly poll = (): A | undefined => {
    const value = this.#value
    this.#value = undefined
    this.#holds.closeUnsafe()
    return value
  }

  readonly arrival = this.#holds.await
}
