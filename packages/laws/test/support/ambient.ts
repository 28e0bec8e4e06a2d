/** Canaries that read clocks, chance and timers of the process, and one that goes on after its end. */
import { Clock, Effect, Random } from "effect"
import type { ApplicationSubject } from "../../src/application/index.ts"
import { changed, type TallyBatches } from "./applications.ts"

/** Executes, and gives what it executed to `then` before it is sealed. */
const reading = (value: (batches: TallyBatches) => Effect.Effect<number | bigint>): ApplicationSubject =>
  changed((tally) => ({
    apply: (block, batches, tools) =>
      Effect.flatMap(value(batches), (read) => {
        batches.totals.put("read", BigInt(read))
        return tally.apply(block, batches, tools) as Effect.Effect<never>
      }),
  }))

/** Whole hours: between two executions none begins, unless the second has another time. */
const hours = (ms: number): number => Math.floor(ms / 3_600_000)

const racing = reading(() =>
  Effect.promise(
    () =>
      new Promise<number>((resolve) => {
        for (const ms of [1, 2, 3, 4]) setTimeout(() => resolve(ms), ms)
      }),
  ),
)

const immediately = reading(() =>
  Effect.promise(
    () =>
      new Promise<number>((resolve) => {
        setImmediate(() => resolve(1))
        setImmediate(() => resolve(2))
      }),
  ),
)

const ticking = reading(() =>
  Effect.promise(
    () =>
      new Promise<number>((resolve) => {
        const timers = [2, 3, 4].map((ms) => setInterval(() => end(ms), ms))
        const end = (ms: number): void => {
          for (const timer of timers) clearInterval(timer)
          resolve(ms)
        }
      }),
  ),
)

const sleeping = reading(() => Effect.raceAllFirst([1, 2, 3, 4].map((ms) => Effect.as(Effect.sleep(ms), ms))))

/** Reads on after its promise was fulfilled. */
export const floating = changed((tally) => ({
  verify: async (context, ancestry, batches, tools) => {
    const sealed = await Effect.runPromise(tally.verify(context, ancestry, batches, tools) as Effect.Effect<never>)
    queueMicrotask(() => {
      try {
        batches.counts.get("late")
      } catch {}
    })
    return sealed
  },
}))

/** What each canary of determinism does, and the canary. */
export const ambientCanaries: ReadonlyArray<[string, ApplicationSubject]> = [
  ["reads Date.now", reading(() => Effect.sync(() => hours(Date.now())))],
  ["reads new Date()", reading(() => Effect.sync(() => hours(Date.parse(new Date().toISOString()))))],
  ["reads performance.now", reading(() => Effect.sync(() => hours(performance.now())))],
  ["reads performance.timeOrigin", reading(() => Effect.sync(() => hours(performance.timeOrigin)))],
  ["reads process.hrtime", reading(() => Effect.sync(() => hours(process.hrtime()[0] * 1_000)))],
  [
    "reads process.hrtime.bigint",
    reading(() => Effect.sync(() => hours(Number(process.hrtime.bigint() / 1_000_000n)))),
  ],
  ["reads Effect's clock", reading(() => Effect.map(Clock.currentTimeMillis, hours))],
  ["reads Effect's steady clock", reading(() => Effect.map(Clock.monotonicTimeNanos, (ns) => hours(Number(ns) / 1e6)))],
  ["draws from Math.random", reading(() => Effect.sync(() => Math.floor(Math.random() * 1e9)))],
  ["draws from Effect's Random", reading(() => Random.nextIntBetween(0, 1e9))],
  ["draws a UUID", reading(() => Effect.sync(() => BigInt(`0x${crypto.randomUUID().slice(0, 8)}`)))],
  ["lets timers race", racing],
  ["lets intervals race", ticking],
  ["lets immediates race", immediately],
  ["lets sleeps race", sleeping],
  ["takes the member it finds first", reading((batches) => Effect.sync(() => Object.keys(batches)[0]!.charCodeAt(0)))],
]
