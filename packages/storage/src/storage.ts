/**
 * The storage port: ordered byte maps in one environment, one atomic write at a time, durable when it resolves.
 *
 *   write(batch) --> visible to reads --> promise settles     (in one of two orders)
 *                \-> durable on disk  --> promise settles
 *
 * Terms: *visible* = reads return it; *durable* = it survives power loss. The only promise the port makes is that a
 * write that has succeeded is both. A read may see a write that has not succeeded yet, and after a crash a write
 * that never succeeded may be there whole: callers must accept a longer prefix than was acknowledged, never a torn one.
 *
 * Invariant: a batch is applied whole or not at all, in submission order. After a failed write the handle is dead and
 * every later call fails with `StorageDead`. The laws in `@coppice/laws` say it in tests.
 */
import { Context, type Effect } from "effect"
import type { StorageError } from "./errors.ts"

/** Name of a map, declared when the environment is opened. */
export type MapName = string

/** One change of a write batch. A batch is plain data: nothing can throw while it is being written. */
export type Change =
  | { readonly tag: "put"; readonly map: MapName; readonly key: Uint8Array; readonly value: Uint8Array }
  | { readonly tag: "remove"; readonly map: MapName; readonly key: Uint8Array }

/** Bounds of an ordered scan: start inclusive, end exclusive; for a reverse scan start is the upper bound, inclusive. */
export interface ScanRange {
  readonly start?: Uint8Array
  readonly end?: Uint8Array
  readonly reverse?: boolean
  readonly limit?: number
}

/** A key and its value. Both belong to the caller. */
export interface Entry {
  readonly key: Uint8Array
  readonly value: Uint8Array
}

/** Sizes of the environment in bytes. `bytesFree` is what is left on the volume, where the implementation knows it. */
export interface StorageInfo {
  readonly bytesUsed: number
  readonly bytesFree: number | undefined
}

/**
 * An open environment. Keys compare as byte strings.
 *
 * Errors: whatever is called after a failed write or after closing is `StorageDead`, thrown by the synchronous calls. A
 * map that was not declared is a programmer's error, a `RangeError`.
 */
export interface StorageShape {
  /**
   * Value of a key, or undefined. Synchronous: reads are memory-mapped. The array belongs to the caller.
   *
   * Errors: throws `StorageDead`, `StorageReadFailed`, after which the handle lives on, or `StorageLimitExceeded` for a key that no map can hold.
   */
  readonly get: (map: MapName, key: Uint8Array) => Uint8Array | undefined
  /**
   * Copies the value of a key to the start of `target`, as much of it as fits. Returns its whole length, or -1 when there
   * is none. A read for hot paths: it allocates nothing, where `get` spends half its time on a new array. Errors: as `get`.
   */
  readonly getInto: (map: MapName, key: Uint8Array, target: Uint8Array) => number
  /**
   * Entries in key order, read to the end before this returns, so that no cursor outlives the call.
   *
   * Bounds: an empty bound comes before every key. Errors: as `get`, for a bound above `KEY_BYTES_MAX` too.
   */
  readonly scan: (map: MapName, range: ScanRange) => ReadonlyArray<Entry>
  /**
   * Brings the pages of these keys into memory without blocking the event loop. Says nothing about presence.
   *
   * Cancellation: safe; what is under way ends by itself. Keys are borrowed until the effect ends.
   */
  readonly prefetch: (map: MapName, keys: ReadonlyArray<Uint8Array>) => Effect.Effect<void, StorageError>
  /**
   * Writes a batch atomically; succeeds when it is durable.
   *
   * Concurrency: writes are queued and made durable in call order. Keys and the array are read before this returns to
   * its fiber; values are borrowed until the effect ends.
   * Bounds: `StorageLimitExceeded`, with nothing written, for a key, value, batch or queue over its limit. Whatever
   * reading the batch throws is thrown before anything is written, and the handle lives on.
   * Cancellation: uninterruptible once started. Errors: `StorageWriteFailed` kills the handle.
   */
  readonly write: (changes: ReadonlyArray<Change>) => Effect.Effect<void, StorageError>
  /**
   * Copies a consistent snapshot of what is visible into an existing empty directory; succeeds when it is durable there.
   *
   * Cancellation: uninterruptible once started. Errors: `StorageBackupFailed`, and the handle lives on.
   */
  readonly backup: (directory: string) => Effect.Effect<void, StorageError>
  /** Sizes now. Errors: throws `StorageDead` or `StorageReadFailed`. */
  readonly info: () => StorageInfo
}

/** The storage service: one environment, closed with its scope. */
export class Storage extends Context.Service<Storage, StorageShape>()("@coppice/storage/Storage") {}
