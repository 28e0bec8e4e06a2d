/**
 * The contract a user implements: from blocks to database changes.
 *
 *   propose(context, ancestry, batches) -> block + sealed      build on the parent's state
 *   verify (context, ancestry, batches) -> sealed | undefined  judge a candidate
 *   apply  (block, batches)             -> sealed | undefined  execute again what was judged before
 *   finalized(block, readers, anchor)                          after the state is durable; readers may be ahead of it
 *
 * Terms: a *hook* is one of these four; it may be an Effect or a plain promise. The batches handed in read as the state
 * right after the parent block. *Abstain* = a verify that does not resolve until it is interrupted.
 *
 * Invariant: same inputs and same database state give the same sealed result on every node and every retry (INV-40): no
 * clock, no chance, no iteration order of the environment. All state that matters lives in the databases. Interrupting
 * and retrying a hook must violate nothing.
 */
import type { Ancestry, Anchor, Block, BlockCodec, ConsensusContext } from "@coppice/consensus"
import type { MemberSpec, SyncTarget } from "@coppice/qmdb"
import type { Effect } from "effect"
import type { Batches, Databases, Readers, SealedSet } from "./database-set.ts"
import { make } from "./make.ts"
import { upgrade } from "./upgrades.ts"

/** Result of a hook: an Effect (interruption cancels it) or a promise (the `signal` given to the hook cancels it). */
export type Hook<A> = Effect.Effect<A, unknown> | Promise<A>

/** What every executing hook gets besides its batches. */
export interface HookTools<M extends Databases> {
  /**
   * Seals the batches: resolves writes, computes roots. Consumes them; runs in slices.
   * Fails with `StaleBatch` when the branch lost meanwhile: let it fail the hook, the executor knows what it means.
   */
  readonly seal: (batches: Batches<M>) => Effect.Effect<SealedSet<M>, unknown>
  /** Aborted when the hook's result is no longer wanted. */
  readonly signal: AbortSignal
  /** A final height that the databases have reached; blocks below it may be forgotten. Not given outside an executor. */
  readonly durableHeight?: number
}

/** A block with the sealed state its header commits to. */
export interface Proposal<B extends Block, M extends Databases> {
  readonly block: B
  readonly sealed: SealedSet<M>
}

/** A replicated state machine. `B` is its block type, `M` its named databases. */
export interface Application<B extends Block, M extends Databases> {
  /** Short name, for directories, metrics and logs: `[a-z][a-z0-9-]*`. */
  readonly name: string
  /** The named members. Their declared order is part of the block format. */
  readonly databases: M
  /** Wire and disk form of blocks. */
  readonly codec: BlockCodec<B>
  /** The first block. Pure. Its targets must be the initial targets handed in (INV-39). */
  readonly genesis: (initial: Targets<M>) => B
  /** The targets a block's header commits to. Pure, synchronous, never throws. */
  readonly syncTargets: (block: B) => Targets<M>
  /**
   * Builds a block on the parent, the first item of `ancestry`. Undefined: cannot build now.
   * A result whose targets differ from its own block is fatal: `ProposalCommitmentMismatch` (F1).
   */
  readonly propose: (
    context: ConsensusContext,
    ancestry: Ancestry<B>,
    batches: Batches<M>,
    tools: HookTools<M>,
  ) => Hook<Proposal<B, M> | undefined>
  /**
   * Judges the first item of `ancestry`. Undefined: permanently invalid for this context and parent. Do not resolve while
   * the verdict can still change. Failing or throwing is fatal: `ApplicationFault`, never a silent `false`.
   */
  readonly verify: (
    context: ConsensusContext,
    ancestry: Ancestry<B>,
    batches: Batches<M>,
    tools: HookTools<M>,
  ) => Hook<SealedSet<M> | undefined>
  /** Executes a block again. Must give exactly what `verify` gave. Undefined: not executable (F13). */
  readonly apply: (block: B, batches: Batches<M>, tools: HookTools<M>) => Hook<SealedSet<M> | undefined>
  /**
   * Runs after the flush that covers the block, before its ack, in height order, at least once across crashes.
   *
   * Readers see the newest applied block, not `block`: execution waits for neither flush nor hook, so they are ahead by up to
   * the ack window, by another distance on every node and in every run. `anchor` names the block whose state they read, as of
   * its call; it moves on while the hook awaits. What must be the same on every node comes from `block`, or from reads with
   * `anchor().height === block.height` and nothing awaited in between.
   */
  readonly finalized?: (block: B, readers: Readers<M>, anchor: () => Anchor) => Hook<void>
}

/**
 * Makes applications: `Application.make({ name, databases, transaction, execute })`, and
 * `Application.upgrade(first, [{ from: height, application }])` for rules that change at a height.
 */
export const Application = { make, upgrade } as const

/** One target per member, by name. */
export type Targets<M extends Databases> = { readonly [K in keyof M]: SyncTarget }

/** Batch type of a member description. */
export type BatchOf<S> = S extends MemberSpec<infer B, infer _R> ? B : never
/** Reader type of a member description. */
export type ReaderOf<S> = S extends MemberSpec<infer _B, infer R> ? R : never
