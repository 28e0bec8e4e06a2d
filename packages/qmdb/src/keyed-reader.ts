/**
 * Reading a keyed database outside a batch: the newest applied state, and proofs of its log.
 *
 * Invariant: every call sees one state whole, and what it returns belongs to the caller.
 */
import type { Location } from "@coppice/merkle"
import type { StorageError } from "@coppice/storage"
import type { Effect } from "effect"
import type { LogReader } from "./log-reader.ts"

/** Reads of the newest applied state. Synchronous; every call sees one state whole. */
export interface KeyedReader<K, V> extends LogReader {
  /** Active keys. */
  readonly active: number
  readonly get: (key: K) => V | undefined
  readonly getMany: (keys: ReadonlyArray<K>) => ReadonlyArray<V | undefined>
  /** Location of the operation that gave a key its value. */
  readonly locate: (key: K) => Location | undefined
  /** Brings what `get` of these keys will read into memory, without blocking. */
  readonly prefetch: (keys: ReadonlyArray<K>) => Effect.Effect<void, StorageError>
}
