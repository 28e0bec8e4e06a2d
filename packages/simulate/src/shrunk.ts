/**
 * The smallest schedule found that makes a seed fail the way it did, and a test that keeps it.
 *
 * Invariant: what is shown was run: parts and decisions are those of one run, which failed for the same kind of reason. The
 * test names no scenario: it holds the whole plan, so that it stays what it is when scenarios change.
 */
import { Effect } from "effect"
import { only, type Plan, type SchedulePart, type WorldFault } from "./plan.ts"
import { shrink } from "./shrink.ts"
import type { WorldBundle, WorldOptions, WorldResult } from "./world.ts"

/** A failing seed with as little of its schedule as was found to do. */
export interface ShrunkSeed {
  readonly result: WorldResult
  /** Runs that it took. */
  readonly runs: number
  /** False when the bound on runs came before the end. */
  readonly isMinimal: boolean
}

/** Shrinks the schedule of a seed that failed, in at most `runsMax` runs. Other work gets its turn between runs. */
export const shrinkSeed = Effect.fnUntraced(function* (
  failed: WorldResult,
  run: (options: WorldOptions) => WorldResult,
  runsMax: number,
) {
  let result = failed
  const fails = (parts: ReadonlyArray<SchedulePart>) =>
    Effect.gen(function* () {
      yield* Effect.sleep(0)
      const again = run({ keeps: only(parts) })
      const isSame = again.failure !== undefined && again.failure.kind === failed.failure?.kind
      if (isSame) result = again
      return isSame
    })
  const { runs, isMinimal } = yield* shrink(failed.parts, fails, runsMax)
  const shrunk: ShrunkSeed = { result, runs, isMinimal }
  return shrunk
})

const WORLD_FAULTS: Readonly<Record<WorldFault["kind"], true>> = {
  crash: true,
  join: true,
  partition: true,
  point: true,
  lie: true,
  forgery: true,
  clock: true,
  halted: true,
}
const isOfWorld = (part: SchedulePart): part is WorldFault => part.kind in WORLD_FAULTS

const fields = (record: object): string =>
  Object.entries(record)
    .map(([name, value]) => `  ${name}: ${JSON.stringify(value)},\n`)
    .join("")

const lines = (items: ReadonlyArray<unknown>): string => items.map((item) => `  ${JSON.stringify(item)},\n`).join("")

/** What a regression test is written from. */
export interface Regression {
  readonly plan: Plan
  readonly size: string
  readonly result: WorldResult
  /** `YYYY-MM-DD` */
  readonly date: string
  /** Whether it failed in development; see `WorldOptions`. */
  readonly development?: boolean
}

/** What the files of a seed of that day begin with, and no others. */
const stem = ({ plan, size, result: { seed }, date }: Regression): string => `${date}-${plan.name}-${size}-${seed}`

/** Name of the file of a regression test. */
export const regressionName = (regression: Regression): string => `${stem(regression)}.test.ts`

/** Names of the files of the divergence bundles beside it. */
export const bundleName = (regression: Regression, { name }: WorldBundle): string => `${stem(regression)}-${name}`

/** A test file that runs one schedule again and needs nothing but the packages. It fails until the fault is mended. */
export const regressionTest = ({ plan, size, result, date, development = false }: Regression): string => {
  const options = development ? "{ keeps: only(PARTS), development: true }" : "{ keeps: only(PARTS) }"
  const { faults: _, ...data } = plan
  const { seed, parts, failure } = result
  const found = JSON.stringify(failure?.what ?? "nothing").replaceAll("*/", "* /")
  return `/**
 * Goal: what seed ${seed} of "${plan.name}" over ${size === "one" ? "one database" : "three databases"} found on ${date} does not come back:
 * ${found}
 * Method: the seed again, under the plan of that day, with the parts of the schedule that the failure needed.
 */
import { only, type Plan, runScenario, type SchedulePart } from "@coppice/simulate/scenarios"
import { expect, test } from "vitest"

const PARTS: ReadonlyArray<SchedulePart> = [
${lines(parts)}]

const PLAN: Plan = {
${fields(data)}  faults: () => [
${lines(parts.filter(isOfWorld))}],
}

test("seed ${seed} of ${plan.name} over ${size} holds every property", () => {
  expect(runScenario(PLAN, "${size}", ${seed}, ${options}).failure).toBeUndefined()
})
`
}
