/**
 * The port between a consensus engine and the executor.
 *
 *   engine --- propose / verify ---> ExecutorPort        (jobs; interrupting the call's fiber cancels the job)
 *   marshal -- finalized + ack ----> ExecutorPort        (ordered by height, at least once across restarts)
 *   executor - blocks -------------> BlockSource         (marshal: local store, then peers)
 *
 * Terms: *no proposal* = the leader declines its turn; *abstain* = `verify` does not succeed until its caller gives up.
 *
 * Invariant: `verify` succeeds with `false` only for provable invalidity or for a branch that a finalization excluded.
 * Missing data, overload, cancellation and shutdown never become `false`.
 */
import type { Digest } from "@coppice/crypto"
import type { ConsensusContext, Height, Round } from "@coppice/verify/certificate"
import { Data, type Effect } from "effect"
import type { Anchor, Block } from "./block.ts"

/**
 * A lazy walk towards genesis: for `verify` candidate, parent, grandparent ...; for `propose` parent, grandparent ...
 *
 * `next` succeeds with the following block, or with undefined once the stream has ended (after genesis, or because no
 * source can supply more: *incomplete*, which is never evidence of invalidity). It may wait for ever. Interruptible.
 */
export interface Ancestry<B extends Block> {
  readonly next: Effect.Effect<B | undefined>
}

/**
 * One-shot token of a delivered finalized block. Exactly one of the two is called, once; a second call throws.
 *
 * `acknowledge`: the block's effects are durable. `cancel`: the executor is going down; the block is redelivered after
 * the restart.
 */
export interface Ack {
  readonly acknowledge: () => void
  readonly cancel: () => void
}

/** The executor stopped; no verdict was reached. `cause` is the fatal error, or undefined on a clean shutdown. */
export class ExecutorStopped extends Data.TaggedError("ExecutorStopped")<{ readonly cause: unknown }> {}

/** What an engine asks of the executor. */
export interface ExecutorPort<B extends Block> {
  /** Builds a block on the first block of `ancestry`, or succeeds with undefined: no proposal. */
  readonly propose: (context: ConsensusContext, ancestry: Ancestry<B>) => Effect.Effect<B | undefined, ExecutorStopped>
  /** Judges the first block of `ancestry`. Stays pending to abstain. */
  readonly verify: (context: ConsensusContext, ancestry: Ancestry<B>) => Effect.Effect<boolean, ExecutorStopped>
  /** Delivers a finalized block. Returns at once; the ack is the answer. */
  readonly finalized: (block: B, ack: Ack) => Effect.Effect<void, ExecutorStopped>
}

/** What the executor and its startup may ask of the marshal. */
export interface BlockSource<B extends Block> {
  /** Finalized block at a height, from the local store; undefined when not (or no longer) held. */
  readonly finalizedAt: (height: Height) => Effect.Effect<B | undefined>
  /** Any locally known block of that digest. */
  readonly byDigest: (digest: Digest) => Effect.Effect<B | undefined>
  /** Parent of a block: local, else fetched from peers. Undefined when no source can ever supply it. May wait. Interruptible. */
  readonly parentOf: (block: B) => Effect.Effect<B | undefined>
  /** Highest height whose acknowledgement is durable; undefined before the first. */
  readonly processedHeight: Effect.Effect<Height | undefined>
  /** How many finalized blocks may be delivered and not yet acknowledged. */
  readonly pendingAcksMax: number
}

/** A consensus event that the executor may show but never acts on: the newest finalization known, maybe far ahead. */
export interface TipUpdate extends Anchor {
  readonly finalizedRound: Round
}
