/**
 * The shape that every authenticated database has: batches, layers, one flush.
 *
 *   openBatch(parent) --> put, remove --> seal --> Layer --> openBatch(layer) ...      (fork: many children)
 *                                                   |
 *                          consensus finalizes it: apply --> flush --> durable         (siblings are closed)
 *
 * Terms: a *member* is one database of a set. A *layer* is a sealed batch: new operations, new Merkle nodes, changed index
 * entries, root; immutable. The *tip* is the newest applied layer, or what lies in storage when none is un-flushed.
 * *Apply* moves the tip; *flush* makes everything applied durable. A layer is *closed* when its branch lost or when its
 * caller drops it.
 *
 * Invariant: a batch reads exactly the state of its parent layer plus its own writes, whatever other branches do
 * (INV-36). Using a batch or layer that is closed, or that does not descend from the tip, throws `StaleBatch`: the
 * check compares the layers themselves, so equal sizes never make a sibling acceptable.
 *
 * Everything here is synchronous. The caller holds one storage environment for the whole set and writes the changes of
 * all members, with the anchor they stand at, in one atomic write.
 */
import type { Digest, Hasher, HashJob } from "@coppice/crypto"
import type { Location } from "@coppice/merkle"
import type { Change, StorageShape } from "@coppice/storage"
import type { SyncTarget as LogTarget } from "@coppice/verify"

/**
 * What a block header commits to for one member.
 *
 * `root` is the operations root over `end` operations; `start` is the lowest location that a sync may begin at: the
 * inactivity floor, for `current` the sync boundary.
 */
export interface SyncTarget extends LogTarget {
  /** Root that proofs of current values lead to, for the families that have it. */
  readonly canonical?: Digest
}

/** A sealed batch, or the state in storage. Identity matters: two layers with equal contents are different branches. */
export interface Layer {
  /** Number unique within its member and process. */
  readonly id: number
  /** What a header commits to for this state. */
  readonly target: SyncTarget
  /** Bytes of memory this layer holds until it is flushed or closed; fewer once it is spilled. */
  readonly bytes: number
}

/**
 * One step of sealing: a hash job to run before resuming, or undefined where the work may pause.
 *
 * The driver runs `hasher.run(job)`, awaits it when it is a promise, and may return to the event loop between steps.
 * Whatever happens to other layers in between is safe.
 */
export type SealStep = HashJob | undefined

/** Changes of one member, planned and not yet in storage. */
export interface MemberWrite {
  /** To be written in one atomic storage write, together with the other members' and the anchor. Borrowed until settled. */
  readonly changes: ReadonlyArray<Change>
  /** Call once, when the write has succeeded. */
  readonly settled: () => void
}

/** The changes that make all applied layers durable, as of the moment it was made. Settling releases their memory. */
export interface Flush extends MemberWrite {
  /** The state that is durable once the write succeeds. */
  readonly target: SyncTarget
  /** Number of layers it covers. */
  readonly layers: number
}

/** One open database. `B` is its batch type, `R` its reader type. */
export interface Member<B, R> {
  /** The newest applied state. */
  readonly tip: Layer
  /** Bytes held by all layers, applied and pending. */
  readonly bytes: number
  /** Un-flushed and un-closed layers, the storage layer not counted. */
  readonly layers: number
  /** Location below which nothing can be read or proven any more. */
  readonly pruned: Location
  /** Opens a batch over a layer. Throws `StaleBatch`. */
  readonly openBatch: (parent: Layer) => B
  /**
   * Seals a batch: resolves its writes, raises the floor, computes the root. Consumes the batch at once.
   *
   * Shape: the generator returns the layer. Bounds: `LAYERS_MAX` un-flushed layers, a `RangeError` above.
   * Errors: throws `StaleBatch` at any step at which the branch has lost, `BatchTooLarge` when the operations, moves
   * included, take more than `LAYER_OPERATION_BYTES_MAX`.
   * Cancellation: abandoning the generator (`return()`) leaves no trace; nor does a branch that loses meanwhile.
   */
  readonly seal: (batch: B) => Generator<SealStep, Layer, void>
  /** Discards an open batch; later use throws `StaleBatch`. Closing twice is fine. */
  readonly closeBatch: (batch: B) => void
  /**
   * Moves the tip to a layer that descends from it, through all ancestors between. Every layer and batch that neither is
   * nor descends from the new tip is closed in the same call. Throws `StaleBatch` and changes nothing otherwise.
   */
  readonly apply: (layer: Layer) => void
  /** Closes a pending layer and every layer over it. Throws on the tip or its ancestors. Closing twice is fine. */
  readonly close: (layer: Layer) => void
  /** Starts a flush of everything applied, in slices; undefined when nothing is. One write is planned at a time. */
  readonly flush: () => Generator<undefined, Flush, void> | undefined
  /**
   * Plans to forget what lies below a location: once visible, nothing below can be read or proven, exactly. Rows go a
   * slice at a time, the first with this write, the others with `trim`. Undefined when that much is pruned already.
   *
   * Errors: throws `PruneRefused` above the floor of the stored state (for `current`: above its sync boundary).
   */
  readonly prune: (location: Location) => Generator<undefined, MemberWrite, void> | undefined
  /** Plans the removal of the next rows below the pruned location, `TRIM_OPERATIONS_MAX` operations' worth; undefined when none is left. */
  readonly trim: () => Generator<undefined, MemberWrite, void> | undefined
  /**
   * Plans to move the operations and Merkle nodes of layers to scratch, where they are read from then on; the index entries of
   * a layer stay in memory. The same write, to the scratch environment, removes what flushed and closed layers have left
   * there. Undefined where there is no scratch, or never anything worth moving. Plans may overlap, and a flush with them.
   *
   * Layers that are flushed, closed or moved already are passed over; whatever happens to them meanwhile is safe.
   */
  readonly spill: (layers: ReadonlyArray<Layer>) => Generator<undefined, MemberWrite, void> | undefined
  /**
   * Plans to go back to an earlier commit of the rewind window: state and storage become what they were. Closes every
   * pending layer and batch at once; nothing can be opened until the write is settled, and after an abandoned plan nothing
   * ever. Undefined when the stored state is that commit. Everything applied must be flushed.
   *
   * Errors: throws `RewindRefused`. Cost: in proportion to what is discarded.
   */
  readonly rewind: (size: Location) => Generator<undefined, MemberWrite, void> | undefined
  /**
   * Encoded operations that a layer has added to its parent's log, copied: from the first on, as many as `bytesMax` allows.
   * Throws `StaleBatch` unless the layer is un-flushed and living.
   */
  readonly appended: (layer: Layer, bytesMax: number) => ReadonlyArray<Uint8Array>
  /**
   * Copies a living state, in slices. Undefined when its operations take more than `bytesMax`. Throws `StaleBatch` at any
   * step at which the branch has lost. Cost: a read per operation above the floor.
   */
  readonly copy: (layer: Layer, bytesMax: number) => Generator<undefined, StateCopy | undefined, void>
  /** A view of the tip at each call: reads and proofs, no writes. */
  readonly reader: R
}

/** A state as another database takes it over: the operations that it needs, and the peaks of the tree before them. */
export interface StateCopy {
  /** Location of the first operation: where the state's target begins; in a compact database that of its last commit. */
  readonly start: Location
  /** Peaks of the tree with `start` leaves. */
  readonly pins: ReadonlyArray<Digest>
  /** Encoded, the last commit last. */
  readonly operations: ReadonlyArray<Uint8Array>
}

/** Where a member lives: its place in the set's environment and the hasher it uses. */
export interface MemberHome {
  readonly storage: StorageShape
  /** Where layers are spilled: an environment with `SCRATCH_MAPS`, empty when the process starts. */
  readonly scratch?: StorageShape | undefined
  /** Position in the set, 0 .. 7. With `incarnation` it is the prefix of every storage key of this member. */
  readonly member: number
  readonly incarnation: number
  readonly hasher: Hasher
  /** How many of the newest commits keep undo records. */
  readonly rewindCommits: number
}

/** Description of a database: what `Qmdb.any(...)` returns. Pure; opening it needs a home. */
export interface MemberSpec<B, R> {
  /** Canonical text of everything that fixes the format: family, structure, codecs. Kept in the root record and compared at open. */
  readonly format: string
  /** Whether targets have a canonical root: those of the `current` family do. */
  readonly canonical: boolean
  /** Target of a freshly created database: it holds one commit. Genesis blocks commit to it (INV-39). */
  readonly initialTarget: (hasher: Hasher) => SyncTarget
  /** Changes that create the database in an empty place. Written with the set's root record. */
  readonly create: (home: MemberHome) => ReadonlyArray<Change>
  /**
   * Changes that create the database in an empty place with a copied state. Its root is whatever the copy gives: compare it.
   * Errors: throws `RangeError` or `DecodeError` on what is no state of this format. Cost: a hash per operation, and memory
   * for all of them.
   */
  readonly restore: (home: MemberHome, copy: StateCopy) => ReadonlyArray<Change>
  /** An encoded operation as data. Throws `DecodeError`. */
  readonly decodeOperation: (operation: Uint8Array) => unknown
  /** Opens what `create` or a flush left. Throws `MemberCorrupt` or a storage error. */
  readonly open: (home: MemberHome) => Member<B, R>
}

/** Maps of an environment that members spill to. */
export const SCRATCH_MAPS = ["log", "nodes", "owners"] as const

/** Storage maps that members need; the set opens its environment with these and its own. */
export const MEMBER_MAPS = ["log", "nodes", "owners", "slots", "keys", "meta"] as const
