/**
 * Operations of immutable databases, full and compact, byte for byte: `set  00 k v`, `commit  01 ...`.
 *
 * Keyless databases use the same two tags the other way round.
 * Source: spec qmdb §1.2.
 */
import type { Codec } from "@coppice/codec"
import { type ByteShape, byteShape } from "./byte-shape.ts"
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
export const IMMUTABLE_TAGS = { set: 0x00, commit: 0x01 } as const

/** That a key has a value, once and for all. */
export interface SetOperation<K, V> {
  readonly tag: "set"
  readonly key: K
  readonly value: V
}

/** An operation of an immutable database. */
export type ImmutableOperation<K, V> = SetOperation<K, V> | CommitOperation<V>

/** The operation format of one immutable database. */
export interface ImmutableFormat<K, V> extends OperationFormat<V, ImmutableOperation<K, V>> {
  readonly key: ByteShape<K>
}

/** What is declared of an immutable database. */
export interface ImmutableFormatOptions<K, V> extends FormatOptions<V> {
  readonly key: Codec<K>
}

/** The format of an immutable database. Throws `RangeError` when a fixed encoding is asked of codecs without a size. */
export const immutableFormat = <K, V>(options: ImmutableFormatOptions<K, V>): ImmutableFormat<K, V> => {
  const bytesOf = (keyBytes: number, valueBytes: number): number => 1 + keyBytes + valueBytes
  const layout = operationLayout(options, options.key, IMMUTABLE_TAGS.commit, bytesOf)
  const key = byteShape(options.key)
  const keyCodec = boundedKey(key)
  const valueCodec = boundedValue(layout.value)
  const operation = operationCodec<V, SetOperation<K, V>>("immutable", layout, {
    write: (writer, set) => {
      writer.u8(IMMUTABLE_TAGS.set)
      keyCodec.write(writer, set.key)
      valueCodec.write(writer, set.value)
    },
    read: (tag, reader) =>
      tag === IMMUTABLE_TAGS.set
        ? { tag: "set", key: keyCodec.read(reader), value: valueCodec.read(reader) }
        : undefined,
  })
  return { ...layout, key, operation }
}
