/**
 * Operations of keyless databases, full and compact, byte for byte: `append  01 v`, `commit  00 ...`.
 *
 * Immutable databases use the same two tags the other way round.
 * Source: spec qmdb §1.2.
 */
import {
  boundedValue,
  type CommitOperation,
  type FormatOptions,
  type OperationFormat,
  operationCodec,
  operationLayout,
} from "./operation-format.ts"

/** First bytes of the operations. */
export const KEYLESS_TAGS = { append: 0x01, commit: 0x00 } as const

/** That a value stands at the location of the operation. */
export interface AppendOperation<V> {
  readonly tag: "append"
  readonly value: V
}

/** An operation of a keyless database. */
export type KeylessOperation<V> = AppendOperation<V> | CommitOperation<V>

/** The operation format of one keyless database. */
export type KeylessFormat<V> = OperationFormat<V, KeylessOperation<V>>

/** The format of a keyless database. Throws `RangeError` when a fixed encoding is asked of a codec without a size. */
export const keylessFormat = <V>(options: FormatOptions<V>): KeylessFormat<V> => {
  const layout = operationLayout(options, undefined, KEYLESS_TAGS.commit, (_, valueBytes) => 1 + valueBytes)
  const valueCodec = boundedValue(layout.value)
  const operation = operationCodec<V, AppendOperation<V>>("keyless", layout, {
    write: (writer, append) => valueCodec.write(writer.u8(KEYLESS_TAGS.append), append.value),
    read: (tag, reader) =>
      tag === KEYLESS_TAGS.append ? { tag: "append", value: valueCodec.read(reader) } : undefined,
  })
  return { ...layout, operation }
}
