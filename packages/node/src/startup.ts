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
  openDatabaseSet,
  openSyncPlan,
  type Pruning,
  type ReconcileError,
  reconcile,
  type SetOpenError,
  type StartupError,
} from "@coppice/stateful"
import type { StorageShape } from "@coppice/storage"
import { Effect, type Scope } from "effect"

/** What an executor is started with. */
export interface StartOptions<B extends Block, M extends Databases> {
  readonly application: Application<B, M>
  readonly chainId: string
  readonly hasher: Hasher
  /** An environment opened with `SET_MAPS`. */
  readonly storage: StorageShape
  readonly source: BlockSource<B>
  readonly limits?: Partial<ExecutorLimits>
  /** Finalized heights that keep undo records; by default the ack window and one more. */
  readonly rewindHeights?: number
  /** When databases and blocks are pruned; never when not given. */
  readonly pruning?: Pruning
}

/** An executor that is ready for delivery after `anchor`. */
export interface StartedExecutor<B extends Block, M extends Databases> {
  readonly executor: Executor<B, M>
  readonly set: DatabaseSet<M>
  readonly anchor: Anchor
}

/** Opens the set, settles where it stands, and starts its executor in the scope. Errors: see the types; nothing runs then. */
export const startExecutor = Effect.fn("Node.startExecutor")(function* <B extends Block, M extends Databases>(
  options: StartOptions<B, M>,
): Effect.fn.Return<StartedExecutor<B, M>, SetOpenError | ReconcileError | StartupError, Scope.Scope> {
  const { application, source, limits, pruning, rewindHeights } = options
  const plan = yield* openSyncPlan(options)
  const set = yield* openDatabaseSet({
    ...options,
    pendingAcksMax: source.pendingAcksMax,
    ...(rewindHeights === undefined ? {} : { rewindHeights }),
  })
  const anchor = yield* reconcile(set, plan, source)
  const executor = yield* Executor.make({
    application,
    set,
    source,
    ...(limits === undefined ? {} : { limits }),
    ...(pruning === undefined ? {} : { pruning }),
  })
  return { executor, set, anchor }
})
