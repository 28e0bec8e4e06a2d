/**
 * How typed keys become the bytes that the core compares, stores and hashes.
 *
 * Terms: the *identity* of a key is the byte string by which keys are equal and ordered: its encoding, or, where the
 * codec puts a length before the content, the content alone. The core holds identities as latin1 text, one character a
 * byte: such strings compare like the bytes and can be map keys.
 *
 * Invariant: two keys are the same iff their identities are; the form of a key inside an operation follows from its
 * identity alone.
 */
import { ByteReader, bytesKey, type Codec, encode, varintBytes } from "@coppice/codec"

/** Identity of a key, latin1, one character a byte. */
export type KeyText = string

/** The byte form of one key type. */
export interface KeyShape<K> {
  readonly codec: Codec<K>
  /** Length of every identity when all share one, else undefined. */
  readonly size: number | undefined
  /** Whether a varint length stands before the identity inside an operation. */
  readonly prefixed: boolean
  /** Whether the key itself is its identity: bytes of one length. */
  readonly raw: boolean
}

const LENGTH_PREFIXED = /^(blob|text)\(/
const RAW = /^bytes\(/

/** Whether values of a codec are their own encoding: bytes of one length. */
export const isRawBytes = (codec: { readonly name: string }): boolean => RAW.test(codec.name)

/** The shape of the keys of a codec. */
export const keyShape = <K>(codec: Codec<K>): KeyShape<K> => ({
  codec,
  size: codec.size,
  prefixed: LENGTH_PREFIXED.test(codec.name),
  raw: isRawBytes(codec),
})

const prefixBytes = (encoded: Uint8Array): number => {
  let at = 0
  while ((encoded[at]! & 0x80) !== 0) at++
  return at + 1
}

/** Identity of a typed key. Throws `RangeError` on a key outside the codec's type. */
export const keyTextOf = <K>(shape: KeyShape<K>, key: K): KeyText => {
  if (shape.raw && key instanceof Uint8Array && key.length === shape.size) return bytesKey(key)
  const encoded = encode(shape.codec, key)
  return bytesKey(shape.prefixed ? encoded.subarray(prefixBytes(encoded)) : encoded)
}

/** Bytes that a key with an identity of this length takes inside an operation. */
export const keyEncodedBytes = <K>(shape: KeyShape<K>, identityBytes: number): number =>
  shape.prefixed ? varintBytes(identityBytes) + identityBytes : identityBytes

/** Writes the form of a key inside an operation; returns the offset after it. */
export const writeKey = <K>(shape: KeyShape<K>, target: Buffer, at: number, text: KeyText): number => {
  let offset = at
  if (shape.prefixed) {
    let rest = text.length
    while (rest > 0x7f) {
      target[offset++] = (rest & 0x7f) | 0x80
      rest >>>= 7
    }
    target[offset++] = rest
  }
  target.write(text, offset, "latin1")
  return offset + text.length
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
