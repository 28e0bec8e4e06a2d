/**
 * Operations of an unordered keyed database, byte for byte.
 *
 *   delete  d1 k        update  d2 k v        commit  d3 F be8(floor)  |  d3 option(v) varint(floor)
 *                                             (fixed: F = 01 v or 00 0..0)   (variable)
 *
 * Terms: in the *fixed* encoding every operation has the same length and shorter ones are padded with zeros; in the
 * *variable* encoding nothing is padded.
 *
 * Invariant: decoding accepts nothing that encoding would not produce; padding is zero.
 * Source: spec qmdb §1.2.
 */
import { ByteReader, ByteWriter, type Codec, DecodeError } from "@coppice/codec"
import { KEY_BYTES_MAX, VALUE_BYTES_MAX } from "../limits.ts"
import {
  type KeyShape,
  type KeyText,
  keyEncodedBytes,
  keyExtent,
  keyShape,
  rawBytes,
  writeKeyPrefix,
} from "./key-shape.ts"

const DELETE = 0xd1
const UPDATE = 0xd2
const COMMIT = 0xd3

/** How operations are laid out: all of one length, or each as long as it needs. */
export type Encoding = "fixed" | "variable"

/** A decoded operation. */
export type KeyedOperation<K, V> =
  | { readonly tag: "delete"; readonly key: K }
  | { readonly tag: "update"; readonly key: K; readonly value: V }
  | { readonly tag: "commit"; readonly metadata: V | undefined; readonly floor: number }

/** The operation format of one database. */
export interface KeyedFormat<K, V> {
  readonly encoding: Encoding
  readonly key: KeyShape<K>
  readonly value: Codec<V>
  /** Length of values that are their own encoding, else undefined. */
  readonly rawValue: number | undefined
  /** Length of every operation in the fixed encoding, else undefined. */
  readonly operationBytes: number | undefined
}

/** The format for a pair of codecs. Throws `RangeError` when a fixed encoding is asked of codecs without a size. */
export const keyedFormat = <K, V>(key: Codec<K>, value: Codec<V>, encoding: Encoding): KeyedFormat<K, V> => {
  const rawValue = rawBytes(value)
  if (encoding === "variable") return { encoding, key: keyShape(key), value, rawValue, operationBytes: undefined }
  if (key.size === undefined || value.size === undefined) {
    throw new RangeError(`fixed encoding needs codecs of one size, got ${key.name} and ${value.name}`)
  }
  if (key.size > KEY_BYTES_MAX) throw new RangeError(`keys of ${key.size} bytes exceed ${KEY_BYTES_MAX}`)
  if (value.size > VALUE_BYTES_MAX) throw new RangeError(`values of ${value.size} bytes exceed ${VALUE_BYTES_MAX}`)
  const operationBytes = Math.max(1 + key.size + value.size, 1 + 1 + value.size + 8, 1 + key.size)
  return { encoding, key: keyShape(key), value, rawValue, operationBytes }
}

/** Bytes of an update, or of a delete when `valueBytes` is undefined. */
export const mutationBytes = <K, V>(
  format: KeyedFormat<K, V>,
  keyBytes: number,
  valueBytes: number | undefined,
): number => format.operationBytes ?? 1 + keyEncodedBytes(format.key, keyBytes) + (valueBytes ?? 0)

/** Writes what an update or delete has before the identity of its key; returns where that goes. A value follows it. */
export const writeMutationHead = <K, V>(
  format: KeyedFormat<K, V>,
  target: Buffer,
  at: number,
  keyBytes: number,
  update: boolean,
): number => {
  target[at] = update ? UPDATE : DELETE
  return writeKeyPrefix(format.key, target, at + 1, keyBytes)
}

/** Encodes a commit. */
export const commitOperation = <K, V>(
  format: KeyedFormat<K, V>,
  metadata: Uint8Array | undefined,
  floor: number,
): Uint8Array => {
  const writer = new ByteWriter(format.operationBytes ?? 16)
  writer.u8(COMMIT).flag(metadata !== undefined)
  if (metadata !== undefined) writer.raw(metadata)
  if (format.operationBytes === undefined) return writer.varint(floor).finish()
  if (metadata === undefined) writer.raw(new Uint8Array(format.value.size!))
  writer.be64(floor)
  return writer.raw(new Uint8Array(format.operationBytes - writer.length)).finish()
}

/** Identity of the key of an update or delete of our own log. */
export const operationKey = <K, V>(format: KeyedFormat<K, V>, operation: Uint8Array): KeyText => {
  const { start, end } = keyExtent(format.key, operation, 1)
  return Buffer.from(operation.buffer, operation.byteOffset, operation.byteLength).toString("latin1", start, end)
}

/** Encoded value of an update of our own log. */
export const operationValue = <K, V>(format: KeyedFormat<K, V>, operation: Uint8Array): Uint8Array => {
  const { end } = keyExtent(format.key, operation, 1)
  return operation.subarray(end, format.value.size === undefined ? operation.length : end + format.value.size)
}

const zeroPadding = (reader: ByteReader): void => {
  while (reader.remaining > 0) if (reader.u8() !== 0) throw new DecodeError("padding is not zero", 0)
}

/**
 * Decodes one operation whole.
 *
 * Errors: `DecodeError` on an unknown tag, a wrong length, non-zero padding, trailing bytes or a key above its limit.
 */
export const decodeOperation = <K, V>(format: KeyedFormat<K, V>, bytes: Uint8Array): KeyedOperation<K, V> => {
  const { operationBytes, value } = format
  if (operationBytes !== undefined && bytes.length !== operationBytes) {
    throw new DecodeError(`an operation has ${operationBytes} bytes, got ${bytes.length}`, 0)
  }
  const reader = new ByteReader(bytes)
  const operation = readTagged(format, reader, value)
  if (operationBytes === undefined) reader.end()
  else zeroPadding(reader)
  return operation
}

const readTagged = <K, V>(format: KeyedFormat<K, V>, reader: ByteReader, value: Codec<V>): KeyedOperation<K, V> => {
  const tag = reader.u8()
  switch (tag) {
    case DELETE:
      return { tag: "delete", key: readBoundedKey(format, reader) }
    case UPDATE:
      return { tag: "update", key: readBoundedKey(format, reader), value: readBoundedValue(value, reader) }
    case COMMIT: {
      const present = reader.flag()
      const metadata = present ? readBoundedValue(value, reader) : undefined
      if (format.operationBytes === undefined) return { tag: "commit", metadata, floor: reader.varintSafe() }
      if (!present && reader.raw(value.size!).some((byte) => byte !== 0)) {
        throw new DecodeError("absent metadata is not zero", 2)
      }
      return { tag: "commit", metadata, floor: reader.be64Safe() }
    }
    default:
      throw new DecodeError(`unknown operation tag ${tag}`, 0)
  }
}

const readBoundedKey = <K, V>(format: KeyedFormat<K, V>, reader: ByteReader): K => {
  const { offset } = reader
  const key = format.key.codec.read(reader)
  const bytesMax = keyEncodedBytes(format.key, KEY_BYTES_MAX)
  if (reader.offset - offset > bytesMax) throw new DecodeError("key above its limit", offset)
  return key
}

const readBoundedValue = <V>(value: Codec<V>, reader: ByteReader): V => {
  const { offset } = reader
  const read = value.read(reader)
  if (reader.offset - offset > VALUE_BYTES_MAX) throw new DecodeError("value above its limit", offset)
  return read
}

/** Floor of a commit of our own log; undefined when the operation is no commit. */
export const commitFloor = <K, V>(format: KeyedFormat<K, V>, operation: Uint8Array): number | undefined => {
  if (operation[0] !== COMMIT) return undefined
  const decoded = decodeOperation(format, operation)
  return decoded.tag === "commit" ? decoded.floor : undefined
}
