/**
 * The marshal: turns a lossy, unordered supply of blocks and certificates into an ordered, durable, at-least-once stream.
 *
 *   engine -- proposed / verified / notarized / report --> marshal -- finalized + ack --> executor
 *   peers  <-- request / serve ------------------------->    |    <-- block lookups ----- executor
 *                                                        storage
 *
 * Terms: *processed* = acknowledged by the executor and recorded durably. *Tip* = the highest finalized block held here. A
 * *floor* is the final block that a node begins with instead of genesis.
 *
 * Invariant: a block is delivered once per lifetime, in height order after the executor's anchor, only after it is
 * durable here, with at most `pendingAcksMax` acknowledgements outstanding (CONS-13, CONS-14, CONS-16).
 */
import type { Digest } from "@coppice/crypto"
import type { Finalization, Height, Round } from "@coppice/verify/certificate"
import type { Effect } from "effect"
import type { Anchor, Block, BlockCodec } from "../block.ts"
import type { InvalidFinalization, MarshalFailure, MarshalStopped } from "../errors.ts"
import type { Ancestry, BlockSource, ExecutorPort, TipUpdate } from "../port.ts"
import type { Floor } from "./state.ts"
import type { BlockRequest, BlockTransport } from "./transport.ts"

/** What a marshal is made of besides its environment. */
export interface MarshalOptions<B extends Block> {
  /** Name of the network: it separates signatures and environments. At most `CHAIN_ID_BYTES_MAX` bytes. */
  readonly chainId: string
  readonly genesis: B
  readonly codec: BlockCodec<B>
  /** Whether a finalization's certificate is good. Pure: `verifyFinalization` under the chain's participants. */
  readonly verify: (finalization: Finalization) => boolean
  readonly transport: BlockTransport
  /** Window of unacknowledged blocks, default `PENDING_ACKS_MAX`. */
  readonly pendingAcksMax?: number
}

/** What a waiting caller may cost: `wait` is for local arrivals alone, `fetch` also asks peers. */
export type Supply = "wait" | "fetch"

/** A running marshal. Reads never touch the network; one that storage fails stays pending, and the marshal stops. */
export interface Marshal<B extends Block> extends BlockSource<B> {
  /**
   * Begins delivery. Once. An executor with state begins with the block after `deliverAfter`, the one whose state is durable
   * in it. One without, that syncs its state from peers, gives none: it begins with the floor's own block, with genesis
   * where there is no floor, and later with the block after the last acknowledged one.
   *
   * Errors: `MarshalStopped`, because of `AnchorMismatch` when another block is final at that height, or of `DeliveryHole`
   * when a processed height after it is no longer held here.
   */
  readonly start: (
    executor: ExecutorPort<B>,
    options: { readonly deliverAfter: Anchor | undefined },
  ) => Effect.Effect<void, MarshalStopped>
  /** Ends with the marshal: succeeds after a clean stop (a cancelled ack, a stopped executor), fails with its failure. */
  readonly stopped: Effect.Effect<void, MarshalFailure>
  /** Stores our own proposal; succeeds when it is durable. The first block of a round wins; a later one is ignored. */
  readonly proposed: (round: Round, block: B) => Effect.Effect<void, MarshalStopped>
  /** Stores a block we are about to vote for; as `proposed`, and in the same place. */
  readonly verified: (round: Round, block: B) => Effect.Effect<void, MarshalStopped>
  /** Stores a block that a quorum voted for. Apart from `verified`: an equivocating leader can make the two differ. */
  readonly notarized: (round: Round, block: B) => Effect.Effect<void, MarshalStopped>
  /** The block that `proposed` or `verified` stored first for a round. */
  readonly verifiedAt: (round: Round) => Effect.Effect<B | undefined>
  /**
   * Takes a finalization in, in any order and repeatedly; succeeds when it is durable. An unknown block is fetched.
   * Errors: `InvalidFinalization` when its certificate does not verify; nothing is stored.
   */
  readonly report: (finalization: Finalization) => Effect.Effect<void, InvalidFinalization | MarshalStopped>
  /**
   * Begins at the final block that a certificate names, instead of what lies before it: delivery goes on with that very
   * block, and what is below is let go. While its block is on the way, nothing is delivered or repaired and no progress is
   * recorded. Ignored unless newer than what is processed and than a floor before it. Succeeds when it is durable; after a
   * restart it need not be given again.
   *
   * Not for an executor that stands on state of its own: for it the jump is a hole.
   * Errors: `InvalidFinalization` when the certificate does not verify; nothing is stored.
   */
  readonly setFloor: (floor: Finalization) => Effect.Effect<void, InvalidFinalization | MarshalStopped>
  /** The installed floor; undefined on a node that began with genesis, or whose floor's block is still on the way. */
  readonly floor: Effect.Effect<Floor | undefined>
  /**
   * Lets go of final blocks and certificates below a height, in slices, also after a restart. Ignored when the height is
   * above the processed one; the tip stays. A node cannot serve or deliver again what it let go.
   */
  readonly prune: (below: Height) => Effect.Effect<void, MarshalStopped>
  /**
   * These peers may have the certificate of a height, which nobody waits for: they alone are asked. A hint for the same
   * height adds its peers. Ignored when it is held or processed. Bounds: 1 to `HINT_TARGETS_MAX` peers, by identity key.
   */
  readonly hintFinalized: (height: Height, targets: ReadonlyArray<Uint8Array>) => Effect.Effect<void, MarshalStopped>
  /** A quorum voted in a round for a block that will be needed here: it is fetched, though nobody waits yet. */
  readonly hintNotarized: (round: Round, digest: Digest) => Effect.Effect<void, MarshalStopped>
  /** Certificate of a finalized height; undefined also for a block that became final through a descendant. */
  readonly finalizationAt: (height: Height) => Effect.Effect<Finalization | undefined>
  /** The highest finalized block held here. */
  readonly tip: Effect.Effect<TipUpdate>
  /** The newest certificate ever taken in, its block held or not; undefined before the first. */
  readonly newestFinalization: Effect.Effect<Finalization | undefined>
  /** The highest round of any block or certificate in the environment: an engine resumes above it. */
  readonly highestRound: Effect.Effect<Round>
  /**
   * Waits for a block by digest. `fetch` also asks peers: only for blocks known to be certified, never for a candidate
   * (CONS-19). Ends only with the block, the caller or the marshal (CONS-17). Bounds: one entry per waiting caller; at most
   * `FETCHES_MAX` fetches run at once, the others wait their turn.
   */
  readonly subscribe: (digest: Digest, supply: Supply) => Effect.Effect<B, MarshalStopped>
  /** Waits for the final block of a height. As `subscribe`; `fetch` finds also what was pruned here. */
  readonly subscribeFinalized: (height: Height, supply: Supply) => Effect.Effect<B, MarshalStopped>
  /** Waits for the block that a quorum voted for in a round. As `subscribe`, without asking peers. */
  readonly subscribeNotarized: (round: Round) => Effect.Effect<B, MarshalStopped>
  /** How many callers wait for a block at this moment. */
  readonly subscriptions: Effect.Effect<number>
  /**
   * Walks from `start`, included, to genesis, fetching what is missing: the parent of what was pulled is fetched before it is
   * asked for. `start` must be accepted: to build on or to judge.
   */
  readonly ancestry: (start: B) => Ancestry<B>
  /** Answers a peer's request from what is durable here; undefined: not held. */
  readonly serve: (request: BlockRequest) => Effect.Effect<Uint8Array | undefined>
}

/** What is left of a marshal to whoever works with a node that runs: where it begins and what it keeps is decided. */
export type RunningMarshal<B extends Block> = Omit<Marshal<B>, "start" | "setFloor" | "prune">
