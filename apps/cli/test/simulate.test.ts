/**
 * Goal: the command lists and runs scenarios and the crash sweep, and reports what they came to.
 * Method: the command as a child process; sweeps over made-up families. The scenarios have tests of their own in simulate.
 */
import type { CrashFamily, SweepReport } from "@coppice/laws/crash"
import { SCENARIOS } from "@coppice/simulate/scenarios"
import { Effect } from "effect"
import { describe, expect, it } from "vitest"
import { summary, sweepCrashes } from "../src/simulate/crash-sweep.ts"
import { runToEnd } from "./support/cli.ts"

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
    expect(JSON.parse(passed.out)).toMatchObject({ scenario: "plain", seeds: 2, from: 4, failed: [], missed: [] })
  })
})
