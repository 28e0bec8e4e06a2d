/**
 * Reading the log of a database: what its newest applied state is, and proofs of operations against the operations root.
 *
 * Invariant: every call sees one state whole, and what it returns belongs to the caller.
 */
import type { Digest } from "@coppice/crypto"
import type { Location, RangeProof } from "@coppice/merkle"
import type { SyncTarget } from "./member.ts"

/** Consecutive operations with the proof that they stand at `start` in a log of `proof.leaves` operations. */
export interface OperationsProof {
  readonly start: Location
  readonly operations: ReadonlyArray<Uint8Array>
  readonly proof: RangeProof
}

/** Reads of the newest applied state. Synchronous. */
export interface LogReader {
  /** What a header commits to for this state. */
  readonly target: SyncTarget
  /** Location below which operations can be neither read nor proven any more. */
  readonly pruned: Location
  /** Log sizes that `rewind` can go back to, oldest first, the stored size last. */
  readonly retained: ReadonlyArray<Location>
  /**
   * Operations `[start, start + max)` with their proof, at this state or at an earlier commit of log size `size`.
   * Bounds: at most `PROOF_OPS_MAX` operations and `PROOF_BYTES_MAX` bytes of them. Errors: `ProofUnavailable`.
   */
  readonly prove: (start: Location, max: number, size?: Location) => OperationsProof
  /** Digests of the peaks of the tree with `location` leaves: what a peer that syncs from there needs. Errors: `ProofUnavailable`. */
  readonly pins: (location: Location) => ReadonlyArray<Digest>
}
