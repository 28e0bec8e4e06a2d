/**
 * What state sync asks for and gets: records, and whether an answer is one to the question.
 *
 *   target     root || varint(start) || varint(end)                        root is the operations root at size `end`
 *   request    00 varint(size) varint(start) be8(max operations)           operations [start, start + max) at a size
 *              01 varint(size) varint(start)                               one operation with the pins before it
 *   response   00 proof varint(count) operation*
 *              01 proof operation list(pins)
 *
 * Invariant: an answer holds only for the size that was asked for, and its operations begin where they were asked for.
 * Source: spec qmdb §11.
 */
import { type ByteReader, Bytes, type Codec, DecodeError, List, Struct } from "@coppice/codec"
import { DIGEST_BYTES, type Digest, type Hasher } from "@coppice/crypto"
import {
  type Integers,
  type Location,
  PEAKS_MAX,
  type ProofRecord,
  type ProofRejection,
  proofRecord,
  RANGE_PROOF_DIGESTS_MAX,
  safeIntegers,
} from "@coppice/merkle"
import { checkOperations, checkOperationsWithPins } from "./check-operations.ts"
import { PROOF_OPS_MAX } from "./limits.ts"
import type { OperationFormat } from "./operation-format.ts"

/** A state to sync to: its operations root, from where on its log is needed, and the size of the log. */
export interface SyncTarget<L = Location> {
  readonly root: Digest
  readonly start: L
  readonly end: L
}

/** What is asked of a source, about the log as it was at a size. */
export type SyncRequest<L = Location, N = number> =
  | { readonly tag: "operations"; readonly size: L; readonly start: L; readonly max: N }
  | { readonly tag: "boundary"; readonly size: L; readonly start: L }

/** What a source answers, of the same kind as the request. */
export type SyncResponse<O, L = Location, N = number> =
  | { readonly tag: "operations"; readonly proof: ProofRecord<L, N>; readonly operations: ReadonlyArray<O> }
  | {
      readonly tag: "boundary"
      readonly proof: ProofRecord<L, N>
      readonly operation: O
      readonly pins: ReadonlyArray<Digest>
    }

/** Why an answer is refused, with the evidence. */
export type SyncRejection =
  | ProofRejection
  | { readonly _tag: "KindMismatch"; readonly expected: string; readonly actual: string }
  | { readonly _tag: "SizeMismatch"; readonly expected: number; readonly actual: number }
  | { readonly _tag: "OperationCount"; readonly max: number; readonly actual: number }

const Digest32 = Bytes(DIGEST_BYTES)

/** Reads a tag that names one of two kinds. */
const readKind = (reader: ByteReader): boolean => {
  const at = reader.offset
  const tag = reader.u8()
  if (tag > 1) throw new DecodeError("unknown kind of message", at)
  return tag === 1
}

/** Codec of sync targets over given locations. Refuses an empty range. */
export const syncTarget = <L extends number | bigint>(location: Codec<L>): Codec<SyncTarget<L>> => {
  const record = Struct({ root: Digest32, start: location, end: location })
  return {
    ...record,
    write: (writer, target) => {
      if (!(target.start < target.end)) throw new RangeError("sync target: an empty range is outside")
      record.write(writer, target)
    },
    read: (reader) => {
      const at = reader.offset
      const target = record.read(reader)
      if (target.start >= target.end) throw new DecodeError("an empty range", at)
      return target
    },
  }
}

/** Codec of sync requests over given integers. Refuses a start beyond the size, and a maximum of 0. */
export const syncRequest = <L extends number | bigint, N extends number | bigint>({
  location,
  be64,
}: Integers<L, N>): Codec<SyncRequest<L, N>> => ({
  name: "syncRequest",
  size: undefined,
  sizeMax: 1 + 2 * location.sizeMax + be64.sizeMax,
  write: (writer, request) => {
    const isEmpty = request.tag === "operations" && request.max < 1
    if (isEmpty || !(request.start < request.size)) throw new RangeError("sync request: an empty range is outside")
    writer.u8(request.tag === "operations" ? 0 : 1)
    location.write(writer, request.size)
    location.write(writer, request.start)
    if (request.tag === "operations") be64.write(writer, request.max)
  },
  read: (reader) => {
    const at = reader.offset
    const boundary = readKind(reader)
    const range = { size: location.read(reader), start: location.read(reader) }
    if (range.start >= range.size) throw new DecodeError("a start beyond the size", at)
    if (boundary) return { tag: "boundary", ...range }
    const max = be64.read(reader)
    if (max < 1) throw new DecodeError("a request for no operations", at)
    return { tag: "operations", ...range, max }
  },
})

/** Codec of sync responses over given integers and operations. */
export const syncResponse = <O, L, N>(integers: Integers<L, N>, operation: Codec<O>): Codec<SyncResponse<O, L, N>> => {
  const proof = proofRecord(integers, RANGE_PROOF_DIGESTS_MAX)
  const range = Struct({ proof, operations: List(operation, PROOF_OPS_MAX) })
  const boundary = Struct({ proof, operation, pins: List(Digest32, PEAKS_MAX) })
  return {
    name: `syncResponse(${operation.name})`,
    size: undefined,
    sizeMax: 1 + Math.max(range.sizeMax, boundary.sizeMax),
    write: (writer, response) => {
      if (response.tag === "operations") range.write(writer.u8(0), response)
      else boundary.write(writer.u8(1), response)
    },
    read: (reader) =>
      readKind(reader) ? { tag: "boundary", ...boundary.read(reader) } : { tag: "operations", ...range.read(reader) },
  }
}

/** Codec of the sync targets of a database. */
export const syncTargetCodec = <V, O>({ family }: OperationFormat<V, O>): Codec<SyncTarget> =>
  syncTarget(safeIntegers(family).location)

/** Codec of the requests for a database. */
export const syncRequestCodec = <V, O>({ family }: OperationFormat<V, O>): Codec<SyncRequest> =>
  syncRequest(safeIntegers(family))

/** Codec of the responses for a database: at most `PROOF_OPS_MAX` operations. */
export const syncResponseCodec = <V, O>({ family, operation }: OperationFormat<V, O>): Codec<SyncResponse<O>> =>
  syncResponse(safeIntegers(family), operation)

/** Why a response does not answer a request about a log with this operations root; undefined when it does. */
export const checkSyncResponse = <V, O>(
  hasher: Hasher,
  format: OperationFormat<V, O>,
  request: SyncRequest,
  response: SyncResponse<O>,
  root: Digest,
): SyncRejection | undefined => {
  const { size, start } = request
  const { proof } = response
  if (response.tag !== request.tag) return { _tag: "KindMismatch", expected: request.tag, actual: response.tag }
  if (proof.leaves !== size) return { _tag: "SizeMismatch", expected: size, actual: proof.leaves }
  if (response.tag === "boundary") {
    const { operation, pins } = response
    return checkOperationsWithPins(hasher, format, { start, operations: [operation], proof }, pins, root)
  }
  const { operations } = response
  const max = request.tag === "operations" ? request.max : 1
  if (operations.length < 1 || operations.length > max) {
    return { _tag: "OperationCount", max, actual: operations.length }
  }
  return checkOperations(hasher, format, { start, operations, proof }, root)
}
