/**
 * From an open environment and a marshal to an executor that stands at its durable anchor.
 *
 *   root record, plan --> set --> rows agree with the finalized chain --> executor --> (delivery starts after the anchor)
 *
 * Terms: the *anchor* is the newest block whose state is durable in the set; it decides where delivery starts.
 *
 * Invariant: nothing is written to an environment that is refused. The same steps start a node and a simulated one.
 */
import type { Anchor, Block, BlockSource } from "@coppice/consensus"
import type { Hasher } from "@coppice/crypto"
import {
  type Application,
  type DatabaseSet,
  type Databases,
  Executor,
  type ExecutorLimits,
  type FatalError,
  openDatabaseSet,
  openSyncPlan,
  type Pruning,
  type ReadableSet,
  type ReconcileError,
  reconcile,
  type SetOpenError,
} from "@coppice/stateful"
import {
  CallOrder,
  guardDeterminism,
  type RecorderOptions,
  recordDivergence,
  trackForks,
} from "@coppice/stateful/diagnosis"
import type { StorageShape } from "@coppice/storage"
import { Effect, type Scope } from "effect"

/** What an executor is started with. */
export interface StartOptions<B extends Block, M extends Databases> {
  readonly application: Application<B, M>
  readonly chainId: string
  readonly hasher: Hasher
  /** An environment opened with `SET_MAPS`. */
  readonly storage: StorageShape
  /** Where pending states are spilled: an empty environment opened with `SCRATCH_MAPS`. */
  readonly scratch: StorageShape
  readonly source: BlockSource<B>
  readonly limits?: Partial<ExecutorLimits>
  /** Finalized heights that keep undo records; by default the ack window and one more. */
  readonly rewindHeights?: number
  /** When databases and blocks are pruned; never when not given. */
  readonly pruning?: Pruning
  /** Takes divergence bundles; when not given none are made. */
  readonly onDivergence?: RecorderOptions["write"]
  /**
   * Executes every block twice, in shuffled surroundings, and asserts the legal order of calls. Slower: for development.
   * Off when not given.
   */
  readonly development?: boolean
}

/** An executor that is ready for delivery after `anchor`. */
export interface StartedExecutor<B extends Block, M extends Databases> {
  readonly executor: Executor<B, M>
  readonly set: ReadableSet<M>
  readonly anchor: Anchor
}

/** The application as its executor runs it, watched as the options say, and the set it is watched on. */
export const watched = <B extends Block, M extends Databases>(
  { application, chainId, onDivergence, development = false }: StartOptions<B, M>,
  open: DatabaseSet<M>,
  order: CallOrder,
) => {
  if (onDivergence === undefined && !development) return { application, set: open }
  const tracked = trackForks(open)
  // The order is asserted on batches as they are, so it comes first; what records sees what all others make of a block.
  const checked = development ? guardDeterminism(order.application(application), tracked) : application
  if (onDivergence === undefined) return { application: checked, set: tracked.set }
  const versions = { node: process.versions.node }
  return {
    application: recordDivergence(checked, tracked, { chainId, versions, write: onDivergence }),
    set: tracked.set,
  }
}

/** Opens the set, settles where it stands, and starts its executor in the scope. Errors: see the types; nothing runs then. */
export const startExecutor = Effect.fn("Node.startExecutor")(function* <B extends Block, M extends Databases>(
  options: StartOptions<B, M>,
): Effect.fn.Return<StartedExecutor<B, M>, SetOpenError | ReconcileError | FatalError, Scope.Scope> {
  const { source, limits, pruning, rewindHeights } = options
  const plan = yield* openSyncPlan(options)
  const set = yield* openDatabaseSet({
    ...options,
    pendingAcksMax: source.pendingAcksMax,
    ...(rewindHeights === undefined ? {} : { rewindHeights }),
  })
  const anchor = yield* reconcile(set, plan, source)
  const order = new CallOrder(source.pendingAcksMax)
  const executor = yield* Executor.make({
    ...watched(options, set, order),
    source,
    ...(limits === undefined ? {} : { limits }),
    ...(pruning === undefined ? {} : { pruning }),
  })
  if (options.development !== true) return { executor, set, anchor }
  return { executor: { ...executor, port: order.port(executor.port) }, set, anchor }
})
