/**
 * Operations of a log that we wrote ourselves, written and read in place: the hot paths of the databases.
 *
 * Terms: the *identity* of a key is what keys are compared by (see byte-shape.ts); the *head* of an operation is what it
 * has before an identity or a value.
 *
 * Nothing here checks bytes. What comes from elsewhere is decoded by the functions of `@coppice/verify`.
 */
import { ByteReader, ByteWriter, bytesKey } from "@coppice/codec"
import type { Location } from "@coppice/merkle"
import { type ByteShape, type Extent, encodedBytes, extentOf, type KeyText, writePrefix } from "./byte-shape.ts"
import { IMMUTABLE_TAGS, type ImmutableFormat } from "./immutable-format.ts"
import { KEYED_TAGS, type KeyedFormat } from "./keyed-format.ts"
import { KEYLESS_TAGS, type KeylessFormat } from "./keyless-format.ts"
import { type OperationLayout, writeCommit } from "./operation-format.ts"

export { type ByteShape, type Extent, identityIn, isRaw, type KeyText } from "./byte-shape.ts"

/** Encodes a commit; `metadata` is an encoded value. */
export const commitOperation = <V>(
  layout: OperationLayout<V>,
  metadata: Uint8Array | undefined,
  floor: number | bigint,
): Uint8Array => {
  const writer = new ByteWriter(layout.operationBytes)
  writeCommit(layout, writer, metadata, floor)
  if (layout.operationBytes !== undefined) writer.raw(new Uint8Array(layout.operationBytes - writer.length))
  return writer.finish()
}

/** Whether an operation is a commit. */
export const isCommit = <V>({ commitTag }: OperationLayout<V>, operation: Uint8Array): boolean =>
  operation[0] === commitTag

/** Encoded metadata of a commit, as a view; undefined when it has none. */
export const commitMetadata = <V>({ value }: OperationLayout<V>, commit: Uint8Array): Uint8Array | undefined =>
  commit[1] === 0 ? undefined : commit.subarray(2, valueEnd(value, commit, 2))

/** Floor of a commit; undefined when the operation is no commit. */
export const commitFloor = <V>(layout: OperationLayout<V>, operation: Uint8Array): Location | undefined => {
  if (!isCommit(layout, operation)) return undefined
  const { operationBytes, value } = layout
  const fixed = operationBytes !== undefined
  const at = fixed ? 2 + value.size! : operation[1] === 0 ? 2 : valueEnd(value, operation, 2)
  const reader = new ByteReader(operation.subarray(at))
  return (fixed ? reader.be64Safe() : reader.varintSafe()) as Location
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
 * Writes the head of an update or delete; returns where the identity of its key goes. The encoded value follows it, and in
 * an ordered database the next key, by `writeKeyHead`.
 */
export const writeMutationHead = <K, V>(
  { key }: KeyedFormat<K, V>,
  target: Uint8Array,
  at: number,
  keyBytes: number,
  update: boolean,
): number => {
  target[at] = update ? KEYED_TAGS.update : KEYED_TAGS.delete
  return writePrefix(key, target, at + 1, keyBytes)
}

/** Writes the head of a next key, at the end of the value; returns where its identity goes. */
export const writeKeyHead = <K, V>(
  { key }: KeyedFormat<K, V>,
  target: Uint8Array,
  at: number,
  keyBytes: number,
): number => writePrefix(key, target, at, keyBytes)

/** Bytes of a set. */
export const setBytes = <K, V>(
  { operationBytes, key }: ImmutableFormat<K, V>,
  keyBytes: number,
  valueBytes: number,
): number => operationBytes ?? 1 + encodedBytes(key, keyBytes) + valueBytes

/** Writes the head of a set; returns where the identity of its key goes. The encoded value follows it. */
export const writeSetHead = <K, V>(
  { key }: ImmutableFormat<K, V>,
  target: Uint8Array,
  at: number,
  keyBytes: number,
): number => {
  target[at] = IMMUTABLE_TAGS.set
  return writePrefix(key, target, at + 1, keyBytes)
}

/** Bytes of an append. */
export const appendBytes = <V>({ operationBytes }: KeylessFormat<V>, valueBytes: number): number =>
  operationBytes ?? 1 + valueBytes

/** Writes the head of an append; returns where its encoded value goes. */
export const writeAppendHead = (target: Uint8Array, at: number): number => {
  target[at] = KEYLESS_TAGS.append
  return at + 1
}

/** Encoded value of an append, as a view. */
export const appendedValue = <V>({ value }: KeylessFormat<V>, append: Uint8Array): Uint8Array =>
  append.subarray(1, value.size === undefined ? append.length : 1 + value.size)

/** What has a key and a value: the format of a keyed or of an immutable database. */
interface KeyValueLayout<K, V> extends OperationLayout<V> {
  readonly key: ByteShape<K>
  readonly ordered?: boolean
}

/** Extent of the identity of the key in an update, delete or set. */
export const keyExtent = <K, V>({ key }: KeyValueLayout<K, V>, operation: Uint8Array): Extent =>
  extentOf(key, operation, 1)

/** Identity of the key of an update, delete or set. */
export const operationKey = <K, V>(layout: KeyValueLayout<K, V>, operation: Uint8Array): KeyText => {
  const { start, end } = keyExtent(layout, operation)
  return bytesKey(operation.subarray(start, end))
}

/** Whether an update, delete or set is on the key with an identity. */
export const isOperationOn = <K, V>(
  layout: KeyValueLayout<K, V>,
  operation: Uint8Array,
  identity: Uint8Array,
): boolean => {
  const { start, end } = keyExtent(layout, operation)
  if (end - start !== identity.length) return false
  for (let i = 0; i < identity.length; i++) if (operation[start + i] !== identity[i]) return false
  return true
}

const valueEnd = <V>(value: ByteShape<V>, operation: Uint8Array, from: number): number =>
  extentOf(value, operation, from).end

const lastOfValue = <K, V>({ value, ordered }: KeyValueLayout<K, V>, operation: Uint8Array, from: number): number =>
  value.size === undefined && ordered !== true ? operation.length : valueEnd(value, operation, from)

/** Encoded value of an update or set, as a view. */
export const operationValue = <K, V>(layout: KeyValueLayout<K, V>, operation: Uint8Array): Uint8Array => {
  const { end } = keyExtent(layout, operation)
  return operation.subarray(end, lastOfValue(layout, operation, end))
}

/** Extent of the identity of the next key in an update of an ordered database. */
export const nextKeyExtent = <K, V>(format: KeyedFormat<K, V>, update: Uint8Array): Extent =>
  extentOf(format.key, update, lastOfValue(format, update, keyExtent(format, update).end))
