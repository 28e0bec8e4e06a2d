/**
 * Verification of operations in a log, against its operations root: the proofs of `any`, immutable and keyless databases,
 * and what state sync receives of every database.
 *
 * Invariant: a claim is accepted only when the reconstructed root equals the trusted one, with backward bagging.
 * Source: spec qmdb §7, spec merkle §6 and §8.1.
 */
import type { Digest, Hasher } from "@coppice/crypto"
import {
  checkRangeProof,
  checkRangeWithPins,
  type Location,
  type ProofRejection,
  type RangeClaim,
  type RangeProof,
} from "@coppice/merkle"
import { encodeOperation, type OperationFormat } from "./operation-format.ts"

/** That operations stand from `start` on in a log. */
export interface OperationsClaim<O> {
  readonly start: Location
  readonly operations: ReadonlyArray<O>
  readonly proof: RangeProof
}

const rangeClaim = <V, O>(
  format: OperationFormat<V, O>,
  { start, operations, proof }: OperationsClaim<O>,
): RangeClaim => {
  const elements = operations.map((operation) => encodeOperation(format, operation))
  return { family: format.family, bagging: "backward", proof, start, elements }
}

/**
 * Why operations do not belong to a log; undefined when they do.
 *
 * Cost: at most two hashes an operation, and one per digest of the proof.
 */
export const checkOperations = <V, O>(
  hasher: Hasher,
  format: OperationFormat<V, O>,
  claim: OperationsClaim<O>,
  root: Digest,
): ProofRejection | undefined => checkRangeProof(hasher, rangeClaim(format, claim), root)

/** Why operations, or the peaks of the log before them, do not belong to a log; undefined when they do. */
export const checkOperationsWithPins = <V, O>(
  hasher: Hasher,
  format: OperationFormat<V, O>,
  claim: OperationsClaim<O>,
  pins: ReadonlyArray<Digest>,
  root: Digest,
): ProofRejection | undefined => checkRangeWithPins(hasher, rangeClaim(format, claim), pins, root)
