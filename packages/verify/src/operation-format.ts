/**
 * What the operations of all databases share: two encodings, the commit, the limits.
 *
 *   commit   T 01 v be8(floor) 0..   T 00 0..0 be8(floor) 0..   (fixed)      T is the commit's tag
 *            T 01 v varint(floor)    T 00 varint(floor)         (variable)
 *
 * Terms: in the *fixed* encoding every operation has the same length and shorter ones are padded with zeros; in the
 * *variable* encoding nothing is padded. The *floor* of a commit is the location below which no operation is needed.
 *
 * Invariant: decoding accepts nothing that encoding would not produce; padding is zero.
 * Source: spec qmdb §1.2.
 */
import { type ByteReader, type ByteWriter, type Codec, DecodeError, decode, encode } from "@coppice/codec"
import { type Family, type FamilyName, family, type Location } from "@coppice/merkle"
import { type ByteShape, byteShape } from "./byte-shape.ts"
import { KEY_BYTES_MAX, OPERATION_BYTES_MAX, VALUE_BYTES_MAX } from "./limits.ts"

/** How operations are laid out: all of one length, or each as long as it needs. */
export type Encoding = "fixed" | "variable"

/** The end of a batch: metadata, and the floor of the state. */
export interface CommitOperation<V> {
  readonly tag: "commit"
  readonly metadata: V | undefined
  readonly floor: Location
}

/** Where things stand in the operations of one database. */
export interface OperationLayout<V> {
  readonly family: Family
  readonly encoding: Encoding
  readonly value: ByteShape<V>
  /** First byte of a commit. */
  readonly commitTag: number
  /** Length of every operation in the fixed encoding, else undefined. */
  readonly operationBytes: number | undefined
}

/** The operations of one database, typed. */
export interface OperationFormat<V, O> extends OperationLayout<V> {
  readonly operation: Codec<O>
}

/** What is declared of every database. */
export interface FormatOptions<V> {
  readonly value: Codec<V>
  /** Merkle family; MMB when not given. */
  readonly family?: FamilyName | undefined
  /** Operation encoding; fixed when all codecs have one size, else variable. */
  readonly encoding?: Encoding | undefined
}

/**
 * Decodes one operation whole.
 *
 * Errors: `DecodeError` on an unknown tag, a wrong length, non-zero padding, trailing bytes, a key or value above its
 * limit, or a floor above the family's leaf maximum.
 */
export const decodeOperation = <V, O>({ operation }: OperationFormat<V, O>, bytes: Uint8Array): O =>
  decode(operation, bytes)

/** The bytes of an operation, which are the element of its Merkle leaf. Throws `RangeError` on one outside the types. */
export const encodeOperation = <V, O>({ operation }: OperationFormat<V, O>, value: O): Uint8Array =>
  encode(operation, value)

type Sized = Pick<Codec<unknown>, "name" | "size">

const requireSize = ({ name, size }: Sized, max: number): number => {
  if (size === undefined) throw new RangeError(`fixed encoding needs codecs of one size, got ${name}`)
  if (size > max) throw new RangeError(`${name}: ${size} bytes exceed ${max}`)
  return size
}

/**
 * The layout of a database. `bytesOf` gives the length of its longest operation besides commits for a key and value size;
 * `key` is undefined where there are no keys.
 *
 * Errors: throws `RangeError` when a fixed encoding is asked of codecs without a size, or with one above the limits.
 */
export const operationLayout = <V>(
  options: FormatOptions<V>,
  key: Sized | undefined,
  commitTag: number,
  bytesOf: (keyBytes: number, valueBytes: number) => number,
): OperationLayout<V> => {
  const { value } = options
  const sized = value.size !== undefined && (key === undefined || key.size !== undefined)
  const encoding = options.encoding ?? (sized ? "fixed" : "variable")
  const layout = { family: family(options.family ?? "mmb"), encoding, value: byteShape(value), commitTag }
  if (encoding === "variable") return { ...layout, operationBytes: undefined }
  const keyBytes = key === undefined ? 0 : requireSize(key, KEY_BYTES_MAX)
  const valueBytes = requireSize(value, VALUE_BYTES_MAX)
  return { ...layout, operationBytes: Math.max(bytesOf(keyBytes, valueBytes), 1 + 1 + valueBytes + 8) }
}

const requireZeros = (reader: ByteReader, count: number, reason: string): void => {
  const at = reader.offset
  if (reader.raw(count).some((byte) => byte !== 0)) throw new DecodeError(reason, at)
}

const bounded = <T>(codec: Codec<T>, bytesMax: number, what: string): Codec<T> => ({
  ...codec,
  sizeMax: Math.min(codec.sizeMax, bytesMax),
  write: (writer, value) => {
    const at = writer.length
    codec.write(writer, value)
    if (writer.length - at > bytesMax) throw new RangeError(`${what}: above ${bytesMax} bytes`)
  },
  read: (reader) => {
    const at = reader.offset
    const value = codec.read(reader)
    if (reader.offset - at > bytesMax) throw new DecodeError(`${what} above its limit`, at)
    return value
  },
})

/** A key in an operation: `KEY_BYTES_MAX` bytes at most, behind their length where it is written. */
export const boundedKey = <K>({ codec, prefixed }: ByteShape<K>): Codec<K> =>
  bounded(codec, KEY_BYTES_MAX + (prefixed ? 2 : 0), "key")

/** A value in an operation, `VALUE_BYTES_MAX` bytes at most with its length. */
export const boundedValue = <V>({ codec }: ByteShape<V>): Codec<V> => bounded(codec, VALUE_BYTES_MAX, "value")

/** Writes a commit without padding; `metadata` is an encoded value. */
export const writeCommit = <V>(
  { operationBytes, value, commitTag }: OperationLayout<V>,
  writer: ByteWriter,
  metadata: Uint8Array | undefined,
  floor: number | bigint,
): void => {
  writer.u8(commitTag).flag(metadata !== undefined)
  if (metadata !== undefined) writer.raw(metadata)
  else if (operationBytes !== undefined) writer.raw(new Uint8Array(value.size!))
  if (operationBytes === undefined) writer.varint(floor)
  else writer.be64(floor)
}

const readCommit = <V>(
  { operationBytes, value, family }: OperationLayout<V>,
  metadataCodec: Codec<V>,
  reader: ByteReader,
): CommitOperation<V> => {
  const metadata = reader.flag() ? metadataCodec.read(reader) : undefined
  if (operationBytes !== undefined && metadata === undefined) {
    requireZeros(reader, value.size!, "absent metadata is not zero")
  }
  const at = reader.offset
  const floor = operationBytes === undefined ? reader.varintSafe() : reader.be64Safe()
  if (floor > family.leavesMax) throw new DecodeError("floor above the family's leaf maximum", at)
  return { tag: "commit", metadata, floor: floor as Location }
}

/** Operations of a database besides commits: how they are written, tag included, and read once the tag is. */
export interface Variants<O> {
  readonly write: (writer: ByteWriter, operation: O) => void
  readonly read: (tag: number, reader: ByteReader) => O | undefined
}

/** The codec of all operations of a layout: the commit, the given ones, and padding. */
export const operationCodec = <V, O extends { readonly tag: string }>(
  name: string,
  layout: OperationLayout<V>,
  { write, read }: Variants<O>,
): Codec<O | CommitOperation<V>> => {
  const { commitTag, operationBytes, family, value } = layout
  const metadataCodec = boundedValue(value)
  const writeAny = (writer: ByteWriter, operation: O | CommitOperation<V>): void => {
    if (operation.tag === "commit") {
      const { metadata, floor } = operation as CommitOperation<V>
      if (!(floor <= family.leavesMax)) throw new RangeError(`floor: ${floor} is outside`)
      writeCommit(layout, writer, metadata === undefined ? undefined : encode(metadataCodec, metadata), floor)
    } else write(writer, operation as O)
  }
  return {
    name,
    size: operationBytes,
    sizeMax: operationBytes ?? OPERATION_BYTES_MAX,
    write: (writer, operation) => {
      const at = writer.length
      writeAny(writer, operation)
      if (operationBytes !== undefined) writer.raw(new Uint8Array(operationBytes - (writer.length - at)))
    },
    read: (reader) => {
      const at = reader.offset
      const tag = reader.u8()
      const operation = tag === commitTag ? readCommit(layout, metadataCodec, reader) : read(tag, reader)
      if (operation === undefined) throw new DecodeError("unknown operation tag", at)
      if (operationBytes !== undefined) requireZeros(reader, at + operationBytes - reader.offset, "padding is not zero")
      return operation
    },
  }
}
