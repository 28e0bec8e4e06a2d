/**
 * A node: its directory, environments, marshal and executor, started and stopped in order.
 *
 *   start   config --> lock --> environments --> root record --> marshal --> set, executor --> delivery after the anchor
 *                                                             '--------> join over state sync --> delivery from the floor
 *   stop    (consensus let go by whoever joined it) --> executor --> marshal --> environments --> lock
 *
 * Terms: a node *failed* when its executor or marshal stopped for a reason that only a person can settle.
 *
 * Invariant: a directory that is not this node's is refused before anything in it is written, and is left as it was. What
 * the node promised is durable at every point, so a process that dies instead of stopping loses nothing.
 */
import {
  type Block,
  type BlockTransport,
  type ExecutorPort,
  type Finalization,
  makeMarshal,
  type RunningMarshal,
  verifyFinalization,
} from "@coppice/consensus"
import type { Ed25519, Hasher, KeyPair, Participants } from "@coppice/crypto"
import { nodeEd25519, nodeHasher } from "@coppice/crypto/node"
import { SCRATCH_MAPS } from "@coppice/qmdb"
import type { Application, Databases, Executor, ExecutorLimits, JoinStatus, ReadableSet } from "@coppice/stateful"
import { Storage, type StorageError, type StorageInfo, type StorageShape } from "@coppice/storage"
import { openLmdb } from "@coppice/storage/lmdb"
import { Effect, Metric, type Scope } from "effect"
import { type NodeConfig, type NodePaths, scratchPath, writeConfig } from "./directory.ts"
import { divergenceFiles } from "./divergence-files.ts"
import { enter } from "./entry.ts"
import type { NodeFailure, NodeOpenError } from "./errors.ts"
import { explain } from "./explain.ts"
import { MARSHAL_BLOCKS, PRUNE_INTERVAL } from "./limits.ts"
import { announceHolder } from "./lock.ts"
import { announceMetrics } from "./metrics.ts"
import { beginDelivery, type Planned, type StateSync, startByPlan } from "./state-sync.ts"

/** Opens an environment in a directory of its own, which is created when it is missing. */
export type OpenEnvironment = (options: {
  readonly directory: string
  readonly maps: ReadonlyArray<string>
  /** Whether what an earlier process left in it goes first; nothing written needs to be durable then. */
  readonly scratch?: boolean
}) => Effect.Effect<StorageShape, StorageError, Scope.Scope>

/** Bounds of a node. */
export interface NodeLimits extends ExecutorLimits {
  /** Finalized blocks delivered and not yet acknowledged. */
  readonly pendingAcksMax: number
  /** Finalized heights that keep undo records. */
  readonly rewindHeights: number
  /** Heights from one prune to the next: what no height of either window needs is forgotten then. */
  readonly pruneInterval: number
  /**
   * Finalized blocks to keep for peers, the newest durable one included: at least `rewindHeights` (F61). Nothing is forgotten
   * before the chain is as long.
   */
  readonly marshalBlocks: number
}

/** What a node is made of. */
export interface NodeOptions<B extends Block, M extends Databases> {
  /** The node's own directory; it holds the secret key (see `keepSecret`). */
  readonly directory: string
  readonly application: Application<B, M>
  /** Name of the network: it separates signatures and environments. */
  readonly chainId: string
  /** The validators; a node whose key is not among them follows without a vote. */
  readonly participants: Participants
  /** How blocks are fetched from peers. */
  readonly transport: BlockTransport
  /** LMDB when not given. */
  readonly openEnvironment?: OpenEnvironment
  readonly limits?: Partial<NodeLimits>
  readonly hasher?: Hasher
  readonly ed25519?: Ed25519
  /** See `StartOptions`. */
  readonly development?: boolean
}

/** What every open node has. */
interface OpenNode<B extends Block, M extends Databases> {
  readonly paths: NodePaths
  readonly config: NodeConfig
  readonly keys: KeyPair
  readonly application: Application<B, M>
  readonly genesis: B
  readonly participants: Participants
  readonly marshal: RunningMarshal<B>
  /** Why the node failed; undefined while it works. */
  readonly failure: () => NodeFailure | undefined
  /** Fails when the node does. Whoever composed it closes its scope then. */
  readonly failed: Effect.Effect<never, NodeFailure>
  /** Sizes of its environments. */
  readonly disk: () => { readonly set: StorageInfo; readonly marshal: StorageInfo }
  /** Series of this node alone: nodes that share a process have one registry each. */
  readonly metrics: Metric.MetricRegistry
}

/** A running node. It lives as long as its scope. */
export interface RunningNode<B extends Block, M extends Databases> extends OpenNode<B, M> {
  readonly set: ReadableSet<M>
  readonly executor: Pick<Executor<B, M>, "port" | "status">
}

/** A node whose databases may still be on the way. It lives as long as its scope. */
export interface JoiningNode<B extends Block, M extends Databases> extends OpenNode<B, M> {
  /** What an engine asks, from the first moment on. */
  readonly port: ExecutorPort<B>
  /** How far state sync is; undefined on a node that needs none. */
  readonly joining: Effect.Effect<JoinStatus | undefined>
  /** The node once its databases are complete: at once where they were on disk. Interruptible. */
  readonly running: Effect.Effect<RunningNode<B, M>, NodeFailure>
}

/** What a node that may join is made of. */
export interface JoiningOptions<B extends Block, M extends Databases> extends NodeOptions<B, M> {
  readonly stateSync: StateSync<B, M>
}

const watch = Effect.fnUntraced(function* (ends: ReadonlyArray<Effect.Effect<void, NodeFailure>>) {
  let failure: NodeFailure | undefined
  const failed = Effect.raceAllFirst(ends.map((stopped) => Effect.andThen(stopped, Effect.never)))
  yield* Effect.forkScoped(
    Effect.catch(failed, (error) => {
      failure = error
      const { what, advice } = explain(error)
      return Effect.logError(`node stopped: ${what}. ${advice}`)
    }),
    { startImmediately: true },
  )
  return { failure: () => failure, failed }
})

/**
 * Opens a node in its directory and starts delivery.
 *
 * Errors: see `NodeOpenError`; `explain` says what to do. A refused directory is left as it was.
 * Cancellation: interruption and the closing of the scope stop it in order; at the end the directory is free again.
 */
export const openNode = Effect.fn("Node.open")(function* <B extends Block, M extends Databases>(
  options: NodeOptions<B, M>,
): Effect.fn.Return<RunningNode<B, M>, NodeOpenError, Scope.Scope> {
  const { node, planned } = yield* open(options, undefined)
  if (planned.tag !== "executing") throw new Error("node: nothing joins without state sync")
  return { ...node, ...planned.started }
})

/**
 * Opens a node that brings its databases from peers if its plan says so, and starts delivery. Waits for `stateSync.floor`
 * before; nothing of the node can be asked until then, and a probe warns as long as too few reply. Its port works from then
 * on: while it joins it declines to propose and holds verifications. An engine is to be joined before `running` is waited
 * for, since state sync follows what becomes final.
 *
 * Errors and cancellation as `openNode`; `InvalidFinalization` when the given floor does not verify. A node that is stopped
 * or dies while it joins goes on from its recorded floor at the next start.
 */
export const joinNode = Effect.fn("Node.join")(function* <B extends Block, M extends Databases>(
  options: JoiningOptions<B, M>,
): Effect.fn.Return<JoiningNode<B, M>, NodeOpenError, Scope.Scope> {
  const { node, planned } = yield* open(options, options.stateSync)
  const { port } = planned
  if (planned.tag === "executing") {
    const running = Effect.succeed({ ...node, ...planned.started })
    return { ...node, port, joining: Effect.succeed(undefined), running }
  }
  const { executor, status } = planned.joining
  const complete = Effect.map(executor, ({ set, status }) => ({ ...node, set, executor: { port, status } }))
  // Why the join has ended, or that it was stopped, is for `failed` to say.
  const running = Effect.raceFirst(
    Effect.catch(complete, () => Effect.never),
    node.failed,
  )
  return { ...node, port, joining: status, running }
})

const openIn = Effect.fnUntraced(function* <B extends Block, M extends Databases>(
  options: NodeOptions<B, M>,
  stateSync: StateSync<B, M> | undefined,
  metrics: Metric.MetricRegistry,
) {
  const { application, chainId, participants, transport, limits = {} } = options
  const { hasher = nodeHasher, ed25519 = nodeEd25519, development = false } = options
  let isAccepted = false
  const { paths, keys, genesis, config, held, setStorage, marshalStorage } = yield* enter(options, () => isAccepted)
  const { pendingAcksMax, rewindHeights, ...others } = limits
  const { pruneInterval = PRUNE_INTERVAL, marshalBlocks = MARSHAL_BLOCKS, ...executorLimits } = others
  const verify = (finalization: Finalization) => verifyFinalization(ed25519, participants, chainId, finalization)
  const marshal = yield* makeMarshal({
    chainId,
    genesis,
    codec: application.codec,
    verify,
    transport,
    ...(pendingAcksMax === undefined ? {} : { pendingAcksMax }),
  }).pipe(Effect.provideService(Storage, marshalStorage))
  const { openEnvironment = openLmdb } = options
  const directory = scratchPath(paths, application.name)
  const scratch = yield* openEnvironment({ directory, maps: SCRATCH_MAPS, scratch: true })
  const starting = startByPlan<B, M>({
    application,
    chainId,
    hasher,
    verify,
    storage: setStorage,
    scratch,
    source: marshal,
    limits: executorLimits,
    // That the marshal has stopped is for others to notice.
    pruning: {
      interval: pruneInterval,
      marshal: { blocks: marshalBlocks, prune: (height) => Effect.ignore(marshal.prune(height)) },
    },
    onDivergence: divergenceFiles(paths),
    development,
    ...(rewindHeights === undefined ? {} : { rewindHeights }),
    ...(stateSync === undefined ? {} : { stateSync }),
  })
  // Reads of a marshal that has failed never end, those of a starting executor too.
  const planned: Planned<B, M> = yield* Effect.raceFirst(starting, Effect.andThen(marshal.stopped, Effect.never))
  isAccepted = true
  if (held === undefined) yield* writeConfig(paths, config)
  yield* announceHolder(paths)
  const stopped = planned.tag === "executing" ? planned.started.executor.stopped : planned.joining.stopped
  const watched = yield* watch([stopped, marshal.stopped])
  yield* beginDelivery(marshal, planned).pipe(
    Effect.catchTag("MarshalStopped", ({ cause }) => (cause === undefined ? Effect.interrupt : Effect.fail(cause))),
  )
  const disk = () => ({ set: setStorage.info(), marshal: marshalStorage.info() })
  const node = { paths, config, keys, application, genesis, participants, marshal, ...watched, disk, metrics }
  return { node: node as OpenNode<B, M>, planned }
})

const open = <B extends Block, M extends Databases>(
  options: NodeOptions<B, M>,
  stateSync: StateSync<B, M> | undefined,
): Effect.Effect<{ readonly node: OpenNode<B, M>; readonly planned: Planned<B, M> }, NodeOpenError, Scope.Scope> =>
  Effect.suspend(() => {
    const metrics: Metric.MetricRegistry = new Map()
    return Effect.andThen(announceMetrics, openIn(options, stateSync, metrics)).pipe(
      Effect.provideService(Metric.MetricRegistry, metrics),
    )
  })
