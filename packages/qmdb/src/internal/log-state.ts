/**
 * What every database with a log keeps of its state: in a layer, in its head row, and for going back.
 *
 *   head row `h`        version, size, floor, root, pruned, trimmed, checkpoint, index, retained commits
 *   pins row `p`        digests of the peaks of the tree with `pruned` leaves
 *   undo rows `u`       per retained commit: (number, distance back to its previous location) of every entry it changed
 *
 * Terms: *pruned* is the location below which nothing can be read or proven; *trimmed* the one below which whole rows have
 * been removed. The *index record* is what a family keeps of its index in a few numbers.
 *
 * Invariant: the head row is written by every flush, prune and rewind, in the same write as the rows it speaks of.
 */
import { Blob, Bytes, type Codec, DecodeError, decode, encode, List, Struct, U8, Varint } from "@coppice/codec"
import { DIGEST_BYTES, type Digest } from "@coppice/crypto"
import { type Family, type Frontier, Location, type Position, pinPositions } from "@coppice/merkle"
import type { Change } from "@coppice/storage"
import { REWIND_COMMITS_MAX } from "../limits.ts"
import type { SyncTarget } from "../member.ts"
import { ROW_BYTES } from "./layout.ts"
import type { LogPart } from "./log-part.ts"
import type { Space } from "./space.ts"

/** The state after a commit, as all families have it. */
export interface LogState {
  readonly size: number
  readonly floor: number
  readonly root: Digest
  readonly frontier: Frontier
}

/** What a header commits to for a state without a root beside the operations root. */
export const targetOf = ({ root, floor, size }: LogState): SyncTarget => ({
  root,
  start: Location(floor),
  end: Location(size),
})

/** The content of a layer: its state, and until it is flushed what it adds to the log and changes in the index. */
export interface Content<S extends LogState, D> {
  readonly state: S
  readonly log: LogPart | undefined
  readonly index: D | undefined
}

/** A commit that can be undone: its log size, and what the state before it was. */
export interface RetainedCommit {
  readonly size: number
  readonly parentSize: number
  /** Index record of the state before. */
  readonly parentIndex: Uint8Array
  /** Entries of its undo rows. */
  readonly entries: number
}

/** The head row. */
export interface Head {
  readonly version: number
  readonly size: number
  readonly floor: number
  readonly root: Digest
  readonly pruned: number
  readonly trimmed: number
  /** Log size up to which the stored index is complete. */
  readonly checkpoint: number
  readonly index: Uint8Array
  readonly commits: ReadonlyArray<RetainedCommit>
}

/** Version of the rows of a member. */
export const MEMBER_VERSION = 2

const INDEX_RECORD_BYTES_MAX = 64

const RetainedCommitCodec: Codec<RetainedCommit> = Struct({
  size: Varint,
  parentSize: Varint,
  parentIndex: Blob(INDEX_RECORD_BYTES_MAX),
  entries: Varint,
})

const HeadCodec: Codec<Head> = Struct({
  version: U8,
  size: Varint,
  floor: Varint,
  root: Bytes(DIGEST_BYTES),
  pruned: Varint,
  trimmed: Varint,
  checkpoint: Varint,
  index: Blob(INDEX_RECORD_BYTES_MAX),
  commits: List(RetainedCommitCodec, REWIND_COMMITS_MAX),
})

const META = "meta"

/** The change that writes the head row. */
export const headChange = (space: Space, head: Head): Change => ({
  tag: "put",
  map: META,
  key: space.textKey("h"),
  value: encode(HeadCodec, head),
})

/** Reads the head row. Throws `MemberCorrupt` when it is absent, malformed or of another version. */
export const readHead = (space: Space): Head => {
  const row = space.storage.get(META, space.textKey("h"))
  if (row === undefined) throw space.corrupt("head row is missing")
  if (row[0] !== MEMBER_VERSION) {
    throw space.corrupt(`head row has version ${row[0]}, this code knows ${MEMBER_VERSION}`)
  }
  const head = decodeRow(space, "head row", HeadCodec, row)
  const { size, floor, pruned, trimmed, checkpoint, commits } = head
  const ordered = commits.every((commit, i) => {
    const after = commits[i + 1]
    return (
      commit.parentSize < commit.size && (after === undefined ? commit.size <= size : commit.size <= after.parentSize)
    )
  })
  const within = floor < size && trimmed <= pruned && pruned < size && checkpoint >= 1 && checkpoint <= size
  if (!ordered || !within) throw space.corrupt("head row contradicts itself")
  return head
}

/** Decodes what a row of this member holds. Throws `MemberCorrupt`. */
export const decodeRow = <A>(space: Space, what: string, codec: Codec<A>, row: Uint8Array): A => {
  try {
    return decode(codec, row)
  } catch (error) {
    if (error instanceof DecodeError) throw space.corrupt(`${what}: ${error.message}`)
    throw error
  }
}

/** Digests by position of the nodes that pruning keeps. */
export type Pins = ReadonlyMap<Position, Digest>

/** The change that writes the pins of a pruned location. */
export const pinsChange = (space: Space, pins: Pins): Change => ({
  tag: "put",
  map: META,
  key: space.textKey("p"),
  value: Buffer.concat([...pins.values()]),
})

/** Reads the pins of a pruned location. Throws `MemberCorrupt`. */
export const readPins = (space: Space, family: Family, pruned: Location): Pins => {
  const positions = pinPositions(family, pruned)
  if (positions.length === 0) return new Map()
  const row = space.storage.get(META, space.textKey("p"))
  if (row?.length !== positions.length * DIGEST_BYTES) throw space.corrupt("pins are missing or malformed")
  return new Map(positions.map((at, i) => [at, row.slice(i * DIGEST_BYTES, (i + 1) * DIGEST_BYTES)]))
}

const UNDO_ENTRY_BYTES = 8
const UNDO_ROW_BYTES = Math.floor(ROW_BYTES / UNDO_ENTRY_BYTES) * UNDO_ENTRY_BYTES

/** Stands for the distance of an entry that was not there before. */
const CREATED = 0xffffffff

/** Location that means that an entry was not there: the genesis commit stands at it. */
const ABSENT = 0

const undoKey = (space: Space, size: number, row: number): Buffer => {
  const tail = Buffer.allocUnsafe(9)
  tail.write("u", 0, "latin1")
  tail.writeUIntBE(size, 1, 6)
  tail.writeUInt16BE(row, 7)
  return space.textKey(tail.toString("latin1"))
}

const undoRows = (commit: RetainedCommit): number => Math.ceil((commit.entries * UNDO_ENTRY_BYTES) / UNDO_ROW_BYTES)

/** Adds the undo rows of a commit over a state of `parentSize` operations: entry `numbers[i]` was at `previous[i]`, or 0. */
export const putUndo = (
  space: Space,
  commit: Pick<RetainedCommit, "size" | "parentSize">,
  numbers: Uint32Array,
  previous: Float64Array,
  changes: Array<Change>,
): void => {
  const { size, parentSize } = commit
  const entries = new Uint32Array(numbers.length * 2)
  for (let i = 0; i < numbers.length; i++) {
    const before = previous[i]!
    const distance = before === ABSENT ? CREATED : parentSize - before
    if (before !== ABSENT && distance >= CREATED) {
      throw new RangeError(`location ${before} is too far below ${parentSize} to be undone`)
    }
    entries[2 * i] = numbers[i]!
    entries[2 * i + 1] = distance
  }
  const bytes = new Uint8Array(entries.buffer)
  for (let at = 0, row = 0; at < bytes.length; at += UNDO_ROW_BYTES, row++) {
    changes.push({
      tag: "put",
      map: META,
      key: undoKey(space, size, row),
      value: bytes.subarray(at, at + UNDO_ROW_BYTES),
    })
  }
}

/** Removes the undo rows of a commit. */
export const dropUndo = (space: Space, commit: RetainedCommit, changes: Array<Change>): void => {
  for (let row = 0; row < undoRows(commit); row++) {
    changes.push({ tag: "remove", map: META, key: undoKey(space, commit.size, row) })
  }
}

/** Sets every entry that a commit changed to its location before it, 0 where there was none. Throws `MemberCorrupt`. */
export const readUndo = (space: Space, commit: RetainedCommit, locations: Map<number, number>): void => {
  for (let row = 0, left = commit.entries * UNDO_ENTRY_BYTES; left > 0; row++, left -= UNDO_ROW_BYTES) {
    const found = space.storage.get(META, undoKey(space, commit.size, row))
    if (found?.length !== Math.min(left, UNDO_ROW_BYTES)) {
      throw space.corrupt(`undo row ${row} of commit ${commit.size} is missing or malformed`)
    }
    const value = Buffer.from(found.buffer, found.byteOffset, found.byteLength)
    for (let at = 0; at < value.length; at += UNDO_ENTRY_BYTES) {
      const distance = value.readUInt32LE(at + 4)
      locations.set(value.readUInt32LE(at), distance === CREATED ? ABSENT : commit.parentSize - distance)
    }
  }
}
