/**
 * The memory of the executor's core, and the few moves that all its parts share.
 *
 * Terms: the *base* of a job is the block whose state it forks. A *flight* is one running replay of one block, shared by
 * every request that needs it and by the finalization of that block. A *delivery* is a finalized block from its arrival
 * until its ack.
 *
 * Invariant: a job is in `jobs` exactly as long as its result is wanted, and while it is, its base is pending or the tip
 * (INV-36): whatever removes a base ends the jobs over it first. After `stop` nothing comes out any more.
 */
import { bytesKey } from "@coppice/codec"
import { type Anchor, anchorOf, type Block, type ConsensusContext, compareRounds, Height } from "@coppice/consensus"
import type { FatalError, TargetMismatch } from "./errors.ts"
import { type Key, PendingTips } from "./pending-tips.ts"
import type { AckId, Action, JobId, RequestId, RequestKind, State, Work } from "./protocol.ts"
import type { PruneSchedule } from "./pruning.ts"

/** What pending states and requests may take; see `ExecutorLimits`. */
export interface CoreLimits {
  readonly pendingEntriesMax: number
  readonly pendingBytesMax: number
  readonly verificationsMax: number
  readonly heldVerificationsMax: number
  readonly proposalsMax: number
  readonly spilledEntriesMax: number
  readonly spilledBytesMax: number
}

/** What a core is made of. */
export interface CoreOptions<B extends Block, S extends State> {
  /** The block whose state is durable, and that state. */
  readonly anchor: Anchor
  readonly state: S
  readonly limits: CoreLimits
  /** Finalized blocks that may be delivered and not acknowledged. */
  readonly pendingAcksMax: number
  /** When to prune; undefined: never. */
  readonly schedule?: PruneSchedule | undefined
  /**
   * Blocks below the anchor are part of a synced state: no row vouches for them, and they are delivered for their hook and
   * ack alone. Nothing is pruned before `complete`.
   */
  readonly covered?: boolean
  /** How a state differs from what a block commits to; undefined when it does not. Pure. */
  readonly mismatch: (state: S, block: B) => TargetMismatch | undefined
}

/** A state that can be forked: the tip's or an entry's. */
export interface Base<S extends State> {
  readonly key: Key
  readonly anchor: Anchor
  readonly state: S
}

/** What a request waits for. At most one thing at a time. */
export type Wait =
  /** Its own job: the next ancestry block, the canonical block, or its hook over `base`. */
  | { readonly on: "pull" | "canonical"; readonly job: JobId }
  | { readonly on: "hook"; readonly job: JobId; readonly base: Key }
  /** The parent of the missing block `key`. */
  | { readonly on: "fetch"; readonly job: JobId; readonly key: Key }
  /** The replay of `key`. */
  | { readonly on: "flight"; readonly key: Key }
  /** A place among the verifications at work. */
  | { readonly on: "place" }
  /** Room in the pending budget. */
  | { readonly on: "room" }
  /** A data source that has ended, at the missing block `key` if it got that far: its caller decides how long. */
  | { readonly on: "source"; readonly key: Key | undefined }

/** One proposal or verification. */
export interface Request<B extends Block> {
  readonly id: RequestId
  readonly kind: RequestKind
  readonly context: ConsensusContext
  /** The block under judgement, once known. */
  candidate: B | undefined
  /** The block to build on, once known. */
  parent: B | undefined
  /** Ancestors whose state is missing, newest first: a window of the walk from `parent` towards the tip. */
  missing: B[]
  /** Replays waited for. */
  replayed: number
  wait: Wait | undefined
}

/** Whose result a job brings. */
export type JobOwner<B extends Block> =
  | { readonly of: "request"; readonly request: RequestId }
  | { readonly of: "flight"; readonly key: Key }
  | { readonly of: "flush" }
  | { readonly of: "prune" }
  | { readonly of: "spill"; readonly keys: ReadonlyArray<Key> }
  | { readonly of: "delivery"; readonly delivery: Delivery<B> }

/** A running job. `base` is set for hooks that fork a state. */
export interface Job<B extends Block, S extends State> {
  readonly owner: JobOwner<B>
  readonly work: Work<B, S>
  readonly base: Key | undefined
}

/** One running replay. */
export interface Flight<B extends Block> {
  readonly key: Key
  readonly block: B
  readonly job: JobId
  readonly purpose: "recovery" | "finalization"
  readonly waiters: Set<RequestId>
}

/** A finalized block on its way to its ack. */
export interface Delivery<B extends Block> {
  readonly block: B
  readonly key: Key
  readonly ack: AckId
  readonly row: Uint8Array | undefined
  /** Whether the `finalized` hook runs for it. */
  hook: boolean
}

/** The core's memory. */
export interface Core<B extends Block, S extends State> {
  readonly options: CoreOptions<B, S>
  tip: Base<S>
  durable: Anchor
  readonly pending: PendingTips<S>
  /** Sizes of applied states that are not durable, oldest first. */
  readonly applied: Array<{ readonly height: Height; readonly bytes: number }>
  readonly requests: Map<RequestId, Request<B>>
  readonly jobs: Map<JobId, Job<B, S>>
  nextJob: JobId
  readonly flights: Map<Key, Flight<B>>
  /** Newest block known as a parent that consensus certified. */
  certified: Anchor | undefined
  /** Delivered, not yet applied; the first is being replayed when it has a flight. */
  readonly finalizing: Array<Delivery<B>>
  /** Reflected in the tip, ack not released, in height order. */
  readonly unacked: Array<Delivery<B>>
  /** Highest height delivered in this lifetime. */
  delivered: Height | undefined
  flushing: boolean
  /** The plan says that the databases are complete: before that they are not pruned. */
  complete: boolean
  /** A prune is to start as soon as none runs and the databases are complete. */
  pruneDue: boolean
  /** Oldest height that stays in the set after the running prune. */
  pruning: Height | undefined
  /** The same of the last prune that was completed. */
  pruned: Height | undefined
  /** A spill is running. */
  spilling: boolean
  /** The last spill moved nothing, and no flush has settled since. */
  scratchFull: boolean
  /** The `finalized` hook of the first un-acked delivery is running. */
  hooking: boolean
  stopped: boolean
  forksPruned: number
  replayed: number
  evicted: number
  dropped: number
  spilled: number
  actions: Array<Action<B, S>>
}

/** Memory of a core that has just started. */
export const createCore = <B extends Block, S extends State>(options: CoreOptions<B, S>): Core<B, S> => ({
  options,
  tip: { key: bytesKey(options.anchor.digest), anchor: options.anchor, state: options.state },
  durable: options.anchor,
  pending: new PendingTips<S>(),
  applied: [],
  requests: new Map(),
  jobs: new Map(),
  nextJob: 1,
  flights: new Map(),
  certified: undefined,
  finalizing: [],
  unacked: [],
  delivered: undefined,
  flushing: false,
  complete: options.covered !== true,
  pruneDue: false,
  pruning: undefined,
  pruned: undefined,
  spilling: false,
  scratchFull: false,
  hooking: false,
  stopped: false,
  forksPruned: 0,
  replayed: 0,
  evicted: 0,
  dropped: 0,
  spilled: 0,
  actions: [],
})

/** Key of a block. */
export const keyOf = (block: Block): Key => bytesKey(block.digest)

/** A violated invariant of the core: a programmer error. */
export const must = (held: boolean, rule: string) => {
  if (!held) throw new Error(`executor core: ${rule}`)
}

/** Gives an action out. Nothing leaves a stopped core. */
export const emit = <B extends Block, S extends State>(core: Core<B, S>, action: Action<B, S>) => {
  if (!core.stopped) core.actions.push(action)
}

/** Starts a job. */
export const startJob = <B extends Block, S extends State>(
  core: Core<B, S>,
  owner: JobOwner<B>,
  work: Work<B, S>,
  base?: Key,
): JobId => {
  const job = core.nextJob++
  core.jobs.set(job, { owner, work, base })
  if (base !== undefined) core.pending.touch(base)
  emit(core, { type: "run", job, work })
  return job
}

/** Ends a job before it has settled. */
export const cancelJob = <B extends Block, S extends State>(core: Core<B, S>, job: JobId) => {
  if (core.jobs.delete(job)) emit(core, { type: "cancel", job })
}

/** The state of a block, if it is here. */
export const baseOf = <B extends Block, S extends State>(core: Core<B, S>, key: Key): Base<S> | undefined =>
  key === core.tip.key ? core.tip : core.pending.get(key)

/** Height of the children of a block that is here. Throws at the end of the range instead of wrapping. */
export const nextHeight = (parent: { readonly height: Height }): Height => Height(parent.height + 1)

/** Whether a block may stand on a base: next height, later round. The base's digest is the block's parent already. */
export const follows = (block: Block, base: Anchor): boolean =>
  block.height === base.height + 1 && compareRounds(block.context.round, base.round) > 0

/** Remembers which block consensus certified last: its branch is evicted last. */
export const noteCertified = <B extends Block, S extends State>(core: Core<B, S>, block: B) => {
  const known = core.certified
  if (known === undefined || compareRounds(block.context.round, known.round) > 0) core.certified = anchorOf(block)
}

/** Ends the core. Pending states are closed; the shell ends everything else. */
export const stop = <B extends Block, S extends State>(core: Core<B, S>, error: FatalError | undefined) => {
  if (core.stopped) return
  emit(core, { type: "stop", error })
  for (const { parent, state } of core.pending.values()) if (parent === core.tip.key) closeState(core, state)
  core.stopped = true
  core.requests.clear()
  core.jobs.clear()
  core.flights.clear()
}

/** Drops a state that nobody will ask for. */
export const closeState = <B extends Block, S extends State>(core: Core<B, S>, state: S) =>
  emit(core, { type: "close", state })
