/**
 * Goal: a simulated run is decided by its seed alone, in virtual time, and one that cannot go on says so.
 * Method: small programs whose order, time or end is known.
 */
import { Deferred, Effect, Exit, Fiber, Random } from "effect"
import { describe, expect, test } from "vitest"
import { note } from "../src/audit.ts"
import { Stuck, simulate } from "../src/scheduler.ts"

const racing = Effect.gen(function* () {
  const order: Array<number> = []
  const runner = (name: number) =>
    Effect.gen(function* () {
      for (let i = 0; i < 3; i++) {
        order.push(name)
        yield* Effect.yieldNow
      }
    })
  yield* Effect.all([runner(1), runner(2), runner(3)], { concurrency: "unbounded" })
  return order.join("")
})

const value = <A>(exit: Exit.Exit<A, unknown>): A => {
  if (Exit.isFailure(exit)) throw new Error("the run failed")
  return exit.value
}

describe("simulate", () => {
  test("CONS-26 the same seed gives the same outcome and the same audit", () => {
    for (const seed of [0, 1, 2 ** 40]) expect(simulate(seed, racing)).toEqual(simulate(seed, racing))
  })

  test("different seeds search different interleavings and give different audits", () => {
    const runs = Array.from({ length: 50 }, (_, seed) => simulate(seed, racing))
    expect(new Set(runs.map(({ exit }) => value(exit))).size).toBeGreaterThan(20)
    expect(new Set(runs.map(({ audit }) => audit)).size).toBe(50)
  })

  test("sleeping costs virtual time only, and timers fire in order of time", () => {
    const program = Effect.gen(function* () {
      const woken: Array<number> = []
      const sleeper = (hours: number) => Effect.map(Effect.sleep(`${hours} hours`), () => woken.push(hours))
      yield* Effect.all([3, 1, 2].map(sleeper), { concurrency: "unbounded" })
      return woken
    })
    const run = simulate(1, program)
    expect(value(run.exit)).toEqual([1, 2, 3])
    expect(run.virtualMs).toBe(3 * 3_600_000)
  })

  test("an interrupted sleep leaves no timer behind", () => {
    const program = Effect.gen(function* () {
      const sleeper = yield* Effect.forkChild(Effect.sleep("1 day"))
      yield* Effect.sleep("1 second")
      yield* Fiber.interrupt(sleeper)
      return yield* Effect.never
    })
    expect(() => simulate(1, program)).toThrow("1000 virtual ms")
  })

  test("chance comes from the seed", () => {
    const draws = Effect.all([Random.next, Random.next])
    expect(value(simulate(5, draws).exit)).toEqual(value(simulate(5, draws).exit))
    expect(value(simulate(5, draws).exit)).not.toEqual(value(simulate(6, draws).exit))
  })

  test("a deadlock is Stuck, and so is a promise", () => {
    const deadlock = Effect.flatMap(Deferred.make<void>(), Deferred.await)
    expect(() => simulate(1, deadlock)).toThrow(Stuck)
    expect(() =>
      simulate(
        1,
        Effect.promise(() => Promise.resolve(1)),
      ),
    ).toThrow("nothing is runnable")
  })

  test("a run that does not end is Stuck after its steps", () => {
    expect(() => simulate(1, Effect.forever(Effect.yieldNow), { stepsMax: 1_000 })).toThrow("the run does not end")
  })

  test("the audit covers notes: same steps, other words, other audit", () => {
    expect(simulate(1, note("a")).audit).not.toBe(simulate(1, note("b")).audit)
    expect(simulate(1, note("a")).audit).toBe(simulate(1, note("a")).audit)
  })

  test("a failure of the effect is its exit", () => {
    expect(Exit.isFailure(simulate(1, Effect.fail("no")).exit)).toBe(true)
  })
})
