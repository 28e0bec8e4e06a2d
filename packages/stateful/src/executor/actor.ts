/**
 * The executor: an Effect actor around the pure core.
 *
 *   port.propose, port.verify --+                       +--> hooks, ancestry, block source   (a fiber per job)
 *   port.finalized -------------+--> mailbox --> core --+--> set.apply, set.close, acks      (at once, same turn)
 *   settled jobs ---------------+                       +--> answers
 *
 * Terms: a *turn* takes one event from the mailbox, steps the core and carries out its actions in their order. A *job* is
 * work outside the turn; its result comes back as an event, and the core may refuse it.
 *
 * Invariant: only turns touch the core and the set's tip, and a turn is synchronous. So nothing that waits, for ever if
 * need be, delays a finalization or an ack; and no request waits for one that is held (INV-42). A hook that abstains is at
 * work: it keeps its place (`places.ts`) and its room (`budget.ts`) until its caller leaves. A mailbox holds what has come
 * since the last turn: per caller a request and its leave, per job a result, and the ack window of finalized blocks.
 */
import {
  type Anchor,
  type Block,
  type BlockSource,
  type ExecutorPort,
  type ExecutorStopped,
  Height,
} from "@coppice/consensus"
import type { Digest } from "@coppice/crypto"
import { LAYERS_MAX } from "@coppice/qmdb"
import { Clock, Context, Deferred, Effect, Metric, Random, Scheduler, type Scope, Tracer } from "effect"
import type { Application } from "../application.ts"
import type { DatabaseSet, Databases, ReadableSet } from "../database-set.ts"
import {
  HELD_VERIFICATIONS_MAX,
  PENDING_BYTES_MAX,
  PENDING_ENTRIES_MAX,
  PROPOSALS_MAX,
  SPILLED_BYTES_MAX,
  SPILLED_ENTRIES_MAX,
  VERIFICATIONS_MAX,
} from "../limits.ts"
import type { CoreFigures } from "./core.ts"
import { type FatalError, FlushFailed } from "./errors.ts"
import { announceMetrics, executorMetrics } from "./metrics.ts"
import { Pace } from "./pace.ts"
import { pruneSchedule } from "./pruning.ts"
import { Shell } from "./shell.ts"

/** What the executor may hold. */
export interface ExecutorLimits {
  /** Pending blocks whose whole state is in memory. */
  readonly pendingEntriesMax: number
  /** Bytes of memory of all un-flushed states, pending and applied. Exceeded at most by the results of jobs already running. */
  readonly pendingBytesMax: number
  /** Pending blocks that are spilled beside those. A set without scratch spills none. */
  readonly spilledEntriesMax: number
  /** Bytes of them in scratch. */
  readonly spilledBytesMax: number
  /** Verifications at work; further ones wait for a place. Exceeded at most by parked ones that go on. */
  readonly verificationsMax: number
  /**
   * Verifications held beside those: parked, or waiting for a place, for room, or for databases. Further ones are never
   * answered, and fail at the end of the executor; their callers decide how long to wait.
   */
  readonly heldVerificationsMax: number
  /** Open proposals; further ones are declined at once. */
  readonly proposalsMax: number
}

/** Parts of an executor. */
export interface ExecutorOptions<B extends Block, M extends Databases> {
  readonly application: Application<B, M>
  readonly set: DatabaseSet<M>
  readonly source: BlockSource<B>
  /** Defaults are in `limits.ts`. */
  readonly limits?: Partial<ExecutorLimits>
  /** Without it nothing is ever forgotten. Nobody else may prune what it prunes. */
  readonly pruning?: Pruning
  /**
   * The set came from state sync in this process: no hook of an earlier lifetime was missed, blocks below its anchor
   * are delivered for their hook and ack although no row vouches for them, and nothing is pruned before `complete`.
   */
  readonly covered?: boolean
}

/** Automatic pruning of the set, to what it can go back to, and of the marshal's blocks; see `pruning.ts`. */
export interface Pruning {
  /** Heights from one prune to the next; at least 1. */
  readonly interval: number
  /** Without it blocks are kept for ever. */
  readonly marshal?: {
    /** Finalized blocks to keep, the newest durable one included: at least the set's `rewindHeights`. */
    readonly blocks: number
    /** Forgets the finalized blocks below a height. */
    readonly prune: (height: Height) => Effect.Effect<void>
  }
}

/** What the executor is doing: the core's figures, and its flushes. */
export interface ExecutorStatus extends CoreFigures {
  readonly flushes: number
  /** Duration of the newest completed flush. */
  readonly flushSecondsLast: number
}

/** The newest applied block and the blocks above it whose state is held, parents before their children. */
export interface PendingTree {
  readonly tip: Anchor
  readonly blocks: ReadonlyArray<{ readonly anchor: Anchor; readonly parent: Digest }>
}

/** A running executor. It lives as long as its scope. */
export interface Executor<B extends Block, M extends Databases> {
  readonly port: ExecutorPort<B>
  readonly status: Effect.Effect<ExecutorStatus>
  /** What is pending, as of one turn. */
  readonly pending: Effect.Effect<PendingTree>
  /** Waits for the end: fails with the fatal error, succeeds after a clean shutdown. */
  readonly stopped: Effect.Effect<void, FatalError>
  /** Tells it that the plan of a `covered` set is complete: nothing is pruned before. */
  readonly complete: Effect.Effect<void>
  readonly set: ReadableSet<M>
  /** The set, for whoever reads or serves it while the executor lives. */
  readonly databases: Effect.Effect<ReadableSet<M>, ExecutorStopped>
}

const limitsOf = (given: Partial<ExecutorLimits> = {}): ExecutorLimits => {
  const limits = {
    pendingEntriesMax: PENDING_ENTRIES_MAX,
    pendingBytesMax: PENDING_BYTES_MAX,
    spilledEntriesMax: SPILLED_ENTRIES_MAX,
    spilledBytesMax: SPILLED_BYTES_MAX,
    verificationsMax: VERIFICATIONS_MAX,
    heldVerificationsMax: HELD_VERIFICATIONS_MAX,
    proposalsMax: PROPOSALS_MAX,
    ...given,
  }
  for (const [name, value] of Object.entries(limits)) {
    if (!Number.isSafeInteger(value) || value < 1) throw new RangeError(`${name} must be at least 1, got ${value}`)
  }
  const { pendingEntriesMax, spilledEntriesMax, verificationsMax, heldVerificationsMax, proposalsMax } = limits
  const layers = pendingEntriesMax + spilledEntriesMax + verificationsMax + heldVerificationsMax + proposalsMax
  if (layers > LAYERS_MAX)
    throw new RangeError(`the limits allow ${layers} layers, a database has at most ${LAYERS_MAX}`)
  return limits
}

const scheduleOf = Effect.fnUntraced(function* <B extends Block, M extends Databases>({
  pruning,
  set,
  source,
}: ExecutorOptions<B, M>) {
  const { pendingAcksMax } = source
  const { rewindHeights } = set
  if (rewindHeights <= pendingAcksMax) {
    throw new RangeError(`the set goes back ${rewindHeights} heights, the ack window needs ${pendingAcksMax + 1}`)
  }
  if (pruning === undefined) return undefined
  const offset = yield* Random.nextIntBetween(0, Math.max(1, pruning.interval) - 1)
  return pruneSchedule(
    { interval: pruning.interval, marshalBlocks: pruning.marshal?.blocks ?? rewindHeights },
    set,
    offset,
  )
})

/** What an earlier executor applied over the same open set and did not flush becomes durable. */
const flushLeftovers = <M extends Databases>(set: DatabaseSet<M>): Effect.Effect<void, FlushFailed> => {
  const applied = set.anchor.height
  const durable = set.durable.height
  if (durable === applied) return Effect.void
  return Effect.mapError(Effect.asVoid(set.flush), (cause) => new FlushFailed({ durable, applied, cause }))
}

/**
 * Repeats the `finalized` hook for blocks that are durable here and were not acknowledged when the last lifetime ended:
 * delivery starts after the anchor, and the end may have come before their hook. At most the ack window, and what the
 * source still holds without a gap.
 */
const repeatHooks = Effect.fnUntraced(function* <B extends Block, M extends Databases>(
  { set, source }: ExecutorOptions<B, M>,
  shell: Shell<B, M>,
) {
  const anchor = set.anchor.height
  const processed = (yield* source.processedHeight) ?? 0
  const missed: B[] = []
  for (let height = anchor; height > Math.max(processed, anchor - source.pendingAcksMax); height--) {
    const block = yield* source.finalizedAt(Height(height))
    if (block === undefined) break
    missed.unshift(block)
  }
  for (const block of missed) yield* shell.repeat(block)
})

/**
 * Starts an executor over an open set, at the set's anchor. Succeeds once the `finalized` hooks that the last lifetime may
 * have missed have run; delivery starts only then, or a second crash could lose them.
 *
 * Errors: what stops it while it starts. Later errors end the executor and come out of `stopped`.
 * Cancellation: closing the scope stops it. Requests fail with `ExecutorStopped`, unreleased acks are cancelled, hooks are
 * interrupted, a running flush is waited for. The set stays open.
 */
const make = <B extends Block, M extends Databases>(
  options: ExecutorOptions<B, M>,
): Effect.Effect<Executor<B, M>, FatalError, Scope.Scope> =>
  Effect.gen(function* () {
    const limits = limitsOf(options.limits)
    const schedule = yield* scheduleOf(options)
    const context = Context.omit(Tracer.ParentSpan)(yield* Effect.context<never>())
    announceMetrics(context)
    yield* flushLeftovers(options.set)
    const ended = yield* Deferred.make<void, FatalError>()
    const clock = yield* Clock.Clock
    const shell = new Shell(
      options,
      { limits, schedule },
      {
        clock,
        pace: new Pace(yield* Scheduler.Scheduler, clock),
        context,
        ended,
      },
    )
    yield* Effect.addFinalizer(() => shell.shutdown)
    if (options.covered !== true) {
      yield* Effect.raceFirst(repeatHooks(options, shell), Deferred.await(ended))
      yield* Metric.update(executorMetrics.syncDone, 1)
    }
    return {
      port: {
        propose: (context, ancestry) => shell.ask("propose", context, ancestry),
        verify: (context, ancestry) => shell.ask("verify", context, ancestry),
        finalized: (block, ack) => shell.finalized(block, ack),
      },
      status: Effect.sync(() => shell.status),
      pending: Effect.sync(() => shell.pending),
      stopped: Deferred.await(ended),
      complete: Effect.sync(() => shell.complete()),
      set: options.set,
      databases: Effect.suspend(() => (shell.end === undefined ? Effect.succeed(options.set) : Effect.fail(shell.end))),
    }
  })

/** Starts executors: `Executor.make(options)`. */
export const Executor = { make } as const
