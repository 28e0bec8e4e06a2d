/**
 * Sealing a batch of an unordered keyed database: writes become operations, the floor rises, the log gets a root.
 *
 *   existing keys, by location -> new keys, by key -> moves from the floor up -> commit
 *
 * Terms: *steps* = operations on existing keys + 1: how many active operations the floor must pass. A *move* writes an
 * active operation again at the end of the log, so that everything below the floor is inactive.
 *
 * Invariant: the operations depend only on the parent state and the set of writes. Every lookup goes through the layer
 * that is being sealed, so its own changes are seen by the floor scan.
 * Source: spec qmdb §4.
 */
import type { Hasher, HashJob } from "@coppice/crypto"
import { appendLeaves, inactivePeaks, type Location, root as treeRoot } from "@coppice/merkle"
import { StaleBatch } from "../errors.ts"
import { SLOTS_MAX } from "../limits.ts"
import type { SealStep } from "../member.ts"
import type { Branch } from "./branches.ts"
import { type KeyIndex, NO_SLOT } from "./key-index.ts"
import type { KeyText } from "./key-shape.ts"
import { commitOperation, type KeyedFormat, mutationBytes, writeMutationHead } from "./keyed-format.ts"
import type { KeyedContent, KeyedState } from "./keyed-state.ts"
import { SLICE_ITEMS } from "./layout.ts"
import { OperationBuffer } from "./operation-buffer.ts"
import { Kind, type OperationLog, ownerOf, ownerSlot } from "./operation-log.ts"
import { orderByBytes, orderByNumber } from "./order.ts"
import { INACTIVE, type SlotIndex } from "./slot-index.ts"
import { REMOVED, type Writes } from "./writes.ts"

/** The indexes that sealing reads and writes. */
export interface SealHome<K, V> {
  readonly format: KeyedFormat<K, V>
  readonly hasher: Hasher
  readonly log: OperationLog<KeyedContent>
  readonly slots: SlotIndex
  readonly keys: KeyIndex
}

/** Grows the list of slots that a layer touches. Shared with the owner of the layer, who undoes it when sealing stops. */
export class Touched {
  count = 0
  private slots: Uint32Array
  private locations: Float64Array

  constructor(expected: number) {
    this.slots = new Uint32Array(Math.max(16, expected))
    this.locations = new Float64Array(this.slots.length)
  }

  push(slot: number, previous: number): void {
    if (this.count === this.slots.length) {
      const slots = new Uint32Array(this.count * 2)
      slots.set(this.slots)
      this.slots = slots
      const locations = new Float64Array(this.count * 2)
      locations.set(this.locations)
      this.locations = locations
    }
    this.slots[this.count] = slot
    this.locations[this.count] = previous
    this.count += 1
  }

  /** Slots touched so far. */
  get touched(): Uint32Array {
    return this.slots.slice(0, this.count)
  }

  /** Their locations before. */
  get previous(): Float64Array {
    return this.locations.slice(0, this.count)
  }
}

/** What sealing has done to the shared indexes so far. */
export interface SealTrace {
  readonly touched: Touched
  readonly created: Array<KeyText>
  readonly deleted: Array<KeyText>
}

/** The writes of keys that are active in the parent: numbers of keys in the batch, with their slots and locations. */
interface Existing {
  count: number
  readonly keys: Uint32Array
  readonly slots: Uint32Array
  readonly locations: Float64Array
}

/** What the writes of a batch are in its parent. `created` holds the written keys that are not active, in key order. */
interface Resolved {
  readonly existing: Existing
  readonly created: ReadonlyArray<number>
}

/** Seals staged writes into `branch`, a layer over `parent`. Throws `StaleBatch` once the branch is closed. */
export function* sealUnordered<K, V>(
  home: SealHome<K, V>,
  parent: Branch<KeyedContent>,
  branch: Branch<KeyedContent>,
  writes: Writes,
  metadata: Uint8Array | undefined,
  trace: SealTrace,
): Generator<SealStep, KeyedContent, void> {
  const before = parent.content!.state
  const pause = function* (): Generator<undefined, void, void> {
    yield undefined
    if (branch.state === "closed") throw new StaleBatch("seal", branch.id)
  }
  const { existing, created } = yield* resolve(home, parent, writes, pause)
  const operations = 2 * existing.count + created.length + 2
  const buffer = new OperationBuffer(operations, operations * (home.format.operationBytes ?? 96))
  const sealing = new Sealing(home, before, branch, writes, buffer, trace)
  yield* sealing.writeExisting(existing, pause)
  yield* sealing.writeCreated(created, pause)
  const floor = yield* sealing.raiseFloor(existing.count + 1, pause)
  buffer.push(commitOperation(home.format, metadata, floor), ownerOf(0, Kind.commit))
  return yield* authenticate(home, before, branch, sealing.counts(), floor, buffer, trace)
}

/** Looks every written key up. In key order, because the stored map answers neighbouring keys from the same pages. */
function* resolve<K, V>(
  home: SealHome<K, V>,
  parent: Branch<KeyedContent>,
  writes: Writes,
  pause: () => Generator<undefined, void, void>,
): Generator<undefined, Resolved, void> {
  const { keys } = writes
  const { count } = keys
  const order = orderByBytes(keys)
  yield* pause()
  const existing: Existing = {
    count: 0,
    keys: new Uint32Array(count),
    slots: new Uint32Array(count),
    locations: new Float64Array(count),
  }
  const created: Array<number> = []
  for (let n = 0; n < count; n++) {
    const key = order[n]!
    const slot = home.keys.slotOf(keys.bytes, keys.starts[key]!, keys.starts[key + 1]!, parent)
    const location = slot === NO_SLOT ? INACTIVE : home.slots.locate(slot, parent)
    if (location !== INACTIVE) {
      const i = existing.count++
      existing.keys[i] = key
      existing.slots[i] = slot
      existing.locations[i] = location
    } else if (writes.of(key) !== REMOVED) created.push(key)
    if (n % SLICE_ITEMS === SLICE_ITEMS - 1) yield* pause()
  }
  return { existing, created }
}

/** One seal in progress: the layer's view of slots, and the operations so far. */
class Sealing<K, V> {
  private readonly home: SealHome<K, V>
  private readonly before: KeyedState
  private readonly branch: Branch<KeyedContent>
  private readonly writes: Writes
  private readonly buffer: OperationBuffer
  private readonly trace: SealTrace
  private slotsUsed: number
  private freedUsed: number
  private active: number

  constructor(
    home: SealHome<K, V>,
    before: KeyedState,
    branch: Branch<KeyedContent>,
    writes: Writes,
    buffer: OperationBuffer,
    trace: SealTrace,
  ) {
    this.home = home
    this.before = before
    this.branch = branch
    this.writes = writes
    this.buffer = buffer
    this.trace = trace
    this.slotsUsed = before.slots
    this.freedUsed = before.freedUsed
    this.active = before.active
  }

  counts(): { readonly slots: number; readonly freedUsed: number; readonly active: number } {
    return { slots: this.slotsUsed, freedUsed: this.freedUsed, active: this.active }
  }

  private get size(): number {
    return this.before.size + this.buffer.count
  }

  private place(slot: number, location: number, previous: number): void {
    if (this.home.slots.set(slot, this.branch, location)) this.trace.touched.push(slot, previous)
  }

  private mutate(key: number, owner: number): void {
    const { writes, buffer } = this
    const { format } = this.home
    const { store, starts } = writes.keys
    const value = writes.of(key)
    const start = starts[key]!
    const end = starts[key + 1]!
    const length = mutationBytes(format, end - start, value === REMOVED ? undefined : writes.length(value))
    const at = buffer.reserve(length, owner)
    const keyAt = writeMutationHead(format, buffer.store.bytes, at, end - start, value !== REMOVED)
    store.copyTo(start, end, buffer.store, keyAt)
    if (value !== REMOVED) writes.copyTo(value, buffer.store, keyAt + end - start)
  }

  *writeExisting(existing: Existing, pause: () => Generator<undefined, void, void>): Generator<undefined, void, void> {
    const order = orderByNumber(existing.locations, existing.count)
    yield* pause()
    for (let n = 0; n < order.length; n++) {
      const i = order[n]!
      const key = existing.keys[i]!
      const slot = existing.slots[i]!
      const removed = this.writes.of(key) === REMOVED
      this.place(slot, removed ? INACTIVE : this.size, existing.locations[i]!)
      if (removed) {
        this.trace.deleted.push(this.writes.keys.text(key))
        this.active -= 1
      }
      this.mutate(key, ownerOf(slot, removed ? Kind.delete : Kind.update))
      if (n % SLICE_ITEMS === SLICE_ITEMS - 1) yield* pause()
    }
  }

  *writeCreated(
    created: ReadonlyArray<number>,
    pause: () => Generator<undefined, void, void>,
  ): Generator<undefined, void, void> {
    for (let i = 0; i < created.length; i++) {
      const key = created[i]!
      const text = this.writes.keys.text(key)
      const slot = this.nextSlot()
      this.home.keys.create(text, this.branch, slot)
      this.trace.created.push(text)
      this.place(slot, this.size, INACTIVE)
      this.active += 1
      this.mutate(key, ownerOf(slot, Kind.create))
      if (i % SLICE_ITEMS === SLICE_ITEMS - 1) yield* pause()
    }
  }

  private nextSlot(): number {
    const freed = this.home.slots.freedAt(this.freedUsed)
    if (freed !== undefined) {
      this.freedUsed += 1
      return freed
    }
    if (this.slotsUsed >= SLOTS_MAX) throw new RangeError(`more than ${SLOTS_MAX} active keys`)
    return this.slotsUsed++
  }

  /** Moves `steps` active operations from the floor up; returns the new floor. */
  *raiseFloor(steps: number, pause: () => Generator<undefined, void, void>): Generator<undefined, number, void> {
    const tip = this.size
    if (this.active === 0) return tip
    const { log, slots } = this.home
    let moves = 0
    let location = this.before.floor
    for (let examined = 0; location < tip; location++, examined++) {
      if (examined % SLICE_ITEMS === SLICE_ITEMS - 1) yield* pause()
      const own = location - this.before.size
      const owner = own >= 0 ? this.buffer.owner(own) : log.owner(location, this.branch)
      const slot = ownerSlot(owner)
      if (location === INACTIVE || slots.locate(slot, this.branch) !== location) continue
      this.place(slot, this.size, location)
      const moved = ownerOf(slot, Kind.update)
      if (own >= 0) this.buffer.repeat(own, moved)
      else log.copyOperation(location, this.branch, this.buffer, moved)
      moves += 1
      if (moves === steps) return location + 1
    }
    return tip
  }
}

function* authenticate<K, V>(
  home: SealHome<K, V>,
  before: KeyedState,
  branch: Branch<KeyedContent>,
  counts: { readonly slots: number; readonly freedUsed: number; readonly active: number },
  floor: number,
  buffer: OperationBuffer,
  trace: SealTrace,
): Generator<HashJob, KeyedContent, void> {
  const { operations, offsets, owners } = buffer.finish()
  const count = buffer.count
  const appending = appendLeaves(before.frontier, { count, bytes: operations, offsets })
  let step = appending.next()
  while (step.done !== true) {
    yield step.value
    if (branch.state === "closed") throw new StaleBatch("seal", branch.id)
    step = appending.next()
  }
  const { frontier, nodes } = step.value
  const { family } = frontier
  const inactive = inactivePeaks(family, frontier.leaves, floor as Location)
  const root = treeRoot(home.hasher, frontier, inactive, "backward")
  const { touched, previous } = trace.touched
  return {
    state: { size: before.size + count, floor, root, frontier, ...counts },
    log: {
      start: before.size,
      count,
      operations,
      offsets,
      owners,
      nodeStart: family.size(before.size as Location),
      nodes,
    },
    index: { touched, previous, created: trace.created, deleted: trace.deleted },
  }
}
