/**
 * Where a node's databases come from: replay over what it holds, or peers.
 *
 *   plan   absent, no floor -----> executor at genesis             complete ---> executor at its anchor
 *          absent, floor given --.
 *          in progress ----------+--> floor recorded --> join over SetSync --> floor set in marshal --> delivery from it
 *
 * Terms: the *plan* is the durable record of it, see `SyncPlan`. *Progress* is what marshal stood on when it opened.
 *
 * Invariant: a floor's certificate is checked before the floor is recorded, and it is recorded before marshal or a database
 * changes (INV-18). Marshal starts from the floor of the same plan as the executor (INV-21).
 */
import {
  type Anchor,
  type Block,
  type BlockSource,
  type ExecutorPort,
  type Finalization,
  Height,
  InvalidFinalization,
  type Marshal,
  type MarshalStopped,
} from "@coppice/consensus"
import {
  type Application,
  bindSet,
  type Databases,
  type DurableFloor,
  type FatalError,
  type FloorSource,
  type JoiningExecutor,
  join,
  openSyncPlan,
  type ReadableSet,
  type ReconcileError,
  type SetOpenError,
  type SetOptions,
  type SetSync,
  type SyncPlan,
} from "@coppice/stateful"
import { CallOrder } from "@coppice/stateful/diagnosis"
import { Effect, Option, type Scope } from "effect"
import { FLOOR_RENEWAL_MS } from "./limits.ts"
import { type StartedExecutor, type StartOptions, startExecutor, watched } from "./startup.ts"

/** Where state sync brings databases to: what `openDatabaseSet` opens, with the application that they are of. */
export interface SyncHome<B extends Block, M extends Databases> extends SetOptions<B, M> {
  readonly application: Application<B, M>
}

/** How a node may get its databases from peers instead of executing the chain from its genesis. */
export interface StateSync<B extends Block, M extends Databases> {
  /**
   * Gives a final block to begin at: a certificate that an operator trusts, or what a probe finds (`Probe.floor`); the first
   * start waits for it, and records it. Later ones need none, wait `FLOOR_RENEWAL_MS` at most, and take another only if it is
   * newer. Not run for a node whose databases are complete.
   */
  readonly floor?: Effect.Effect<Finalization>
  /** Brings the databases into the node's environment. What it wrote is opened by `openDatabaseSet(home)`. */
  readonly sync: (home: SyncHome<B, M>) => SetSync<M>
  /** Lets peers be served from the set, once it is complete. */
  readonly attach?: (set: ReadableSet<M>) => Effect.Effect<void>
}

/** What a start by plan asks of the marshal. */
export type FloorMarshal<B extends Block> = BlockSource<B> & Pick<Marshal<B>, "floor" | "subscribe">

/** What is started as the plan says. */
export interface PlannedOptions<B extends Block, M extends Databases> extends StartOptions<B, M> {
  readonly source: FloorMarshal<B>
  /** Whether a certificate is good: what the marshal checks with. */
  readonly verify: (finalization: Finalization) => boolean
  /** Without it a node executes the chain from its genesis, and one whose sync was interrupted does not start. */
  readonly stateSync?: StateSync<B, M>
}

/** A port, and where marshal begins delivery to it. */
export interface Delivery<B extends Block> {
  readonly port: ExecutorPort<B>
  /** The block whose state is durable; undefined while state sync still brings it. */
  readonly anchor: Anchor | undefined
  /** The floor that marshal is to begin at. */
  readonly floor?: Finalization
}

/** What the plan led to. */
export type Planned<B extends Block, M extends Databases> = Delivery<B> &
  (
    | { readonly tag: "executing"; readonly started: StartedExecutor<B, M> }
    | { readonly tag: "joining"; readonly joining: JoiningExecutor<B, M> }
  )

/** Why nothing was started. Of a floor that does not verify nothing is recorded. */
export type PlannedError = SetOpenError | ReconcileError | FatalError | InvalidFinalization

/** What marshal stands on: the floor it was given once, and what it has seen acknowledged since. */
const progressOf = Effect.fnUntraced(function* <B extends Block>(marshal: FloorMarshal<B>) {
  const floor = yield* marshal.floor
  if (floor === undefined) return undefined
  const processed = (yield* marshal.processedHeight) ?? 0
  return { height: Height(Math.max(floor.height, processed)), round: floor.round }
})

const floorSource = <B extends Block>(
  marshal: FloorMarshal<B>,
  progress: DurableFloor | undefined,
): FloorSource<B> => ({
  pendingAcksMax: marshal.pendingAcksMax,
  finalizedAt: marshal.finalizedAt,
  byDigest: marshal.byDigest,
  parentOf: marshal.parentOf,
  processedHeight: marshal.processedHeight,
  durableFloor: Effect.succeed(progress),
  // Whoever watches the marshal learns that it has stopped; nothing is to be concluded here.
  finalizedBlock: ({ proposal }) => Effect.catch(marshal.subscribe(proposal.payload, "fetch"), () => Effect.never),
})

/** A floor to begin at, as long as one is of use. Whose plan has recorded one can do without, and does not wait for long. */
const offeredFloor = (
  plan: SyncPlan,
  floor: Effect.Effect<Finalization> | undefined,
): Effect.Effect<Finalization | undefined> => {
  if (floor === undefined || !plan.maySync) return Effect.succeed(undefined)
  if (!plan.requiresFloor) return floor
  return Effect.map(Effect.timeoutOption(floor, FLOOR_RENEWAL_MS), Option.getOrUndefined)
}

/**
 * Starts what the plan of the environment says: an executor over its databases, or a join that brings them.
 *
 * Errors: see `PlannedError`; `InvalidFinalization` when the floor's certificate does not verify. `StateSyncUnfinished` when
 * a sync was interrupted and there is no `stateSync` to go on with. Cancellation: what it started ends with the scope.
 */
export const startByPlan = Effect.fn("Node.startByPlan")(function* <B extends Block, M extends Databases>(
  options: PlannedOptions<B, M>,
): Effect.fn.Return<Planned<B, M>, PlannedError, Scope.Scope> {
  const { source, stateSync, verify } = options
  const plan = yield* openSyncPlan(options)
  const offered = yield* offeredFloor(plan, stateSync?.floor)
  if (offered !== undefined) {
    const { round, payload } = offered.proposal
    if (!verify(offered)) return yield* new InvalidFinalization({ round, payload })
    yield* plan.offerFloor(offered)
  }
  if (stateSync === undefined || !plan.shouldSync(offered !== undefined)) {
    const started = yield* startExecutor(options)
    return { tag: "executing", started, port: started.executor.port, anchor: started.anchor }
  }
  const { limits, pruning, development = false, rewindHeights } = options
  const progress = yield* progressOf(source)
  const start = yield* plan.marshalStart(bindSet(options).genesis)
  if (start.tag !== "floor") throw new Error("state sync: a plan that syncs has a floor")
  const order = new CallOrder(source.pendingAcksMax)
  const home: SyncHome<B, M> = {
    application: options.application,
    chainId: options.chainId,
    hasher: options.hasher,
    storage: options.storage,
    scratch: options.scratch,
    pendingAcksMax: source.pendingAcksMax,
    syncing: true,
    ...(rewindHeights === undefined ? {} : { rewindHeights }),
  }
  const joining = yield* join({
    application: options.application,
    plan,
    source: floorSource(source, progress),
    sync: stateSync.sync(home),
    watch: (set) => watched(options, set, order),
    ...(stateSync.attach === undefined ? {} : { attach: stateSync.attach }),
    ...(limits === undefined ? {} : { limits }),
    ...(pruning === undefined ? {} : { pruning }),
  })
  const port = development ? order.port(joining.port) : joining.port
  return { tag: "joining", joining: { ...joining, port }, port, anchor: undefined, floor: start.floor }
})

/** Starts delivery where it begins. Once. Errors: those of `Marshal.setFloor` and `Marshal.start`. */
export const beginDelivery = <B extends Block>(
  marshal: Marshal<B>,
  { port, anchor, floor }: Delivery<B>,
): Effect.Effect<void, InvalidFinalization | MarshalStopped> =>
  Effect.andThen(
    floor === undefined ? Effect.void : marshal.setFloor(floor),
    marshal.start(port, { deliverAfter: anchor }),
  )
