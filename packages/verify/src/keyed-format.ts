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
import type { Codec } from "@coppice/codec"
import { type ByteShape, byteShape } from "./byte-shape.ts"
import { KEY_BYTES_MAX, VALUE_BYTES_MAX } from "./limits.ts"
import {
  boundedKey,
  boundedValue,
  type CommitOperation,
  type FormatOptions,
  type OperationFormat,
  operationCodec,
  operationLayout,
} from "./operation-format.ts"

/** First bytes of the operations. */
export const KEYED_TAGS = { delete: 0xd1, update: 0xd2, commit: 0xd3 } as const

/** What an update says; `nextKey` is undefined in an unordered database. */
export interface Update<K, V> {
  readonly key: K
  readonly value: V
  readonly nextKey: K | undefined
}

/** A delete. */
export interface DeleteOperation<K> {
  readonly tag: "delete"
  readonly key: K
}

/** An update. */
export interface UpdateOperation<K, V> extends Update<K, V> {
  readonly tag: "update"
}

/** An operation of an `any` or `current` database. */
export type KeyedOperation<K, V> = DeleteOperation<K> | UpdateOperation<K, V> | CommitOperation<V>

/** The operation format of one keyed database. */
export interface KeyedFormat<K, V> extends OperationFormat<V, KeyedOperation<K, V>> {
  readonly key: ByteShape<K>
  /** Whether updates carry the next key. */
  readonly ordered: boolean
  /** What follows the tag of an update, without padding. */
  readonly update: Codec<Update<K, V>>
}

/** What is declared of a keyed database. */
export interface KeyedFormatOptions<K, V> extends FormatOptions<V> {
  readonly key: Codec<K>
  /** Whether updates carry the next key; false when not given. */
  readonly ordered?: boolean | undefined
}

const updateCodec = <K, V>(key: Codec<K>, value: Codec<V>, ordered: boolean): Codec<Update<K, V>> => ({
  name: `update(${key.name}, ${value.name})`,
  size: undefined,
  sizeMax: 2 * (KEY_BYTES_MAX + 2) + VALUE_BYTES_MAX,
  write: (writer, update) => {
    key.write(writer, update.key)
    value.write(writer, update.value)
    if (ordered !== (update.nextKey !== undefined)) throw new RangeError("an update has a next key iff it is ordered")
    if (update.nextKey !== undefined) key.write(writer, update.nextKey)
  },
  read: (reader) => ({
    key: key.read(reader),
    value: value.read(reader),
    nextKey: ordered ? key.read(reader) : undefined,
  }),
})

/** The format of a keyed database. Throws `RangeError` when a fixed encoding is asked of codecs without a size. */
export const keyedFormat = <K, V>(options: KeyedFormatOptions<K, V>): KeyedFormat<K, V> => {
  const { ordered = false } = options
  const bytesOf = (keyBytes: number, valueBytes: number): number => 1 + (ordered ? 2 : 1) * keyBytes + valueBytes
  const layout = operationLayout(options, options.key, KEYED_TAGS.commit, bytesOf)
  const key = byteShape(options.key)
  const keyCodec = boundedKey(key)
  const update = updateCodec(keyCodec, boundedValue(layout.value), ordered)
  const operation = operationCodec<V, DeleteOperation<K> | UpdateOperation<K, V>>("keyed", layout, {
    write: (writer, written) => {
      writer.u8(KEYED_TAGS[written.tag])
      if (written.tag === "delete") keyCodec.write(writer, written.key)
      else update.write(writer, written)
    },
    read: (tag, reader) => {
      if (tag === KEYED_TAGS.delete) return { tag: "delete", key: keyCodec.read(reader) }
      return tag === KEYED_TAGS.update ? { tag: "update", ...update.read(reader) } : undefined
    },
  })
  return { ...layout, key, ordered, update, operation }
}
