/**
 * Operations and proofs of the authenticated databases, from bytes that nobody vouches for: the public surface of
 * `@coppice/verify`. Pure and synchronous; runs in a browser.
 */

export { nobleHasher } from "@coppice/crypto"
export { checkMultiProof, Location, type MultiClaim, type RangeProof, rangeProofCodec } from "@coppice/merkle"
export {
  type CurrentRangeClaim,
  type CurrentRejection,
  checkActive,
  checkCurrentRange,
  checkExclusion,
  checkKeyValue,
  checkOpsRoot,
  type ExclusionClaim,
  type KeyValueClaim,
} from "./check-current.ts"
export { checkOperations, checkOperationsWithPins, type OperationsClaim } from "./check-operations.ts"
export * from "./compact.ts"
export * from "./current-proof.ts"
export {
  type ImmutableFormat,
  type ImmutableFormatOptions,
  type ImmutableOperation,
  immutableFormat,
  type SetOperation,
} from "./immutable-format.ts"
export {
  type DeleteOperation,
  type KeyedFormat,
  type KeyedFormatOptions,
  type KeyedOperation,
  keyedFormat,
  type Update,
  type UpdateOperation,
} from "./keyed-format.ts"
export { type AppendOperation, type KeylessFormat, type KeylessOperation, keylessFormat } from "./keyless-format.ts"
export * from "./limits.ts"
export {
  type CommitOperation,
  decodeOperation,
  type Encoding,
  encodeOperation,
  type FormatOptions,
  type OperationFormat,
  type OperationLayout,
} from "./operation-format.ts"
export * from "./sync.ts"
