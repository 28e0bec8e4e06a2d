/**
 * What a layer of a keyed database keeps, and the record of the stored state.
 *
 *   head row   version, size, floor, root, slots, active keys, checkpoint, retained commits
 *   undo rows  per retained commit: (slot, distance back to its previous location) for every slot it touched
 *
 * Invariant: the head row is written by every flush, in the same write as the rows it speaks of.
 */
import { Bytes, type Codec, DecodeError, decode, encode, List, Struct, U8, Varint } from "@coppice/codec"
import { DIGEST_BYTES, type Digest } from "@coppice/crypto"
import { type Frontier, Location } from "@coppice/merkle"
import type { Change } from "@coppice/storage"
import type { KeyText } from "@coppice/verify/log"
import { REWIND_COMMITS_MAX, SLOTS_MAX } from "../limits.ts"
import type { SyncTarget } from "../member.ts"
import { ROW_BYTES } from "./layout.ts"
import type { LogPart } from "./operation-log.ts"
import type { Space } from "./space.ts"

/** The state after a commit, in a few numbers. */
export interface KeyedState {
  readonly size: number
  readonly floor: number
  readonly root: Digest
  readonly frontier: Frontier
  /** Slots ever handed out on this branch. */
  readonly slots: number
  /** Freed slots that this branch has used, as a position in the queue. */
  readonly freedUsed: number
  /** Active keys. */
  readonly active: number
}

/** What a header commits to for a state. */
export const targetOf = (state: KeyedState): SyncTarget => ({
  root: state.root,
  start: Location(state.floor),
  end: Location(state.size),
})

/** How a layer changed the index, for merging, closing and undoing it. */
export interface IndexPart {
  /** Slots touched, each once, and their location before the layer. */
  readonly touched: Uint32Array
  readonly previous: Float64Array
  readonly created: ReadonlyArray<KeyText>
  readonly deleted: ReadonlyArray<KeyText>
}

/** The content of a layer. A stored layer keeps its state alone. */
export interface KeyedContent {
  readonly state: KeyedState
  readonly log: LogPart | undefined
  readonly index: IndexPart | undefined
}

/** Version of the rows of a keyed member. */
export const KEYED_VERSION = 1

/** A commit that can be rewound: its log size, what the state before it had, and its undo rows. */
export interface RetainedCommit {
  readonly size: number
  readonly parentSize: number
  readonly parentSlots: number
  readonly parentActive: number
  /** Slots touched: entries of its undo rows. */
  readonly touched: number
}

/** The head row of a keyed member. */
export interface KeyedHead {
  readonly version: number
  readonly size: number
  readonly floor: number
  readonly root: Digest
  readonly slots: number
  readonly active: number
  readonly checkpoint: number
  readonly commits: ReadonlyArray<RetainedCommit>
}

const RetainedCommitCodec: Codec<RetainedCommit> = Struct({
  size: Varint,
  parentSize: Varint,
  parentSlots: Varint,
  parentActive: Varint,
  touched: Varint,
})

const KeyedHeadCodec: Codec<KeyedHead> = Struct({
  version: U8,
  size: Varint,
  floor: Varint,
  root: Bytes(DIGEST_BYTES),
  slots: Varint,
  active: Varint,
  checkpoint: Varint,
  commits: List(RetainedCommitCodec, REWIND_COMMITS_MAX),
})

/** The head row of a state. */
export const headOf = (state: KeyedState, checkpoint: number, commits: ReadonlyArray<RetainedCommit>): KeyedHead => ({
  version: KEYED_VERSION,
  size: state.size,
  floor: state.floor,
  root: state.root,
  slots: state.slots,
  active: state.active,
  checkpoint,
  commits,
})

const META = "meta"

/** The change that writes the head row. */
export const headChange = (space: Space, head: KeyedHead): Change => ({
  tag: "put",
  map: META,
  key: space.textKey("h"),
  value: encode(KeyedHeadCodec, head),
})

/** Reads the head row. Throws `MemberCorrupt` when it is absent, malformed or of another version. */
export const readHead = (space: Space): KeyedHead => {
  const row = space.storage.get(META, space.textKey("h"))
  if (row === undefined) throw space.corrupt("head row is missing")
  if (row[0] !== KEYED_VERSION) throw space.corrupt(`head row has version ${row[0]}, this code knows ${KEYED_VERSION}`)
  const head = decodeHead(space, row)
  const { size, floor, slots, active, checkpoint, commits } = head
  const ordered = commits.every((commit, i) => {
    const after = commits[i + 1]
    return (
      commit.parentSize < commit.size && (after === undefined ? commit.size <= size : commit.size <= after.parentSize)
    )
  })
  const within = floor < size && checkpoint >= 1 && checkpoint <= size && active <= slots && slots <= SLOTS_MAX
  if (!ordered || !within) throw space.corrupt("head row contradicts itself")
  return head
}

const decodeHead = (space: Space, row: Uint8Array): KeyedHead => {
  try {
    return decode(KeyedHeadCodec, row)
  } catch (error) {
    if (error instanceof DecodeError) throw space.corrupt(`head row: ${error.message}`)
    throw error
  }
}

const UNDO_ENTRY_BYTES = 8
const UNDO_ENTRIES_PER_ROW = ROW_BYTES / UNDO_ENTRY_BYTES
const CREATED = 0xffffffff

const undoKey = (space: Space, size: number, row: number): Buffer => {
  const tail = Buffer.allocUnsafe(9)
  tail.write("u", 0, "latin1")
  tail.writeUIntBE(size, 1, 6)
  tail.writeUInt16BE(row, 7)
  return space.textKey(tail.toString("latin1"))
}

/** The undo rows of a layer, and what the head row says of its commit. */
export const undoChanges = (
  space: Space,
  parent: KeyedState,
  size: number,
  index: IndexPart,
  changes: Array<Change>,
): RetainedCommit => {
  const { touched, previous } = index
  const entries = new Uint32Array(touched.length * 2)
  for (let i = 0; i < touched.length; i++) {
    const before = previous[i]!
    const distance = before === 0 ? CREATED : parent.size - before
    if (before !== 0 && distance >= CREATED) {
      throw new RangeError(`location ${before} is too far below ${parent.size} to be undone`)
    }
    entries[2 * i] = touched[i]!
    entries[2 * i + 1] = distance
  }
  const bytes = new Uint8Array(entries.buffer)
  const rowBytes = UNDO_ENTRIES_PER_ROW * UNDO_ENTRY_BYTES
  for (let at = 0, row = 0; at < bytes.length; at += rowBytes, row++) {
    changes.push({ tag: "put", map: META, key: undoKey(space, size, row), value: bytes.subarray(at, at + rowBytes) })
  }
  return {
    size,
    parentSize: parent.size,
    parentSlots: parent.slots,
    parentActive: parent.active,
    touched: touched.length,
  }
}

/** Removes the undo rows of a commit that left the rewind window. */
export const dropUndo = (space: Space, commit: RetainedCommit, changes: Array<Change>): void => {
  for (let row = 0; row < Math.ceil(commit.touched / UNDO_ENTRIES_PER_ROW); row++) {
    changes.push({ tag: "remove", map: META, key: undoKey(space, commit.size, row) })
  }
}

/**
 * Takes a table of the active slots from a retained commit back to the state before it.
 *
 * Commits are undone newest first. Throws `MemberCorrupt` on a missing row.
 */
export const undoCommit = (space: Space, commit: RetainedCommit, locations: Map<number, number>): void => {
  for (let row = 0, left = commit.touched; left > 0; row++, left -= UNDO_ENTRIES_PER_ROW) {
    const found = space.storage.get(META, undoKey(space, commit.size, row))
    if (found?.length !== Math.min(left, UNDO_ENTRIES_PER_ROW) * UNDO_ENTRY_BYTES) {
      throw space.corrupt(`undo row ${row} of commit ${commit.size} is missing or malformed`)
    }
    const value = Buffer.from(found.buffer, found.byteOffset, found.byteLength)
    for (let at = 0; at < value.length; at += UNDO_ENTRY_BYTES) {
      const slot = value.readUInt32LE(at)
      const distance = value.readUInt32LE(at + 4)
      if (distance === CREATED) locations.delete(slot)
      else locations.set(slot, commit.parentSize - distance)
    }
  }
}
