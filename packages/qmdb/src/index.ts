/** Public surface of the database package. */
export { Location } from "@coppice/merkle"
export {
  decodeOperation,
  type Encoding,
  KEY_BYTES_MAX,
  type KeyedFormat,
  type KeyedOperation,
  keyedFormat,
  VALUE_BYTES_MAX,
} from "@coppice/verify"
export * from "./any.ts"
export * from "./compact.ts"
export * from "./current.ts"
export * from "./current-reader.ts"
export * from "./errors.ts"
export * from "./immutable.ts"
export { ImmutableBatch, SetBatch } from "./internal/immutable-batch.ts"
export { KeyedBatch } from "./internal/keyed-batch.ts"
export { AppendBatch, KeylessBatch } from "./internal/keyless-batch.ts"
export { OrderedBatch } from "./internal/ordered-batch.ts"
export * from "./keyed-reader.ts"
export * from "./keyless.ts"
export * from "./limits.ts"
export * from "./log-reader.ts"
export * from "./member.ts"
export * from "./ordered-reader.ts"
export * as Qmdb from "./qmdb.ts"
