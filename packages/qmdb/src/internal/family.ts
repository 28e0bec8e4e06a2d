/**
 * What sets one family of databases apart from the shape that all share: how writes become operations, what its index is.
 *
 *   LogMember (the shape)                              Family, LogIndex (here)
 *   layers, log, nodes, root, head row, undo window    batch type, sealing, index rows, reader
 *   flush, prune, rewind, proofs of the log            what each of them means for the index
 *
 * Terms: the *index* answers where a key lives; its part of a layer is `D`, and the family's part of the state is in `S`.
 *
 * Invariant: an index is a function of the log at or above the floor. The shape calls it in this order: `tidy` before
 * anything is planned, `flush` with layers oldest first, and what `flush` or `rewind` returned once the write is visible.
 */
import type { Hasher } from "@coppice/crypto"
import type { Family as MerkleFamily } from "@coppice/merkle"
import type { Change } from "@coppice/storage"
import { decodeOperation, type OperationFormat } from "@coppice/verify"
import { commitFloor, commitOperation } from "@coppice/verify/log"
import type { SealStep, StateCopy, SyncTarget } from "../member.ts"
import type { NodeReader } from "./activity.ts"
import type { Branch, Branches } from "./branches.ts"
import type { LogView } from "./log-proofs.ts"
import { type Content, type Head, type LogState, type RetainedCommit, targetOf } from "./log-state.ts"
import type { OperationLog } from "./operation-log.ts"
import type { Space } from "./space.ts"

/** What an index works with. */
export interface LogCore<S extends LogState, D> {
  readonly space: Space
  readonly hasher: Hasher
  readonly log: OperationLog
  readonly branches: Branches<Content<S, D>>
  /** What proofs of the log are made from. */
  readonly view: LogView
}

/** A copied state, and the owner of each of its operations, which only keyed families have. */
export interface Restored<S> {
  readonly state: S
  readonly owners: Uint32Array
}

/** A family of databases with a log. */
export interface Family<B, R, S extends LogState, D> {
  readonly merkle: MerkleFamily
  /** Length of every operation in the fixed encoding, else undefined. */
  readonly operationBytes: number | undefined
  /** Whether operations have owners. */
  readonly owned: boolean
  /** The first operation: a commit without metadata, floor 0. */
  readonly genesisCommit: Uint8Array
  /** Floor of a commit of our own log; undefined when the operation is no commit. Throws `DecodeError`. */
  readonly commitFloor: (operation: Uint8Array) => number | undefined
  /** An encoded operation as data. Throws `DecodeError`. */
  readonly decodeOperation: (operation: Uint8Array) => unknown
  /** What follows from the operations of a copied state, whose nodes `node` reads. Throws `DecodeError`. */
  readonly restored: (state: LogState, copy: StateCopy, hasher: Hasher, node: NodeReader) => Restored<S>
  /** Whether targets have a canonical root. */
  readonly canonical: boolean
  /** What a header commits to for a state. */
  readonly targetOf: (state: S) => SyncTarget
  /** Index record of a state. */
  readonly record: (state: S) => Uint8Array
  /** Whether going back to a commit needs the operations from its floor on. */
  readonly needsFloor: boolean
  /** Highest location up to which a state may be pruned. */
  readonly prunable: (state: S) => number
  readonly open: (core: LogCore<S, D>) => LogIndex<B, R, S, D>
}

/** What the families whose floor the caller sets share: one number of the log, the floor, says what may go. */
export const flooredFamily = <V, O>(layout: OperationFormat<V, O>) => ({
  merkle: layout.family,
  operationBytes: layout.operationBytes,
  owned: false,
  genesisCommit: commitOperation(layout, undefined, 0),
  commitFloor: (operation: Uint8Array) => commitFloor(layout, operation),
  decodeOperation: (operation: Uint8Array) => decodeOperation(layout, operation),
  restored: (state: LogState, { operations }: StateCopy) => {
    for (const operation of operations) decodeOperation(layout, operation)
    return { state, owners: new Uint32Array(0) }
  },
  canonical: false,
  targetOf,
  record: () => new Uint8Array(0),
  prunable: ({ floor }: LogState) => floor,
})

/** What an index has done for a flush: from where it must be replayed, and what to do once the write is visible. */
export interface IndexFlush {
  readonly checkpoint: number
  readonly settled: () => void
}

/** Going back: the commits that are undone, newest first, and the state that they lead to. */
export interface RewindPlan {
  readonly to: LogState
  readonly undone: ReadonlyArray<RetainedCommit>
  readonly checkpoint: number
}

/** What a layer changed in an index, for going back: entry `numbers[i]` was at `previous[i]`, or 0 when it was not there. */
export interface Undo {
  readonly numbers: Uint32Array
  readonly previous: Float64Array
}

/** The index of one open database. */
export interface LogIndex<B, R, S extends LogState, D> {
  readonly reader: R
  /** Loads the index; gives the state in storage. Throws `MemberCorrupt`. */
  readonly load: (state: LogState, head: Head) => S
  readonly openBatch: (parent: Branch<Content<S, D>>) => B
  readonly seal: (batch: B, branch: Branch<Content<S, D>>) => Generator<SealStep, Content<S, D>, void>
  /** Takes out, in slices, what is left of closed layers and of what the last flush wrote. */
  readonly tidy: () => Generator<undefined, void, void>
  /** Notes that a layer, or one that is still being sealed, is closed. */
  readonly forget: (branch: Branch<Content<S, D>>) => void
  /** Bytes of memory of a layer's part, and of what the family keeps in its state. */
  readonly bytesOf: (content: Content<S, D>) => number
  readonly undo: (part: D) => Undo
  /** Takes layers into the index, oldest first, and adds the changes of this flush. */
  readonly flush: (
    covered: ReadonlyArray<Branch<Content<S, D>>>,
    changes: Array<Change>,
  ) => Generator<undefined, IndexFlush, void>
  /** Adds the changes that take the stored index back, and gives its state there; the index moves when `settled` is called. */
  readonly rewind: (
    plan: RewindPlan,
    changes: Array<Change>,
  ) => Generator<undefined, { readonly state: S; readonly settled: () => void }, void>
  /** Adds the removal of index rows that operations `[from, to)` alone need. */
  readonly trim: (from: number, to: number, changes: Array<Change>) => Generator<undefined, void, void>
}
