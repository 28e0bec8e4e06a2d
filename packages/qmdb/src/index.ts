/** Public surface of the database package. */
export * from "./any.ts"
export * from "./errors.ts"
export { KeyedBatch } from "./internal/keyed-batch.ts"
export {
  decodeOperation,
  type Encoding,
  type KeyedFormat,
  type KeyedOperation,
  keyedFormat,
} from "./internal/keyed-format.ts"
export * from "./keyed-reader.ts"
export * from "./limits.ts"
export * from "./member.ts"
export * as Qmdb from "./qmdb.ts"
