/**
 * Goal: the command lists and runs scenarios and the crash sweep, and reports what they came to.
 * Method: the command as a child process; sweeps over made-up families; a run written to files. The scenarios have tests of their own in simulate.
 */
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import type { CrashFamily, SweepReport } from "@coppice/laws/crash"
import { runScenario, SCENARIOS } from "@coppice/simulate/scenarios"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { Effect } from "effect"
import { describe, expect, it } from "vitest"
import { summary, sweepCrashes } from "../src/simulate/crash-sweep.ts"
import { writeRegression } from "../src/simulate/regression-files.ts"
import { runToEnd, temporaryDirectory } from "./support/cli.ts"

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

describe("a seed as files", () => {
  it("is a test and the bundles of its nodes, which coppice replay knows without a module", () =>
    Effect.runPromise(
      Effect.gen(function* () {
        const directory = join(yield* temporaryDirectory, "regressions")
        const plan = { ...SCENARIOS.find(({ name }) => name === "bad-root")!, height: 4 }
        const result = runScenario(plan, "three", 2)
        const written = yield* writeRegression(directory, { plan, size: "three", result, development: true })
        expect(readdirSync(directory).map((name) => join(directory, name))).toEqual(written.toSorted())
        const [regression, bundle] = [written[0]!, written.at(-1)!]
        expect(regression).toMatch(/\/\d{4}-\d\d-\d\d-2\.test\.ts$/)
        expect(readFileSync(regression, "utf8")).toContain("development: true")
        expect(bundle).toMatch(/\/\d{4}-\d\d-\d\d-2-node-\d-divergence-\d-[0-9a-f]{16}-verify\.json$/)
        const { out, err } = yield* runToEnd("replay", bundle, "--json")
        expect(err).toBe("")
        expect(JSON.parse(out)).toMatchObject({ state: { isHeader: false, equals: [0, 1], damaged: [] } })
      }).pipe(Effect.scoped, Effect.provide(NodeServices.layer)),
    ))
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
