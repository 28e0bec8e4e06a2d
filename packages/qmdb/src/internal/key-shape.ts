/**
 * How typed keys become the bytes that the core compares, stores and hashes.
 *
 * Terms: the *identity* of a key is the byte string by which keys are equal and ordered: its encoding, or, where the
 * codec puts a length before the content, the content alone. Batches hold identities as bytes; the shared indexes hold the
 * few that were created or deleted lately as latin1 text, one character a byte, since such strings can be map keys.
 *
 * Invariant: two keys are the same iff their identities are; the form of a key inside an operation follows from its
 * identity alone.
 */
import { ByteReader, type Codec, encode, varintBytes } from "@coppice/codec"

/** Identity of a key, latin1, one character a byte. */
export type KeyText = string

/** The byte form of one key type. */
export interface KeyShape<K> {
  readonly codec: Codec<K>
  /** Length of every identity when all share one, else undefined. */
  readonly size: number | undefined
  /** Whether a varint length stands before the identity inside an operation. */
  readonly prefixed: boolean
  /** Length of keys that are their own identity, else undefined. */
  readonly raw: number | undefined
}

const LENGTH_PREFIXED = /^(blob|text)\(/
const RAW = /^bytes\(/

/** Length of the values of a codec when they are their own encoding, bytes of one length; else undefined. */
export const rawBytes = (codec: Pick<Codec<unknown>, "name" | "size">): number | undefined =>
  RAW.test(codec.name) ? codec.size : undefined

/** Whether a value is its own encoding in a type whose raw values have `raw` bytes. */
export const isRaw = (raw: number | undefined, value: unknown): value is Uint8Array =>
  raw !== undefined && value instanceof Uint8Array && value.length === raw

/** The shape of the keys of a codec. */
export const keyShape = <K>(codec: Codec<K>): KeyShape<K> => ({
  codec,
  size: codec.size,
  prefixed: LENGTH_PREFIXED.test(codec.name),
  raw: rawBytes(codec),
})

const prefixBytes = (encoded: Uint8Array): number => {
  let at = 0
  while ((encoded[at]! & 0x80) !== 0) at++
  return at + 1
}

/** Identity of a typed key; may be the key itself. Throws `RangeError` on a key outside the codec's type. */
export const identityOf = <K>(shape: KeyShape<K>, key: K): Uint8Array => {
  if (isRaw(shape.raw, key)) return key
  const encoded = encode(shape.codec, key)
  return shape.prefixed ? encoded.subarray(prefixBytes(encoded)) : encoded
}

/** Bytes that a key with an identity of this length takes inside an operation. */
export const keyEncodedBytes = <K>(shape: KeyShape<K>, identityBytes: number): number =>
  shape.prefixed ? varintBytes(identityBytes) + identityBytes : identityBytes

/** Writes what stands before an identity of that length inside an operation; returns where the identity goes. */
export const writeKeyPrefix = <K>(shape: KeyShape<K>, target: Buffer, at: number, identityBytes: number): number => {
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

/** Where the identity of the key that begins at `from` lies: `[start, end)`. Trusts the bytes: they are our own log's. */
export const keyExtent = <K>(
  shape: KeyShape<K>,
  operation: Uint8Array,
  from: number,
): { readonly start: number; readonly end: number } => {
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
