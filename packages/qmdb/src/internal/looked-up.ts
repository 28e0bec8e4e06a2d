/**
 * What an open batch has found in its parent: key -> slot and location.
 *
 *   get -> looked up once, kept        get again, seal of a write -> found here
 *
 * Invariant: the parent is a state, and a state never changes. So an entry stays right as long as the batch may be used:
 * flushes move where the answer is stored, not what it is. It is a cache; beyond its bounds keys are looked up each time.
 */
import { LOOKED_UP_BYTES_MAX, LOOKED_UP_KEYS_MAX } from "../limits.ts"
import type { Branch } from "./branches.ts"
import type { KeyIndex } from "./key-index.ts"
import { KeyTable } from "./key-table.ts"
import { grown } from "./room.ts"

const START = 128
const NO_SLOTS = new Int32Array(0)
const NO_LOCATIONS = new Float64Array(0)

/** Keys of one batch, each with its slot and its location in the parent: the slot means nothing where the key is not active. */
export class LookedUp {
  private keys: KeyTable | undefined
  private slots: Int32Array = NO_SLOTS
  private locations: Float64Array = NO_LOCATIONS

  /** Number of the key `bytes[from .. to)`, or -1. */
  find(bytes: Uint8Array, from: number, to: number): number {
    return this.keys === undefined ? -1 : this.keys.find(bytes, from, to)
  }

  slot(number: number): number {
    return this.slots[number]!
  }

  /** Slot of a key in the parent: as it was found, else looked up in the index. */
  slotOf(index: KeyIndex, bytes: Uint8Array, from: number, to: number, parent: Branch<unknown>): number {
    const known = this.find(bytes, from, to)
    return known < 0 ? index.slotOf(bytes, from, to, parent) : this.slot(known)
  }

  location(number: number): number {
    return this.locations[number]!
  }

  /** Keeps what was found for a key that is not kept. */
  add(key: Uint8Array, slot: number, location: number): void {
    this.keys ??= new KeyTable()
    const { keys } = this
    if (keys.count === LOOKED_UP_KEYS_MAX || keys.byteCount + key.length > LOOKED_UP_BYTES_MAX) return
    keys.find(key)
    const number = keys.add(key)
    if (number === this.slots.length) {
      const [locations, slots] = grown(Math.max(START, number), this.locations, this.slots)
      this.locations = locations
      this.slots = slots
    }
    this.slots[number] = slot
    this.locations[number] = location
  }
}
