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
  type RangeProof,
} from "@coppice/merkle"
import { encodeOperation, type OperationFormat } from "./operation-format.ts"

/** That operations stand from `start` on in a log; with `pins`, that the log before them has these peaks. */
export interface OperationsClaim<O> {
  readonly start: Location
  readonly operations: ReadonlyArray<O>
  readonly proof: RangeProof
  readonly pins?: ReadonlyArray<Digest> | undefined
}

/**
 * Why operations, or the pins before them, do not belong to a log; undefined when they do.
 *
 * Cost: at most two hashes an operation, and one per digest of the proof.
 */
export const checkOperations = <V, O>(
  hasher: Hasher,
  format: OperationFormat<V, O>,
  { start, operations, proof, pins }: OperationsClaim<O>,
  root: Digest,
): ProofRejection | undefined => {
  const elements = operations.map((operation) => encodeOperation(format, operation))
  const claim = { family: format.family, bagging: "backward", proof, start, elements } as const
  return pins === undefined ? checkRangeProof(hasher, claim, root) : checkRangeWithPins(hasher, claim, pins, root)
}
