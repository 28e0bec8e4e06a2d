/**
 * The audit of a simulated run: a running hash of everything that was decided, in order.
 *
 * Invariant: two runs with equal audits took the same steps at the same virtual times and noted the same words.
 */

import { mix } from "@coppice/stateful/diagnosis"
import { Context, Effect } from "effect"

/** A running hash: 64 bits in two lanes. It detects accidents, not attacks. */
export class Audit {
  #low = 0x811c_9dc5
  #high = 0xcbf2_9ce4
  readonly #float = new DataView(new ArrayBuffer(8))

  /** Adds a number, all 64 bits of it. */
  number(value: number): void {
    this.#float.setFloat64(0, value)
    this.#add(this.#float.getUint32(0))
    this.#add(this.#float.getUint32(4))
  }

  /** Adds a string. */
  text(value: string): void {
    this.#add(value.length)
    for (let i = 0; i < value.length; i++) this.#add(value.charCodeAt(i))
  }

  /** 16 hex digits. */
  get digest(): string {
    return [this.#high, this.#low].map((lane) => lane.toString(16).padStart(8, "0")).join("")
  }

  #add(word: number): void {
    this.#low = mix(Math.imul(this.#low, 31) ^ word)
    this.#high = mix(Math.imul(this.#high, 37) + word + this.#low)
  }
}

/** Takes notes for the audit of the run it is in; outside a simulation they go nowhere. */
export const Notes = Context.Reference<(words: string) => void>("@coppice/simulate/Notes", {
  defaultValue: () => () => {},
})

/** Notes a decision, so that runs which take the same steps for different reasons differ. */
export const note = (words: string): Effect.Effect<void> => Effect.map(Notes, (take) => take(words))
