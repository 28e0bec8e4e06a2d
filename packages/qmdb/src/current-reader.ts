/**
 * Reading a `current` database: what `any` has, and proofs against the canonical root.
 *
 * Invariant: a proof is of the newest applied state alone, whose canonical root is `target.canonical`; what it says of a
 * value stops being true, and provable, with the next write of its key.
 */
import type { Location } from "@coppice/merkle"
import type { CurrentRangeProof, ExclusionProof, KeyValueProof, OperationProof, OpsRootWitness } from "@coppice/verify"
import type { KeyedReader } from "./keyed-reader.ts"
import type { OrderedReader } from "./ordered-reader.ts"

/** Consecutive operations and the chunks of their bits, with the proof of both against the canonical root. */
export interface CurrentOperationsProof {
  readonly start: Location
  readonly operations: ReadonlyArray<Uint8Array>
  /** The chunks that the bits of these operations lie in, whole, in order. */
  readonly chunks: ReadonlyArray<Uint8Array>
  readonly proof: CurrentRangeProof
}

/** Proofs of the newest applied state against its canonical root. `@coppice/verify` checks them. */
export interface CurrentProofs<K> {
  /**
   * Operations `[start, start + max)` with their bits.
   * Bounds: at most `PROOF_OPS_MAX` operations and `PROOF_BYTES_MAX` bytes of them. Errors: `ProofUnavailable`.
   */
  readonly proveRange: (start: Location, max: number) => CurrentOperationsProof
  /** That the operation at a location is active, or the last commit; undefined when it is neither. Errors: `ProofUnavailable`. */
  readonly proveOperation: (location: Location) => OperationProof | undefined
  /** That a key has the value that `get` returns; undefined when the key is not active. */
  readonly proveKey: (key: K) => KeyValueProof<K> | undefined
  /** That the operations root, by which peers sync, belongs to the canonical root. */
  readonly witness: () => OpsRootWitness
}

/** Reads and proofs of an unordered `current` database. */
export interface CurrentReader<K, V> extends KeyedReader<K, V>, CurrentProofs<K> {}

/** Reads and proofs of an ordered `current` database. */
export interface OrderedCurrentReader<K, V> extends OrderedReader<K, V>, CurrentProofs<K> {
  /** That a key is not active; undefined when it is. */
  readonly proveAbsence: (key: K) => ExclusionProof<K, V> | undefined
}
