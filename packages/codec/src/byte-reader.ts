/**
 * Reads the primitives of the wire format out of bytes that nobody vouches for.
 *
 * Invariant: a reader accepts canonical bytes only, so that reading and writing again gives the same bytes. It refuses
 * what is truncated, a varint that is not in its shortest form, a flag other than 00 or 01, a length above the caller's
 * limit, and, by `end`, bytes that are left over. A refusal is a `DecodeError` at the offset where the item begins, and
 * a refused item consumes nothing. Nothing is allocated before its length is known to be present in the input.
 */
import { DecodeError } from "./decode-error.ts"
import { VARINT_BYTES_MAX } from "./limits.ts"

const TWO_32 = 0x1_0000_0000
const GROUPS_LOW = 7

// A bigint is put together in memory: shifts and sums would each make another.
const word = new DataView(new ArrayBuffer(8))

/**
 * A cursor over one input.
 *
 * Shape: each method reads one item and moves past it; `raw` and `blob` return copies. The input is borrowed and must
 * not change while it is read.
 * Errors: `DecodeError` only.
 */
export class ByteReader {
  #bytes: Uint8Array
  #offset = 0

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
  }

  /** Where the next item begins: what a `DecodeError` about it should name. */
  get offset(): number {
    return this.#offset
  }

  /** Bytes not read yet. */
  get remaining(): number {
    return this.#bytes.length - this.#offset
  }

  /** One byte. */
  u8(): number {
    return this.#bytes[this.#take(1)]!
  }

  /** Four bytes, most significant first. */
  be32(): number {
    return this.#get32(this.#take(4))
  }

  /** Eight bytes, most significant first. */
  be64(): bigint {
    const at = this.#take(8)
    word.setUint32(0, this.#get32(at))
    word.setUint32(4, this.#get32(at + 4))
    return word.getBigUint64(0)
  }

  /** Eight bytes, most significant first, of a value up to 2^53-1. */
  be64Safe(): number {
    const at = this.#take(8)
    const high = this.#get32(at)
    if (high > 0x1f_ffff) this.#refuse("integer above 2^53-1", at)
    return high * TWO_32 + this.#get32(at + 4)
  }

  /** A varint of up to 64 bits. */
  varint(): bigint {
    const at = this.#offset
    const size = this.#varintSize()
    const low = this.#groups(at, Math.min(size, GROUPS_LOW))
    if (size <= GROUPS_LOW) return BigInt(low)
    const high = this.#groups(at + GROUPS_LOW, size - GROUPS_LOW)
    if (high > 0x7fff) this.#refuse("varint above 64 bits", at)
    return (BigInt(high) << 49n) | BigInt(low)
  }

  /** A varint up to 2^32-1. */
  varint32(): number {
    return this.varintSafe(0xffff_ffff)
  }

  /** A varint up to `max`, at most 2^53-1. */
  varintSafe(max: number = Number.MAX_SAFE_INTEGER): number {
    const at = this.#offset
    const first = this.#bytes[at]
    if (first !== undefined && first < 0x80 && first <= max) {
      this.#offset = at + 1
      return first
    }
    // Past 53 bits the sum is rounded, but never below 2^53: it still compares as above `max`.
    const value = this.#groups(at, this.#varintSize())
    if (value > max) this.#refuse("integer above its limit", at)
    return value
  }

  /** Exactly `length` bytes. */
  raw(length: number): Uint8Array {
    const at = this.#take(length)
    // The `slice` of a Buffer would alias the input instead of copying it. A view costs as much as many small items.
    if (this.#bytes.constructor !== Uint8Array) {
      this.#bytes = new Uint8Array(this.#bytes.buffer, this.#bytes.byteOffset, this.#bytes.byteLength)
    }
    return this.#bytes.slice(at, at + length)
  }

  /** `varint(length) || bytes` of at most `maxLength` bytes. */
  blob(maxLength: number): Uint8Array {
    const at = this.#offset
    const length = this.varintSafe(maxLength)
    if (length > this.remaining) this.#refuse("truncated", at)
    return this.raw(length)
  }

  /** One byte: 00 is false, 01 is true. */
  flag(): boolean {
    const at = this.#take(1)
    const byte = this.#bytes[at]!
    if (byte > 1) this.#refuse("flag is neither 00 nor 01", at)
    return byte === 1
  }

  /** Asserts that the whole input was read. */
  end(): void {
    if (this.remaining > 0) this.#refuse("trailing bytes", this.#offset)
  }

  #take(count: number): number {
    const at = this.#offset
    if (count > this.#bytes.length - at) this.#refuse("truncated", at)
    if (!Number.isInteger(count) || count < 0) throw new RangeError(`length: ${count} is outside`)
    this.#offset = at + count
    return at
  }

  #get32(at: number): number {
    const bytes = this.#bytes
    return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0
  }

  /** Bytes of the varint at the cursor, which moves past it. Checks length and shortest form, not the value. */
  #varintSize(): number {
    const bytes = this.#bytes
    const at = this.#offset
    const end = Math.min(bytes.length, at + VARINT_BYTES_MAX)
    let last = at
    while (last < end && bytes[last]! >= 0x80) last++
    if (last === end) this.#refuse(end === bytes.length ? "truncated" : "varint above 64 bits", at)
    if (last > at && bytes[last] === 0) this.#refuse("varint not in shortest form", at)
    this.#offset = last + 1
    return last + 1 - at
  }

  #groups(at: number, count: number): number {
    const bytes = this.#bytes
    let value = 0
    for (let i = at + count - 1; i >= at; i--) value = value * 0x80 + (bytes[i]! & 0x7f)
    return value
  }

  #refuse(reason: string, offset: number): never {
    this.#offset = offset
    throw new DecodeError(reason, offset)
  }
}
