/**
 * Guesses at the slot of a key by its hash: most keys that are read were made a while ago or have been read before.
 *
 *   hash of the key --here--> slot --slot index--> location --log--> operation: on this key, or the guess was wrong
 *
 * Terms: a *guess* is the slot of the last key read or made among all whose hashes share a place in the table.
 *
 * Invariant: a guess is nothing more. In a state, a slot is that of a key exactly when the operation at the slot's location
 * is on the key, and a right guess is found to be right by the operation that the value is read from. So nobody takes a
 * guess back, whatever layers, flushes and rewinds do to its slot. Keys that were chosen to collide only make guesses wrong.
 */
import { SLOTS_GUESSED_MAX } from "../limits.ts"
import { NO_SLOT } from "./key-index.ts"

const placeOf = (hash: number): number => 2 * (hash & (SLOTS_GUESSED_MAX - 1))

/** The guesses of one member. Memory is taken for the first key. */
export class SlotGuesses {
  /** Hash and slot by place. */
  private entries = new Int32Array(0)

  /** The slot that a key with this hash may have, or `NO_SLOT`. */
  slotOf(hash: number): number {
    const at = placeOf(hash)
    return this.entries[at] === hash ? this.entries[at + 1]! : NO_SLOT
  }

  /** Keeps the slot of a key with this hash. */
  keep(hash: number, slot: number): void {
    if (this.entries.length === 0) this.entries = new Int32Array(2 * SLOTS_GUESSED_MAX)
    const at = placeOf(hash)
    this.entries[at] = hash
    this.entries[at + 1] = slot
  }
}
