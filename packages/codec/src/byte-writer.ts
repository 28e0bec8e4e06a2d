/**
 * An append-only byte buffer with the primitives of the wire format.
 *
 * Terms: `be32` and `be64` are fixed integers, most significant byte first. A varint is an unsigned LEB128 integer of at
 * most 64 bits in its shortest form. A blob is a byte string behind its length. A flag is one byte, 00 or 01.
 *
 * Invariant: what is written is canonical. Equal values give equal bytes, and a value that has no canonical form is a
 * RangeError, never a byte. Integers given as numbers never pass through BigInt or through 32-bit arithmetic that would
 * lose their upper bits.
 */
import { BLOB_BYTES_MAX, WRITER_BYTES_START } from "./limits.ts"

const U64_MAX = 0xffff_ffff_ffff_ffffn
const TWO_32 = 0x1_0000_0000

// A bigint is taken apart in memory: shifts and masks would each make another.
const word = new DataView(new ArrayBuffer(8))

const NOTHING = new Uint8Array(0)

const outside = (kind: string, value: unknown): RangeError => new RangeError(`${kind}: ${String(value)} is outside`)

/**
 * Bytes of the varint of `n`.
 *
 * Errors: RangeError when `n` is not an integer of 0..2^53-1 (number) or 0..2^64-1 (bigint).
 */
export const varintBytes = (n: number | bigint): number => {
  if (typeof n === "bigint") {
    if (n < 0n || n > U64_MAX) throw outside("varint", n)
    let bytes = 1
    for (let rest = n >> 7n; rest > 0n; rest >>= 7n) bytes++
    return bytes
  }
  if (!Number.isSafeInteger(n) || n < 0) throw outside("varint", n)
  let bytes = 1
  for (let bound = 0x80; n >= bound; bound *= 0x80) bytes++
  return bytes
}

/**
 * Builds one encoding.
 *
 * Shape: every method appends and returns the writer. `capacity` is the size of the first buffer; it grows by doubling.
 * Errors: RangeError when a value has no encoding.
 */
export class ByteWriter {
  #bytes: Uint8Array
  #length = 0
  /** A view of the first bytes, made when it was last asked for: encodings of one length share it. */
  #view: Uint8Array = NOTHING

  constructor(capacity = WRITER_BYTES_START) {
    this.#bytes = new Uint8Array(capacity)
  }

  /** Bytes that fit before the buffer grows. */
  get capacity(): number {
    return this.#bytes.length
  }

  /** Bytes written so far. */
  get length(): number {
    return this.#length
  }

  /** One byte, 0..255. */
  u8(n: number): this {
    if (!Number.isInteger(n) || n < 0 || n > 0xff) throw outside("u8", n)
    const at = this.#reserve(1)
    this.#bytes[at] = n
    return this
  }

  /** Four bytes, most significant first, 0..2^32-1. */
  be32(n: number): this {
    if (!Number.isInteger(n) || n < 0 || n >= TWO_32) throw outside("be32", n)
    const at = this.#reserve(4)
    this.#put32(at, n)
    return this
  }

  /** Eight bytes, most significant first: a number up to 2^53-1 or a bigint up to 2^64-1. */
  be64(n: number | bigint): this {
    if (typeof n === "bigint") {
      if (n < 0n || n > U64_MAX) throw outside("be64", n)
      const at = this.#reserve(8)
      word.setBigUint64(0, n)
      this.#put32(at, word.getUint32(0))
      this.#put32(at + 4, word.getUint32(4))
      return this
    }
    if (!Number.isSafeInteger(n) || n < 0) throw outside("be64", n)
    const at = this.#reserve(8)
    this.#put32(at, Math.floor(n / TWO_32))
    this.#put32(at + 4, n % TWO_32)
    return this
  }

  /** Unsigned LEB128 in shortest form: a number up to 2^53-1 or a bigint up to 2^64-1. */
  varint(n: number | bigint): this {
    const size = varintBytes(n)
    let at = this.#reserve(size)
    const bytes = this.#bytes
    const last = at + size - 1
    if (typeof n === "bigint") {
      for (let rest = n; at <= last; rest >>= 7n) bytes[at++] = Number(rest & 0x7fn) | 0x80
    } else {
      let rest = n
      for (; rest >= TWO_32; rest = Math.floor(rest / 0x80)) bytes[at++] = (rest % 0x80) | 0x80
      for (; at <= last; rest >>>= 7) bytes[at++] = (rest & 0x7f) | 0x80
    }
    bytes[last] = bytes[last]! & 0x7f
    return this
  }

  /** The bytes as they are. */
  raw(bytes: Uint8Array): this {
    const at = this.#reserve(bytes.length)
    this.#bytes.set(bytes, at)
    return this
  }

  /** `varint(length) || bytes`. */
  blob(bytes: Uint8Array): this {
    if (bytes.length > BLOB_BYTES_MAX) throw outside("blob length", bytes.length)
    return this.varint(bytes.length).raw(bytes)
  }

  /** 01 for true, 00 for false. */
  flag(b: boolean): this {
    if (b !== true && b !== false) throw outside("flag", b)
    const at = this.#reserve(1)
    this.#bytes[at] = b ? 1 : 0
    return this
  }

  /** Everything written, in a fresh array of exactly `length` bytes. The writer may go on. */
  finish(): Uint8Array {
    return this.#bytes.slice(0, this.#length)
  }

  /** The same as a view that holds until the writer is used again. */
  get written(): Uint8Array {
    if (this.#view.length !== this.#length) this.#view = this.#bytes.subarray(0, this.#length)
    return this.#view
  }

  /** Forgets everything written and keeps the buffer, so that one writer serves a loop. */
  reset(): this {
    this.#length = 0
    return this
  }

  #reserve(count: number): number {
    const at = this.#length
    const end = at + count
    if (end > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(end, this.#bytes.length * 2, WRITER_BYTES_START))
      grown.set(this.#bytes.subarray(0, at))
      this.#bytes = grown
      this.#view = NOTHING
    }
    this.#length = end
    return at
  }

  #put32(at: number, n: number): void {
    const bytes = this.#bytes
    bytes[at] = n >>> 24
    bytes[at + 1] = n >>> 16
    bytes[at + 2] = n >>> 8
    bytes[at + 3] = n
  }
}
