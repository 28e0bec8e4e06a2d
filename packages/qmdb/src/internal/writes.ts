/**
 * The writes that an open batch holds: key -> value, or removed, with marks to which they can be taken back.
 *
 *   byKey    key -> number of its value        values   one growing buffer, value `i` in its room [start i, start i+1)
 *   journal  what a key had before a write     marks    lengths of journal and values when a mark was made
 *
 * Terms: the *number* of a value is its place in the buffer. A value is *loose* when no mark was made since it was added:
 * no revert can ask for it back, so the next write of its key may take its room.
 *
 * Invariant: after `revert(m)` the writes are those that stood when `m` was made. The values lie in one buffer, because an
 * object per value costs more to make and to collect than hashing it does.
 */
import { BatchTooLarge } from "../errors.ts"
import { BATCH_BYTES_MAX, BATCH_WRITES_MAX } from "../limits.ts"
import type { KeyText } from "./key-shape.ts"

/** The number that stands for a delete. */
export const REMOVED = -1

const ABSENT = -2

/** What one value costs beside its bytes. */
const VALUE_OVERHEAD_BYTES = 8

interface Mark {
  readonly id: number
  readonly journal: number
  readonly values: number
}

/** Staged writes of one batch. */
export class Writes {
  private readonly byKey = new Map<KeyText, number>()
  private bytes = Buffer.allocUnsafe(1024)
  private starts = new Uint32Array(33)
  private lengths = new Uint32Array(32)
  private values = 0
  private keyBytes = 0
  private readonly journalKeys: Array<KeyText> = []
  private readonly journalNumbers: Array<number> = []
  private readonly marks: Array<Mark> = []
  private nextMark = 0
  /** Values from this number on are loose. */
  private looseFrom = 0

  /** Keys written. */
  get count(): number {
    return this.byKey.size
  }

  /** Every key written, and the number of its value or `REMOVED`, in the same order. */
  entries(): { readonly keys: Array<KeyText>; readonly numbers: Int32Array } {
    const keys: Array<KeyText> = new Array(this.byKey.size)
    const numbers = new Int32Array(this.byKey.size)
    let i = 0
    for (const [key, number] of this.byKey) {
      keys[i] = key
      numbers[i++] = number
    }
    return { keys, numbers }
  }

  /** Number of the value of a key, `REMOVED`, or undefined when the key is not written. */
  find(key: KeyText): number | undefined {
    return this.byKey.get(key)
  }

  /** Length of a value. */
  length(number: number): number {
    return this.lengths[number]!
  }

  /** A value, as a view that holds until the next write. */
  value(number: number): Uint8Array {
    const start = this.starts[number]!
    return this.bytes.subarray(start, start + this.lengths[number]!)
  }

  /** Copies a value into `target` at `at`. */
  copyTo(number: number, target: Buffer, at: number): void {
    const start = this.starts[number]!
    this.bytes.copy(target, at, start, start + this.lengths[number]!)
  }

  /** Writes a value, which is copied. Throws `BatchTooLarge` and changes nothing. */
  put(key: KeyText, value: Uint8Array): void {
    const before = this.byKey.get(key) ?? ABSENT
    if (before >= this.looseFrom && value.length <= this.starts[before + 1]! - this.starts[before]!) {
      this.bytes.set(value, this.starts[before]!)
      this.lengths[before] = value.length
      return
    }
    this.requireRoom(before, key, value.length + VALUE_OVERHEAD_BYTES)
    this.journal(key, before)
    this.byKey.set(key, this.add(value))
  }

  /** Writes a delete. Throws `BatchTooLarge` and changes nothing. */
  remove(key: KeyText): void {
    const before = this.byKey.get(key) ?? ABSENT
    if (before === REMOVED) return
    this.requireRoom(before, key, 0)
    this.journal(key, before)
    this.byKey.set(key, REMOVED)
  }

  private requireRoom(before: number, key: KeyText, bytes: number): void {
    const created = before === ABSENT
    if (created && this.byKey.size === BATCH_WRITES_MAX) throw new BatchTooLarge("BATCH_WRITES_MAX", BATCH_WRITES_MAX)
    const held = this.starts[this.values]! + this.values * VALUE_OVERHEAD_BYTES + this.keyBytes
    if (held + bytes + (created ? key.length : 0) > BATCH_BYTES_MAX) {
      throw new BatchTooLarge("BATCH_BYTES_MAX", BATCH_BYTES_MAX)
    }
    if (created) this.keyBytes += key.length
  }

  private add(value: Uint8Array): number {
    const number = this.values++
    const start = this.starts[number]!
    const end = start + value.length
    if (end > this.bytes.length) {
      const bytes = Buffer.allocUnsafe(Math.max(end, this.bytes.length * 2))
      bytes.set(this.bytes.subarray(0, start))
      this.bytes = bytes
    }
    if (number === this.lengths.length) {
      const starts = new Uint32Array(number * 2 + 1)
      starts.set(this.starts)
      this.starts = starts
      const lengths = new Uint32Array(number * 2)
      lengths.set(this.lengths)
      this.lengths = lengths
    }
    this.bytes.set(value, start)
    this.starts[number + 1] = end
    this.lengths[number] = value.length
    return number
  }

  private journal(key: KeyText, before: number): void {
    if (this.marks.length === 0) return
    this.journalKeys.push(key)
    this.journalNumbers.push(before)
  }

  /** A point to which `revert` can return. */
  mark(): number {
    const { values } = this
    const journal = this.journalKeys.length
    const last = this.marks.at(-1)
    // With neither more writes nor more values nothing has changed: what is loose lies above the last mark.
    if (last !== undefined && last.journal === journal && last.values === values) return last.id
    const id = this.nextMark++
    this.marks.push({ id, journal, values })
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
      const key = this.journalKeys.pop()!
      const before = this.journalNumbers.pop()!
      if (before === ABSENT) {
        this.byKey.delete(key)
        this.keyBytes -= key.length
      } else this.byKey.set(key, before)
    }
    this.values = found.values
    this.looseFrom = found.values
  }
}
