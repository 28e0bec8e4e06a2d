/**
 * Operations of `any` and `current` databases, byte for byte.
 *
 *   delete  d1 k      update  d2 k v  (unordered)  |  d2 k v n  (ordered)      commit  d3 ...
 *
 * Terms: the *next key* `n` of an update in an ordered database is the key that follows its own among the active ones, the
 * first of them after the last.
 *
 * Source: spec qmdb §1.2.
 */
import { type ByteReader, bytesKey, type Codec } from "@coppice/codec"
import {
  type ByteShape,
  byteShape,
  type Extent,
  encodedBytes,
  extentOf,
  type KeyText,
  writePrefix,
} from "./byte-shape.ts"
import {
  type CommitOperation,
  decodeWhole,
  type FormatOptions,
  type OperationFormat,
  operationFormat,
  readCommit,
  readKey,
  readValue,
  unknownTag,
} from "./operation-format.ts"

const DELETE = 0xd1
const UPDATE = 0xd2
const COMMIT = 0xd3

/** A decoded update; `nextKey` is undefined in an unordered database. */
export interface UpdateOperation<K, V> {
  readonly tag: "update"
  readonly key: K
  readonly value: V
  readonly nextKey: K | undefined
}

/** A decoded operation. */
export type KeyedOperation<K, V> =
  | { readonly tag: "delete"; readonly key: K }
  | UpdateOperation<K, V>
  | CommitOperation<V>

/** The operation format of one database. */
export interface KeyedFormat<K, V> extends OperationFormat<V> {
  readonly key: ByteShape<K>
  /** Whether updates carry the next key. */
  readonly ordered: boolean
}

/** What is declared of a keyed database. */
export interface KeyedFormatOptions<K, V> extends FormatOptions<V> {
  readonly key: Codec<K>
  /** Whether updates carry the next key; false when not given. */
  readonly ordered?: boolean | undefined
}

/** The format of a keyed database. Throws `RangeError` when a fixed encoding is asked of codecs without a size. */
export const keyedFormat = <K, V>(options: KeyedFormatOptions<K, V>): KeyedFormat<K, V> => {
  const { key, ordered = false } = options
  const bytesOf = (keyBytes: number, valueBytes: number): number => 1 + (ordered ? 2 : 1) * keyBytes + valueBytes
  return { ...operationFormat(options, key, COMMIT, bytesOf), key: byteShape(key), ordered }
}

/**
 * Bytes of an operation on keys with identities of these lengths: of a delete when `valueBytes` is undefined, of an
 * update of an ordered database when `nextKeyBytes` is given.
 */
export const mutationBytes = <K, V>(
  { operationBytes, key }: KeyedFormat<K, V>,
  keyBytes: number,
  valueBytes: number | undefined,
  nextKeyBytes?: number,
): number => {
  if (operationBytes !== undefined) return operationBytes
  const next = nextKeyBytes === undefined ? 0 : encodedBytes(key, nextKeyBytes)
  return 1 + encodedBytes(key, keyBytes) + (valueBytes ?? 0) + next
}

/**
 * Writes what an update or delete has before the identity of its key; returns where that goes. The encoded value follows
 * it, and in an ordered database the next key, by `writeKeyHead`.
 */
export const writeMutationHead = <K, V>(
  format: KeyedFormat<K, V>,
  target: Uint8Array,
  at: number,
  keyBytes: number,
  update: boolean,
): number => {
  target[at] = update ? UPDATE : DELETE
  return writePrefix(format.key, target, at + 1, keyBytes)
}

/** Writes what stands before the identity of a next key, at the end of the value; returns where the identity goes. */
export const writeKeyHead = <K, V>(
  format: KeyedFormat<K, V>,
  target: Uint8Array,
  at: number,
  keyBytes: number,
): number => writePrefix(format.key, target, at, keyBytes)

/** Extent of the key's identity in an update or delete of our own log. */
export const keyExtent = <K, V>(format: KeyedFormat<K, V>, operation: Uint8Array): Extent =>
  extentOf(format.key, operation, 1)

const valueEnd = <K, V>({ value, ordered }: KeyedFormat<K, V>, operation: Uint8Array, from: number): number =>
  value.size === undefined && !ordered ? operation.length : extentOf(value, operation, from).end

/** Extent of the next key's identity in an update of our own log of an ordered database. */
export const nextKeyExtent = <K, V>(format: KeyedFormat<K, V>, update: Uint8Array): Extent =>
  extentOf(format.key, update, valueEnd(format, update, keyExtent(format, update).end))

/** Identity of the key of an update or delete of our own log. */
export const operationKey = <K, V>(format: KeyedFormat<K, V>, operation: Uint8Array): KeyText => {
  const { start, end } = keyExtent(format, operation)
  return bytesKey(operation.subarray(start, end))
}

/** Encoded value of an update of our own log, as a view. */
export const operationValue = <K, V>(format: KeyedFormat<K, V>, update: Uint8Array): Uint8Array => {
  const { end } = keyExtent(format, update)
  return update.subarray(end, valueEnd(format, update, end))
}

/**
 * Decodes one operation whole.
 *
 * Errors: `DecodeError` on an unknown tag, a wrong length, non-zero padding, trailing bytes, a key or value above its
 * limit, or a floor above the family's leaf maximum.
 */
export const decodeOperation = <K, V>(format: KeyedFormat<K, V>, bytes: Uint8Array): KeyedOperation<K, V> =>
  decodeWhole(format, bytes, (tag, reader): KeyedOperation<K, V> => {
    if (tag === DELETE) return { tag: "delete", key: readKey(format.key, reader) }
    if (tag === UPDATE) return { tag: "update", ...readUpdate(format, reader) }
    if (tag === COMMIT) return readCommit(format, reader)
    throw unknownTag()
  })

const readUpdate = <K, V>({ key, value, ordered }: KeyedFormat<K, V>, reader: ByteReader) => ({
  key: readKey(key, reader),
  value: readValue(value, reader),
  nextKey: ordered ? readKey(key, reader) : undefined,
})
