/**
 * Goal: each scenario holds with real executors, shows what it is named for, and would show a fault if there were one.
 * Method: a few seeds of each in virtual time; applications that are wrong must be found; equal seeds, equal audits.
 */
import { Effect } from "effect"
import { describe, expect, it } from "vitest"
import { honestCells, runSeed } from "../src/simulate/run.ts"
import { SCENARIOS } from "../src/simulate/scenarios.ts"
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
    const result = runSeed(named("plain"), 3, (validator) => {
      const honest = honestCells(validator)
      if (validator !== 2) return honest
      const verify: typeof honest.verify = (context, ancestry, batches, tools) => {
        batches.fixed.put(new Uint8Array(32), new Uint8Array(160))
        return honest.verify(context, ancestry, batches, tools)
      }
      return { ...honest, verify }
    })
    expect(result.failure).toContain("VerdictsDiverged")
  })

  it("a chain that does not go on is found", () => {
    const scenario = { ...named("plain"), schedule: { ...named("plain").schedule, silentChance: 1 } }
    const result = runSeed(scenario, 1)
    expect(result.failure).toContain("liveness")
    expect(result.schedule.length).toBeGreaterThan(10)
  })
})

describe("the command", () => {
  it("lists the scenarios, refuses unknown ones, and ends a run with one line of JSON", async () => {
    const run = (...args: ReadonlyArray<string>) => Effect.runPromise(runToEnd("simulate", ...args))
    const listed = await run()
    for (const { name } of SCENARIOS) expect(listed.out).toContain(name)
    const unknown = await run("--scenario", "nonsense")
    expect(unknown).toMatchObject({ code: 1, err: expect.stringContaining("no scenario nonsense") })
    const passed = await run("--scenario", "plain", "--seeds", "2", "--from", "4", "--json")
    expect(passed.code, passed.err).toBe(0)
    expect(JSON.parse(passed.out)).toMatchObject({ scenario: "plain", seeds: 2, from: 4, failed: [], vacuous: false })
  })
})
