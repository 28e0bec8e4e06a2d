/**
 * A node: its directory, environments, marshal and executor, started and stopped in order.
 *
 *   start   config --> lock --> environments --> root record --> marshal --> set, executor --> delivery after the anchor
 *   stop    (consensus let go by whoever joined it) --> executor --> marshal --> environments --> lock
 *
 * Terms: a node *failed* when its executor or marshal stopped for a reason that only a person can settle.
 *
 * Invariant: a directory that is not this node's is refused before anything in it is written, and is left as it was. What
 * the node promised is durable at every point, so a process that dies instead of stopping loses nothing.
 */
import { existsSync } from "node:fs"
import {
  type Block,
  type BlockTransport,
  describeMarshal,
  ForeignEnvironment,
  MARSHAL_MAPS,
  type Marshal,
  makeMarshal,
  verifyFinalization,
} from "@coppice/consensus"
import { type Ed25519, type Hasher, type KeyPair, keyPairFromSeed, type Participants } from "@coppice/crypto"
import { nodeEd25519, nodeHasher } from "@coppice/crypto/node"
import {
  type Application,
  bindSet,
  type DatabaseSet,
  type Databases,
  type Executor,
  type ExecutorLimits,
  GenesisTargetsMismatch,
  openSyncPlan,
  SET_MAPS,
  type SetOpenError,
} from "@coppice/stateful"
import { Storage, type StorageError, type StorageInfo, type StorageShape } from "@coppice/storage"
import { openLmdb } from "@coppice/storage/lmdb"
import { Effect, Metric, type Scope } from "effect"
import {
  DIRECTORY_FORMAT,
  type NodeConfig,
  type NodePaths,
  nodePaths,
  readConfig,
  readSecret,
  requireConfig,
  setPath,
  writeConfig,
} from "./directory.ts"
import { divergenceFiles } from "./divergence-files.ts"
import { type NodeFailure, type NodeOpenError, SecretUnreadable } from "./errors.ts"
import { explain } from "./explain.ts"
import { guardEnvironment } from "./guard.ts"
import { toHex } from "./hex.ts"
import { PRUNE_INTERVAL } from "./limits.ts"
import { acquireLock, announceHolder } from "./lock.ts"
import { startExecutor } from "./startup.ts"

/** Opens an environment in a directory of its own, which is created when it is missing. */
export type OpenEnvironment = (options: {
  readonly directory: string
  readonly maps: ReadonlyArray<string>
}) => Effect.Effect<StorageShape, StorageError, Scope.Scope>

/** Bounds of a node. */
export interface NodeLimits extends ExecutorLimits {
  /** Finalized blocks delivered and not yet acknowledged. */
  readonly pendingAcksMax: number
  /** Finalized heights that keep undo records. */
  readonly rewindHeights: number
  /** Heights from one prune of the databases to the next: what no height of the window needs is forgotten then. */
  readonly pruneInterval: number
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

/** A running node. It lives as long as its scope. */
export interface RunningNode<B extends Block, M extends Databases> {
  readonly paths: NodePaths
  readonly config: NodeConfig
  readonly keys: KeyPair
  readonly application: Application<B, M>
  readonly genesis: B
  readonly participants: Participants
  readonly set: DatabaseSet<M>
  readonly executor: Executor<B, M>
  readonly marshal: Marshal<B>
  /** Why the node failed; undefined while it works. */
  readonly failure: () => NodeFailure | undefined
  /** Fails when the node does. Whoever composed it closes its scope then. */
  readonly failed: Effect.Effect<never, NodeFailure>
  /** Sizes of its environments. */
  readonly disk: () => { readonly set: StorageInfo; readonly marshal: StorageInfo }
  /** Series of this node alone: nodes that share a process have one registry each. */
  readonly metrics: Metric.MetricRegistry
}

const secretOf = Effect.fnUntraced(function* (paths: NodePaths) {
  const secret = yield* readSecret(paths)
  return secret ?? (yield* new SecretUnreadable({ path: paths.secret, reason: "it is missing" }))
})

const bound = <A>(bind: () => A): Effect.Effect<A, SetOpenError> =>
  Effect.suspend(() => {
    try {
      return Effect.succeed(bind())
    } catch (error) {
      if (error instanceof GenesisTargetsMismatch) return Effect.fail(error)
      throw error
    }
  })

/** What a node is to be, before anything of its directory but its key is looked at. */
const identityOf = Effect.fnUntraced(function* <B extends Block, M extends Databases>({
  application,
  chainId,
  participants,
  directory,
  hasher = nodeHasher,
  ed25519 = nodeEd25519,
}: NodeOptions<B, M>) {
  const paths = nodePaths(directory)
  const keys = keyPairFromSeed(ed25519, yield* secretOf(paths))
  const { genesis } = yield* bound(() => bindSet({ application, chainId, hasher }))
  const config: NodeConfig = {
    format: DIRECTORY_FORMAT,
    chain: chainId,
    genesis: toHex(genesis.digest),
    application: application.name,
    validator: participants.indexOf(keys.publicKey) ?? null,
  }
  return { paths, keys, genesis, config }
})

const checkConfig = Effect.fnUntraced(function* (paths: NodePaths, config: NodeConfig) {
  const held = yield* readConfig(paths)
  if (held !== undefined) yield* requireConfig(paths, config, held)
  return held
})

/** Refuses a block store of another chain or genesis. An empty one is fine. */
const checkBlocks = Effect.fnUntraced(function* (storage: StorageShape, { chain, genesis }: NodeConfig) {
  const held = yield* describeMarshal(storage)
  if (held === undefined) return
  const rows = [
    { field: "chain", expected: chain, actual: held.chainId },
    { field: "genesis", expected: genesis, actual: toHex(held.genesis) },
  ] as const
  for (const row of rows) if (row.expected !== row.actual) return yield* new ForeignEnvironment(row)
})

/** Opens an environment that is put back as it was unless the directory is accepted. */
const openGuarded = <B extends Block, M extends Databases>(
  { openEnvironment = openLmdb }: NodeOptions<B, M>,
  isAccepted: () => boolean,
  directory: string,
  maps: ReadonlyArray<string>,
) => Effect.andThen(guardEnvironment(directory, isAccepted), openEnvironment({ directory, maps }))

/** Everything that can refuse a directory. What it opens ends with the scope. */
const enter = Effect.fnUntraced(function* <B extends Block, M extends Databases>(
  options: NodeOptions<B, M>,
  isAccepted: () => boolean,
) {
  const { application, chainId, hasher = nodeHasher } = options
  const identity = yield* identityOf(options)
  const { paths, config } = identity
  yield* checkConfig(paths, config)
  yield* acquireLock(paths)
  const held = yield* checkConfig(paths, config)
  const setStorage = yield* openGuarded(options, isAccepted, setPath(paths, application.name), SET_MAPS)
  yield* openSyncPlan({ application, chainId, hasher, storage: setStorage })
  const marshalStorage = yield* openGuarded(options, isAccepted, paths.marshal, MARSHAL_MAPS)
  yield* checkBlocks(marshalStorage, config)
  return { ...identity, held, setStorage, marshalStorage }
})

/**
 * Whether a directory would be let in by `openNode`, as far as it says whose it is. A new one is.
 *
 * Errors: those of `openNode`. Whatever the answer, every byte stays as it was: for who opens several nodes or none.
 */
export const checkNode = Effect.fn("Node.check")(function* <B extends Block, M extends Databases>(
  options: NodeOptions<B, M>,
): Effect.fn.Return<void, NodeOpenError> {
  const { paths, config } = yield* identityOf(options)
  yield* checkConfig(paths, config)
  const isMade = [setPath(paths, options.application.name), paths.marshal].every((directory) => existsSync(directory))
  if (isMade) yield* Effect.scoped(enter(options, () => false))
})

const watch = Effect.fnUntraced(function* <B extends Block, M extends Databases>(
  executor: Executor<B, M>,
  marshal: Marshal<B>,
) {
  let failure: NodeFailure | undefined
  const ends: ReadonlyArray<Effect.Effect<void, NodeFailure>> = [executor.stopped, marshal.stopped]
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
  const metrics: Metric.MetricRegistry = new Map()
  return yield* start(options, metrics).pipe(Effect.provideService(Metric.MetricRegistry, metrics))
})

const start = Effect.fnUntraced(function* <B extends Block, M extends Databases>(
  options: NodeOptions<B, M>,
  metrics: Metric.MetricRegistry,
): Effect.fn.Return<RunningNode<B, M>, NodeOpenError, Scope.Scope> {
  const {
    application,
    chainId,
    participants,
    transport,
    limits = {},
    hasher = nodeHasher,
    ed25519 = nodeEd25519,
  } = options
  let isAccepted = false
  const { paths, keys, genesis, config, held, setStorage, marshalStorage } = yield* enter(options, () => isAccepted)
  const { pendingAcksMax, rewindHeights, pruneInterval = PRUNE_INTERVAL, ...executorLimits } = limits
  const marshal = yield* makeMarshal({
    chainId,
    genesis,
    codec: application.codec,
    verify: (finalization) => verifyFinalization(ed25519, participants, chainId, finalization),
    transport,
    ...(pendingAcksMax === undefined ? {} : { pendingAcksMax }),
  }).pipe(Effect.provideService(Storage, marshalStorage))
  const starting = startExecutor<B, M>({
    application,
    chainId,
    hasher,
    storage: setStorage,
    source: marshal,
    limits: executorLimits,
    pruning: { interval: pruneInterval },
    onDivergence: divergenceFiles(paths),
    development: options.development ?? false,
    ...(rewindHeights === undefined ? {} : { rewindHeights }),
  })
  // Reads of a marshal that has failed never end, those of a starting executor too.
  const { executor, set, anchor } = yield* Effect.raceFirst(starting, Effect.andThen(marshal.stopped, Effect.never))
  isAccepted = true
  if (held === undefined) yield* writeConfig(paths, config)
  yield* announceHolder(paths)
  const watched = yield* watch(executor, marshal)
  yield* marshal
    .start(executor.port, { deliverAfter: anchor })
    .pipe(
      Effect.catchTag("MarshalStopped", ({ cause }) => (cause === undefined ? Effect.interrupt : Effect.fail(cause))),
    )
  const disk = () => ({ set: setStorage.info(), marshal: marshalStorage.info() })
  return { paths, config, keys, application, genesis, participants, set, executor, marshal, ...watched, disk, metrics }
})
