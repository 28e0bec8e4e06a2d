/**
 * Runs an effect in virtual time, one seeded interleaving per seed.
 *
 *   ready tasks --- the seed picks one ---> run it --> new ready tasks, new timers
 *        none   --- jump to the next timer, make all that is due ready
 *        none, and no timer --> Stuck
 *
 * Terms: a *step* is one task: a fiber's run until it waits or used up its budget of operations.
 *
 * Invariant: the outcome and the audit depend on the effect, the seed and the options alone. Nothing real may be awaited
 * inside: a promise, a file or a native timer shows up as `Stuck`.
 */

import { drawer } from "@coppice/stateful/diagnosis"
import { Clock, Duration, Effect, type Exit, Metric, Random, type Scheduler } from "effect"
import { Audit, Notes } from "./audit.ts"
import { clockBy } from "./clock.ts"

/** The run cannot go on: nothing is runnable and no timer is set, or it took more steps than it may. */
export class Stuck extends Error {
  readonly _tag = "Stuck"
  readonly reason: "deadlock" | "steps"
  readonly steps: number
  readonly virtualMs: number

  constructor(reason: "deadlock" | "steps", steps: number, virtualMs: number) {
    const what = reason === "deadlock" ? "nothing is runnable and no timer is set" : "the run does not end"
    super(`${what}, after ${steps} steps and ${virtualMs} virtual ms`)
    this.reason = reason
    this.steps = steps
    this.virtualMs = virtualMs
  }
}

/** Bounds of a run. */
export interface SimulateOptions {
  /** Most steps, default 10 million. */
  readonly stepsMax?: number
  /** Operations a fiber may do before another may run, default 64; below 4 fibers starve. */
  readonly yieldEvery?: number
}

/** What a run came to. */
export interface Simulated<A, E> {
  readonly exit: Exit.Exit<A, E>
  readonly steps: number
  readonly virtualMs: number
  /** Hash of the schedule and of all notes, 16 hex digits. */
  readonly audit: string
  /** Fibers that were still alive when the effect had ended and nothing was left to run: they wait for ever, or for a timer. */
  readonly fibersLeft: number
}

/** Steps in which what an ended effect left behind comes to rest. */
const SETTLE_STEPS_MAX = 100_000

interface Timer {
  readonly at: number
  readonly fire: () => void
}

/** Timers in order of time, then of setting; the earliest last. */
class Timers {
  readonly #timers: Array<Timer> = []

  set(timer: Timer): void {
    let low = 0
    let high = this.#timers.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#timers[middle]!.at > timer.at) low = middle + 1
      else high = middle
    }
    this.#timers.splice(low, 0, timer)
  }

  clear(timer: Timer): void {
    const at = this.#timers.indexOf(timer)
    if (at >= 0) this.#timers.splice(at, 1)
  }

  /** Takes all timers of the earliest time. */
  take(): ReadonlyArray<Timer> {
    const due: Array<Timer> = []
    const at = this.#timers.at(-1)?.at
    while (this.#timers.length > 0 && this.#timers.at(-1)?.at === at) due.push(this.#timers.pop()!)
    return due
  }
}

class World {
  readonly ready: Array<() => void> = []
  readonly audit = new Audit()
  readonly #timers = new Timers()
  readonly #draw: () => number
  now = 0
  steps = 0
  fibers = 0

  constructor(seed: number) {
    this.#draw = drawer(seed, "schedule")
  }

  /** Runs one task. False when there is none, now or later. */
  step(): boolean {
    if (this.ready.length === 0) this.#advance()
    const { length } = this.ready
    if (length === 0) return false
    const picked = Math.floor(this.#draw() * length)
    const task = this.ready[picked]!
    this.ready[picked] = this.ready[length - 1]!
    this.ready.pop()
    this.audit.number(this.now)
    this.audit.number(picked * 0x1_0000 + length)
    this.steps++
    task()
    return true
  }

  /** Lets everything that is ready run, and what that makes ready, without time passing. */
  settle(stepsMax: number): void {
    for (let steps = 0; this.ready.length > 0 && steps < stepsMax; steps++) this.step()
  }

  /** Counts the fibers that are alive. */
  get census(): Metric.FiberRuntimeMetricsService {
    return { recordFiberStart: () => void this.fibers++, recordFiberEnd: () => void this.fibers-- }
  }

  #advance(): void {
    const due = this.#timers.take()
    if (due[0] !== undefined) this.now = due[0].at
    for (const { fire } of due) this.ready.push(fire)
  }

  get clock(): Clock.Clock {
    const ms = (): number => this.now
    // Asked at every step of every slice, and the same until time passes.
    let [nanosAt, nanos] = [0, 0n]
    const ns = (): bigint => {
      if (nanosAt !== this.now) [nanosAt, nanos] = [this.now, BigInt(Math.round(this.now * 1e6))]
      return nanos
    }
    return clockBy(ms, ns, (duration) =>
      Effect.callback<void>((resume) => {
        const waitMs = Duration.toMillis(duration)
        if (waitMs === Number.POSITIVE_INFINITY) return Effect.void
        const timer = { at: this.now + waitMs, fire: () => resume(Effect.void) }
        this.#timers.set(timer)
        return Effect.sync(() => this.#timers.clear(timer))
      }),
    )
  }

  scheduler(yieldEvery: number): Scheduler.Scheduler {
    const dispatcher = { scheduleTask: (task: () => void) => void this.ready.push(task), flush: () => {} }
    return {
      executionMode: "async",
      shouldYield: (fiber) => fiber.currentOpCount >= yieldEvery,
      makeDispatcher: () => dispatcher,
    }
  }
}

/**
 * Runs `effect` to its end, synchronously, in virtual time.
 *
 * Shape: its Clock, Random and notes are the simulation's. Errors: throws `Stuck`; the effect's own failure is its exit.
 * Cost: some 300,000 steps per second.
 */
export const simulate = <A, E>(
  seed: number,
  effect: Effect.Effect<A, E>,
  { stepsMax = 1e7, yieldEvery = 64 }: SimulateOptions = {},
): Simulated<A, E> => {
  const world = new World(seed)
  const fiber = Effect.runFork(
    effect.pipe(
      Random.withSeed(`${seed}/random`),
      Effect.provideService(Notes, (words) => world.audit.text(words)),
      Effect.provideService(Clock.Clock, world.clock),
      Effect.provideService(Metric.FiberRuntimeMetrics, world.census),
    ),
    { scheduler: world.scheduler(yieldEvery) },
  )
  for (;;) {
    const exit = fiber.pollUnsafe()
    if (exit !== undefined) {
      const { steps, now: virtualMs } = world
      const audit = world.audit.digest
      world.settle(SETTLE_STEPS_MAX)
      return { exit, steps, virtualMs, audit, fibersLeft: world.fibers }
    }
    if (world.steps >= stepsMax) throw new Stuck("steps", world.steps, world.now)
    if (!world.step()) throw new Stuck("deadlock", world.steps, world.now)
  }
}
