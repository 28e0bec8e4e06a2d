/**
 * Values that an open batch appends, in call order, with marks to which they can be taken back.
 *
 * Invariant: after `revert(m)` the values are those that stood when `m` was made. Bounded as the writes of a keyed batch.
 */
import { BatchTooLarge } from "../errors.ts"
import { BATCH_BYTES_MAX, BATCH_WRITES_MAX } from "../limits.ts"
import { ByteStore } from "./byte-store.ts"

/** What one value costs beside its bytes. */
const VALUE_OVERHEAD_BYTES = 8

interface Mark {
  readonly id: number
  readonly count: number
}

/** Staged appends of one batch. */
export class StagedValues {
  count = 0
  readonly store = new ByteStore(1024)
  private starts = new Uint32Array(33)
  private readonly marks: Array<Mark> = []
  private nextMark = 0

  /** Bytes of value `n`. */
  length(n: number): number {
    return this.starts[n + 1]! - this.starts[n]!
  }

  /** Value `n`, as a view that holds until the next append. */
  value(n: number): Uint8Array {
    return this.store.bytes.subarray(this.starts[n]!, this.starts[n + 1]!)
  }

  /** Copies value `n` into `target` at `at`. */
  copyTo(n: number, target: ByteStore, at: number): void {
    this.store.copyTo(this.starts[n]!, this.starts[n + 1]!, target, at)
  }

  /** Appends a copy of a value; returns its number. Throws `BatchTooLarge` and changes nothing. */
  append(value: Uint8Array): number {
    const n = this.count
    if (n === BATCH_WRITES_MAX) throw new BatchTooLarge("BATCH_WRITES_MAX", BATCH_WRITES_MAX)
    const start = this.starts[n]!
    const end = start + value.length
    if (end + (n + 1) * VALUE_OVERHEAD_BYTES > BATCH_BYTES_MAX) {
      throw new BatchTooLarge("BATCH_BYTES_MAX", BATCH_BYTES_MAX)
    }
    this.store.reserve(end, start)
    if (n + 1 === this.starts.length) {
      const starts = new Uint32Array(n * 2 + 1)
      starts.set(this.starts)
      this.starts = starts
    }
    this.store.write(value, start)
    this.starts[n + 1] = end
    this.count = n + 1
    return n
  }

  /** A point to which `revert` can return. */
  mark(): number {
    const last = this.marks.at(-1)
    if (last?.count === this.count) return last.id
    const id = this.nextMark++
    this.marks.push({ id, count: this.count })
    return id
  }

  /** Takes the values back to a mark. Throws `RangeError`, and changes nothing, when it is void or unknown. */
  revert(mark: number): void {
    const at = this.marks.findLastIndex(({ id }) => id === mark)
    if (at < 0) throw new RangeError(`mark ${mark} is void or not of this batch`)
    this.marks.length = at + 1
    this.count = this.marks[at]!.count
  }
}
