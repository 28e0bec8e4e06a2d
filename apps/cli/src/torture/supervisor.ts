/**
 * Starts the process, kills it, checks what it left, and starts it again.
 *
 *   start --> up --> a height above the one it stood at is durable --> begin -- within the flush --> SIGKILL --> check --.
 *     ^                                                                                                                  |
 *     '------------------------------------------------------------------------------------------------------------------'
 *
 * Terms: a kill is *inside* when the last thing the process said of its flush was that it began. An *aimed* kill waits
 * for that and for a part of the time that flushes take; the others come at any time, the start included.
 *
 * Invariant: every kill but those during the start comes after the chain went on. The process' own words are all that is
 * counted as acknowledged, read to the end of its pipe after it died.
 */
import { type ChildProcess, spawn } from "node:child_process"
import { join } from "node:path"
import { createInterface } from "node:readline"
import type { Readable } from "node:stream"
import { Cause, Clock, Data, Deferred, Effect, Queue, Random, type Scope } from "effect"
import { Model } from "../cells/cells.ts"
import { CHILD_START_MS_MAX } from "../limits.ts"
import { checkKilled } from "./check.ts"
import { WORKLOAD } from "./site.ts"

const CHILD = join(import.meta.dirname, "child.ts")

/** How a kill is timed. */
export type Aim = "flush" | "any time" | "start"

/** What one kill did. */
export interface Kill {
  readonly aim: Aim
  readonly inside: boolean
  /** Where the check found the node. */
  readonly height: number
}

/** The process died by itself, or did not go on. */
export class ChildFailed extends Data.TaggedError("ChildFailed")<{
  readonly directory: string
  readonly what: string
}> {}

/** What a process has said so far. */
interface Told {
  flushing: boolean
  flushes: number
  /** Highest height called durable. */
  durable: number
  up: number | undefined
}

interface Child {
  readonly told: Told
  /** One item per line told; ends with the process. */
  readonly lines: Queue.Queue<string, Cause.Done>
  /** Kills the process; succeeds when it is gone and all it said is read. */
  readonly kill: Effect.Effect<void>
}

const note = (told: Told, line: string): void => {
  const [word, value] = line.split(" ")
  if (word === "begin") told.flushing = true
  if (word === "end") told.flushes++
  if (word === "end") told.flushing = false
  if (word === "up") told.up = Number(value)
  if (word === "durable") told.durable = Math.max(told.durable, Number(value))
}

const startChild = Effect.fnUntraced(function* (directory: string, seed: number) {
  const lines = yield* Queue.unbounded<string, Cause.Done>()
  const gone = yield* Deferred.make<void>()
  const told: Told = { flushing: false, flushes: 0, durable: 0, up: undefined }
  const process_ = yield* Effect.acquireRelease(
    Effect.sync((): ChildProcess => {
      const child = spawn(process.execPath, [CHILD, directory, String(seed)], {
        stdio: ["ignore", "ignore", "inherit", "pipe"],
      })
      const reader = createInterface({ input: child.stdio[3] as Readable })
      reader.on("line", (line) => {
        note(told, line)
        Queue.offerUnsafe(lines, line)
      })
      child.once("close", () => {
        Queue.endUnsafe(lines)
        Deferred.doneUnsafe(gone, Effect.void)
      })
      return child
    }),
    (child) =>
      Effect.andThen(
        Effect.sync(() => child.kill("SIGKILL")),
        Deferred.await(gone),
      ),
  )
  const child: Child = {
    told,
    lines,
    kill: Effect.andThen(
      Effect.sync(() => process_.kill("SIGKILL")),
      Deferred.await(gone),
    ),
  }
  return child
})

/** Waits until what the process says meets a condition. */
const until = (child: Child, directory: string, what: string, holds: () => boolean): Effect.Effect<void, ChildFailed> =>
  Effect.gen(function* () {
    while (!holds()) yield* Queue.take(child.lines)
  }).pipe(
    Effect.catchCause((cause) =>
      Cause.hasInterruptsOnly(cause)
        ? Effect.interrupt
        : Effect.fail(new ChildFailed({ directory, what: `the process ended by itself before it ${what}` })),
    ),
    Effect.timeoutOrElse({
      duration: CHILD_START_MS_MAX,
      orElse: () => Effect.fail(new ChildFailed({ directory, what: `the process did not ${what} in time` })),
    }),
  )

const RECENT_FLUSHES = 16

/** Times of recent flushes, from which aimed kills are timed. */
export class FlushTimes {
  readonly #recent: Array<number> = []

  add(ms: number): void {
    this.#recent.push(ms)
    if (this.#recent.length > RECENT_FLUSHES) this.#recent.shift()
  }

  /** The shortest recent flush: what lasts as long is hardly ever over before. */
  get shortestMs(): number {
    return this.#recent.length === 0 ? 0 : Math.min(...this.#recent)
  }
}

/** Share of aimed kills that come as soon as the flush is heard of. */
const AT_ONCE_SHARE = 0.3

const untilFlush = Effect.fnUntraced(function* (child: Child, directory: string, times: FlushTimes) {
  // A few whole flushes first, so that their times are known and blocks of any age are un-flushed.
  const skipped = yield* Random.nextIntBetween(0, 6)
  for (let i = 0; i <= skipped; i++) {
    yield* until(child, directory, "flush", () => !child.told.flushing)
    yield* until(child, directory, "flush", () => child.told.flushing)
    if (i === skipped) break
    const beganMs = yield* Clock.currentTimeMillis
    yield* until(child, directory, "flush", () => !child.told.flushing)
    times.add((yield* Clock.currentTimeMillis) - beganMs)
  }
  const share = yield* Random.next
  if (share >= AT_ONCE_SHARE) yield* Effect.sleep(share * times.shortestMs)
})

const untilKill = Effect.fnUntraced(function* (child: Child, directory: string, aim: Aim, times: FlushTimes) {
  if (aim === "start") return yield* Effect.sleep(yield* Random.nextBetween(150, 700))
  yield* until(child, directory, "start", () => child.told.up !== undefined)
  const stood = child.told.up!
  yield* until(child, directory, "go on", () => child.told.durable > stood)
  if (aim === "flush") return yield* untilFlush(child, directory, times)
  yield* Effect.sleep(yield* Random.nextBetween(0, 200))
})

/** The state of a torture between kills. */
export interface Torture {
  readonly directory: string
  readonly model: Model
  readonly times: FlushTimes
  /** Highest height that any process called durable. */
  acknowledged: number
}

/** A torture of a directory that is empty or new. */
export const makeTorture = (directory: string): Torture => ({
  directory,
  model: new Model(WORKLOAD),
  times: new FlushTimes(),
  acknowledged: 0,
})

/** Starts the process, kills it once, and checks what it left. `seed` names the process and is used once. */
export const killOnce = Effect.fn("Torture.kill")(function* (torture: Torture, seed: number, aim: Aim) {
  const { directory, model, times } = torture
  const told = yield* Effect.scoped(runAndKill(directory, seed, aim, times))
  torture.acknowledged = Math.max(torture.acknowledged, told.durable)
  const height = yield* checkKilled(directory, torture.acknowledged, model)
  const kill: Kill = { aim, inside: told.flushing, height }
  return kill
})

const runAndKill = Effect.fnUntraced(function* (
  directory: string,
  seed: number,
  aim: Aim,
  times: FlushTimes,
): Effect.fn.Return<Told, ChildFailed, Scope.Scope> {
  const child = yield* startChild(directory, seed)
  yield* untilKill(child, directory, aim, times)
  yield* child.kill
  return child.told
})
