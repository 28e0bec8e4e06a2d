/**
 * Compact databases: what is kept, and sent, of a log whose history is forgotten.
 *
 *   target    root || varint(size)
 *   record    byte string(last commit) || varint(size) || list(peaks at size - 1)
 *
 * The record gives everything: the commit appended to the peaks gives the tree, and with the commit's floor the root.
 * Source: spec qmdb §13.
 */
import { Blob, Bytes, bytesEqual, type Codec, DecodeError, List, Struct } from "@coppice/codec"
import { DIGEST_BYTES, type Digest, type Hasher } from "@coppice/crypto"
import {
  appendLeaves,
  type Frontier,
  frontierFromPins,
  inactivePeaks,
  type Location,
  PEAKS_MAX,
  type ProofRejection,
  type RangeProof,
  runJobs,
  safeIntegers,
  root as treeRoot,
} from "@coppice/merkle"
import { checkOperations } from "./check-operations.ts"
import { OPERATION_BYTES_MAX } from "./limits.ts"
import { type CommitOperation, decodeOperation, type OperationFormat } from "./operation-format.ts"

/** A state of a compact database, by its root. */
export interface CompactTarget<L = Location> {
  readonly root: Digest
  /** Operations of the log, at least one. */
  readonly size: L
}

/** What is kept of a state. */
export interface CompactRecord<L = Location> {
  /** The encoded last commit, which stands at `size - 1`. */
  readonly commit: Uint8Array
  readonly size: L
  /** Peaks of the tree with `size - 1` leaves. */
  readonly pins: ReadonlyArray<Digest>
}

/** Why a compact state is refused, with the evidence. */
export type CompactRejection =
  | ProofRejection
  | { readonly _tag: "MalformedCommit"; readonly reason: string; readonly offset: number }
  | { readonly _tag: "NotACommit" }
  | { readonly _tag: "FloorAboveCommit"; readonly floor: number; readonly location: number }
  | { readonly _tag: "SizeMismatch"; readonly expected: number; readonly actual: number }

const Digest32 = Bytes(DIGEST_BYTES)

const sizeOf = <L extends number | bigint>(location: Codec<L>): Codec<L> => ({
  ...location,
  write: (writer, size) => {
    if (size < 1) throw new RangeError("size: 0 is outside")
    location.write(writer, size)
  },
  read: (reader) => {
    const at = reader.offset
    const size = location.read(reader)
    if (size < 1) throw new DecodeError("a log without operations", at)
    return size
  },
})

/** Codec of compact targets over given locations. */
export const compactTarget = <L extends number | bigint>(location: Codec<L>): Codec<CompactTarget<L>> =>
  Struct({ root: Digest32, size: sizeOf(location) })

/** Codec of compact records over given locations. */
export const compactRecord = <L extends number | bigint>(location: Codec<L>): Codec<CompactRecord<L>> =>
  Struct({ commit: Blob(OPERATION_BYTES_MAX), size: sizeOf(location), pins: List(Digest32, PEAKS_MAX) })

/** Codec of the compact targets of a database. */
export const compactTargetCodec = <V, O>({ family }: OperationFormat<V, O>): Codec<CompactTarget> =>
  compactTarget(safeIntegers(family).location)

/** Codec of the compact records of a database. */
export const compactRecordCodec = <V, O>({ family }: OperationFormat<V, O>): Codec<CompactRecord> =>
  compactRecord(safeIntegers(family).location)

/** A state as its record gives it. */
export interface CompactState<V> {
  readonly _tag: "State"
  readonly frontier: Frontier
  readonly commit: CommitOperation<V>
  readonly root: Digest
}

type Commits<V, O> = OperationFormat<V, O | CommitOperation<V>>

const isCommitOperation = <V>(operation: { readonly tag: string }): operation is CommitOperation<V> =>
  operation.tag === "commit"

const readCommit = <V, O extends { readonly tag: string }>(
  format: Commits<V, O>,
  bytes: Uint8Array,
  location: number,
): CommitOperation<V> | CompactRejection => {
  try {
    const operation = decodeOperation(format, bytes)
    if (!isCommitOperation<V>(operation)) return { _tag: "NotACommit" }
    const { floor } = operation
    return floor <= location ? operation : { _tag: "FloorAboveCommit", floor, location }
  } catch (error) {
    if (!(error instanceof DecodeError)) throw error
    return { _tag: "MalformedCommit", reason: error.reason, offset: error.offset }
  }
}

const checkPins = (pins: ReadonlyArray<Digest>, expected: number): ProofRejection | undefined => {
  if (pins.length !== expected) return { _tag: "PinCount", expected, actual: pins.length }
  const index = pins.findIndex((pin) => pin.length !== DIGEST_BYTES)
  return index < 0 ? undefined : { _tag: "PinLength", index, length: pins[index]!.length }
}

const rootOf = (hasher: Hasher, frontier: Frontier, floor: Location): Digest =>
  treeRoot(hasher, frontier, inactivePeaks(frontier.family, frontier.leaves, floor), "backward")

/**
 * The state that a record stands for, or why it stands for none.
 *
 * Shape: the root is recomputed; the caller compares it. The hasher must be synchronous.
 */
export const restoreCompact = <V, O extends { readonly tag: string }>(
  hasher: Hasher,
  format: Commits<V, O>,
  { commit: bytes, size, pins }: CompactRecord,
): CompactState<V> | CompactRejection => {
  const { family } = format
  if (!(size >= 1 && size <= family.leavesMax)) return { _tag: "LeavesAboveMax", leaves: size, max: family.leavesMax }
  const location = (size - 1) as Location
  const commit = readCommit(format, bytes, location)
  if ("_tag" in commit) return commit
  const rejection = checkPins(pins, family.peaks(location).length)
  if (rejection !== undefined) return rejection
  const source = { count: 1, bytes, offsets: Uint32Array.of(0, bytes.length) }
  const { frontier } = runJobs(hasher, appendLeaves(frontierFromPins(family, location, pins), source))
  return { _tag: "State", frontier, commit, root: rootOf(hasher, frontier, commit.floor) }
}

const compareRoots = (expected: Digest, actual: Digest): ProofRejection | undefined =>
  bytesEqual(expected, actual) ? undefined : { _tag: "RootMismatch", expected, actual }

const compareSizes = (expected: number, actual: number): CompactRejection | undefined =>
  expected === actual ? undefined : { _tag: "SizeMismatch", expected, actual }

/** Why a record is not that of a target; undefined when it is. */
export const checkCompactRecord = <V, O extends { readonly tag: string }>(
  hasher: Hasher,
  format: Commits<V, O>,
  record: CompactRecord,
  target: CompactTarget,
): CompactRejection | undefined => {
  const rejection = compareSizes(target.size, record.size)
  if (rejection !== undefined) return rejection
  const state = restoreCompact(hasher, format, record)
  return state._tag === "State" ? compareRoots(target.root, state.root) : state
}

/** What a source sends of a state: all its peaks, and the proof of its last commit. */
export interface CompactAnswer<V> {
  readonly size: Location
  readonly peaks: ReadonlyArray<Digest>
  readonly commit: CommitOperation<V>
  readonly proof: RangeProof
}

/** Why an answer is not the state of a target; undefined when it is. */
export const checkCompactAnswer = <V, O extends { readonly tag: string }>(
  hasher: Hasher,
  format: Commits<V, O>,
  { size, peaks, commit, proof }: CompactAnswer<V>,
  target: CompactTarget,
): CompactRejection | undefined => {
  const { family } = format
  const mismatch = compareSizes(target.size, size) ?? compareSizes(size, proof.leaves)
  if (mismatch !== undefined) return mismatch
  if (!(size >= 1 && size <= family.leavesMax)) return { _tag: "LeavesAboveMax", leaves: size, max: family.leavesMax }
  const location = (size - 1) as Location
  if (!(commit.floor <= location)) return { _tag: "FloorAboveCommit", floor: commit.floor, location }
  const rejection =
    checkPins(peaks, family.peaks(size).length) ??
    checkOperations(hasher, format, { start: location, operations: [commit], proof }, target.root)
  if (rejection !== undefined) return rejection
  return compareRoots(target.root, rootOf(hasher, { family, leaves: size, peaks }, commit.floor))
}
