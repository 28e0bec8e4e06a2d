/**
 * The `immutable` database: a key is set once, and its value never changes.
 *
 *   set --> ImmutableBatch --seal--> Layer --apply--> tip --flush--> storage
 *
 * Terms: the *floor* is set by batches and only rises; keys set below it count as never set.
 *
 * Invariant: roots, operations and proofs equal Commonware's, byte for byte (spec qmdb §1 to §3, §6, §7).
 */
import type { Location } from "@coppice/merkle"
import type { StorageError } from "@coppice/storage"
import { type ImmutableFormatOptions, immutableFormat } from "@coppice/verify"
import type { Effect } from "effect"
import type { ImmutableBatch } from "./internal/immutable-batch.ts"
import { immutableFamily } from "./internal/immutable-family.ts"
import { logSpec } from "./internal/log-spec.ts"
import type { LogReader } from "./log-reader.ts"
import type { MemberSpec } from "./member.ts"

/** Reads of the newest applied state. Synchronous; every call sees one state whole. */
export interface ImmutableReader<K, V> extends LogReader {
  /** Value of a key; undefined when it is not set, or below the floor. */
  readonly get: (key: K) => V | undefined
  readonly getMany: (keys: ReadonlyArray<K>) => ReadonlyArray<V | undefined>
  /** Location of the operation that set a key. */
  readonly locate: (key: K) => Location | undefined
  /** Brings what `get` of these keys will read into memory, without blocking. */
  readonly prefetch: (keys: ReadonlyArray<K>) => Effect.Effect<void, StorageError>
}

/** Declares an `immutable` database. */
export const immutable = <K, V>(
  options: ImmutableFormatOptions<K, V>,
): MemberSpec<ImmutableBatch<K, V>, ImmutableReader<K, V>> => {
  const format = immutableFormat(options)
  const { family, encoding, key, value } = format
  const name = `immutable/full/${family.name}/${encoding}/${key.codec.name}/${value.codec.name}`
  return logSpec(name, immutableFamily(format))
}
