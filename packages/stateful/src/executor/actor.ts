/**
 * The executor: an Effect actor around the pure core.
 *
 *   port.propose, port.verify --+                      +--> hooks, ancestry, block source   (fibers, one per job)
 *   port.finalized -------------+--> mailbox --> core --+--> set.apply, set.close, acks      (at once, same turn)
 *   settled jobs ---------------+                      +--> replies
 *
 * Terms: a *turn* takes one event from the mailbox, steps the core and carries out its effects in their order. A *job* is
 * work outside the turn; its result comes back as an event, and the core may refuse it.
 *
 * Invariant: only turns touch the core and the set's tip, and nothing in a turn waits. So a request that waits, for ever
 * if need be, delays no finalization and no other request (INV-42).
 */
import type { Anchor, Block, BlockSource, ExecutorPort } from "@coppice/consensus"
import { Effect, type Scope } from "effect"
import type { Application } from "../application.ts"
import type { DatabaseSet, Databases } from "../database-set.ts"
import type { FatalError, StartupError } from "./errors.ts"

/** What the executor may hold. */
export interface ExecutorLimits {
  /** Pending blocks whose state is held. */
  readonly pendingEntriesMax: number
  /** Bytes of all un-flushed states, pending and applied. Exceeded at most by the results of jobs already running. */
  readonly pendingBytesMax: number
  /** Proposals and verifications at work; further callers wait. */
  readonly requestsMax: number
}

/** Parts of an executor. */
export interface ExecutorOptions<B extends Block, M extends Databases> {
  readonly application: Application<B, M>
  readonly set: DatabaseSet<M>
  readonly source: BlockSource<B>
  /** Defaults are in `limits.ts`. */
  readonly limits?: Partial<ExecutorLimits>
}

/** What the executor is doing. Counters start at zero with the executor. */
export interface ExecutorStatus {
  /** Newest applied block. */
  readonly tip: Anchor
  /** Newest block whose state survives power loss. */
  readonly durable: Anchor
  readonly pendingEntries: number
  readonly pendingBytes: number
  /** Open proposals and verifications, those below included. */
  readonly requests: number
  /** Requests whose data source ended; they wait for their caller to leave. */
  readonly parked: number
  /** Requests that wait for room in the pending budget. */
  readonly waiting: number
  /** Finalized blocks delivered and not acknowledged. */
  readonly unacked: number
  /** Pending blocks dropped because another branch was finalized. */
  readonly forksPruned: number
  /** Blocks executed again, for recovery or finalization. */
  readonly replayed: number
  /** Pending blocks dropped to keep the budget. */
  readonly evicted: number
  readonly flushes: number
  /** Duration of the newest completed flush. */
  readonly flushSecondsLast: number
}

/** A running executor. It lives as long as its scope. */
export interface Executor<B extends Block, M extends Databases> {
  readonly port: ExecutorPort<B>
  readonly status: Effect.Effect<ExecutorStatus>
  /** Waits for the end: fails with the fatal error, succeeds after a clean shutdown. */
  readonly stopped: Effect.Effect<void, FatalError>
  readonly set: DatabaseSet<M>
}

/**
 * Starts an executor over an open set, at the set's anchor.
 *
 * Errors: see `StartupError`; later ones end the executor and come out of `stopped`. Closing the scope stops it: requests
 * fail with `ExecutorStopped`, unreleased acks are cancelled.
 */
const make = <B extends Block, M extends Databases>(
  options: ExecutorOptions<B, M>,
): Effect.Effect<Executor<B, M>, StartupError, Scope.Scope> => Effect.die(options)

/** Starts executors: `Executor.make(options)`. */
export const Executor = { make } as const
