/**
 * One seal in progress, as all keyed databases have it: where keys go, the operations so far, the floor, the root.
 *
 *   writes --(family: which operations, in which order)--> operations --> moves from the floor up --> commit --> root
 *
 * Terms: *steps* is how many active operations the floor must pass. A *move* writes an active operation again at the end of
 * the log, so that everything below the floor is inactive.
 *
 * Invariant: every lookup goes through the layer that is being sealed, so its own changes are seen by the floor scan. What
 * it does to the shared indexes is in its trace at every moment, so that it can be undone.
 * Source: spec qmdb §4.
 */
import type { Hasher, HashJob } from "@coppice/crypto"
import type { KeyedFormat } from "@coppice/verify"
import type { KeyText } from "@coppice/verify/log"
import {
  commitOperation,
  keyExtent,
  mutationBytes,
  operationValue,
  writeKeyHead,
  writeMutationHead,
} from "@coppice/verify/log"
import { SLOTS_MAX } from "../limits.ts"
import { authenticate } from "./authenticate.ts"
import { requireSealing } from "./base-member.ts"
import type { Branch } from "./branches.ts"
import { runsOf } from "./byte-store.ts"
import { hashBytes } from "./key-hash.ts"
import type { KeyIndex } from "./key-index.ts"
import type { KeyedContent, KeyedState } from "./keyed-state.ts"
import { SLICE_ITEMS } from "./layout.ts"
import { Kind, ownerOf, ownerSlot } from "./log-part.ts"
import type { LookedUp } from "./looked-up.ts"
import { OperationBuffer } from "./operation-buffer.ts"
import type { OperationLog } from "./operation-log.ts"
import type { Slice } from "./ring.ts"
import { firstOf, grown, Room } from "./room.ts"
import type { SlotGuesses } from "./slot-guesses.ts"
import { INACTIVE, type SlotIndex } from "./slot-index.ts"
import { REMOVED, type Writes } from "./writes.ts"

/** The indexes that sealing reads and writes. */
export interface SealHome<K, V> {
  readonly format: KeyedFormat<K, V>
  readonly hasher: Hasher
  readonly log: OperationLog
  readonly slots: SlotIndex
  readonly keys: KeyIndex
  readonly guesses: SlotGuesses
}

/** Grows the list of slots that a layer touches, each with its location before. */
export class Touched {
  count = 0
  private slotList: Uint32Array
  private previousList: Float64Array

  constructor(expected: number) {
    const capacity = Math.max(16, expected)
    const room = new Room(12 * capacity)
    this.previousList = room.float64s(capacity)
    this.slotList = room.uint32s(capacity)
  }

  push(slot: number, previous: number): void {
    if (this.count === this.slotList.length) {
      const [previousList, slotList] = grown(this.count, this.previousList, this.slotList)
      this.previousList = previousList
      this.slotList = slotList
    }
    this.slotList[this.count] = slot
    this.previousList[this.count] = previous
    this.count += 1
  }

  /** Slots touched so far. */
  get slots(): Uint32Array {
    return firstOf(this.slotList, this.count)
  }

  /** Their locations before. */
  get previous(): Float64Array {
    return firstOf(this.previousList, this.count)
  }
}

/** What sealing has done to the shared indexes so far. */
export interface SealTrace {
  readonly touched: Touched
  readonly created: Array<KeyText>
  readonly deleted: Array<KeyText>
}

/** What an operation of the variable encoding is taken to need. */
const VARIABLE_BYTES_EXPECTED = 96

/** Written keys that are active in the parent state, with their slots. */
export interface FoundKeys {
  readonly keys: Uint32Array
  readonly slots: Uint32Array
}

/** What is sealed: a batch over its parent, into the layer that it becomes. */
export interface SealInput {
  readonly parent: Branch<KeyedContent>
  readonly branch: Branch<KeyedContent>
  readonly writes: Writes
  /** What the batch has looked up in its parent. */
  readonly found: LookedUp
  readonly metadata: Uint8Array | undefined
  readonly trace: SealTrace
}

/**
 * What the loops over a slice of a seal keep of its items. All seals share it: nothing in it outlives a pause.
 *
 *   owners, places   of locations that the floor passes: their owners; of these, and of keys: where they are
 *   slots            of written keys
 *   keyRuns ...      of operations that are written: where their keys and values come from and go to
 */
export const SLICE = {
  owners: new Uint32Array(SLICE_ITEMS),
  places: new Float64Array(SLICE_ITEMS),
  slots: new Int32Array(SLICE_ITEMS),
  keyRuns: runsOf(SLICE_ITEMS),
  valueRuns: runsOf(SLICE_ITEMS),
} as const

/** A seal in progress. Loops are plain methods over a range, which the engine optimizes better than generators. */
export class Sealing<K, V> {
  readonly home: SealHome<K, V>
  readonly input: SealInput
  private readonly before: KeyedState
  /** The operations, from `expect` on. */
  private buffer!: OperationBuffer
  private slotsUsed: number
  private freedUsed: number
  private active: number
  /** The floor so far, and moves still to be made. */
  private floor: number
  private steps = 0
  /** The next key that the next update of an ordered database gets. */
  readonly next: Slice

  constructor(home: SealHome<K, V>, input: SealInput) {
    this.home = home
    this.input = input
    this.before = input.parent.content!.state
    this.slotsUsed = this.before.slots
    this.freedUsed = this.before.freedUsed
    this.active = this.before.active
    this.floor = this.before.floor
    this.next = { store: input.writes.keys.store, start: 0, end: 0 }
  }

  /** Makes room for so many operations, moves and commit included, before the first is written. */
  expect(operations: number): void {
    const { operationBytes = VARIABLE_BYTES_EXPECTED } = this.home.format
    this.buffer = new OperationBuffer(operations, operations * operationBytes)
  }

  /** Log size after the operations so far: the location of the next one. */
  private get size(): number {
    return this.before.size + this.buffer.count
  }

  private place(slot: number, location: number, previous: number): void {
    const { branch, trace } = this.input
    if (this.home.slots.set(slot, branch, location)) trace.touched.push(slot, previous)
  }

  /** Writes the update or delete of a key that is active at `location`. */
  writeExisting(key: number, slot: number, location: number): void {
    this.placeExisting(key, slot, location, this.size)
    this.mutate(key, this.reserveExisting(key, slot))
  }

  /**
   * The same for entries of `found`, in the order given. What they need of the batch and the indexes lies in no order: each
   * is met in a loop of little else, for the reason that `moveUntil` gives.
   */
  writeAllExisting({ keys, slots }: FoundKeys, order: Uint32Array): void {
    const { size } = this
    const { places, keyRuns, valueRuns } = SLICE
    const { writes, branch } = this.input
    const count = order.length
    for (let n = 0; n < count; n++) places[n] = this.home.slots.locate(slots[order[n]!]!, branch)
    for (let n = 0; n < count; n++) this.placeExisting(keys[order[n]!]!, slots[order[n]!]!, places[n]!, size + n)
    for (let n = 0; n < count; n++) {
      const key = keys[order[n]!]!
      const at = this.writeHead(key, this.reserveExisting(key, slots[order[n]!]!))
      const keyBytes = writes.keys.length(key)
      keyRuns.from[n] = writes.keys.starts[key]!
      keyRuns.lengths[n] = keyBytes
      keyRuns.to[n] = at
      writes.setRun(valueRuns, n, writes.of(key), at + keyBytes)
    }
    writes.keys.store.copyRuns(keyRuns, count, this.buffer.store)
    writes.copyRuns(valueRuns, count, this.buffer.store)
  }

  private placeExisting(key: number, slot: number, location: number, next: number): void {
    this.place(slot, this.input.writes.of(key) === REMOVED ? INACTIVE : next, location)
  }

  /** Room for the update or delete of an active key. */
  private reserveExisting(key: number, slot: number): number {
    const { writes, trace } = this.input
    if (writes.of(key) !== REMOVED) return this.reserve(key, ownerOf(slot, Kind.update))
    trace.deleted.push(writes.keys.text(key))
    this.active -= 1
    return this.reserve(key, ownerOf(slot, Kind.delete))
  }

  /** Writes the update of a key that is not active. */
  writeCreated(key: number): void {
    const { writes, trace, branch } = this.input
    const { bytes, starts } = writes.keys
    const text = writes.keys.text(key)
    const slot = this.nextSlot()
    this.home.keys.create(text, branch, slot)
    this.home.guesses.keep(hashBytes(bytes, starts[key]!, starts[key + 1]!), slot)
    trace.created.push(text)
    this.place(slot, this.size, INACTIVE)
    this.active += 1
    this.mutate(key, this.reserve(key, ownerOf(slot, Kind.create)))
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

  /** Room for the operation that a written key becomes. */
  private reserve(key: number, owner: number): number {
    const { next } = this
    const { writes } = this.input
    const { format } = this.home
    const value = writes.of(key)
    const keyBytes = writes.keys.length(key)
    if (value === REMOVED) return this.buffer.reserve(mutationBytes(format, keyBytes, undefined), owner)
    const nextBytes = format.ordered ? next.end - next.start : undefined
    return this.buffer.reserve(mutationBytes(format, keyBytes, writes.length(value), nextBytes), owner)
  }

  /** Writes the head of an operation at its offset; returns the offset of its key. */
  private writeHead(key: number, at: number): number {
    const { writes } = this.input
    const keyBytes = writes.keys.length(key)
    return writeMutationHead(this.home.format, this.buffer.store.bytes, at, keyBytes, writes.of(key) !== REMOVED)
  }

  /** Writes the operation that a written key becomes at its offset. */
  private mutate(key: number, at: number): void {
    const { writes } = this.input
    const { store, starts } = writes.keys
    const target = this.buffer.store
    const keyAt = this.writeHead(key, at)
    store.copyTo(starts[key]!, starts[key + 1]!, target, keyAt)
    const value = writes.of(key)
    if (value === REMOVED) return
    const valueAt = keyAt + writes.keys.length(key)
    writes.copyTo(value, target, valueAt)
    if (this.home.format.ordered) this.writeNext(valueAt + writes.length(value), this.next.end - this.next.start)
  }

  private writeNext(at: number, bytes: number): void {
    const { buffer, next } = this
    const nextAt = writeKeyHead(this.home.format, buffer.store.bytes, at, bytes)
    next.store.copyTo(next.start, next.end, buffer.store, nextAt)
  }

  /** Writes the update of a key that is active at `location` again, with its next key replaced. */
  rewrite(slot: number, location: number): void {
    const { format, log } = this.home
    const operation = log.operation(location, this.input.parent)
    const key = keyExtent(format, operation)
    const value = operationValue(format, operation)
    const nextBytes = this.next.end - this.next.start
    const length = mutationBytes(format, key.end - key.start, value.length, nextBytes)
    this.place(slot, this.size, location)
    const at = this.buffer.reserve(length, ownerOf(slot, Kind.update))
    this.buffer.store.write(operation.subarray(0, key.end + value.length), at)
    this.writeNext(at + key.end + value.length, nextBytes)
  }

  /** Moves `steps` active operations from the floor up, in slices. */
  *raiseFloor(steps: number): Generator<undefined, void, void> {
    this.steps = steps
    const tip = this.size
    if (this.active === 0) this.floor = tip
    while (this.steps > 0 && this.floor < tip) {
      yield* this.pause()
      this.moveUntil(Math.min(tip, this.floor + SLICE_ITEMS))
    }
  }

  /** Examines locations from the floor to `end`, or to the last move; at most `SLICE_ITEMS`. */
  private moveUntil(end: number): void {
    const { log, slots } = this.home
    const { branch } = this.input
    const { floor } = this
    const { owners, places } = SLICE
    for (let location = floor; location < end; location++) {
      const own = location - this.before.size
      owners[location - floor] = own >= 0 ? this.buffer.owner(own) : log.owner(location, branch)
    }
    // Slots are met in no order: in a loop of nothing else one waits for memory while the next is on its way. Moves go
    // past `end`, so none of them changes what is read here.
    for (let i = 0; i < end - floor; i++) places[i] = slots.locate(ownerSlot(owners[i]!), branch)
    let location = floor
    for (; location < end && this.steps > 0; location++) {
      // Location 0 is the genesis commit, whose number also stands for "not active".
      if (location === INACTIVE || places[location - floor] !== location) continue
      this.move(location, ownerSlot(owners[location - floor]!))
    }
    this.floor = location
  }

  /** Writes the active operation at a location again. */
  private move(location: number, slot: number): void {
    const own = location - this.before.size
    const moved = ownerOf(slot, Kind.update)
    this.place(slot, this.size, location)
    if (own >= 0) this.buffer.repeat(own, moved)
    else this.home.log.copyOperation(location, this.input.branch, this.buffer, moved)
    this.steps -= 1
  }

  /** A point at which sealing may stop for a while. Throws `StaleBatch` once the branch is closed. */
  *pause(): Generator<undefined, void, void> {
    yield undefined
    requireSealing(this.input.branch)
  }

  /** Runs a loop in slices with a pause after each. */
  *inSlices(count: number, run: (from: number, to: number) => void): Generator<undefined, void, void> {
    for (let from = 0; from < count; from += SLICE_ITEMS) {
      run(from, Math.min(count, from + SLICE_ITEMS))
      yield* this.pause()
    }
  }

  /** Writes the commit and computes the root: the content of the sealed layer. */
  *authenticate(): Generator<HashJob, KeyedContent, void> {
    const { before, buffer, floor } = this
    const { branch, metadata, trace } = this.input
    const { format, hasher } = this.home
    buffer.push(commitOperation(format, metadata, floor), ownerOf(0, Kind.commit))
    const { state, log } = yield* authenticate(hasher, before, branch, buffer, floor)
    const { slotsUsed: slots, freedUsed, active } = this
    const { touched, created, deleted } = trace
    const index = { touched: touched.slots, previous: touched.previous, created, deleted }
    return { state: { ...state, slots, freedUsed, active, current: undefined }, log, index }
  }
}
