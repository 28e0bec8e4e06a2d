/**
 * Goal: a halted incarnation takes no step, its finalizers neither, and its clock is its own.
 * Method: fibers of one incarnation in a simulated world, resumed from outside in every way there is; applications that rely
 * on finalizers or on clocks, which only worlds with these troubles find out.
 */
import { Clock, Deferred, Effect, Exit, Fiber, Scheduler, Scope } from "effect"
import { describe, expect, test } from "vitest"
import { type Drift, Incarnation } from "../src/incarnation.ts"
import { marksOverOne } from "../src/marks.ts"
import { CALM, type Plan, SCENARIOS } from "../src/scenarios.ts"
import { simulate } from "../src/scheduler.ts"
import { runWorld } from "../src/world.ts"

const inWorld = <A>(use: (make: (drift?: Drift) => Incarnation) => Effect.Effect<A>) => {
  const program = Effect.gen(function* () {
    const base = { clock: yield* Clock.Clock, scheduler: yield* Scheduler.Scheduler }
    return yield* use((drift) => new Incarnation(base, drift))
  })
  const { exit, fibersLeft } = simulate(1, program)
  if (Exit.isFailure(exit)) throw new Error(String(exit.cause))
  return { value: exit.value, fibersLeft }
}

describe("a halted incarnation", () => {
  test("takes no step, however it is resumed, runs no finalizer, and ends once it is let go", () => {
    const { value, fibersLeft } = inWorld((make) =>
      Effect.gen(function* () {
        const incarnation = make()
        const steps: Array<string> = []
        const gate = yield* Deferred.make<void>()
        const scope = yield* Scope.make()
        const step = (name: string) => Effect.sync(() => void steps.push(name))
        const waits: Record<string, Effect.Effect<unknown>> = {
          timer: Effect.sleep(10),
          deferred: Deferred.await(gate),
          turns: Effect.forever(Effect.sleep(1)),
          nothing: Effect.never,
        }
        for (const [name, wait] of Object.entries(waits)) {
          const work = Effect.andThen(wait, step(`${name} went on`)).pipe(Effect.ensuring(step(`${name} ended`)))
          yield* Effect.forkIn(incarnation.runs(work), scope)
        }
        yield* Effect.sleep(5)
        incarnation.halt()
        yield* Deferred.succeed(gate, undefined)
        const closing = yield* Effect.forkDetach(Scope.close(scope, Exit.void))
        yield* Effect.sleep(1_000)
        const whileHalted = [...steps]
        yield* incarnation.letGo
        yield* Fiber.await(closing)
        return [whileHalted, steps.filter((name) => name.endsWith("ended")).toSorted()]
      }),
    )
    expect(value).toEqual([[], ["deferred ended", "nothing ended", "timer ended", "turns ended"]])
    expect(fibersLeft).toBe(0)
  })

  test("what it began in its last step, and what was interrupted before its start, ends too", () => {
    const { fibersLeft } = inWorld((make) =>
      Effect.gen(function* () {
        const incarnation = make()
        const scope = yield* Scope.make()
        const last = Effect.sync(() => incarnation.halt())
        yield* incarnation.runs(Effect.andThen(Effect.forkIn(Effect.never, scope), last)).pipe(Effect.forkIn(scope))
        yield* Effect.sleep(5)
        const closing = yield* Effect.forkDetach(Scope.close(scope, Exit.void))
        yield* Effect.sleep(5)
        yield* incarnation.letGo
        yield* Fiber.await(closing)
      }),
    )
    expect(fibersLeft).toBe(0)
  })

  test("reads its own clock, and sleeps by it", () => {
    const { value } = inWorld((make) =>
      Effect.gen(function* () {
        const { runs } = make({ rate: 1.25, offsetMs: 3_000 })
        const before = yield* runs(Clock.currentTimeMillis)
        yield* runs(Effect.sleep(1_000))
        return [before, yield* runs(Clock.currentTimeMillis), yield* Clock.currentTimeMillis]
      }),
    )
    expect(value).toEqual([3_000, 4_000, 800])
  })
})

describe("canaries", () => {
  const honest = marksOverOne(4)
  const plan = (change: Partial<Plan>): Plan => ({
    ...SCENARIOS.find(({ name }) => name === "plain")!,
    height: 4,
    ...change,
  })
  const everyone = [0, 1, 2, 3, 4]

  test("an application that relies on its finalizers is found out by halts alone", () => {
    const outcome = (halts: boolean) => {
      const held = new Set<number>()
      const subject: typeof honest = {
        ...honest,
        application: (validator) => {
          const application = honest.application(validator)
          const locked = Effect.acquireUseRelease(
            Effect.sync(() => void held.add(validator)),
            () => Effect.sleep(60),
            () => Effect.sync(() => void held.delete(validator)),
          )
          const lock = Effect.suspend(() => (held.has(validator) ? Effect.never : locked))
          return {
            ...application,
            verify: (...asked) => Effect.andThen(lock, application.verify(...asked) as never),
          }
        },
      }
      const crash = { kind: "crash", atMs: 1_000, nodes: everyone, downMs: 200 } as const
      const halted = everyone.map((node) => ({ kind: "halted", node }) as const)
      const faults = () => [...(halts ? halted : []), ...[0, 1, 2].map((i) => ({ ...crash, atMs: 1_000 + 435 * i }))]
      return runWorld(subject, plan({ schedule: { ...CALM, viewTimeoutMs: 20_000 }, faultsMs: 3_000, faults }), 3)
        .failure?.kind
    }
    expect([outcome(false), outcome(true)]).toEqual([undefined, "P-11"])
  })

  test("an application that reads the clock is found out by drift alone", () => {
    const subject: typeof honest = {
      ...honest,
      application: (validator) => {
        const application = honest.application(validator)
        return {
          ...application,
          verify: (context, ancestry, batches, tools) =>
            Effect.flatMap(Clock.currentTimeMillis, (ms) => {
              if (ms > 30_000) batches.board.put(new Uint8Array(32).fill(9), new Uint8Array(24))
              return application.verify(context, ancestry, batches, tools) as never
            }),
        }
      },
    }
    const outcome = (faults: ReturnType<Plan["faults"]>) =>
      runWorld(subject, plan({ faults: () => faults }), 3).failure?.kind
    expect(outcome([])).toBeUndefined()
    expect(outcome([{ kind: "clock", node: 1, rate: 1, offsetMs: 60_000 }])).toBe("VerdictsDiverged")
  })
})
