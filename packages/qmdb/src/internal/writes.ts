/**
 * The writes that an open batch holds: key -> value, or removed, with marks to which they can be taken back.
 *
 *   keys     numbered in the order in which they were first written        numbers   key -> number of its value
 *   values   one growing buffer, value `i` in its room [start i, start i+1)
 *   journal  what a key had before a write        marks     lengths of keys, values and journal when a mark was made
 *
 * Terms: the *number* of a value is its place in the buffer. A value is *loose* when no mark was made since it was added:
 * no revert can ask for it back, so the next write of its key may take its room.
 *
 * Invariant: after `revert(m)` the writes are those that stood when `m` was made. Nothing is an object of its own, because
 * an object per key or value costs more to make and to collect than hashing does.
 */
import { BatchTooLarge } from "../errors.ts"
import { BATCH_BYTES_MAX, BATCH_WRITES_MAX } from "../limits.ts"
import { ByteStore, type Runs } from "./byte-store.ts"
import { KeyTable } from "./key-table.ts"
import { grown, Room } from "./room.ts"

/** The number that stands for a delete. */
export const REMOVED = -1

const ABSENT = -2

/** Keys and values for which a batch begins with room. */
const START = 128

/** What one value costs beside its bytes. */
const VALUE_OVERHEAD_BYTES = 8

interface Mark {
  readonly id: number
  readonly keys: number
  readonly values: number
  readonly journal: number
}

/** Staged writes of one batch. */
export class Writes {
  /** The keys written. */
  readonly keys = new KeyTable()
  private numbers: Int32Array
  private readonly store = new ByteStore(1024)
  private starts: Uint32Array
  private lengths: Uint32Array
  private values = 0
  private readonly journalKeys: Array<number> = []
  private readonly journalNumbers: Array<number> = []
  private readonly marks: Array<Mark> = []
  private nextMark = 0
  /** Values from this number on are loose. */
  private looseFrom = 0

  constructor() {
    const room = new Room(12 * START + 4)
    this.numbers = room.int32s(START)
    this.starts = room.uint32s(START + 1)
    this.lengths = room.uint32s(START)
  }

  /** Number of the value that key number `key` was given, or `REMOVED`. */
  of(key: number): number {
    return this.numbers[key]!
  }

  /** Number of the value of a key, `REMOVED`, or undefined when the key is not written. */
  find(key: Uint8Array): number | undefined {
    const number = this.keys.find(key)
    return number < 0 ? undefined : this.numbers[number]!
  }

  /** Length of a value. */
  length(number: number): number {
    return this.lengths[number]!
  }

  /** A value, as a view that holds until the next write. */
  value(number: number): Uint8Array {
    const start = this.starts[number]!
    return this.store.bytes.subarray(start, start + this.lengths[number]!)
  }

  /** Copies a value into `target` at `at`. */
  copyTo(number: number, target: ByteStore, at: number): void {
    const start = this.starts[number]!
    this.store.copyTo(start, start + this.lengths[number]!, target, at)
  }

  /** Sets run `n` to a value that goes to `to`; to nothing when it is `REMOVED`. */
  setRun(runs: Runs, n: number, number: number, to: number): void {
    runs.from[n] = number === REMOVED ? 0 : this.starts[number]!
    runs.lengths[n] = number === REMOVED ? 0 : this.lengths[number]!
    runs.to[n] = to
  }

  /** Copies the values of the first `count` runs. */
  copyRuns(runs: Runs, count: number, target: ByteStore): void {
    this.store.copyRuns(runs, count, target)
  }

  /** Writes a value. Key and value are copied. Throws `BatchTooLarge` and changes nothing. */
  put(key: Uint8Array, value: Uint8Array): void {
    const found = this.keys.find(key)
    const before = found < 0 ? ABSENT : this.numbers[found]!
    if (before >= this.looseFrom && value.length <= this.starts[before + 1]! - this.starts[before]!) {
      this.store.write(value, this.starts[before]!)
      this.lengths[before] = value.length
      return
    }
    this.requireRoom(found, key, value.length + VALUE_OVERHEAD_BYTES)
    this.write(found, key, this.add(value))
  }

  /** Writes a delete. Throws `BatchTooLarge` and changes nothing. */
  remove(key: Uint8Array): void {
    const found = this.keys.find(key)
    if (found >= 0 && this.numbers[found] === REMOVED) return
    this.requireRoom(found, key, 0)
    this.write(found, key, REMOVED)
  }

  private requireRoom(found: number, key: Uint8Array, bytes: number): void {
    const created = found < 0
    if (created && this.keys.count === BATCH_WRITES_MAX) throw new BatchTooLarge("BATCH_WRITES_MAX", BATCH_WRITES_MAX)
    const held = this.starts[this.values]! + this.values * VALUE_OVERHEAD_BYTES + this.keys.byteCount
    if (held + bytes + (created ? key.length : 0) > BATCH_BYTES_MAX) {
      throw new BatchTooLarge("BATCH_BYTES_MAX", BATCH_BYTES_MAX)
    }
  }

  private write(found: number, key: Uint8Array, number: number): void {
    if (found < 0) {
      const added = this.keys.add(key)
      if (added === this.numbers.length) {
        const numbers = new Int32Array(added * 2)
        numbers.set(this.numbers)
        this.numbers = numbers
      }
      this.numbers[added] = number
      return
    }
    if (this.marks.length > 0) {
      this.journalKeys.push(found)
      this.journalNumbers.push(this.numbers[found]!)
    }
    this.numbers[found] = number
  }

  private add(value: Uint8Array): number {
    const number = this.values++
    const start = this.starts[number]!
    const end = start + value.length
    this.store.reserve(end, start)
    if (number === this.lengths.length) {
      const [starts, lengths] = grown(number, this.starts, this.lengths)
      this.starts = starts
      this.lengths = lengths
    }
    this.store.write(value, start)
    this.starts[number + 1] = end
    this.lengths[number] = value.length
    return number
  }

  /** A point to which `revert` can return. */
  mark(): number {
    const { values } = this
    const keys = this.keys.count
    const journal = this.journalKeys.length
    const last = this.marks.at(-1)
    // What is loose lies above the last mark, so with no key, value or entry more nothing has changed since.
    if (last?.journal === journal && last.values === values && last.keys === keys) return last.id
    const id = this.nextMark++
    this.marks.push({ id, keys, values, journal })
    this.looseFrom = values
    return id
  }

  /** Takes the writes back to a mark. Throws `RangeError`, and changes nothing, when it is void or unknown. */
  revert(mark: number): void {
    let at = this.marks.length - 1
    while (at >= 0 && this.marks[at]!.id > mark) at--
    const found = this.marks[at]
    if (found === undefined || found.id !== mark) throw new RangeError(`mark ${mark} is void or not of this batch`)
    this.marks.length = at + 1
    while (this.journalKeys.length > found.journal) {
      this.numbers[this.journalKeys.pop()!] = this.journalNumbers.pop()!
    }
    this.keys.truncate(found.keys)
    this.values = found.values
    this.looseFrom = found.values
  }
}
