/**
 * Shuffled surroundings: another time, other chance and another order of timers, for one run of a hook and nothing else.
 *
 *   Effect hooks   Clock and Random services
 *   plain hooks    Date, performance.now and .timeOrigin, process.hrtime, Math.random, crypto, setTimeout, setInterval,
 *                  setImmediate: patched while a run is under way
 *
 * Terms: a run's *surroundings* follow it through promises and fibers. Everything else in the process sees the real clock.
 *
 * Invariant: a hook that reads none of these cannot tell. Maps and sets keep their order of insertion, as the language
 * promises. Out of reach is what was taken before, as by `const { now } = Date` at the top of a module, and what Node's
 * modules give beside these globals: `randomBytes` of node:crypto, timers of node:timers.
 */
import { AsyncLocalStorage } from "node:async_hooks"
import { Clock, Duration, Effect, Fiber, Random, Scheduler } from "effect"
import { drawer } from "./seeded-chance.ts"

const HOURS_MAX = 100_000
const MS_PER_HOUR = 3_600_000
const NANOS_PER_MS = 1_000_000n
/** Longest wait of a shuffled timer: the order in which timers fire is drawn, what they were set to is not waited for. */
const TIMER_MS_MAX = 8

/** One shuffle of time, chance and timers. Equal seeds shuffle alike. */
export class Surroundings {
  /** Sources of time and chance that were read, in order of first reading. */
  readonly consulted = new Set<string>()
  /** A number in [0, 1). */
  readonly chance: () => number
  readonly #offsetMs: number

  constructor(seed: number) {
    this.chance = drawer(seed, "surroundings")
    this.#offsetMs = Math.floor((1 + this.chance() * HOURS_MAX) * MS_PER_HOUR)
  }

  /** Shuffles a list. */
  shuffle<A>(items: ReadonlyArray<A>): ReadonlyArray<A> {
    const left = [...items]
    const shuffled: Array<A> = []
    while (left.length > 0) shuffled.push(...left.splice(Math.floor(this.chance() * left.length), 1))
    return shuffled
  }

  /** A reading of a clock of the process, as it reads here. */
  ms(real: number): number {
    return real + this.#offsetMs
  }

  clock(base: Clock.Clock): Clock.Clock {
    const note = <A>(reading: A): A => {
      this.consulted.add("Clock")
      return reading
    }
    const ms = () => note(this.ms(outside(() => base.currentTimeMillisUnsafe())))
    const nanos = (real: bigint) => note(real + BigInt(this.#offsetMs) * NANOS_PER_MS)
    const wall = () => nanos(outside(() => base.currentTimeNanosUnsafe()))
    const steady = () => nanos(outside(() => base.monotonicTimeNanosUnsafe()))
    return {
      currentTimeMillisUnsafe: ms,
      currentTimeNanosUnsafe: wall,
      monotonicTimeNanosUnsafe: steady,
      currentTimeMillis: Effect.sync(ms),
      currentTimeNanos: Effect.sync(wall),
      monotonicTimeNanos: Effect.sync(steady),
      sleep: () => {
        this.consulted.add("sleep")
        return base.sleep(Duration.millis(this.wait()))
      },
    }
  }

  get random(): (typeof Random.Random)["Service"] {
    const draw = (): number => {
      this.consulted.add("Random")
      return this.chance()
    }
    return {
      nextDoubleUnsafe: draw,
      nextIntUnsafe: () => Math.floor((draw() * 2 - 1) * Number.MAX_SAFE_INTEGER),
    }
  }

  /** How long a timer waits here, whatever it was set to. */
  wait(): number {
    return this.chance() * TIMER_MS_MAX
  }
}

const current = new AsyncLocalStorage<Surroundings>()

/** Runs code that is not the hook's, where it sees the process's own clock and chance. */
export const outside = <A>(run: () => A): A => current.exit(run)

type AnyFunction = (...args: ReadonlyArray<unknown>) => unknown

interface Patch {
  /** As it is noted when it is read; undefined for what runtimes read on a hook's behalf. */
  readonly name: string | undefined
  readonly of: object
  readonly key: string
  /** A property that is read, not called. */
  readonly isProperty?: true
  readonly here: (surroundings: Surroundings, real: AnyFunction, args: ReadonlyArray<unknown>) => unknown
}

const fill = (surroundings: Surroundings, bytes: Uint8Array): Uint8Array => {
  for (let i = 0; i < bytes.length; i++) bytes[i] = Math.floor(surroundings.chance() * 256)
  return bytes
}

const NANOS_PER_SECOND = 1_000_000_000n

const hrtime = (here: Surroundings, [seconds, nanos]: readonly [number, number], since: unknown): [number, number] => {
  const [pastSeconds, pastNanos] = (since ?? [0, 0]) as readonly [number, number]
  const total =
    BigInt(seconds - pastSeconds) * NANOS_PER_SECOND + BigInt(nanos - pastNanos) + BigInt(here.ms(0)) * NANOS_PER_MS
  return [Number(total / NANOS_PER_SECOND), Number(total % NANOS_PER_SECOND)]
}

/** Turns of the event loop that an immediate may be put off. */
const IMMEDIATE_TURNS_MAX = 4

/** The immediate that stands for one that was put off, as long as it is. */
const putOff = new WeakMap<object, object>()

const immediate = (here: Surroundings, real: AnyFunction, [run, ...rest]: ReadonlyArray<unknown>): unknown => {
  let turns = Math.floor(here.chance() * IMMEDIATE_TURNS_MAX)
  const next = (): unknown => {
    if (turns-- === 0) return (run as AnyFunction)(...rest)
    putOff.set(handle, real(next) as object)
    return undefined
  }
  const handle = real(next) as object
  return handle
}

const PATCHES: ReadonlyArray<Patch> = [
  { name: "Date.now", of: Date, key: "now", here: (here, real) => here.ms(real() as number) },
  { name: "performance.now", of: performance, key: "now", here: (here, real) => here.ms(real() as number) },
  {
    name: "performance.timeOrigin",
    of: performance,
    key: "timeOrigin",
    isProperty: true,
    here: (here, real) => here.ms(real() as number),
  },
  {
    name: "process.hrtime.bigint",
    of: process.hrtime,
    key: "bigint",
    here: (here, real) => BigInt(here.ms(0)) * NANOS_PER_MS + (real() as bigint),
  },
  {
    name: "process.hrtime",
    of: process,
    key: "hrtime",
    here: (here, real, [since]) => hrtime(here, real() as [number, number], since),
  },
  { name: "Math.random", of: Math, key: "random", here: (here) => here.chance() },
  {
    name: "crypto.getRandomValues",
    of: crypto,
    key: "getRandomValues",
    here: (here, _real, [view]) => {
      const { buffer, byteOffset, byteLength } = view as Uint8Array
      fill(here, new Uint8Array(buffer, byteOffset, byteLength))
      return view
    },
  },
  {
    name: "crypto.randomUUID",
    of: crypto,
    key: "randomUUID",
    here: (here) =>
      Buffer.from(fill(here, new Uint8Array(16)))
        .toString("hex")
        .replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-"),
  },
  ...["setTimeout", "setInterval"].map(
    (key): Patch => ({
      name: key,
      of: globalThis,
      key,
      here: (here, real, [run, _ms, ...rest]) => real(run, here.wait(), ...rest),
    }),
  ),
  { name: undefined, of: globalThis, key: "setImmediate", here: immediate },
  {
    name: undefined,
    of: globalThis,
    key: "clearImmediate",
    here: (_here, real, [handle]) => {
      real(handle)
      real(putOff.get(handle as object))
    },
  },
]

const patch = ({ name, of, key, isProperty, here }: Patch): (() => void) => {
  const own = Object.getOwnPropertyDescriptor(of, key)
  const found: unknown = Reflect.get(of, key)
  const real = (...args: ReadonlyArray<unknown>): unknown =>
    isProperty ? found : Reflect.apply(found as AnyFunction, of, args)
  const patched = (...args: ReadonlyArray<unknown>): unknown => {
    const surroundings = current.getStore()
    if (surroundings === undefined) return real(...args)
    if (name !== undefined) surroundings.consulted.add(name)
    return here(surroundings, real, args)
  }
  const value = isProperty ? { get: patched } : { value: Object.assign(patched, found), writable: true }
  Object.defineProperty(of, key, { ...value, configurable: true })
  return () => (own === undefined ? Reflect.deleteProperty(of, key) : Object.defineProperty(of, key, own))
}

/** The constructor reads the clock when it is given nothing. `Date.now` of it is the patched one. */
const patchedDate = (RealDate: DateConstructor): DateConstructor =>
  new Proxy(RealDate, {
    construct: (target, args: ReadonlyArray<unknown>, newTarget) =>
      Reflect.construct(target, args.length === 0 ? [target.now()] : args, newTarget),
    apply: (target) => new target(target.now()).toString(),
  })

let users = 0
let restore: () => void = () => {}

const install = (): (() => void) => {
  const undo = PATCHES.map(patch)
  const RealDate = globalThis.Date
  globalThis.Date = patchedDate(RealDate)
  return () => {
    globalThis.Date = RealDate
    for (const each of undo.toReversed()) each()
  }
}

const acquire = (): void => {
  if (users++ === 0) restore = install()
}

const release = (): void => {
  if (--users === 0) restore()
}

/** A scheduler whose tasks find themselves in the surroundings, whoever woke their fiber. */
const schedulerIn = (surroundings: Surroundings, base: Scheduler.Scheduler): Scheduler.Scheduler => ({
  executionMode: base.executionMode,
  shouldYield: (fiber) => base.shouldYield(fiber),
  makeDispatcher: () => {
    const dispatcher = base.makeDispatcher()
    return {
      scheduleTask: (task, priority) =>
        outside(() => dispatcher.scheduleTask(() => current.run(surroundings, task), priority)),
      flush: () => dispatcher.flush(),
    }
  },
})

/** Runs an effect in shuffled surroundings, in a fiber of its own. Interruption waits until that fiber has ended. */
export const runShuffled = <A, E>(surroundings: Surroundings, effect: Effect.Effect<A, E>): Effect.Effect<A, E> =>
  Effect.withFiber((fiber) => {
    const within = effect.pipe(
      Effect.provideService(Clock.Clock, surroundings.clock(fiber.getRef(Clock.Clock))),
      Effect.provideService(Random.Random, surroundings.random),
    )
    const scheduler = schedulerIn(surroundings, fiber.getRef(Scheduler.Scheduler))
    return Effect.callback<A, E>((resume) => {
      acquire()
      const inner = current.run(surroundings, () => Effect.runForkWith(fiber.context)(within, { scheduler }))
      inner.addObserver((exit) => {
        release()
        resume(exit)
      })
      return Fiber.interrupt(inner)
    })
  })

/** An effect of somebody outside, awaited inside: what follows it is back in the surroundings. */
export const awaitOutside = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A, E> =>
  Effect.flatMap(Effect.exit(effect), (exit) => Effect.andThen(Effect.yieldNow, exit))
