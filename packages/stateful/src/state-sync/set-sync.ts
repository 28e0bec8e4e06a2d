/**
 * The sync of a set out of one sync per member: the shell that drives the coordinator.
 *
 *   newer tips --> | coordinator.ts | -- number --> MemberPosition -- target --> MemberSync
 *   recorded   <-- |                | <- reached --              <-- reached --
 *                  '-- converged --> finish, to every member --> all ended --> open the set there
 *
 * A turn takes in every report and the newest tip, then decides. There is none after a member has failed: a tip that comes then
 * is left. One member is a set as any other: it never waits for a slower one.
 *
 * Invariant: what a turn decides reaches every position and every member in that turn; a tip is recorded after it was taken
 * in (INV-28). The first failure is the one that comes out (F44); no member outlives a run.
 */
import type { SyncTarget } from "@coppice/qmdb"
import { Cause, type Context, Effect, Exit, Latch, type Scope } from "effect"
import type { DatabaseSet, Databases } from "../database-set.ts"
import { executorMetrics, memberLag } from "../executor/metrics.ts"
import { misplacedFrom } from "./asked-tips.ts"
import {
  type Coordinator,
  type CoordinatorAction,
  type CoordinatorEvent,
  createCoordinator,
  MemberPosition,
  stepCoordinator,
} from "./coordinator.ts"
import { StateSyncFailed, SyncEndedEarly } from "./errors.ts"
import { LatestValueCell } from "./latest-value.ts"
import type { MemberCourse, MemberSync, SetSync, SyncTip, SyncUpdate, SyncUpdates } from "./port.ts"

/** What a set is synced by. */
export interface SetSyncOptions<M extends Databases> {
  readonly databases: M
  readonly members: { readonly [K in keyof M]: MemberSync }
  /**
   * Opens the set at the tip that every member has reached and made durable: what is missing is anchor and rows. The set is
   * durable there. Its errors come out as `StateSyncFailed`.
   */
  readonly open: (tip: SyncTip<M>) => Effect.Effect<DatabaseSet<M>, unknown, Scope.Scope>
  /** Hears that members which were ahead are sent on to where the last one has come. */
  readonly onRegroup?: () => void
}

interface Steered {
  readonly position: MemberPosition
  readonly targets: LatestValueCell<SyncTarget>
}

type Reached<M extends Databases> = CoordinatorEvent<M> & { readonly type: "reached" }

/** One run of a set's sync. */
class SetRun<M extends Databases> {
  readonly #options: SetSyncOptions<M>
  readonly #start: SyncTip<M>
  readonly #context: Context.Context<never>
  readonly #core: Coordinator<M>
  readonly #steered: ReadonlyMap<keyof M & string, Steered>
  /** Not taken in yet. Every member reports a generation once, so the last turn bounds them. */
  readonly #reports: Array<Reached<M>> = []
  readonly #wake = Latch.makeUnsafe(false)
  readonly #finish = Latch.makeUnsafe(false)
  #failure: StateSyncFailed | undefined
  #converged: SyncTip<M> | undefined
  /** Members that have ended as they were told to. */
  #ended = 0

  constructor(options: SetSyncOptions<M>, start: SyncTip<M>, context: Context.Context<never>) {
    this.#options = options
    this.#start = start
    this.#context = context
    this.#core = createCoordinator(options.databases, start)
    this.#steered = new Map(
      this.#core.names.map((name) => {
        const position = new MemberPosition(start.targets[name])
        return [name, { position, targets: new LatestValueCell<SyncTarget>() }]
      }),
    )
  }

  /** Runs every member until all have ended where they converged; gives that tip. */
  readonly tip = (updates: SyncUpdates<M>): Effect.Effect<SyncTip<M>, StateSyncFailed> =>
    Effect.scoped(
      Effect.gen({ self: this }, function* () {
        for (const [name, steered] of this.#steered) yield* Effect.forkScoped(this.#member(name, steered))
        yield* this.#steer(updates)
        while (this.#failure === undefined && this.#ended < this.#steered.size) {
          this.#wake.closeUnsafe()
          yield* this.#wake.await
        }
        return this.#failure === undefined ? this.#converged! : yield* this.#failure
      }),
    )

  /** A member's sync from its start to its end, whatever that is. */
  #member(name: keyof M & string, { position, targets }: Steered): Effect.Effect<void> {
    const course: MemberCourse = {
      newer: targets,
      reached: (target) => this.#report(name, position.reached(target)),
      finish: this.#finish.await,
    }
    const sync = Effect.suspend(() => this.#options.members[name].run(this.#start.targets[name], course))
    return Effect.flatMap(Effect.exit(sync), (exit) =>
      Effect.sync(() => {
        if (Exit.isSuccess(exit) && this.#finish.isOpen()) this.#ended++
        else {
          const cause = Exit.isFailure(exit) ? Cause.squash(exit.cause) : new SyncEndedEarly()
          this.#failure ??= new StateSyncFailed({ member: name, cause })
        }
        this.#wake.openUnsafe()
      }),
    )
  }

  #report(member: keyof M & string, generation: number | undefined): void {
    if (generation === undefined) return
    this.#reports.push({ type: "reached", member, generation })
    this.#wake.openUnsafe()
  }

  readonly #steer = Effect.fnUntraced({ self: this }, function* (this: SetRun<M>, updates: SyncUpdates<M>) {
    while (this.#failure === undefined) {
      this.#wake.closeUnsafe()
      const tip = updates.poll()
      // In one turn with the decision: who has reported is not sent on as if it had not (INV-25).
      this.#step([...this.#reports.splice(0), ...(tip === undefined ? [] : [{ type: "tip", tip } as const])])
      if (this.#core.isOver) return
      yield* Effect.raceFirst(this.#wake.await, updates.arrival)
    }
  })

  #step(events: ReadonlyArray<CoordinatorEvent<M, SyncUpdate<M>>>): void {
    const { current } = this.#core
    const actions = stepCoordinator(this.#core, events)
    this.#measure()
    // A number that is there already is given again to those who have yet to come to it.
    if (actions.some((action) => action.type === "number" && action.generation <= current)) this.#options.onRegroup?.()
    for (const action of actions) this.#perform(action)
  }

  #perform(action: CoordinatorAction<M, SyncUpdate<M>>): void {
    switch (action.type) {
      case "record":
        action.tip.recorded()
        break
      case "number": {
        const { member, generation, target } = action
        this.#report(member, this.#steered.get(member)!.position.numbered(generation, target))
        break
      }
      case "send":
        this.#steered.get(action.member)!.targets.offer(action.target)
        break
      case "converge":
        this.#converged = action.tip
        this.#finish.openUnsafe()
        break
    }
  }

  /** A member that has reached nothing yet counts as one generation before the first. */
  #measure(): void {
    const { current } = this.#core
    executorMetrics.syncGeneration.updateUnsafe(current, this.#context)
    for (const [member, { position }] of this.#steered) {
      memberLag(member).updateUnsafe(current - (position.reported ?? -1), this.#context)
    }
  }
}

/**
 * Brings a set to a tip by one sync per member, each at its own speed, and opens it there.
 *
 * Errors: see `SetSync`. A defect of a member's sync is a failure of that member. Cancellation: every member has ended when it
 * returns. Cost: none per operation; at most one tip more than there are members is held.
 */
export const makeSetSync = <M extends Databases>(options: SetSyncOptions<M>): SetSync<M> => ({
  run: Effect.fn("Stateful.syncSet")(function* (start, updates) {
    const tip = yield* new SetRun(options, start, yield* Effect.context<never>()).tip(updates)
    const set = yield* Effect.mapError(options.open(tip), (cause) => new StateSyncFailed({ member: undefined, cause }))
    const error = misplacedFrom(tip, set)
    return error === undefined ? set : yield* error
  }),
})
