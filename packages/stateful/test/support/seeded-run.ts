/**
 * A scheduler that runs an Effect to its end synchronously; a seed picks which runnable task goes next.
 *
 * There are no timers and no promises in it: whatever waits for one shows as `Stuck`. Time stands still, so that a run
 * depends on its seed alone.
 */
import { Clock, Effect, type Exit, type Scheduler } from "effect"
import { standing } from "./standing-clock.ts"

/** Nothing is runnable and the program has not ended. */
export class Stuck extends Error {}

const TURNS_MAX = 1_000_000
/** Few operations per turn: more places where another fiber may come between. Below 3 nothing progresses. */
const operationsPerTurn = (seed: number): number => 3 + (seed % 14)

const generator = (seed: number) => {
  let state = (seed + 1) >>> 0
  return (): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return state / 4_294_967_296
  }
}

/** Lets others run so many times. */
export const yields = (turns: number): Effect.Effect<void> =>
  Effect.forEach(Array.from({ length: turns }), () => Effect.yieldNow, { discard: true })

/** Runs an effect under one schedule. */
export const seededRun = <A, E>(seed: number, effect: Effect.Effect<A, E>): Exit.Exit<A, E> => {
  const random = generator(seed)
  const operations = operationsPerTurn(seed)
  const ready: Array<() => void> = []
  const scheduler: Scheduler.Scheduler = {
    executionMode: "async",
    shouldYield: (fiber) => fiber.currentOpCount >= operations,
    makeDispatcher: () => ({ scheduleTask: (task) => void ready.push(task), flush: () => {} }),
  }
  const fiber = Effect.runFork(Effect.provideService(effect, Clock.Clock, standing().clock), { scheduler })
  for (let turn = 0; turn < TURNS_MAX; turn++) {
    const exit = fiber.pollUnsafe()
    if (exit !== undefined) return exit
    if (ready.length === 0) throw new Stuck("nothing is runnable")
    const [task] = ready.splice(Math.floor(random() * ready.length), 1)
    task!()
  }
  throw new Stuck(`no end after ${TURNS_MAX} turns`)
}
