/**
 * Databases that move together: one fork, one verdict, one durable write.
 *
 *   pending layers        C  C'  D          one per speculative block
 *   applied layers     B1 <- B2             finalized, readable, flush in flight
 *   storage            at the durable anchor
 *
 * Terms: the *set* is the named members of an application. A *sealed set* is one layer of every member, made by the same
 * block. The *anchor row* of a height keeps {digest, round, targets} of a finalized block for the rewind window.
 *
 * Invariant: the members of a set and their anchor become durable in one storage write, or none of them does. The tip of
 * every member belongs to the same block.
 */
import type { Anchor, Height } from "@coppice/consensus"
import type { MemberSpec, StateCopy } from "@coppice/qmdb"
import type { Effect, Scope } from "effect"
import type { BatchOf, ReaderOf, Targets } from "./application.ts"
import type { FlushError, HeightNotRetained, SealError } from "./errors.ts"

/** Named member descriptions, one to eight. */
// biome-ignore lint/suspicious/noExplicitAny: a set holds members of any batch and reader type
export type Databases = { readonly [name: string]: MemberSpec<any, any> }

/** One open batch per member, by name. */
export type Batches<M extends Databases> = { readonly [K in keyof M]: BatchOf<M[K]> }

/** One reader per member, by name. */
export type Readers<M extends Databases> = { readonly [K in keyof M]: ReaderOf<M[K]> }

/** The state after one block: one layer of every member. Identity matters. */
export interface SealedSet<M extends Databases> {
  /** Number unique within its set and process. */
  readonly id: number
  readonly targets: Targets<M>
  /** Bytes of memory held until it is flushed or closed; fewer once it is spilled. */
  readonly bytes: number
}

/** Copied states of members, by name; undefined for one that was too large. */
export type StateCopies<M extends Databases> = { readonly [K in keyof M]: StateCopy | undefined }

/** What the rewind window keeps of one finalized height. */
export interface AnchorRow<M extends Databases> extends Anchor {
  readonly targets: Targets<M>
}

/**
 * The open databases of an application, for whoever reads or serves them beside an executor. Nothing here changes them: only
 * the executor applies, flushes and prunes. Synchronous, but for `lease`.
 *
 * Once a flush has failed the set is dead: `use` and `lease` fail then.
 */
export type ReadableSet<M extends Databases> = Pick<
  DatabaseSet<M>,
  "tip" | "anchor" | "durable" | "bytes" | "layers" | "rewindHeights" | "row" | "lease" | "use"
>

/**
 * The open databases of an application. All calls but `seal` and `flush` are synchronous.
 *
 * Once a flush has failed the set is dead: everything but `tip`, `anchor`, `durable` and the figures throws or fails with
 * `StorageDead`. Misuse that no input can cause (a foreign sealed set, two flushes at once) throws an Error.
 */
export interface DatabaseSet<M extends Databases> {
  /** State of the newest applied block. */
  readonly tip: SealedSet<M>
  /** The newest applied block. */
  readonly anchor: Anchor
  /** The newest block whose state is durable. */
  readonly durable: Anchor
  /** Bytes held by all un-flushed layers. */
  readonly bytes: number
  /** Un-flushed layers, applied and pending. */
  readonly layers: number
  /** Finalized heights, the newest included, that keep a row and can be gone back to. */
  readonly rewindHeights: number
  /** Opens one batch per member over a state. Throws `StaleBatch`. */
  readonly openBatches: (parent: SealedSet<M>) => Batches<M>
  /** Seals the batches of one `openBatches`, all members, in slices. Consumes them. Interruptible without trace. */
  readonly seal: (batches: Batches<M>) => Effect.Effect<SealedSet<M>, SealError>
  /** Discards open batches. Closing twice, or after sealing, is fine. */
  readonly closeBatches: (batches: Batches<M>) => void
  /** True when every member's target equals the given one, byte for byte. */
  readonly matches: (sealed: SealedSet<M>, targets: Targets<M>) => boolean
  /**
   * Makes a child of the tip the new tip, as the state of `anchor`, one height up. Everything that does not descend from
   * it is closed in the same call. Not durable. Throws `StaleBatch`, and changes nothing, when the sealed set is closed.
   */
  readonly apply: (sealed: SealedSet<M>, anchor: Anchor) => void
  /** Closes a pending sealed set and everything over it. Closing twice is fine. */
  readonly close: (sealed: SealedSet<M>) => void
  /**
   * Makes everything applied when it starts durable, in one write with the anchor and its row; succeeds with the anchor
   * that is durable now. At most one runs at a time. Uninterruptible. A failure is final: the
   * set is dead.
   */
  readonly flush: Effect.Effect<Anchor, FlushError>
  /**
   * Moves the operations and Merkle nodes of states to scratch, where they are read from then on, and removes there what
   * flushed and closed states had. Gives the bytes of memory that each of the states takes then; they stay as they are
   * without scratch, and where its volume has less than `SCRATCH_BYTES_FREE_MIN` left. At most one runs at a time.
   *
   * Errors: those of scratch, after which what was spilled cannot be read. Not durable. Uninterruptible.
   */
  readonly spill: (states: ReadonlyArray<SealedSet<M>>) => Effect.Effect<ReadonlyArray<number>, FlushError>
  /**
   * Forgets, in every member, what no state from a height on needs: from then on nothing below its targets' starts can be
   * read, proven or synced from. The boundaries move in one write; rows go in slices after it, between flushes. What a
   * lease holds stays; a later call forgets it.
   *
   * Errors: `HeightNotRetained` unless the height is durable and has a row; like `flush` otherwise. Interruptible between slices.
   */
  readonly prune: (height: Height) => Effect.Effect<void, HeightNotRetained | FlushError>
  /**
   * Goes back to a durable height of the rewind window: databases, anchor and rows become what they were, in one write.
   * For operators, on a set that nothing executes on: what is applied is flushed, what is pending closes.
   *
   * Errors: `HeightNotRetained`, also where more than that height allows has been pruned; like `flush` otherwise.
   * Uninterruptible. Cost: in proportion to the blocks discarded.
   */
  readonly rewind: (height: Height) => Effect.Effect<Anchor, HeightNotRetained | FlushError>
  /**
   * Keeps what the state of a height needs from being pruned until the scope closes: for proofs, serving and export, which
   * read by location over many turns. Holds no transaction.
   *
   * Errors: `HeightNotRetained` unless the height is durable, has a row and has not been pruned.
   */
  readonly lease: (height: Height) => Effect.Effect<AnchorRow<M>, HeightNotRetained, Scope.Scope>
  /** Row of a finalized height: inside the rewind window, or newer than what is durable. */
  readonly row: (height: Height) => AnchorRow<M> | undefined
  /**
   * Encoded operations that the block of a sealed set has appended to each member, copied: from the first on, as many as
   * `bytesMax` allows a member. Throws `StaleBatch` unless the set is un-flushed and living.
   */
  readonly appended: (sealed: SealedSet<M>, bytesMax: number) => { readonly [K in keyof M]: ReadonlyArray<Uint8Array> }
  /**
   * Copies a living state of every member whose operations fit into what is left of `bytesMax`, in declared order. In slices;
   * interruptible. Errors: `StaleBatch` as soon as its branch has lost.
   */
  readonly copy: (sealed: SealedSet<M>, bytesMax: number) => Effect.Effect<StateCopies<M>, SealError>
  /** Every read outside the executor goes through here. `read` sees the applied tip for the length of `fn`, synchronously. */
  readonly use: <A>(capability: "read", fn: (readers: Readers<M>, anchor: Anchor) => A) => A
}
