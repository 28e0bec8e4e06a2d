/**
 * What one incarnation of a node runs on: the world's clock as the node reads it, and a scheduler that power loss halts.
 *
 *   world's clock ------ rate, offset -----> node's clock
 *   world's scheduler <-- ready tasks ------ node's fibers
 *                     <-- halted: kept, until the world is over and they are let go
 *
 * Terms: *halted*: nothing that the incarnation has begun takes another step, its finalizers neither; so ends a process
 * that loses its power. What it would have done is kept, and done once nobody looks any more, so that its fibers end.
 *
 * Invariant: no clock of a node goes back, and none reaches another node.
 */
import { Clock, Context, Duration, Effect, type Fiber, Scheduler } from "effect"
import { clockBy } from "./clock.ts"

/** How a node's clock differs from the world's. */
export interface Drift {
  /** Node's seconds in one of the world's; above 0. */
  readonly rate: number
  /** What it is ahead by at the start, at least 0: no clock that programs read tells times before their epoch. */
  readonly offsetMs: number
}

/** The clock of a node that drifts. */
const drifting = (base: Clock.Clock, { rate, offsetMs }: Drift): Clock.Clock => {
  const ms = (): number => offsetMs + base.currentTimeMillisUnsafe() * rate
  const ns = (): bigint => BigInt(Math.round(ms() * 1e6))
  return clockBy(ms, ns, (duration) => base.sleep(Duration.millis(Duration.toMillis(duration) / rate)))
}

/** An incarnation's clock and scheduler. */
export class Incarnation {
  readonly #clock: Clock.Clock
  readonly #scheduler: Scheduler.Scheduler
  readonly #kept: Array<() => void> = []
  /** Fibers that wanted to take a step and must not. */
  readonly #parked = new Set<Fiber.Fiber<unknown, unknown>>()
  #isHalted = false
  /** What its last work came with, and what it runs with: work comes from the same few places again and again. */
  #outer: Context.Context<never> | undefined
  #inner: Context.Context<never> | undefined

  constructor(base: { readonly clock: Clock.Clock; readonly scheduler: Scheduler.Scheduler }, drift?: Drift) {
    this.#clock = drift === undefined ? base.clock : drifting(base.clock, drift)
    const { scheduler } = base
    const dispatcher = scheduler.makeDispatcher()
    const whenUp = (task: () => void, priority: number) => (): void => {
      if (this.#isHalted) this.#kept.push(() => dispatcher.scheduleTask(task, priority))
      else task()
    }
    const halting: ReturnType<Scheduler.Scheduler["makeDispatcher"]> = {
      scheduleTask: (task, priority) => dispatcher.scheduleTask(whenUp(task, priority), priority),
      flush: () => dispatcher.flush(),
    }
    this.#scheduler = {
      executionMode: scheduler.executionMode,
      // A fiber that is resumed from outside gives way before its first step, to a task that is kept.
      shouldYield: (fiber) => {
        if (!this.#isHalted) return scheduler.shouldYield(fiber)
        this.#parked.add(fiber)
        return true
      },
      makeDispatcher: () => halting,
    }
  }

  /** Runs something of the node, on its clock and as long as it has power. */
  readonly runs = <A, E>(work: Effect.Effect<A, E>): Effect.Effect<A, E> => Effect.updateContext(work, this.#within)

  readonly #within = (outer: Context.Context<never>): Context.Context<never> => {
    if (this.#inner === undefined || this.#outer !== outer) {
      this.#outer = outer
      this.#inner = outer.pipe(Context.add(Clock.Clock, this.#clock), Context.add(Scheduler.Scheduler, this.#scheduler))
    }
    return this.#inner
  }

  /** From now on it takes no step. */
  halt(): void {
    this.#isHalted = true
  }

  /**
   * What was kept is done after all, and what goes on then is interrupted: a fiber that was interrupted before its first step
   * has forgotten it, for its start was kept too.
   */
  readonly letGo: Effect.Effect<void> = Effect.suspend(() => {
    this.#isHalted = false
    for (const schedule of this.#kept.splice(0)) schedule()
    // A timer comes when nothing is ready any more.
    return Effect.delay(
      Effect.sync(() => {
        for (const fiber of this.#parked) fiber.interruptUnsafe()
      }),
      1,
    )
  })
}
