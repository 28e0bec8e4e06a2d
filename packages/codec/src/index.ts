/**
 * Canonical, bounded encoding and decoding: the public surface of `@coppice/codec`.
 *
 * Plain functions over `Uint8Array`, without dependencies: the same bytes in Node and in a browser.
 */
export { ByteReader } from "./byte-reader.ts"
export { ByteWriter, varintBytes } from "./byte-writer.ts"
export { bytesEqual, bytesKey, compareBytes, keyBytes } from "./bytes.ts"
export {
  Blob,
  Bool,
  Bytes,
  type Codec,
  decode,
  encode,
  List,
  Option,
  Struct,
  Text,
  Tuple,
  U8,
  U32,
  U64,
  U64Safe,
  type ValueOf,
  Varint,
  Varint64,
  VarintUpTo,
} from "./codec.ts"
export { DecodeError, toSafeInteger } from "./decode-error.ts"
export { BLOB_BYTES_MAX, LIST_COUNT_MAX, VARINT_BYTES_MAX } from "./limits.ts"
