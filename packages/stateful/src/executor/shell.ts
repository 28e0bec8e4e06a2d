/**
 * What surrounds the core: mailbox, turns, jobs, and the books of what is owed to others.
 *
 * Terms: a *caller* is the fiber that waits for the answer to a request. Books are kept here, not in the core, of everyone
 * who must hear something in the end: callers, acks, running fibers. So whatever happens, a fault in the core included,
 * the end reaches them all.
 *
 * Invariant: every caller is answered or fails with `ExecutorStopped`, every ack is released or cancelled, exactly once.
 */
import { AsyncResource } from "node:async_hooks"
import { keyBytes } from "@coppice/codec"
import { type Ack, type Ancestry, type Block, type ConsensusContext, ExecutorStopped } from "@coppice/consensus"
import { Cause, type Clock, Context, Deferred, Effect, type Exit, Fiber, References, Scheduler, Tracer } from "effect"
import type { Databases, SealedSet } from "../database-set.ts"
import { targetsEqual } from "../targets.ts"
import type { ExecutorLimits, ExecutorOptions, PendingTree } from "./actor.ts"
import { type Core, type CoreFigures, createCore, figuresOf, step } from "./core.ts"
import { ApplyFailed, ExecutorDefect, type FatalError, type TargetMismatch } from "./errors.ts"
import { type Fork, HookRun } from "./hook-run.ts"
import { executorMetrics, recordFigures } from "./metrics.ts"
import type { Pace, Release } from "./pace.ts"
import type { AckId, Action, Event, JobId, RequestId, RequestKind, State, Work } from "./protocol.ts"
import type { PruneSchedule } from "./pruning.ts"
import { runAll } from "./run-all.ts"
import { effectOf, type Result, type WorkCaller } from "./work.ts"

type Annotations = Readonly<Record<string, unknown>>

interface Caller<B extends Block> extends WorkCaller<B> {
  readonly kind: RequestKind
  /** On all that is logged, and on the spans, in work for it. */
  readonly logAnnotations: Annotations
  readonly spanAnnotations: Annotations
  readonly since: bigint
  readonly answer: (value: B | boolean | undefined) => void
  readonly fail: (stopped: ExecutorStopped) => void
  /** Leaves it waiting for the end alone. */
  readonly drop: () => void
}

interface RunningJob<M extends Databases> {
  readonly kind: Work<never, never>["kind"]
  readonly run: HookRun<M> | undefined
  since: bigint
  fiber: Fiber.Fiber<unknown, unknown> | undefined
}

const NANOS_PER_SECOND = 1e9

/** The first member, in declared order, whose sealed target is not the one the header commits to. */
const mismatchOf = <B extends Block, M extends Databases>(
  { application }: ExecutorOptions<B, M>,
  sealed: SealedSet<M>,
  block: B,
): TargetMismatch | undefined => {
  const targets = application.syncTargets(block)
  for (const member of Object.keys(application.databases)) {
    const expected = targets[member]!
    const actual = sealed.targets[member]!
    if (!targetsEqual(expected, actual)) return { member, expected, actual }
  }
  return undefined
}

/** Where jobs run: what their fibers have, their scheduler included, and what starts them on it. */
interface Lane {
  readonly context: Context.Context<never>
  readonly starts: Scheduler.SchedulerDispatcher
}

const laneOn = (context: Context.Context<never>, scheduler: Scheduler.Scheduler): Lane => ({
  context: Context.add(context, Scheduler.Scheduler, scheduler),
  starts: scheduler.makeDispatcher(),
})

/** Where hooks of requests run, what carries a finalized block on, and everything else. */
type Lanes = Readonly<Record<"paced" | "urgent" | "plain", Lane>>

const laneFor = <B extends Block, S extends State>(work: Work<B, S>, { paced, urgent, plain }: Lanes): Lane => {
  if (work.kind === "flush" || work.kind === "finalized") return urgent
  if (work.kind === "apply") return work.purpose === "finalization" ? urgent : paced
  return work.kind === "propose" || work.kind === "verify" ? paced : plain
}

/** A context with annotations beside those that it has. */
const annotated = (
  context: Context.Context<never>,
  kind: Context.Reference<Annotations>,
  given: Annotations,
): Context.Context<never> => {
  const own = Context.get(context, kind)
  return own === given ? context : Context.add(context, kind, { ...own, ...given })
}

/** Rounds of turns in one task: for a verification's request, its candidate and its parent, so that its hook comes next. */
const ROUNDS_MAX = 3

const HEARD: ReadonlySet<string> = new Set(["proposal", "verdict", "drop", "acknowledge", "stop"])

/** Whether an action reaches somebody outside the executor. */
const isHeard = ({ type }: { readonly type: string }): boolean => HEARD.has(type)

/** What a shell runs on, taken from the fiber that starts it. */
export interface ShellServices {
  readonly clock: Clock.Clock
  readonly context: Context.Context<never>
  readonly pace: Pace
  readonly ended: Deferred.Deferred<void, FatalError>
}

/** See the head of this file. */
export class Shell<B extends Block, M extends Databases> {
  readonly #options: ExecutorOptions<B, M>
  readonly #services: ShellServices
  readonly #core: Core<B, SealedSet<M>>
  readonly #callers = new Map<RequestId, Caller<B>>()
  readonly #acks = new Map<AckId, { readonly ack: Ack; readonly height: number; readonly since: bigint }>()
  readonly #jobs = new Map<JobId, RunningJob<M>>()
  readonly #fibers = new Set<Fiber.Fiber<unknown, unknown>>()
  readonly #lanes: Lanes
  readonly #mailbox: Array<Event<B, SealedSet<M>>> = []
  /** Pulls that start after this round of turns. */
  readonly #pulls: Array<() => void> = []
  /** Turns, and what they start, run in the async context of whoever started the executor: not in that of some caller. */
  readonly #home = new AsyncResource("coppice/Executor")
  #nextId = 1
  #stopped: ExecutorStopped | undefined
  #figures: CoreFigures | undefined
  /** Speculation stands still while an event waits for its turn, for which a task is on its way then: after the end too. */
  #eventHold: Release | undefined
  #flushes = 0
  #flushSecondsLast = 0
  /** Heights at which people were warned of what still holds, by its text. */
  readonly #warned = new Map<string, number>()

  constructor(
    options: ExecutorOptions<B, M>,
    { limits, schedule }: { readonly limits: ExecutorLimits; readonly schedule: PruneSchedule | undefined },
    services: ShellServices,
  ) {
    const { covered = false, set, source } = options
    this.#options = options
    this.#services = services
    const { context, pace } = services
    this.#lanes = {
      paced: laneOn(context, pace.paced),
      urgent: laneOn(context, pace.urgent),
      plain: laneOn(context, Context.get(context, Scheduler.Scheduler)),
    }
    this.#core = createCore({
      anchor: set.anchor,
      state: set.tip,
      limits,
      schedule,
      covered,
      pendingAcksMax: source.pendingAcksMax,
      mismatch: (sealed, block) => mismatchOf(options, sealed, block),
    })
  }

  /** Opens a request. Interrupting it makes its caller leave. */
  ask(kind: "propose", context: ConsensusContext, ancestry: Ancestry<B>): Effect.Effect<B | undefined, ExecutorStopped>
  ask(kind: "verify", context: ConsensusContext, ancestry: Ancestry<B>): Effect.Effect<boolean, ExecutorStopped>
  ask(
    kind: RequestKind,
    context: ConsensusContext,
    ancestry: Ancestry<B>,
  ): Effect.Effect<B | boolean | undefined, ExecutorStopped> {
    return Effect.withFiber((fiber) =>
      Effect.callback<B | boolean | undefined, ExecutorStopped>((resume) => {
        if (this.#stopped !== undefined) return resume(Effect.fail(this.#stopped))
        const id = this.#nextId++
        this.#callers.set(id, {
          kind,
          ancestry,
          span: Context.getOrUndefined(fiber.context, Tracer.ParentSpan),
          logAnnotations: fiber.getRef(References.CurrentLogAnnotations),
          spanAnnotations: fiber.getRef(References.TracerSpanAnnotations),
          since: this.#now(),
          answer: (value) => resume(Effect.succeed(value)),
          fail: (stopped) => resume(Effect.fail(stopped)),
          drop: () => resume(this.#failAtEnd),
        })
        this.#post({ type: "request", request: id, kind, context })
        return Effect.sync(() => {
          if (this.#callers.delete(id)) this.#post({ type: "left", request: id })
        })
      }),
    )
  }

  readonly #failAtEnd: Effect.Effect<never, ExecutorStopped> = Effect.suspend(() =>
    Effect.flatMap(Effect.exit(Deferred.await(this.#services.ended)), () => Effect.fail(this.#stopped!)),
  )

  /** Takes a finalized block in. */
  finalized(block: B, ack: Ack): Effect.Effect<void, ExecutorStopped> {
    return Effect.suspend(() => {
      if (this.#stopped !== undefined) {
        ack.cancel()
        return Effect.fail(this.#stopped)
      }
      this.#deliver(block, ack)
      return Effect.void
    })
  }

  /** Delivers a block that nobody waits for; succeeds when it would be acknowledged. Never succeeds once stopped. */
  repeat(block: B): Effect.Effect<void> {
    return Effect.callback<void>((resume) => {
      this.#deliver(block, { acknowledge: () => resume(Effect.void), cancel: () => {} })
    })
  }

  /** A synced set's plan is complete: what became due to be pruned may go. */
  complete(): void {
    this.#post({ type: "complete" })
  }

  #deliver(block: B, ack: Ack) {
    const id = this.#nextId++
    this.#acks.set(id, { ack, height: block.height, since: this.#now() })
    this.#post({ type: "finalized", block, ack: id, row: this.#options.set.row(block.height)?.digest })
  }

  /** Takes turns with what has come, and with what comes of that: no more rounds, as who is answered may ask again at once. */
  #takeTurns(): void {
    for (let rounds = 0; rounds < ROUNDS_MAX && this.#mailbox.length > 0 && this.#stopped === undefined; rounds++) {
      for (const event of this.#mailbox.splice(0)) this.#turn(event)
      for (const start of this.#pulls.splice(0)) start()
    }
    this.#record()
    const release = this.#eventHold
    this.#eventHold = undefined
    if (this.#stopped !== undefined) this.#endWith(this.#stopped)
    else if (this.#mailbox.length > 0) this.#wake()
    release?.()
  }

  // At once, before anyone hears of the end: states that came while the last turns were taken are closed. So is what comes
  // after the end.
  #endWith({ cause }: ExecutorStopped): void {
    for (const event of this.#mailbox.splice(0)) this.#turn(event)
    Deferred.doneUnsafe(this.#services.ended, cause === undefined ? Effect.void : Effect.fail(cause as FatalError))
  }

  /** Ends the executor from outside and waits until everything it started has ended. */
  readonly shutdown: Effect.Effect<void> = Effect.suspend(() => {
    this.#post({ type: "shutdown" })
    return Effect.exit(Deferred.await(this.#services.ended))
  }).pipe(Effect.andThen(Effect.suspend(() => Fiber.awaitAll([...this.#fibers]))))

  /** What callers hear once the executor has stopped. */
  get end(): ExecutorStopped | undefined {
    return this.#stopped
  }

  /** Figures of the core, and of the flushes. */
  get status(): CoreFigures & { readonly flushes: number; readonly flushSecondsLast: number } {
    return { ...figuresOf(this.#core), flushes: this.#flushes, flushSecondsLast: this.#flushSecondsLast }
  }

  /** The tip, and the blocks above it whose state is held. */
  get pending(): PendingTree {
    const { tip, pending } = this.#core
    const blocks = Array.from(pending.values(), ({ anchor, parent }) => ({ anchor, parent: keyBytes(parent) }))
    return { tip: tip.anchor, blocks }
  }

  #now(): bigint {
    return this.#services.clock.monotonicTimeNanosUnsafe()
  }

  #secondsSince(then: bigint): number {
    return Number(this.#now() - then) / NANOS_PER_SECOND
  }

  #post(event: Event<B, SealedSet<M>>): void {
    this.#mailbox.push(event)
    if (this.#eventHold === undefined) this.#wake()
  }

  #wake(): void {
    this.#eventHold = this.#services.pace.hold()
    this.#lanes.plain.starts.scheduleTask(() => this.#home.runInAsyncScope(this.#takeTurns, this), 0)
  }

  // Others hear last: what they do next may call back, and must find the turn done.
  #turn(event: Event<B, SealedSet<M>>): void {
    const actions = this.#step(event)
    for (const action of [...actions.filter((a) => !isHeard(a)), ...actions.filter(isHeard)]) {
      if (this.#stopped !== undefined && action.type !== "close") continue
      const error = this.#attempt(action)
      if (error === undefined) continue
      // What was to follow is void; the end reaches everyone through the books.
      this.#turn({ type: "fault", error })
      return
    }
  }

  #step(event: Event<B, SealedSet<M>>): ReadonlyArray<Action<B, SealedSet<M>>> {
    try {
      return step(this.#core, event)
    } catch (cause) {
      return [{ type: "stop", error: new ExecutorDefect({ operation: event.type, cause }) }]
    }
  }

  #attempt(action: Action<B, SealedSet<M>>): FatalError | undefined {
    try {
      this.#perform(action)
      return undefined
    } catch (cause) {
      if (action.type !== "apply") return new ExecutorDefect({ operation: action.type, cause })
      const { height, digest } = action.anchor
      return new ApplyFailed({ height, digest, cause })
    }
  }

  #perform(action: Action<B, SealedSet<M>>) {
    const { set } = this.#options
    switch (action.type) {
      case "run":
        return this.#run(action.job, action.work)
      case "cancel":
        return this.#cancel(action.job)
      case "apply":
        set.apply(action.state, action.anchor)
        return this.#recordApplied(action.anchor.height)
      case "close":
        return set.close(action.state)
      case "proposal":
        return this.#answer(action.request, action.block)
      case "verdict":
        return this.#answer(action.request, action.valid)
      case "drop": {
        const caller = this.#callers.get(action.request)
        this.#callers.delete(action.request)
        return caller?.drop()
      }
      case "acknowledge": {
        const { ack } = this.#acks.get(action.ack)!
        this.#acks.delete(action.ack)
        return ack.acknowledge()
      }
      case "recovered":
        return this.#recordRecovered(action.request, action.blocks)
      case "stop":
        return this.#stop(action.error)
    }
  }

  #answer(request: RequestId, value: B | boolean | undefined): void {
    const caller = this.#callers.get(request)
    if (caller === undefined) return
    this.#callers.delete(request)
    const { proposeDuration, verifyDuration } = executorMetrics
    const duration = caller.kind === "propose" ? proposeDuration : verifyDuration
    if (value !== undefined && value !== false) this.#observe(duration, caller.since)
    caller.answer(value)
  }

  #cancel(id: JobId): void {
    const job = this.#jobs.get(id)
    if (job === undefined) return
    this.#jobs.delete(id)
    job.run?.cancel()
    job.fiber?.interruptUnsafe()
  }

  #run(id: JobId, work: Work<B, SealedSet<M>>): void {
    const lane = laneFor(work, this.#lanes)
    const caller = "request" in work ? this.#callers.get(work.request) : undefined
    const fork = this.#forkOn(lane, caller)
    const run = "state" in work ? new HookRun(this.#options.set, work.state, fork) : undefined
    const job: RunningJob<M> = { kind: work.kind, run, since: 0n, fiber: undefined }
    this.#jobs.set(id, job)
    const start = (): void => {
      if (!this.#jobs.has(id)) return
      job.since = this.#now()
      const fiber = fork(Effect.suspend(() => effectOf(work, this.#options, { run, caller })))
      job.fiber = fiber
      fiber.addObserver((exit) => this.#settle(id, job, exit))
    }
    // A job starts after the turn that asked for it: its first step may run the application's own code. A pull may not, and
    // most blocks are here: it starts in the same task.
    if (work.kind === "pull") this.#pulls.push(start)
    else lane.starts.scheduleTask(start, 0)
  }

  /** How fibers start in a lane, on behalf of whoever asked for their work. */
  #forkOn({ context }: Lane, caller: Caller<B> | undefined): Fork {
    let services = context
    if (caller !== undefined) {
      services = annotated(services, References.CurrentLogAnnotations, caller.logAnnotations)
      services = annotated(services, References.TracerSpanAnnotations, caller.spanAnnotations)
    }
    return (effect) => {
      const fiber = Effect.runForkWith(services)(effect)
      if (fiber.pollUnsafe() !== undefined) return fiber
      this.#fibers.add(fiber)
      fiber.addObserver(() => this.#fibers.delete(fiber))
      return fiber
    }
  }

  #settle(id: JobId, job: RunningJob<M>, exit: Exit.Exit<() => Result<B, M>, unknown>): void {
    if (!this.#jobs.delete(id)) return
    this.#post({ type: "settled", job: id, outcome: this.#outcomeOf(job, exit) })
  }

  #outcomeOf(job: RunningJob<M>, exit: Exit.Exit<() => Result<B, M>, unknown>): Result<B, M> {
    try {
      if (exit._tag === "Success") {
        this.#recordDone(job)
        return exit.value()
      }
      job.run?.cancel()
      return { kind: "failed", cause: Cause.squash(exit.cause) }
    } catch (cause) {
      return { kind: "failed", cause }
    }
  }

  #recordDone({ kind, since }: RunningJob<M>): void {
    if (kind === "prune") {
      executorMetrics.prunes.updateUnsafe(1, this.#services.context)
      this.#observe(executorMetrics.pruneDuration, since)
    }
    if (kind === "flush") {
      this.#flushes++
      this.#flushSecondsLast = this.#secondsSince(since)
      executorMetrics.flushes.updateUnsafe(1, this.#services.context)
      this.#observe(executorMetrics.flushDuration, since)
    }
  }

  #observe(duration: (typeof executorMetrics)["flushDuration"], since: bigint): void {
    duration.updateUnsafe(this.#secondsSince(since), this.#services.context)
  }

  #record(): void {
    const before = this.#figures
    this.#figures = figuresOf(this.#core)
    recordFigures(this.#figures, before, this.#services.context)
    this.#warn(this.#figures)
  }

  /** Tells people that finality stalls for so long that memory is short: once for each stall. */
  #warn({ scratchEntries, scratchBytes, pendingBytes, waiting }: CoreFigures): void {
    const { height } = this.#core.tip.anchor
    const warn = (isSo: boolean, text: string): void => {
      const warnedAt = this.#warned.get(text)
      if (!isSo && warnedAt !== height) this.#warned.delete(text)
      if (!isSo || warnedAt !== undefined) return
      this.#warned.set(text, height)
      const fork = this.#forkOn(this.#lanes.plain, undefined)
      fork(Effect.logWarning(text, { height, pendingBytes, scratchEntries, scratchBytes, waiting }))
    }
    warn(scratchEntries > 0, "finality stalls: pending blocks are moved to scratch")
    warn(waiting > 0, "the pending budget is full: new blocks wait")
  }

  #recordApplied(height: number) {
    for (const delivery of this.#acks.values()) {
      if (delivery.height === height) return this.#observe(executorMetrics.finalizeDuration, delivery.since)
    }
  }

  #recordRecovered(request: RequestId, blocks: number): void {
    executorMetrics.rebuildPendingDepth.updateUnsafe(blocks, this.#services.context)
    const caller = this.#callers.get(request)
    if (caller !== undefined) this.#observe(executorMetrics.rebuildPendingDuration, caller.since)
  }

  #stop(error: FatalError | undefined): void {
    if (this.#stopped !== undefined) return
    const stopped = new ExecutorStopped({ cause: error })
    this.#stopped = stopped
    const jobs = [...this.#jobs.keys()].map((id) => () => this.#cancel(id))
    const callers = [...this.#callers.values()].map((caller) => () => caller.fail(stopped))
    const acks = [...this.#acks.values()].map((delivery) => () => delivery.ack.cancel())
    this.#callers.clear()
    this.#acks.clear()
    runAll([...jobs, ...callers, ...acks])
  }
}
