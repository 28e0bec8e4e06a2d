/**
 * MMR and MMB: positions, peaks, roots, batched append, range proofs, pins. Pure and synchronous; runs in a browser.
 */
export * from "./append.ts"
export * from "./family.ts"
export { emptyFrontier, type Frontier, frontierFromPins, pinPositions } from "./frontier.ts"
export * from "./integers.ts"
export * from "./limits.ts"
export * from "./location.ts"
export * from "./multi-proof.ts"
export {
  type LocationRange,
  type ProofRecord,
  proofRecord,
  type RangeProof,
  rangeProof,
  rangeProofCodec,
  rangeProofPositions,
  type TreeShape,
} from "./range-proof.ts"
export { type Bagging, root } from "./root.ts"
export * from "./verify.ts"
