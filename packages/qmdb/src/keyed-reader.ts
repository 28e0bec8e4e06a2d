/**
 * Reading a keyed database outside a batch: the newest applied state, and proofs of its log.
 *
 * Invariant: every call sees one state whole, and what it returns belongs to the caller.
 */
import type { Location, RangeProof } from "@coppice/merkle"
import type { StorageError } from "@coppice/storage"
import type { Effect } from "effect"
import type { SyncTarget } from "./member.ts"

/** Consecutive operations with the proof that they stand at `start` in a log of `proof.leaves` operations. */
export interface OperationsProof {
  readonly start: Location
  readonly operations: ReadonlyArray<Uint8Array>
  readonly proof: RangeProof
}

/** Reads of the newest applied state. Synchronous; every call sees one state whole. */
export interface KeyedReader<K, V> {
  /** What a header commits to for this state. */
  readonly target: SyncTarget
  /** Active keys. */
  readonly active: number
  readonly get: (key: K) => V | undefined
  readonly getMany: (keys: ReadonlyArray<K>) => ReadonlyArray<V | undefined>
  /** Location of the operation that gave a key its value. */
  readonly locate: (key: K) => Location | undefined
  /**
   * Operations `[start, start + max)` with their proof, at this state or at an earlier commit of log size `size`.
   * Bounds: at most `PROOF_OPS_MAX` operations and `PROOF_BYTES_MAX` bytes of them. Errors: `ProofUnavailable`.
   */
  readonly prove: (start: Location, max: number, size?: Location) => OperationsProof
  /** Brings what `get` of these keys will read into memory, without blocking. */
  readonly prefetch: (keys: ReadonlyArray<K>) => Effect.Effect<void, StorageError>
}
