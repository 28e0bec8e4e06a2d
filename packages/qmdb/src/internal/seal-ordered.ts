/**
 * Sealing a batch of an ordered keyed database: which operations its writes become, in which order.
 *
 *   deletes -> updates -> creates -> keys before creates, then before deletes, with their new next key
 *           -> moves from the floor up -> commit                                   each list in key order
 *
 * Terms: see ring.ts. Steps = deletes + updates + keys written again + 1.
 *
 * Invariant: the operations depend only on the parent state and the set of writes. Every question is asked of the parent
 * through its layers, never of what is flushed alone, so the answer is the same however much of the chain is applied.
 * Source: spec qmdb §3.1, §5.
 */
import { nextKeyExtent } from "@coppice/verify/log"
import type { SealStep } from "../member.ts"
import { NO_SLOT } from "./key-index.ts"
import { KeyWalk } from "./key-walk.ts"
import type { KeyedContent } from "./keyed-state.ts"
import { SLICE_ITEMS } from "./layout.ts"
import { Kind } from "./log-part.ts"
import { orderByBytes, orderByNumber } from "./order.ts"
import { Ring } from "./ring.ts"
import { type SealHome, type SealInput, Sealing } from "./sealing.ts"
import { INACTIVE } from "./slot-index.ts"
import { REMOVED } from "./writes.ts"

class OrderedSeal<K, V> {
  readonly sealing: Sealing<K, V>
  readonly ring: Ring
  private readonly home: SealHome<K, V>
  private readonly input: SealInput
  /** Where the next key lies in every update, when all have their parts at the same places. */
  private readonly nextAt: number | undefined

  constructor(home: SealHome<K, V>, input: SealInput) {
    this.home = home
    this.input = input
    this.sealing = new Sealing(home, input)
    this.ring = new Ring(input.writes.keys)
    const { key, value } = home.format
    this.nextAt = key.size === undefined || value.size === undefined ? undefined : 1 + key.size + value.size
  }

  /** Looks a written key up in the parent state. */
  resolve(key: number): void {
    const { keys: index, slots } = this.home
    const { writes, found, parent } = this.input
    const { bytes, starts } = writes.keys
    const slot = found.slotOf(index, bytes, starts[key]!, starts[key + 1]!, parent)
    const location = slot === NO_SLOT ? INACTIVE : slots.locate(slot, parent)
    const removed = writes.of(key) === REMOVED
    if (location !== INACTIVE) this.ring.add(key, removed ? Kind.delete : Kind.update, slot, location)
    else if (!removed) this.ring.add(key, Kind.create, 0, INACTIVE)
  }

  /** Copies the next key of a node that is active in the parent out of its newest operation. */
  readNext(node: number): void {
    const { ring, nextAt } = this
    const { log, format } = this.home
    const { parent } = this.input
    const location = ring.locations[node]!
    if (nextAt !== undefined) {
      const length = format.key.size!
      log.copyBytes(location, parent, nextAt, nextAt + length, ring.store, ring.reserveNext(node, length))
      return
    }
    const operation = log.operation(location, parent)
    const { start, end } = nextKeyExtent(format, operation)
    const at = ring.reserveNext(node, end - start)
    ring.store.write(operation.subarray(start, end), at)
  }

  /** Reads the next keys of the written keys that are active, in the order in which they lie in the log. */
  *readNexts(): Generator<undefined, void, void> {
    const { ring, sealing } = this
    const nodes = new Uint32Array(ring.count)
    const locations = new Float64Array(ring.count)
    let count = 0
    for (let entry = 0; entry < ring.count; entry++) {
      if (ring.kinds[entry] === Kind.create) continue
      nodes[count] = entry
      locations[count++] = ring.locations[entry]!
    }
    const byLocation = orderByNumber(locations, count)
    yield* sealing.pause()
    yield* sealing.inSlices(count, (from, to) => {
      for (let i = from; i < to; i++) this.readNext(nodes[byLocation[i]!]!)
    })
  }

  /** Finds which active key stands before each one that comes or goes. */
  *findNeighbours(): Generator<undefined, void, void> {
    const { ring, sealing } = this
    let paused = 0
    for (let entry = 0; entry < ring.count; ) {
      const end = Math.min(ring.count, paused + SLICE_ITEMS)
      entry = ring.seek(entry, end)
      if (entry < end) yield* this.lookUp(entry++)
      if (entry < end) continue
      yield* sealing.pause()
      paused = entry
    }
  }

  private *lookUp(entry: number): Generator<undefined, void, void> {
    let bound: string | undefined = this.input.writes.keys.text(this.ring.keys[entry]!)
    for (let wraps = false; ; ) {
      const walk: KeyWalk = new KeyWalk(this.home, this.input.parent, bound, true)
      if (!walk.pass(SLICE_ITEMS)) {
        // What a walk has read ahead may be old after a pause: the next one begins where it stood.
        bound = walk.key
        yield* this.sealing.pause()
      } else if (walk.key !== undefined) {
        const node = this.ring.place(entry, walk.key, walk.slot, walk.location, wraps)
        if (node !== undefined) this.readNext(node)
        return
      } else if (wraps) throw this.home.keys.corrupt("keys are active and none is found")
      else {
        wraps = true
        bound = undefined
      }
    }
  }

  /** Finds next keys, and which keys must be written again. */
  *link(survive: boolean): Generator<undefined, void, void> {
    const { ring, sealing } = this
    const start = ring.linkStart()
    yield* sealing.inSlices(ring.count, (from, to) => ring.link(start, from, to))
    if (!survive) return
    for (const kind of [Kind.create, Kind.delete]) {
      if (ring.counts[kind] === 0) continue
      yield* sealing.inSlices(ring.count, (from, to) => {
        for (let entry = from; entry < to; entry++) if (ring.kinds[entry] === kind) ring.rewrite(entry)
      })
    }
  }

  /** Writes the operations of the entries of one kind. */
  *write(kind: number): Generator<undefined, void, void> {
    const { ring, sealing } = this
    if (ring.counts[kind] === 0) return
    yield* sealing.inSlices(ring.count, (from, to) => {
      for (let entry = from; entry < to; entry++) {
        if (ring.kinds[entry] !== kind) continue
        const key = ring.keys[entry]!
        if (kind !== Kind.delete) ring.nextAfter(entry, sealing.next)
        if (kind === Kind.create) sealing.writeCreated(key)
        else sealing.writeExisting(key, ring.slots[entry]!, ring.locations[entry]!)
      }
    })
  }

  *writeAgain(): Generator<undefined, void, void> {
    const { ring, sealing } = this
    const { rewrites } = ring
    yield* sealing.inSlices(rewrites.length, (from, to) => {
      for (let i = from; i < to; i++) {
        ring.nextAfter(rewrites[i]!, sealing.next)
        sealing.rewrite(ring.slots[rewrites[i]!]!, ring.locations[rewrites[i]!]!)
      }
    })
  }
}

/** Seals staged writes into a layer. Throws `StaleBatch` once the layer is closed. */
export function* sealOrdered<K, V>(home: SealHome<K, V>, input: SealInput): Generator<SealStep, KeyedContent, void> {
  const { keys } = input.writes
  const seal = new OrderedSeal(home, input)
  const { ring, sealing } = seal
  const byKey = orderByBytes(keys)
  yield* sealing.pause()
  yield* sealing.inSlices(keys.count, (from, to) => {
    for (let n = from; n < to; n++) seal.resolve(byKey[n]!)
  })
  yield* seal.readNexts()
  const { active } = input.parent.content!.state
  if (active > 0) yield* seal.findNeighbours()
  const updates = ring.counts[Kind.update]!
  const creates = ring.counts[Kind.create]!
  const deletes = ring.counts[Kind.delete]!
  const survivors = active - deletes
  if (survivors + creates > 0 && ring.count > 0) yield* seal.link(survivors > 0)
  const steps = deletes + updates + ring.rewrites.length + 1
  sealing.expect(ring.count + ring.rewrites.length + steps + 1)
  for (const kind of [Kind.delete, Kind.update, Kind.create]) yield* seal.write(kind)
  yield* seal.writeAgain()
  yield* sealing.raiseFloor(steps)
  return yield* sealing.authenticate()
}
