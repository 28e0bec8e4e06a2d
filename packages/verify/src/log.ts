/**
 * Operations of a log that we wrote ourselves: the hot paths of the database, which write and read them in place.
 *
 * Nothing here checks bytes. What comes from elsewhere is decoded by the functions of `@coppice/verify`.
 */
export { type ByteShape, type Extent, identityOf, isRaw, type KeyText } from "./byte-shape.ts"
export {
  keyExtent,
  mutationBytes,
  nextKeyExtent,
  operationKey,
  operationValue,
  writeKeyHead,
  writeMutationHead,
} from "./keyed-format.ts"
export { commitFloor, commitMetadata, commitOperation, isCommit } from "./operation-format.ts"
