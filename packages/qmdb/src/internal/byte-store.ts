/**
 * A growing run of bytes with the fastest ways that plain code has to copy into and out of it.
 *
 * Invariant: `bytes` and `view` are the same memory. Both are replaced when it grows.
 */

/** Below this length a loop over words copies faster than a native call. */
const LOOP_BYTES_MAX = 256

/** Runs of bytes to be copied: run `n` is `lengths[n]` bytes from `from[n]` on, and goes to `to[n]`. */
export interface Runs {
  readonly from: Uint32Array
  readonly lengths: Uint32Array
  readonly to: Uint32Array
}

/** Room for so many runs. */
export const runsOf = (count: number): Runs => ({
  from: new Uint32Array(count),
  lengths: new Uint32Array(count),
  to: new Uint32Array(count),
})

/** Memory that grows by doubling. New bytes are zero when it was made so. */
export class ByteStore {
  bytes: Buffer
  view: DataView
  private readonly zeroed: boolean

  constructor(capacity: number, zeroed = false) {
    this.zeroed = zeroed
    this.bytes = zeroed ? Buffer.alloc(capacity) : Buffer.allocUnsafeSlow(capacity)
    this.view = new DataView(this.bytes.buffer, this.bytes.byteOffset, this.bytes.length)
  }

  /** Makes room for `end` bytes, of which the first `used` are kept; never more than `most`. */
  reserve(end: number, used: number, most = Number.MAX_SAFE_INTEGER): void {
    if (end <= this.bytes.length) return
    const capacity = Math.max(end, Math.min(this.bytes.length * 2, most))
    const grown = new ByteStore(capacity, this.zeroed)
    this.bytes.copy(grown.bytes, 0, 0, used)
    this.bytes = grown.bytes
    this.view = grown.view
  }

  /** Copies `source` to `at`; there must be room. */
  write(source: Uint8Array, at: number): void {
    this.bytes.set(source, at)
  }

  /** Copies `[from, to)` into another store at `at`; there must be room. */
  copyTo(from: number, to: number, target: ByteStore, at: number): void {
    if (to - from > LOOP_BYTES_MAX) this.bytes.copy(target.bytes, at, from, to)
    else copyBytes(this.bytes, this.view, from, to, target, at)
  }

  /**
   * Copies the first `count` of some runs into another store; there must be room. They lie in no order: in a loop of
   * nothing else one waits for memory while the next is on its way, and that takes half of the time.
   */
  copyRuns({ from, lengths, to }: Runs, count: number, target: ByteStore): void {
    const { bytes, view } = this
    const { bytes: targetBytes, view: targetView } = target
    for (let n = 0; n < count; n++) {
      let source = from[n]!
      let offset = to[n]!
      const end = source + lengths[n]!
      if (end - source > LOOP_BYTES_MAX) bytes.copy(targetBytes, offset, source, end)
      else {
        for (; source + 8 <= end; source += 8, offset += 8) targetView.setBigUint64(offset, view.getBigUint64(source))
        for (; source < end; source++, offset++) targetBytes[offset] = bytes[source]!
      }
    }
  }
}

/** A view of the memory of an array. */
export const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)

/** Copies few bytes `[from, to)` of an array, of which `view` is a view, into a store at `at`; there must be room. */
export const copyBytes = (
  bytes: Uint8Array,
  view: DataView,
  from: number,
  to: number,
  target: ByteStore,
  at: number,
): void => {
  let source = from
  let offset = at
  // Eight bytes at a time take a third of the time of single ones. Nothing reads a word as a number.
  for (; source + 8 <= to; source += 8, offset += 8) target.view.setBigUint64(offset, view.getBigUint64(source))
  for (; source < to; source++, offset++) target.bytes[offset] = bytes[source]!
}
