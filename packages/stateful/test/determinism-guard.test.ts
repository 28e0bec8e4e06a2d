/**
 * Goal: an executor with a guarded application votes for nothing that its application does not agree with itself on, and
 * votes as before for everything else.
 * Method: the toy chain on a model set; applications that read what they must not are canaries.
 */
import { it } from "@effect/vitest"
import { Clock, Effect, Exit, Fiber, Random } from "effect"
import { TestClock } from "effect/testing"
import { describe, expect, test } from "vitest"
import { type GuardOptions, guardDeterminism, NonDeterministic, trackForks } from "../src/diagnosis/index.ts"
import { outside, runShuffled, Surroundings } from "../src/diagnosis/surroundings.ts"
import { ApplicationFault } from "../src/index.ts"
import { ModelSet } from "./support/model-set.ts"
import { quiet, started, stoppedBy } from "./support/running-executor.ts"
import { contextOn, execute, type ToyApplication, ToyChain, toyApplication } from "./support/toy-chain.ts"

const HOUR_MS = 3_600_000

/** Starts an executor whose application is guarded. */
const guarded = (hooks: Partial<ToyApplication> = {}, options?: GuardOptions) => {
  const model = new ModelSet(ToyChain.start)
  const tracked = trackForks(model)
  const application = guardDeterminism(toyApplication(hooks), tracked, options)
  return Effect.map(started({ hooks: application, set: model, runsOn: tracked.set }), (run) => ({ ...run, model }))
}

/** Executes a block that says what was read besides. */
const noting = (read: Effect.Effect<number>): Partial<ToyApplication> => ({
  verify: (_context, ancestry, batches, tools) =>
    Effect.gen(function* () {
      const block = (yield* ancestry.next)!
      const noted = yield* read
      batches.left.put("read", noted)
      return yield* execute(block, batches, tools)
    }),
})

test("a sound application is voted for, twice executed and once seen", () =>
  Effect.runPromise(
    Effect.gen(function* () {
      let runs = 0
      const { chain, verify, finalize, end, model } = yield* guarded({
        verify: (_context, ancestry, batches, tools) =>
          Effect.flatMap(ancestry.next, (block) => {
            runs++
            return execute(block!, batches, tools)
          }),
      })
      const block = chain.grow(chain.finalized[0]!, 1)
      expect(yield* verify(block)).toBe(true)
      expect(runs).toBe(2)
      expect(model.layers).toBe(1)
      yield* finalize(block)
      yield* quiet
      expect(model.durable.height).toBe(1)
      yield* end
    }),
  ))

test("each time that a block is executed again has surroundings of its own", () =>
  Effect.runPromise(
    Effect.gen(function* () {
      const drawn: number[] = []
      const noticing: Partial<ToyApplication> = {
        verify: (_context, ancestry, batches, tools) =>
          Effect.gen(function* () {
            drawn.push(yield* Random.nextIntBetween(0, 1e9))
            return yield* execute((yield* ancestry.next)!, batches, tools)
          }),
      }
      const { chain, verify, end } = yield* guarded(noticing, { repetitions: 3 })
      expect(yield* verify(chain.grow(chain.finalized[0]!, 1))).toBe(true)
      expect(drawn).toHaveLength(4)
      expect(new Set(drawn.slice(1)).size).toBe(3)
      yield* end
    }),
  ))

test("a verdict that changes is no verdict", () =>
  Effect.runPromise(
    Effect.gen(function* () {
      let runs = 0
      const { chain, verify } = yield* guarded({
        verify: (_context, ancestry, batches, tools) =>
          Effect.flatMap(ancestry.next, (block) =>
            ++runs % 2 === 0 ? Effect.succeed(undefined) : execute(block!, batches, tools),
          ),
      })
      const fiber = yield* Effect.forkChild(verify(chain.grow(chain.finalized[0]!, 1)))
      yield* Fiber.await(fiber)
      const fault = stoppedBy(fiber)
      expect(fault).toBeInstanceOf(ApplicationFault)
      expect((fault as ApplicationFault).cause).toMatchObject({ _tag: "NonDeterministic", member: undefined })
    }),
  ))

describe("a proposal is verified by its own application before it is given", () => {
  const proposed = (hooks: Partial<ToyApplication>) =>
    Effect.gen(function* () {
      const { chain, port, end, model } = yield* guarded(hooks)
      const [genesis] = chain.finalized
      const fiber = yield* Effect.forkChild(port.propose(contextOn(genesis!, 7), chain.ancestry(genesis!)))
      const exit = yield* Fiber.await(fiber)
      return { exit, fiber, end, model }
    })

  test("a sound one is, once, and leaves no other fork than its own", () =>
    Effect.runPromise(
      Effect.gen(function* () {
        const judged: number[] = []
        const { exit, end, model } = yield* proposed({
          verify: (_context, ancestry, batches, tools) =>
            Effect.gen(function* () {
              const [block, parent] = [(yield* ancestry.next)!, yield* ancestry.next]
              judged.push(block.height, parent!.height)
              return yield* execute(block, batches, tools)
            }),
        })
        expect(Exit.isSuccess(exit) && exit.value?.height).toBe(1)
        expect(judged).toEqual([1, 0])
        expect(model.layers).toBe(1)
        yield* end
      }),
    ))

  test.each([
    ["whose verdict needs chance", noting(Random.nextIntBetween(0, 1e9)).verify!, "left"],
    ["that it finds invalid", () => Effect.succeed(undefined), undefined],
  ] as const)("one %s is none: the executor stops", (_what, verify, member) =>
    Effect.runPromise(
      Effect.gen(function* () {
        const { exit, fiber, end } = yield* proposed({ verify })
        expect(Exit.isFailure(exit)).toBe(true)
        expect((stoppedBy(fiber) as ApplicationFault).cause).toMatchObject({
          _tag: "NonDeterministic",
          hook: "propose",
          height: 1,
          member,
        })
        yield* end
      }),
    ),
  )
})

describe.each([
  ["the clock", Clock.currentTimeMillis, "Clock"],
  ["chance", Random.nextIntBetween(0, 1e9), "Random"],
  [
    "the order of sleeps",
    Effect.raceAllFirst([1, 2, 3, 4, 5, 6, 7, 8].map((ms) => Effect.as(Effect.sleep(ms), ms))),
    "sleep",
  ],
] as const)("an application that reads %s", (_what, read, source) => {
  test("stops its executor before it votes, and the error says what it read", () =>
    Effect.runPromise(
      Effect.gen(function* () {
        const { chain, verify, end } = yield* guarded(noting(read))
        const block = chain.grow(chain.finalized[0]!, 1)
        const fiber = yield* Effect.forkChild(verify(block))
        expect(Exit.isFailure(yield* Fiber.await(fiber))).toBe(true)
        const fault = stoppedBy(fiber) as ApplicationFault
        expect(fault).toBeInstanceOf(ApplicationFault)
        expect(fault.cause).toBeInstanceOf(NonDeterministic)
        expect(fault.cause).toMatchObject({ hook: "verify", height: 1, digest: block.digest, member: "left" })
        expect((fault.cause as NonDeterministic).consulted).toContain(source)
        yield* end
      }),
    ))
})

test("INV-40 members come in another order every time, whatever the shuffle draws", () =>
  Effect.runPromise(
    Effect.gen(function* () {
      for (let seed = 0; seed < 8; seed++) {
        const ordered: Partial<ToyApplication> = {
          verify: (_context, ancestry, batches, tools) =>
            Effect.gen(function* () {
              batches.left.put("first", Object.keys(batches)[0] === "left" ? 1 : 2)
              return yield* execute((yield* ancestry.next)!, batches, tools)
            }),
        }
        const { chain, verify, end } = yield* guarded(ordered, { seed })
        const fiber = yield* Effect.forkChild(verify(chain.grow(chain.finalized[0]!, 1)))
        yield* Fiber.await(fiber)
        expect((stoppedBy(fiber) as ApplicationFault).cause, `seed ${seed}`).toBeInstanceOf(NonDeterministic)
        yield* end
      }
    }),
  ))

it.effect("INV-40 the order of sleeps is shuffled on a virtual clock too, which sets no timer of the process", () =>
  Effect.gen(function* () {
    const first = Effect.raceAllFirst([1, 2, 3, 4, 5, 6, 7, 8].map((ms) => Effect.as(Effect.sleep(ms), ms)))
    const { chain, verify, end } = yield* guarded(noting(first))
    const fiber = yield* Effect.forkChild(verify(chain.grow(chain.finalized[0]!, 1)))
    for (let run = 0; run < 2; run++) {
      yield* quiet
      yield* TestClock.adjust("10 millis")
    }
    yield* quiet
    expect((stoppedBy(fiber) as ApplicationFault).cause).toBeInstanceOf(NonDeterministic)
    yield* end
  }),
)

test("a caller that leaves while a block is executed again leaves no fork open", () =>
  Effect.runPromise(
    Effect.gen(function* () {
      let runs = 0
      const { chain, verify, end } = yield* guarded({
        verify: (_context, ancestry, batches, tools) =>
          Effect.flatMap(ancestry.next, (block) => (++runs === 2 ? Effect.never : execute(block!, batches, tools))),
      })
      const fiber = yield* Effect.forkChild(verify(chain.grow(chain.finalized[0]!, 1)))
      yield* quiet
      expect(runs).toBe(2)
      yield* Fiber.interrupt(fiber)
      yield* quiet
      yield* end
    }),
  ))

const clock = (): { readonly now: () => number } => Reflect.get(globalThis, "Date") as never
const replaced = (): ReadonlyArray<unknown> => {
  const owners = ["Date", "Math", "performance", "crypto", "process", "globalThis"].map(
    (name): object => Reflect.get(globalThis, name) as object,
  )
  const keys = [
    ...["now", "random", "randomUUID", "getRandomValues", "hrtime", "timeOrigin"],
    ...["setTimeout", "setInterval", "setImmediate", "clearImmediate"],
  ]
  return [...owners, ...owners.flatMap((of) => keys.map((key) => Reflect.get(of, key) as unknown))]
}

const global = (name: string) => Reflect.get(globalThis, name) as (...args: ReadonlyArray<unknown>) => unknown

test("while a block is executed in shuffled surroundings, everyone else sees the process's own, and so does it before and after", () =>
  Effect.runPromise(
    Effect.gen(function* () {
      const readings: number[] = []
      const before = replaced()
      const { chain, verify, end } = yield* guarded({
        verify: (_context, ancestry, batches, tools) =>
          Effect.gen(function* () {
            const block = (yield* ancestry.next)!
            for (let i = 0; i < 20; i++) yield* Effect.yieldNow
            readings.push(clock().now())
            return yield* execute(block, batches, tools)
          }),
      })
      const started = clock().now()
      const fiber = yield* Effect.forkChild(verify(chain.grow(chain.finalized[0]!, 1)))
      let during = 0
      while (fiber.pollUnsafe() === undefined) {
        if (replaced()[0] !== before[0]) during++
        expect(clock().now()).toBeLessThan(started + HOUR_MS)
        yield* Effect.yieldNow
      }
      expect(yield* Fiber.join(fiber)).toBe(true)
      expect(during).toBeGreaterThan(0)
      expect(readings.map((at) => at < started + HOUR_MS)).toEqual([true, false])
      expect(replaced()).toEqual(before)
      yield* end
    }),
  ))

test("an immediate that is put off can still be taken back, and an interval ended", () =>
  Effect.runPromise(
    Effect.gen(function* () {
      const ran: string[] = []
      const hook = async (): Promise<void> => {
        const [later, never] = ["later", "never"].map((name) => global("setImmediate")(() => ran.push(name)))
        const ticks = global("setInterval")(() => ran.push("tick"), 1)
        // Off the patched path: some of those that were put off are so for a second time by then.
        await outside(() => Effect.runPromise(Effect.yieldNow))
        if (ran.includes("never")) ran.splice(ran.indexOf("never"), 1)
        global("clearImmediate")(never)
        while (!ran.includes("later") || !ran.includes("tick")) {
          await new Promise((resolve) => global("setImmediate")(resolve))
        }
        global("clearInterval")(ticks)
        expect(later).toBeDefined()
      }
      for (let seed = 0; seed < 20; seed++) {
        ran.length = 0
        yield* runShuffled(new Surroundings(seed), Effect.promise(hook))
        expect(ran, `seed ${seed}`).not.toContain("never")
      }
    }),
  ))

test("time moves on in shuffled surroundings as it does outside", () =>
  Effect.runPromise(
    Effect.gen(function* () {
      type Reading = [number, number]
      const now = (since?: Reading) => (Reflect.get(process, "hrtime") as (since?: Reading) => Reading)(since)
      const before = now()
      yield* runShuffled(
        new Surroundings(3),
        Effect.sync(() => {
          const here = now()
          expect(here[0] - before[0]).toBeGreaterThan(HOUR_MS / 1000)
          const [seconds, nanos] = now(here)
          expect([seconds, nanos >= 0]).toEqual([0, true])
        }),
      )
    }),
  ))
