/**
 * Sealing a batch of an unordered keyed database: which operations its writes become, in which order.
 *
 *   existing keys, by location -> new keys, by key -> moves from the floor up -> commit
 *
 * Terms: a write is *existing* when its key is active in the parent state. Steps = operations on existing keys + 1.
 *
 * Invariant: the operations depend only on the parent state and the set of writes.
 * Source: spec qmdb §4.
 */
import type { SealStep } from "../member.ts"
import { NO_SLOT } from "./key-index.ts"
import type { KeyedContent } from "./keyed-state.ts"
import { orderByBytes, orderByNumber } from "./order.ts"
import { Room } from "./room.ts"
import { type FoundKeys, type SealHome, type SealInput, Sealing, SLICE } from "./sealing.ts"
import { INACTIVE } from "./slot-index.ts"
import { REMOVED } from "./writes.ts"

/** The writes of a batch by what they are in its parent. Keys are numbers of the batch. */
class Resolved implements FoundKeys {
  /** Writes of active keys, with their slots and locations. */
  existing = 0
  readonly keys: Uint32Array
  readonly slots: Uint32Array
  readonly locations: Float64Array
  /** Values for keys that are not active, in key order. */
  readonly created: Array<number> = []

  constructor(writes: number) {
    const room = new Room(16 * writes)
    this.locations = room.float64s(writes)
    this.keys = room.uint32s(writes)
    this.slots = room.uint32s(writes)
  }

  /**
   * Looks a slice of written keys up in the parent state, in the order given. Locations lie in no order: read in a loop of
   * nothing else, one waits for memory while the next is on its way.
   */
  addAll<K, V>({ keys: index, slots }: SealHome<K, V>, input: SealInput, written: Uint32Array): void {
    const { writes, found, parent } = input
    const { bytes, starts } = writes.keys
    const { slots: slotOf, places: locationOf } = SLICE
    for (let n = 0; n < written.length; n++) {
      const key = written[n]!
      slotOf[n] = found.slotOf(index, bytes, starts[key]!, starts[key + 1]!, parent)
    }
    for (let n = 0; n < written.length; n++) {
      locationOf[n] = slotOf[n] === NO_SLOT ? INACTIVE : slots.locate(slotOf[n]!, parent)
    }
    for (let n = 0; n < written.length; n++) {
      const key = written[n]!
      if (locationOf[n] !== INACTIVE) {
        const i = this.existing++
        this.keys[i] = key
        this.slots[i] = slotOf[n]!
        this.locations[i] = locationOf[n]!
      } else if (writes.of(key) !== REMOVED) this.created.push(key)
    }
  }
}

/** Seals staged writes into a layer. Throws `StaleBatch` once the layer is closed. */
export function* sealUnordered<K, V>(home: SealHome<K, V>, input: SealInput): Generator<SealStep, KeyedContent, void> {
  const { keys } = input.writes
  const sealing = new Sealing(home, input)
  // In key order, because the stored map answers neighbouring keys from the same pages.
  const byKey = orderByBytes(keys)
  yield* sealing.pause()
  const found = new Resolved(keys.count)
  yield* sealing.inSlices(keys.count, (from, to) => found.addAll(home, input, byKey.subarray(from, to)))
  sealing.expect(2 * found.existing + found.created.length + 2)
  const byLocation = orderByNumber(found.locations, found.existing)
  yield* sealing.pause()
  yield* sealing.inSlices(found.existing, (from, to) => sealing.writeAllExisting(found, byLocation.subarray(from, to)))
  yield* sealing.inSlices(found.created.length, (from, to) => {
    for (let n = from; n < to; n++) sealing.writeCreated(found.created[n]!)
  })
  yield* sealing.raiseFloor(found.existing + 1)
  return yield* sealing.authenticate()
}
