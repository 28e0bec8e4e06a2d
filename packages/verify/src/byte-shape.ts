/**
 * How typed keys and values become the bytes that are compared, stored and hashed.
 *
 * Terms: the *identity* of a key is the byte string by which keys are equal and ordered: its encoding, or, where the
 * codec puts a length before the content, the content alone. The *extent* of a value in an operation is where its
 * identity lies.
 *
 * Invariant: two keys are the same iff their identities are; the form of a key inside an operation follows from its
 * identity alone.
 */
import { ByteReader, type Codec, encode, varintBytes } from "@coppice/codec"

/** Identity of a key as a key of maps: latin1, one character a byte (`bytesKey`). */
export type KeyText = string

/** The byte form of one type. */
export interface ByteShape<T> {
  readonly codec: Codec<T>
  /** Length of every identity when all share one, else undefined. */
  readonly size: number | undefined
  /** Whether a varint length stands before the identity inside an operation. */
  readonly prefixed: boolean
  /** Length of values that are their own identity, else undefined. */
  readonly raw: number | undefined
}

/** Bytes from `start` to `end`, end exclusive. */
export interface Extent {
  readonly start: number
  readonly end: number
}

const LENGTH_PREFIXED = /^(blob|text)\(/
const RAW = /^bytes\(/

/** Whether a value is its own encoding in a type whose raw values have `raw` bytes. */
export const isRaw = (raw: number | undefined, value: unknown): value is Uint8Array =>
  raw !== undefined && value instanceof Uint8Array && value.length === raw

/** The shape of the values of a codec. */
export const byteShape = <T>(codec: Codec<T>): ByteShape<T> => ({
  codec,
  size: codec.size,
  prefixed: LENGTH_PREFIXED.test(codec.name),
  raw: RAW.test(codec.name) ? codec.size : undefined,
})

const prefixBytes = (encoded: Uint8Array): number => {
  let at = 0
  while ((encoded[at]! & 0x80) !== 0) at++
  return at + 1
}

/** Identity of an encoded key, as a view. */
export const identityIn = <T>({ prefixed }: ByteShape<T>, encoded: Uint8Array): Uint8Array =>
  prefixed ? encoded.subarray(prefixBytes(encoded)) : encoded

/** Identity of a typed key; may be the key itself. Throws `RangeError` on a key outside the codec's type. */
export const identityOf = <T>(shape: ByteShape<T>, value: T): Uint8Array =>
  isRaw(shape.raw, value) ? value : identityIn(shape, encode(shape.codec, value))

/** Bytes that a key with an identity of this length takes inside an operation. */
export const encodedBytes = <T>(shape: ByteShape<T>, identityBytes: number): number =>
  shape.prefixed ? varintBytes(identityBytes) + identityBytes : identityBytes

/** Writes what stands before an identity of that length inside an operation; returns where the identity goes. */
export const writePrefix = <T>(shape: ByteShape<T>, target: Uint8Array, at: number, identityBytes: number): number => {
  if (!shape.prefixed) return at
  let offset = at
  let rest = identityBytes
  while (rest > 0x7f) {
    target[offset++] = (rest & 0x7f) | 0x80
    rest >>>= 7
  }
  target[offset++] = rest
  return offset
}

/** Extent of the value that begins at `from`. Trusts the bytes: they are our own log's. */
export const extentOf = <T>(shape: ByteShape<T>, operation: Uint8Array, from: number): Extent => {
  if (shape.size !== undefined) return { start: from, end: from + shape.size }
  const reader = new ByteReader(operation.subarray(from))
  if (shape.prefixed) {
    const length = reader.varint32()
    const start = operation.length - reader.remaining
    return { start, end: start + length }
  }
  shape.codec.read(reader)
  return { start: from, end: operation.length - reader.remaining }
}
