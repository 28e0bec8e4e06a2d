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
import type { Block, BlockCodec, ExecutorPort, Marshal } from "@coppice/consensus"
import type { Digest, Ed25519 } from "@coppice/crypto"
import { Data, type Effect, type Scope } from "effect"
import type { ConsensusSchedule } from "./schedule.ts"

/** Keys of one validator. The simulation holds them all. */
export interface Validator {
  readonly publicKey: Uint8Array
  readonly secretKey: Uint8Array
}

/** A node that is up. */
export interface NodeHandle<B extends Block> {
  readonly executor: ExecutorPort<B>
  readonly marshal: Marshal<B>
}

/** How the simulation restarts nodes. Both are run in their own fiber; `up` ends by calling `join`. */
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
  /** Corrupted blocks proposed. */
  readonly corrupted: number
  /** Proposals that a quorum did not accept. */
  readonly rejected: number
  /** Turns a leader declined or did not answer. */
  readonly declined: number
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
  /** In any order; node `i` is the i-th of these. */
  readonly validators: ReadonlyArray<Validator>
  readonly ed25519: Ed25519
  /** Seed of the oracle's decisions. */
  readonly seed: number
  readonly schedule: ConsensusSchedule
  /** A bad block in place of an honest one, for views where the schedule asks for it. It must differ in digest. */
  readonly corrupt?: (block: B, leader: number) => B
  readonly control?: NodeControl
}

/** The running simulation. */
export interface SimulatedConsensus<B extends Block> {
  /** A node is up: it is asked and told from now on, and told the newest finalization first. */
  readonly join: (index: number, node: NodeHandle<B>) => Effect.Effect<void>
  /** A node is down: its requests under way are interrupted, nothing reaches it any more. */
  readonly leave: (index: number) => Effect.Effect<void>
  /** Drives views until interrupted. Resumes above the highest round that the joined nodes know. Once. */
  readonly run: Effect.Effect<never, VerdictsDiverged>
  readonly statistics: Effect.Effect<ConsensusStatistics>
}

/** Creates a simulation without nodes. Its fibers end with the scope. */
export declare const makeSimulatedConsensus: <B extends Block>(
  options: SimulatedConsensusOptions<B>,
) => Effect.Effect<SimulatedConsensus<B>, never, Scope.Scope>
