/**
 * Goal: each scenario holds with real executors, shows what it is named for, and would show a fault if there were one.
 * Method: a few seeds of each in virtual time; applications that are wrong must be found; equal seeds, equal audits.
 */
import type { CrashFamily, SweepReport } from "@coppice/laws/crash"
import { Effect } from "effect"
import { describe, expect, it } from "vitest"
import { summary, sweepCrashes } from "../src/simulate/crash-sweep.ts"
import { honestCells, type MakeApplication, runSeed } from "../src/simulate/run.ts"
import { SCENARIOS } from "../src/simulate/scenarios.ts"
import { shrinkSeed } from "../src/simulate/shrunk.ts"
import { runToEnd } from "./support/cli.ts"

const named = (name: string) => SCENARIOS.find((scenario) => scenario.name === name)!

describe("scenarios", () => {
  for (const scenario of SCENARIOS) {
    it(`${scenario.name}: every property holds, and what it is about happened`, () => {
      const results = [11, 12, 13].map((seed) => runSeed(scenario, seed))
      expect(results.map(({ failure }) => failure)).toEqual([undefined, undefined, undefined])
      expect(results.reduce((sum, { statistics }) => sum + scenario.happened(statistics!), 0)).toBeGreaterThan(0)
    })
  }

  it("equal seeds give equal audits and schedules, other seeds do not", () => {
    const [a, b, c] = [5, 5, 6].map((seed) => runSeed(named("restart"), seed))
    expect(a).toEqual(b)
    expect(a!.audit).not.toBe(c!.audit)
  })

  it("INV-40 an application that differs on one validator is found", () => {
    const application: MakeApplication = (validator) => {
      const honest = honestCells(validator)
      if (validator !== 2) return honest
      const verify: typeof honest.verify = (context, ancestry, batches, tools) => {
        batches.fixed.put(new Uint8Array(32), new Uint8Array(160))
        return honest.verify(context, ancestry, batches, tools)
      }
      return { ...honest, verify }
    }
    const result = runSeed(named("plain"), 3, { application })
    expect(result.failure?.kind).toBe("VerdictsDiverged")
  })

  it("a chain that does not go on is found", () => {
    const scenario = { ...named("plain"), schedule: { ...named("plain").schedule, silentChance: 1 } }
    const result = runSeed(scenario, 1)
    expect(result.failure?.kind).toBe("liveness")
    expect(result.decisions.length).toBeGreaterThan(10)
  })
})

describe("shrinking", () => {
  /** Validator 2 replays wrongly: a fault that shows only once it has lost its memory. */
  const forgetful: MakeApplication = (validator) => {
    const honest = honestCells(validator)
    if (validator !== 2) return honest
    const apply: typeof honest.apply = (block, batches, tools) => {
      batches.fixed.put(new Uint8Array(32), new Uint8Array(160))
      return honest.apply(block, batches, tools)
    }
    return { ...honest, apply }
  }

  it("a failure that one lost validator shows is shrunk to that loss, from a schedule of many faults", async () => {
    const failed = runSeed(named("restart"), 3, { application: forgetful })
    expect(failed.failure?.kind).toBe("FinalizedCommitmentMismatch")
    expect(failed.parts.length).toBeGreaterThan(5)
    const { result, isMinimal } = await Effect.runPromise(
      shrinkSeed(named("restart"), failed, { application: forgetful }),
    )
    expect(isMinimal).toBe(true)
    expect(result.failure?.kind).toBe(failed.failure?.kind)
    expect(result.parts).toEqual([expect.objectContaining({ kind: "down", node: 2 })])
  })

  it("what is left out of a schedule moves nothing else in it", () => {
    const whole = runSeed(named("restart"), 5)
    const without = runSeed(named("restart"), 5, { keeps: ({ kind }) => kind === "down" })
    const downs = whole.parts.filter(({ kind }) => kind === "down")
    expect(without.parts.slice(0, downs.length)).toEqual(downs.slice(0, without.parts.length))
    expect(without.failure).toBeUndefined()
  })
})

describe("the crash sweep", () => {
  const say = () => Effect.void
  const report = (wrong: SweepReport["wrong"], writes: SweepReport["writes"]): CrashFamily => ({
    name: "made up",
    sweep: () => Effect.succeed({ database: "made up", calls: 5, runs: 9, kept: 1, lost: 1, writes, wrong }),
  })
  const everything = { create: 1, flush: 1, prune: 1, rewind: 1 }

  it("sums up what its families tell", async () => {
    const result = await Effect.runPromise(sweepCrashes(1, 2, say, [report([], everything), report([], everything)]))
    expect(summary(result)).toBe("20 calls, 2 families, 36 runs, 0 wrong states")
    expect(result).toMatchObject({ failed: [], vacuous: false })
  })

  it("a wrong state is told with its seed, call and fault, and what never happened is missed", async () => {
    const wrong = [{ call: 3, name: "write", fault: "io", what: "gone" }] as const
    const result = await Effect.runPromise(sweepCrashes(7, 1, say, [report(wrong, { create: 1 })]))
    expect(result).toMatchObject({ failed: [7], vacuous: true, wrong: ["seed 7, made up: io at call 3 (write): gone"] })
  })
})

describe("the command", () => {
  it("lists the scenarios, refuses unknown ones, and ends a run with one line of JSON", async () => {
    const run = (...args: ReadonlyArray<string>) => Effect.runPromise(runToEnd("simulate", ...args))
    const listed = await run()
    for (const { name } of [...SCENARIOS, { name: "crash-sweep" }]) expect(listed.out).toContain(name)
    const unknown = await run("--scenario", "nonsense")
    expect(unknown).toMatchObject({ code: 1, err: expect.stringContaining("no scenario nonsense") })
    const passed = await run("--scenario", "plain", "--seeds", "2", "--from", "4", "--json")
    expect(passed.code, passed.err).toBe(0)
    expect(JSON.parse(passed.out)).toMatchObject({ scenario: "plain", seeds: 2, from: 4, failed: [], vacuous: false })
  })
})
