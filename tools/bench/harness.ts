/**
 * What a benchmark is, and the few measurements that benchmarks share.
 *
 * Terms: a bench is a named run that yields figures; a figure is one published number, with the peer it is measured
 * against where there is one. A ratio is our time over the peer's, so that less is better, and it compares only times
 * that were taken alternately in one run: on a shared machine two runs an hour apart differ by more than most changes.
 *
 * Invariant: every time is a median of many, after warm-up, and preparation is never inside it.
 */
import { fork } from "node:child_process"
import { readFileSync } from "node:fs"

/** One published number. `p50` is in `unit`; `ratio` is ours over the time of `against`. */
export interface Figure {
  /** Stable name, unique among all figures: publications and comparisons refer to it. */
  readonly name: string
  readonly p50: number
  readonly unit: string
  readonly against?: string
  readonly ratio?: number
  readonly target?: Target
}

/** Upper bounds that a figure is held to, on its ratio or on its value. */
export interface Target {
  readonly on: "p50" | "ratio"
  readonly required?: number
  readonly aim?: number
}

/** What a bench is given. */
export interface Context {
  /** Tells the person at the terminal what is going on. */
  readonly note: (text: string) => void
  /** A new, empty directory on the disk of the checkout, removed when the bench has ended. */
  readonly directory: () => string
}

/** A benchmark. It runs in a process of its own, started with `--expose-gc`. */
export interface Bench {
  /** Stable name; the filter of `npm run bench -- FILTER` is a part of it. */
  readonly name: string
  readonly run: (context: Context) => Promise<ReadonlyArray<Figure>>
}

/** Percentiles of a sample, in milliseconds. */
export interface Timing {
  readonly p50: number
  readonly p99: number
  readonly samples: number
}

/** Something to time. `prepare` runs before each round and outside the time. */
export interface Subject {
  readonly prepare?: (round: number) => unknown
  readonly run: (round: number) => unknown
}

/** How often each subject runs. Warm-up rounds run first and are not counted. */
export interface Rounds {
  readonly rounds: number
  readonly warmup?: number
}

/** Percentiles of samples in milliseconds, by nearest rank. Throws on no samples. */
export const timingOf = (samples: ReadonlyArray<number>): Timing => {
  if (samples.length === 0) throw new RangeError("a timing needs a sample")
  const sorted = samples.toSorted((a, b) => a - b)
  const rank = (share: number): number => sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] as number
  return { p50: rank(0.5), p99: rank(0.99), samples: sorted.length }
}

/**
 * Times several subjects side by side: each round runs every subject once, in an order that turns by one each round.
 *
 * `run` may return a promise, which is awaited inside the time. Rounds count from 0, warm-up included.
 */
export const alternate = async <Name extends string>(
  subjects: Readonly<Record<Name, Subject>>,
  { rounds, warmup = 0 }: Rounds,
): Promise<Readonly<Record<Name, Timing>>> => {
  const names = Object.keys(subjects) as Array<Name>
  const samples = new Map<Name, Array<number>>(names.map((name) => [name, []]))
  for (let round = 0; round < warmup + rounds; round++) {
    for (let i = 0; i < names.length; i++) {
      const name = names[(round + i) % names.length] as Name
      const taken = await timeOnce(subjects[name], round)
      if (round >= warmup) samples.get(name)?.push(taken)
    }
  }
  return Object.fromEntries([...samples].map(([name, taken]) => [name, timingOf(taken)])) as Record<Name, Timing>
}

/** Times one subject. */
export const time = async (subject: Subject, rounds: Rounds): Promise<Timing> =>
  (await alternate({ subject }, rounds)).subject

const timeOnce = async (subject: Subject, round: number): Promise<number> => {
  await subject.prepare?.(round)
  const start = performance.now()
  const pending = subject.run(round)
  // Awaiting a value that is there would add a turn of the microtask queue to a synchronous subject.
  if (pending instanceof Promise) await pending
  return performance.now() - start
}

const PER_MS = { ns: 1e6, us: 1e3, ms: 1, s: 1e-3 } as const

/** How a timing becomes a figure. `per` is the operations in a round; a peer's round has as many unless it says so. */
export interface Presentation {
  readonly unit: keyof typeof PER_MS
  readonly per?: number
  readonly against?: { readonly name: string; readonly timing: Timing; readonly per?: number }
  readonly target?: Target
}

/** Figure of a timing, alone or over the timing of a peer. */
export const figure = (name: string, timing: Timing, { unit, per = 1, against, target }: Presentation): Figure => {
  const each = timing.p50 / per
  const peer = against && { against: against.name, ratio: each / (against.timing.p50 / (against.per ?? per)) }
  return { name, p50: each * PER_MS[unit], unit, ...peer, ...(target && { target }) }
}

const TICK_MS = 1

/** Longest time in milliseconds that the event loop stood still while `work` ran, the part before its first turn included. */
export const stall = async (work: () => Promise<unknown>, now: () => number = () => performance.now()) => {
  let last = now()
  let longest = 0
  const tick = (): void => {
    const at = now()
    longest = Math.max(longest, at - last - TICK_MS)
    last = at
  }
  const timer = setInterval(tick, TICK_MS)
  try {
    await work()
    tick()
  } finally {
    clearInterval(timer)
  }
  return longest
}

/**
 * Resident anonymous memory of this process in bytes after a full collection: what it holds besides mapped files.
 *
 * Throws without `--expose-gc`, and where /proc does not tell. Compare processes (`inChild`), not points in one: a heap
 * that has once been large gives only part of it back.
 */
export const anonymousBytes = async (): Promise<number> => {
  const collect = globalThis.gc
  if (collect === undefined) throw new Error("memory is measured after a collection: run node with --expose-gc")
  for (let i = 0; i < 3; i++) {
    await collect({ type: "major", execution: "async", flavor: "last-resort" })
    await new Promise((resolve) => setImmediate(resolve))
  }
  const kilobytes = /^RssAnon:\s+(\d+) kB$/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1]
  if (kilobytes === undefined) throw new Error("/proc/self/status does not tell RssAnon")
  return Number(kilobytes) * 1024
}

/** Answer of a child: what the export returned, or the error it threw. */
export type Answer = { readonly output: unknown } | { readonly error: string }

/**
 * Calls an export of a module in a new process, and returns what it returns: a heap that nothing else has touched.
 *
 * `module` is a file URL; input and output cross by structured clone. What the child prints goes to standard error. The
 * child ends with its answer, and with this process. Errors: rejects with the child's stack, or when it dies.
 */
export const inChild = <Output>(module: string, name: string, input: unknown): Promise<Output> =>
  new Promise((resolve, reject) => {
    const child = fork(new URL("./child.ts", import.meta.url), [module, name], {
      execArgv: ["--expose-gc"],
      stdio: ["ignore", 2, 2, "ipc"],
      serialization: "advanced",
    })
    let answer: Answer | undefined
    child.on("message", (message) => {
      answer = message as Answer
    })
    child.on("error", reject)
    child.on("exit", (code, signal) => {
      if (answer === undefined) reject(new Error(`${name} ended without an answer (${signal ?? code})`))
      else if ("error" in answer) reject(new Error(answer.error))
      else resolve(answer.output as Output)
    })
    child.send({ input })
  })
