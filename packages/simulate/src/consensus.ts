/**
 * Simulated consensus: n validators driven by a scripted oracle instead of a voting protocol.
 *
 *   oracle --- propose / verify ---> executor (one per node)
 *          --- proposed / verified / notarized / report ---> marshal (one per node)
 *
 * It decides each view's leader, parent and fate from its seed, asks real executors, counts their real verdicts and signs
 * a real certificate for what it finalizes. Time and chance are Effect's Clock and Random, so the same code runs in
 * virtual time under `simulate` and in real time in a devnet.
 *
 * Invariant: no impossible history (spec consensus §6.1): parents are certified, every skipped view is nullified, one
 * notarized payload per view, no view both finalized and nullified, the finalized chain is a chain.
 */
import type { Block, BlockCodec, Round, ValidatorNode } from "@coppice/consensus"
import type { Digest, Ed25519, KeyPair } from "@coppice/crypto"
import { Data, type Effect } from "effect"
import type { Links } from "./links.ts"
import type { BadBlock, ConsensusSchedule, Fault } from "./schedule.ts"

/** Runs work with a node the way the node runs. */
export type Runs = <A, E>(work: Effect.Effect<A, E>) => Effect.Effect<A, E>

/** What a node lets out for a round: its proposal, or its vote for a block. */
export interface Saying {
  readonly round: Round
  readonly digest: Digest
}

/** How the simulation restarts nodes: each runs in its own fiber, `down` before `up`; `up` ends by calling `join`. */
export interface NodeControl {
  readonly down: (index: number) => Effect.Effect<void>
  readonly up: (index: number) => Effect.Effect<void>
}

/** What happened so far. */
export interface ConsensusStatistics {
  readonly views: number
  readonly notarized: number
  readonly nullified: number
  /** Views both notarized and nullified. */
  readonly split: number
  /** Blocks built on a parent that already had a notarized child. */
  readonly forks: number
  /** Certificates signed. */
  readonly finalizations: number
  /** Blocks that became final, those through a descendant included. */
  readonly finalizedBlocks: number
  /** Most blocks that one certificate made final. */
  readonly finalizedAtOnceMax: number
  /** Turns of corrupt leaders that proposed. */
  readonly corrupted: number
  /** Votes against a block, by provable invalidity. */
  readonly refused: number
  /** Proposals that a quorum did not accept in time. */
  readonly rejected: number
  /** Turns a leader declined or did not take in time. */
  readonly declined: number
  /** Votes for blocks that the voter did not look at. */
  readonly blindVotes: number
  readonly restarts: number
}

/** Honest executors disagreed about one block: a non-deterministic application or a broken executor. */
export class VerdictsDiverged extends Data.TaggedError("VerdictsDiverged")<{
  readonly view: number
  readonly digest: Digest
  readonly accepted: ReadonlyArray<number>
  readonly refused: ReadonlyArray<number>
}> {}

/** What the simulation is made of. */
export interface SimulatedConsensusOptions<B extends Block> {
  readonly chainId: string
  readonly genesis: B
  readonly codec: BlockCodec<B>
  /** The keys of all validators; node `i` is the i-th of these, whatever its index among the participants. */
  readonly validators: ReadonlyArray<KeyPair>
  readonly ed25519: Ed25519
  /** Seed of the script. */
  readonly seed: number
  readonly schedule: ConsensusSchedule
  /** Asked once for every fault that is due, in order; one that is not allowed does not happen. All are when not given. */
  readonly allows?: (fault: Fault) => boolean
  /** A bad block in place of an honest one, for views where the script asks for it. It must differ in digest. */
  readonly corrupt?: (block: B, how: BadBlock) => B
  /** What carries blocks, votes and certificates; by the schedule's latency and without loss when not given. */
  readonly links?: Links
  readonly control?: NodeControl
  /**
   * Runs where an honest proposal or vote leaves its node, as a part of that node, before anybody is sent it: while it does
   * not end, nothing leaves. A blind vote and what a corrupt leader makes up are not asked about.
   */
  readonly leaves?: (index: number, node: ValidatorNode<B>, saying: Saying) => Effect.Effect<void>
}

/** The running simulation. */
export interface SimulatedConsensus<B extends Block> {
  /**
   * A node is up: it is asked and told from now on, and told the newest finalization first. What is done with it runs by
   * `runs`; that which never ends then is waited for no longer than until the node leaves.
   */
  readonly join: (index: number, node: ValidatorNode<B>, runs?: Runs) => Effect.Effect<void>
  /** A node is down: what was under way with it is interrupted, nothing reaches it any more. */
  readonly leave: (index: number) => Effect.Effect<void>
  /**
   * Drives views until interrupted; once. A quorum must have joined: it resumes after the newest finalization they know,
   * in a view above every round they hold.
   */
  readonly run: Effect.Effect<never, VerdictsDiverged>
  readonly statistics: Effect.Effect<ConsensusStatistics>
}
