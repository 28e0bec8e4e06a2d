/**
 * Operations and proofs of the authenticated databases, from bytes that nobody vouches for: the public surface of
 * `@coppice/verify`. Pure and synchronous; runs in a browser.
 */
export {
  decodeOperation,
  type KeyedFormat,
  type KeyedFormatOptions,
  type KeyedOperation,
  keyedFormat,
  type UpdateOperation,
} from "./keyed-format.ts"
export { KEY_BYTES_MAX, VALUE_BYTES_MAX } from "./limits.ts"
export type { CommitOperation, Encoding, FormatOptions, OperationFormat } from "./operation-format.ts"
