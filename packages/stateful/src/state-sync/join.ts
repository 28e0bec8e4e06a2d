/**
 * Joining by state sync: an executor port that is there before its databases are.
 *
 *   floor (recorded) --> start block --> SetSync --> executor at the anchor --> complete --> attach --> open
 *   meanwhile:  propose: none    verify, executor: held    finalized: core.ts
 *
 * Terms: a *held* call waits in its caller's own fiber, so a caller who leaves leaves nothing behind. The set is *attached*
 * when others may be served from it.
 *
 * Invariant: nothing is synced before the plan says so (INV-18), from the very floor that marshal starts from (INV-21). The
 * plan is complete only after all that the sync left over is durable and acknowledged; what became due to be pruned goes
 * after that, and attached comes before any held call goes on (INV-22). At most `heldVerificationsMax` verifications are
 * held; further ones are never answered, and hear of the end alone. Every ack is released, passed on or cancelled, exactly once.
 */
import {
  type Ack,
  anchorOf,
  type Block,
  type ExecutorPort,
  ExecutorStopped,
  type Finalization,
  type Height,
} from "@coppice/consensus"
import type { StorageError } from "@coppice/storage"
import { Cause, Context, Deferred, Effect, Exit, Scope, Tracer } from "effect"
import type { DatabaseSet, Databases, ReadableSet } from "../database-set.ts"
import type { SyncPlanRefusal } from "../errors.ts"
import { Executor, type ExecutorOptions, type ExecutorStatus } from "../executor/actor.ts"
import { ExecutorDefect, type FatalError } from "../executor/errors.ts"
import { announceMetrics, executorMetrics } from "../executor/metrics.ts"
import type { AckId } from "../executor/protocol.ts"
import { runAll } from "../executor/run-all.ts"
import { HELD_VERIFICATIONS_MAX } from "../limits.ts"
import type { SyncPlan } from "../sync-plan.ts"
import { AskedTips } from "./asked-tips.ts"
import { createJoin, type JoinAction, type JoinCore, type JoinEvent, stepJoin } from "./core.ts"
import type { SyncError } from "./errors.ts"
import { resolveFloor } from "./floor.ts"
import { LatestValueCell } from "./latest-value.ts"
import type { FloorSource, SetSync, SyncTip, SyncUpdate } from "./port.ts"

/** What joins. */
export interface JoinOptions<B extends Block, M extends Databases>
  extends Omit<ExecutorOptions<B, M>, "set" | "covered"> {
  /** Its floor is recorded: `marshalStart` came before. */
  readonly plan: SyncPlan
  readonly source: FloorSource<B>
  readonly sync: SetSync<M>
  /** Lets others be served from the set. */
  readonly attach?: (set: ReadableSet<M>) => Effect.Effect<void>
  /** What the executor runs with once the set is here, in place of it and of `application`: for diagnosis. */
  readonly watch?: (set: DatabaseSet<M>) => Pick<ExecutorOptions<B, M>, "application" | "set">
}

/** Why a join ends. */
export type JoinFailure = SyncError | FatalError | SyncPlanRefusal | StorageError

/** How far a join is. */
export interface JoinStatus {
  readonly phase: JoinCore<Block>["phase"]
  /** Finalized blocks that wait for the sync. */
  readonly retained: number
  /** Verifications that wait for the databases. */
  readonly held: number
  /** Newest height that the sync has promised to cover. */
  readonly recorded: Height | undefined
  /** Once the databases are there. */
  readonly executor: ExecutorStatus | undefined
}

/** An executor whose databases are coming. It lives as long as its scope. */
export interface JoiningExecutor<B extends Block, M extends Databases> {
  readonly port: ExecutorPort<B>
  /** The executor over the databases, once these are complete and attached. Interruptible. */
  readonly executor: Effect.Effect<Pick<Executor<B, M>, "set" | "status" | "pending">, ExecutorStopped>
  readonly status: Effect.Effect<JoinStatus>
  /** Waits for the end: fails with the fatal error, succeeds after a clean shutdown. */
  readonly stopped: Effect.Effect<void, JoinFailure>
}

/** What went wrong in a part of the join. A part that is interrupted although nobody stopped it is a defect too (F54). */
const failureOf = (operation: string, cause: Cause.Cause<JoinFailure>): JoinFailure => {
  const reason = cause.reasons.find(({ _tag }) => _tag === "Fail")
  return reason?._tag === "Fail" ? reason.error : new ExecutorDefect({ operation, cause: Cause.squash(cause) })
}

class JoinShell<B extends Block, M extends Databases> {
  readonly ended = Deferred.makeUnsafe<void, JoinFailure>()
  readonly #options: JoinOptions<B, M>
  readonly #scope: Scope.Closeable
  readonly #context: Context.Context<never>
  readonly #core: JoinCore<B>
  readonly #heldMax: number
  readonly #acks = new Map<AckId, Ack>()
  readonly #updates = new LatestValueCell<SyncUpdate<M>>()
  readonly #ready = Deferred.makeUnsafe<Executor<B, M>, ExecutorStopped>()
  readonly #asked = new AskedTips<M>()
  readonly #events: Array<JoinEvent<B, JoinFailure>> = []
  #turning = false
  #nextAck = 1
  #held = 0
  #open = false
  #set: DatabaseSet<M> | undefined
  #executor: Executor<B, M> | undefined
  #completeAt: Height | undefined
  /** Deliveries of the handover that are not acknowledged yet. */
  #handedOver = 0
  #stopped: ExecutorStopped | undefined

  constructor(options: JoinOptions<B, M>, scope: Scope.Closeable, context: Context.Context<never>) {
    this.#options = options
    this.#scope = scope
    this.#context = context
    this.#core = createJoin(options.source.pendingAcksMax)
    this.#heldMax = options.limits?.heldVerificationsMax ?? HELD_VERIFICATIONS_MAX
    announceMetrics(context)
    this.#measure()
  }

  readonly port: ExecutorPort<B> = {
    propose: (context, ancestry) =>
      Effect.suspend(() => {
        if (this.#stopped !== undefined) return Effect.fail(this.#stopped)
        return this.#open ? this.#executor!.port.propose(context, ancestry) : Effect.succeed(undefined)
      }),
    verify: (context, ancestry) => Effect.flatMap(this.#hold, ({ port }) => port.verify(context, ancestry)),
    finalized: (block, ack) =>
      Effect.suspend(() => {
        if (this.#stopped !== undefined) {
          ack.cancel()
          return Effect.fail(this.#stopped)
        }
        const id = this.#nextAck++
        this.#acks.set(id, ack)
        this.#post({ type: "finalized", block, ack: id })
        return Effect.void
      }),
  }

  readonly executor: JoiningExecutor<B, M>["executor"] = Effect.suspend(() =>
    this.#stopped === undefined ? Deferred.await(this.#ready) : Effect.fail(this.#stopped),
  )

  readonly status: Effect.Effect<JoinStatus> = Effect.suspend(() => {
    const { phase, retained, recorded } = this.#core
    const figures = { phase, retained: retained.length, held: this.#held, recorded }
    const executor = this.#executor?.status ?? Effect.succeed(undefined)
    return Effect.map(executor, (known) => ({ ...figures, executor: known }))
  })

  /** Ends the join from outside and waits until everything it started has ended. */
  readonly shutdown: Effect.Effect<void> = Effect.suspend(() => {
    this.#post({ type: "shutdown" })
    return Scope.close(this.#scope, Exit.void)
  })

  readonly #hold: Effect.Effect<Executor<B, M>, ExecutorStopped> = Effect.suspend(() => {
    if (this.#open || this.#stopped !== undefined) return Deferred.await(this.#ready)
    if (this.#held >= this.#heldMax) return this.#failAtEnd
    this.#held++
    this.#measure()
    return Effect.ensuring(
      Deferred.await(this.#ready),
      Effect.sync(() => {
        this.#held--
        this.#measure()
      }),
    )
  })

  /** Overload is no verdict: waits for the end, and holds nothing here. */
  readonly #failAtEnd: Effect.Effect<never, ExecutorStopped> = Effect.suspend(() => {
    executorMetrics.droppedVerifications.updateUnsafe(1, this.#context)
    return Effect.flatMap(Effect.exit(Deferred.await(this.ended)), () => Effect.fail(this.#stopped!))
  })

  /** Starts the sync, from the floor that is recorded. */
  start(floor: Finalization): void {
    this.#run("state sync", this.#sync(floor))
  }

  #sync(floor: Finalization): Effect.Effect<void, SyncError, Scope.Scope> {
    return Effect.gen({ self: this }, function* () {
      const start = this.#ask(yield* resolveFloor(this.#options.source, floor))
      this.#asked.recorded(start.anchor.height)
      const set = yield* this.#options.sync.run(start, this.#updates)
      const error = this.#asked.misplaced(set)
      if (error !== undefined) return yield* error
      this.#set = set
      this.#post({ type: "synced", anchor: set.anchor })
    })
  }

  #ask(block: B): SyncTip<M> {
    const tip = { anchor: anchorOf(block), targets: this.#options.application.syncTargets(block) }
    this.#asked.ask(tip)
    return tip
  }

  // A callback may lead to the next event before its own turn is over: turns are taken one after the other.
  #post(event: JoinEvent<B, JoinFailure>): void {
    this.#events.push(event)
    if (this.#turning) return
    this.#turning = true
    for (let next = this.#events.shift(); next !== undefined; next = this.#events.shift()) {
      try {
        for (const action of stepJoin(this.#core, next)) this.#perform(action)
      } catch (cause) {
        this.#events.push({ type: "failed", error: new ExecutorDefect({ operation: next.type, cause }) })
      }
    }
    this.#turning = false
    this.#measure()
  }

  #perform(action: JoinAction<B, JoinFailure>) {
    switch (action.type) {
      case "send": {
        const { height } = action.block
        this.#updates.offer({ ...this.#ask(action.block), recorded: () => this.#recorded(height) })
        return
      }
      case "acknowledge":
        return this.#takeAck(action.ack).acknowledge()
      case "execute":
        return this.#run("executor", this.#execute())
      case "deliver":
        return this.#deliver(action.delivery.block, this.#takeAck(action.delivery.ack))
      case "complete":
        this.#completeAt = action.height
        return this.#handedOver === 0 ? this.#complete() : undefined
      case "stop":
        return this.#stop(action.error)
    }
  }

  #recorded(height: Height): void {
    this.#asked.recorded(height)
    this.#post({ type: "recorded", height })
  }

  #takeAck(id: AckId): Ack {
    const ack = this.#acks.get(id)!
    this.#acks.delete(id)
    return ack
  }

  #execute(): Effect.Effect<void, FatalError, Scope.Scope> {
    return Effect.gen({ self: this }, function* () {
      const set = this.#set!
      const { application, watch = () => ({ application, set }) } = this.#options
      this.#executor = yield* Executor.make({ ...this.#options, ...watch(set), covered: true })
      this.#post({ type: "executing" })
      yield* this.#executor.stopped
    })
  }

  #deliver(block: B, ack: Ack): void {
    const { port } = this.#executor!
    const handover = this.#completeAt === undefined
    if (handover) this.#handedOver++
    const acknowledge = () => {
      ack.acknowledge()
      if (handover && --this.#handedOver === 0) this.#complete()
    }
    // In this turn, so that deliveries keep their order; an executor that has stopped cancels the ack itself. It acknowledges
    // in turns of its own, so after the whole handover.
    Effect.runSyncExit(port.finalized(block, { acknowledge, cancel: () => ack.cancel() }))
  }

  #complete(): void {
    const { attach, plan } = this.#options
    const executor = this.#executor!
    this.#run(
      "completion",
      Effect.gen({ self: this }, function* () {
        yield* plan.setComplete(this.#completeAt!)
        yield* executor.complete
        if (attach !== undefined) yield* attach(executor.set)
        this.#open = true
        this.#measure()
        Deferred.doneUnsafe(this.#ready, Effect.succeed(executor))
      }),
    )
  }

  /** Runs a part of the join for its own sake; however it fails, the join fails with it. */
  #run(operation: string, part: Effect.Effect<void, JoinFailure, Scope.Scope>): void {
    const watched = Effect.flatMap(Effect.exit(Effect.provideService(part, Scope.Scope, this.#scope)), (exit) =>
      Effect.sync(() => {
        if (Exit.isFailure(exit)) this.#post({ type: "failed", error: failureOf(operation, exit.cause) })
      }),
    )
    Effect.runForkWith(this.#context)(Effect.forkIn(watched, this.#scope))
  }

  #stop(error: JoinFailure | undefined): void {
    const stopped = new ExecutorStopped({ cause: error })
    this.#stopped = stopped
    this.#open = false
    Deferred.doneUnsafe(this.ended, error === undefined ? Effect.void : Effect.fail(error))
    Deferred.doneUnsafe(this.#ready, Effect.fail(stopped))
    Effect.runForkWith(this.#context)(Scope.close(this.#scope, Exit.void))
    const acks = [...this.#acks.values()].map((ack) => () => ack.cancel())
    this.#acks.clear()
    runAll(acks)
  }

  #measure(): void {
    executorMetrics.heldVerifications.updateUnsafe(this.#held, this.#context)
    executorMetrics.syncDone.updateUnsafe(this.#open ? 1 : 0, this.#context)
    if (!this.#open) executorMetrics.unackedFinalized.updateUnsafe(this.#acks.size, this.#context)
  }
}

/**
 * Joins: brings the databases from peers and starts an executor over them, serving its port from the first moment.
 *
 * Errors come out of `stopped`. Throws Error when the plan has no recorded floor: `plan.marshalStart` comes first.
 * Cancellation: closing the scope stops it; calls fail with `ExecutorStopped`, acks are cancelled, the plan stays in progress.
 */
export const join = <B extends Block, M extends Databases>(
  options: JoinOptions<B, M>,
): Effect.Effect<JoiningExecutor<B, M>, never, Scope.Scope> =>
  Effect.gen(function* () {
    const { record } = options.plan
    if (record.tag !== "in progress") throw new Error("state sync: the plan records its floor before anything joins")
    const context = Context.omit(Tracer.ParentSpan)(yield* Effect.context<never>())
    const shell = new JoinShell(options, yield* Scope.make(), context)
    yield* Effect.addFinalizer(() => shell.shutdown)
    shell.start(record.floor)
    return { port: shell.port, executor: shell.executor, status: shell.status, stopped: Deferred.await(shell.ended) }
  })
