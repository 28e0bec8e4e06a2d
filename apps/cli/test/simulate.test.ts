/**
 * Goal: the command lists and runs scenarios and the crash sweep, reports what they came to, and writes what failed as tests
 * that stand alone.
 * Method: the command as a child process, with a bug planted into what it loads; sweeps over made-up families; a run written
 * to files. The scenarios have tests of their own in simulate.
 */
import { spawnSync } from "node:child_process"
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
        expect(regression).toMatch(/\/\d{4}-\d\d-\d\d-bad-root-three-2\.test\.ts$/)
        expect(readFileSync(regression, "utf8")).toContain("development: true")
        expect(bundle).toMatch(/\/\d{4}-\d\d-\d\d-bad-root-three-2-node-\d-divergence-\d-[0-9a-f]{16}-verify\.json$/)
        const { out, err } = yield* runToEnd("replay", bundle, "--json")
        expect(err).toBe("")
        expect(JSON.parse(out)).toMatchObject({ state: { isHeader: false, equals: [0, 1], damaged: [] } })
      }).pipe(Effect.scoped, Effect.provide(NodeServices.layer)),
    ))
})

/** Seconds; on a machine that does much else, many. */
const TIMEOUT_MS = 240_000

describe("the command", () => {
  it("lists the scenarios, refuses unknown ones, and ends a run with one line of JSON", {
    timeout: TIMEOUT_MS,
  }, async () => {
    const run = (...args: ReadonlyArray<string>) => Effect.runPromise(runToEnd("simulate", ...args))
    const listed = await run()
    for (const { name } of [...SCENARIOS, { name: "crash-sweep" }]) expect(listed.out).toContain(name)
    const unknown = await run("--scenario", "nonsense")
    expect(unknown).toMatchObject({ code: 1, err: expect.stringContaining("no scenario nonsense") })
    // Before a seed is run, not after one has failed.
    const unwritable = await run("--scenario", "plain", "--seeds", "1", "--write", join(import.meta.filename, "within"))
    expect(unwritable).toMatchObject({ code: 1, out: "", err: expect.stringContaining("nothing can be written to") })
    const passed = await run("--scenario", "plain", "--seeds", "1", "--from", "4", "--json")
    expect(passed.code, passed.err).toBe(0)
    expect(JSON.parse(passed.out)).toMatchObject({ scenario: "plain", seeds: 1, from: 4, failed: [], missed: [] })
  })
})

describe("a seed that fails", () => {
  const BUG = ["--import", join(import.meta.dirname, "support", "planted-bug.ts")]
  const SIMULATE = join(import.meta.dirname, "..", "..", "..", "packages", "simulate")
  const node = (...args: ReadonlyArray<string>) =>
    spawnSync(process.execPath, args, { cwd: SIMULATE, encoding: "utf8", timeout: TIMEOUT_MS })

  /** Runs a written test in a process of its own, with a stand-in for the test runner. */
  const runAlone = (text: string, ...options: ReadonlyArray<string>) => {
    const standIn = `const expect = (actual) => ({ toBeUndefined: () => { if (actual !== undefined) throw new Error(JSON.stringify(actual)) } })
const test = (_, run) => run()`
    const program = text.replace('import { expect, test } from "vitest"', standIn)
    return node(...options, "--input-type=module-typescript", "--eval", program)
  }

  it("is written as a test for each size, which needs nothing but the packages, is red with the bug and green without", {
    timeout: TIMEOUT_MS,
  }, () => {
    const check = (directory: string): void => {
      const scenario = ["--scenario", "one-restart", "--seeds", "1", "--from", "1"]
      const main = join(import.meta.dirname, "..", "src", "main.ts")
      const { status, stdout, stderr } = node(...BUG, main, "simulate", ...scenario, "--write", directory, "--json")
      expect(status, stderr).toBe(1)
      expect(JSON.parse(stdout).failed).toMatchObject([
        { seed: 1, size: "one", failure: expect.stringContaining("FinalizedCommitmentMismatch") },
        { seed: 1, size: "three", failure: expect.stringContaining("FinalizedCommitmentMismatch") },
      ])
      const written = readdirSync(directory).sort()
      const tests = written.filter((name) => name.endsWith(".test.ts"))
      expect(tests.map((name) => name.replace(/^\d{4}-\d\d-\d\d-/, ""))).toEqual([
        "one-restart-one-1.test.ts",
        "one-restart-three-1.test.ts",
      ])
      // The node with the bug says so too, in a bundle for each size.
      expect(written.filter((name) => name.includes("-divergence-")).length).toBe(2)
      for (const name of tests) {
        const text = readFileSync(join(directory, name), "utf8")
        const imported = [...text.matchAll(/from "([^"]+)"/g)].map(([, from]) => from)
        expect(imported).toEqual(["@coppice/simulate/scenarios", "vitest"])
        const red = runAlone(text, ...BUG)
        expect([red.status, red.stderr]).toEqual([1, expect.stringContaining("FinalizedCommitmentMismatch")])
        expect(runAlone(text)).toMatchObject({ status: 0, stderr: "" })
      }
    }
    return Effect.runPromise(Effect.scoped(Effect.map(temporaryDirectory, check)))
  })
})
