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
import { ByteReader, ByteWriter, type Codec, DecodeError } from "@coppice/codec"
import { type Family, type FamilyName, family, type Location } from "@coppice/merkle"
import { type ByteShape, byteShape, extentOf } from "./byte-shape.ts"
import { KEY_BYTES_MAX, VALUE_BYTES_MAX } from "./limits.ts"

/** How operations are laid out: all of one length, or each as long as it needs. */
export type Encoding = "fixed" | "variable"

/** The end of a batch: metadata, and the floor of the state. */
export interface CommitOperation<V> {
  readonly tag: "commit"
  readonly metadata: V | undefined
  readonly floor: Location
}

/** What every operation format has. */
export interface OperationFormat<V> {
  readonly family: Family
  readonly encoding: Encoding
  readonly value: ByteShape<V>
  /** First byte of a commit. */
  readonly commitTag: number
  /** Length of every operation in the fixed encoding, else undefined. */
  readonly operationBytes: number | undefined
}

/** What is declared of every database. */
export interface FormatOptions<V> {
  readonly value: Codec<V>
  /** Merkle family; MMB when not given. */
  readonly family?: FamilyName | undefined
  /** Operation encoding; fixed when all codecs have one size, else variable. */
  readonly encoding?: Encoding | undefined
}

type Sized = Pick<Codec<unknown>, "name" | "size">

const requireSize = ({ name, size }: Sized, max: number): number => {
  if (size === undefined) throw new RangeError(`fixed encoding needs codecs of one size, got ${name}`)
  if (size > max) throw new RangeError(`${name}: ${size} bytes exceed ${max}`)
  return size
}

/**
 * The shared part of a format. `bytesOf` gives the length of the longest operation besides commits for a key and value
 * size; `key` is undefined where there are no keys.
 *
 * Errors: throws `RangeError` when a fixed encoding is asked of codecs without a size, or with one above the limits.
 */
export const operationFormat = <V>(
  options: FormatOptions<V>,
  key: Sized | undefined,
  commitTag: number,
  bytesOf: (keyBytes: number, valueBytes: number) => number,
): OperationFormat<V> => {
  const { value } = options
  const sized = value.size !== undefined && (key === undefined || key.size !== undefined)
  const encoding = options.encoding ?? (sized ? "fixed" : "variable")
  const format = { family: family(options.family ?? "mmb"), encoding, value: byteShape(value), commitTag }
  if (encoding === "variable") return { ...format, operationBytes: undefined }
  const keyBytes = key === undefined ? 0 : requireSize(key, KEY_BYTES_MAX)
  const valueBytes = requireSize(value, VALUE_BYTES_MAX)
  return { ...format, operationBytes: Math.max(bytesOf(keyBytes, valueBytes), 1 + 1 + valueBytes + 8) }
}

/** Encodes a commit; `metadata` is an encoded value. */
export const commitOperation = <V>(
  { operationBytes, value, commitTag }: OperationFormat<V>,
  metadata: Uint8Array | undefined,
  floor: number,
): Uint8Array => {
  const writer = new ByteWriter(operationBytes ?? 16)
  writer.u8(commitTag).flag(metadata !== undefined)
  if (metadata !== undefined) writer.raw(metadata)
  if (operationBytes === undefined) return writer.varint(floor).finish()
  if (metadata === undefined) writer.raw(new Uint8Array(value.size!))
  writer.be64(floor)
  return writer.raw(new Uint8Array(operationBytes - writer.length)).finish()
}

/** Whether an operation of our own log is a commit. */
export const isCommit = <V>(format: OperationFormat<V>, operation: Uint8Array): boolean =>
  operation[0] === format.commitTag

/** Encoded metadata of a commit of our own log, as a view; undefined when it has none. */
export const commitMetadata = <V>({ value }: OperationFormat<V>, commit: Uint8Array): Uint8Array | undefined =>
  commit[1] === 0 ? undefined : commit.subarray(2, extentOf(value, commit, 2).end)

/** Floor of a commit of our own log; undefined when the operation is no commit. */
export const commitFloor = <V>(format: OperationFormat<V>, operation: Uint8Array): Location | undefined => {
  if (!isCommit(format, operation)) return undefined
  const { operationBytes, value, family } = format
  const fixed = operationBytes !== undefined
  const at = fixed ? 2 + value.size! : operation[1] === 0 ? 2 : extentOf(value, operation, 2).end
  const reader = new ByteReader(operation.subarray(at))
  const floor = fixed ? reader.be64Safe() : reader.varintSafe(family.leavesMax)
  return floor as Location
}

const readFloor = <V>({ family, operationBytes }: OperationFormat<V>, reader: ByteReader): Location => {
  const at = reader.offset
  const floor = operationBytes === undefined ? reader.varintSafe() : reader.be64Safe()
  if (floor > family.leavesMax) throw new DecodeError("floor above the family's leaf maximum", at)
  return floor as Location
}

/** Reads what follows the tag of a commit. */
export const readCommit = <V>(format: OperationFormat<V>, reader: ByteReader): CommitOperation<V> => {
  const metadata = reader.flag() ? readValue(format.value, reader) : undefined
  if (format.operationBytes !== undefined && metadata === undefined) {
    requireZeros(reader, format.value.size!, "absent metadata is not zero")
  }
  return { tag: "commit", metadata, floor: readFloor(format, reader) }
}

const requireZeros = (reader: ByteReader, count: number, reason: string): void => {
  const at = reader.offset
  if (reader.raw(count).some((byte) => byte !== 0)) throw new DecodeError(reason, at)
}

const readUpTo = <T>({ codec }: ByteShape<T>, reader: ByteReader, bytesMax: number, reason: string): T => {
  const at = reader.offset
  const read = codec.read(reader)
  if (reader.offset - at > bytesMax) throw new DecodeError(reason, at)
  return read
}

/** Reads a key of at most `KEY_BYTES_MAX` bytes. */
export const readKey = <K>(shape: ByteShape<K>, reader: ByteReader): K => {
  const prefix = shape.prefixed ? 2 : 0
  return readUpTo(shape, reader, KEY_BYTES_MAX + prefix, "key above its limit")
}

/** Reads a value of at most `VALUE_BYTES_MAX` bytes. */
export const readValue = <V>(shape: ByteShape<V>, reader: ByteReader): V =>
  readUpTo(shape, reader, VALUE_BYTES_MAX, "value above its limit")

/**
 * Decodes one operation whole: `readTagged` reads what follows the tag.
 *
 * Errors: `DecodeError` on a wrong length, non-zero padding, trailing bytes, and whatever `readTagged` refuses.
 */
export const decodeWhole = <V, O>(
  { operationBytes }: OperationFormat<V>,
  bytes: Uint8Array,
  readTagged: (tag: number, reader: ByteReader) => O,
): O => {
  if (operationBytes !== undefined && bytes.length !== operationBytes) {
    throw new DecodeError("an operation of another length", 0)
  }
  const reader = new ByteReader(bytes)
  const operation = readTagged(reader.u8(), reader)
  if (operationBytes === undefined) reader.end()
  else requireZeros(reader, reader.remaining, "padding is not zero")
  return operation
}

/** What to throw for a tag that the database does not have. */
export const unknownTag = (): DecodeError => new DecodeError("unknown operation tag", 0)
