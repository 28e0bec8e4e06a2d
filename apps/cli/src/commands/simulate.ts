/**
 * `coppice simulate`: whole networks in virtual time, one schedule per seed; and the crash sweep of the databases.
 *
 * Invariant: a failing seed is printed with the command that runs it again, the smallest schedule found that fails the
 * same way, and what consensus decided in it. A run in which something that the scenario intends never happened fails, and
 * one whose first seed takes another way the second time.
 */
import {
  type Happenings,
  intendedOf,
  missedBy,
  type Plan,
  partWords,
  runScenario,
  runTwice,
  SCENARIOS,
  type ShrunkSeed,
  SIZES,
  type Size,
  shrinkSeed,
  type WorldOptions,
  type WorldResult,
} from "@coppice/simulate/scenarios"
import { Clock, Console, Data, Effect, Option, Schema } from "effect"
import { Command, Flag } from "effect/cli"
import { SEEDS_MAX, SHOWN_SCHEDULE_MAX, SHRINK_RUNS_MAX } from "../limits.ts"
import { untilStopped } from "../signals.ts"
import { CRASH_SWEEP, CRASH_SWEEP_ABOUT, summary, sweepCrashes } from "../simulate/crash-sweep.ts"
import { openRegressions, writeRegression } from "../simulate/regression-files.ts"

/** Some seeds of a scenario failed, or it showed too little. */
export class SimulationFailed extends Data.TaggedError("SimulationFailed")<{
  readonly scenario: string
  readonly failed: ReadonlyArray<number>
  /** What to do about it. */
  readonly advice: string
}> {}

/** There is no scenario of that name. */
export class UnknownScenario extends Data.TaggedError("UnknownScenario")<{ readonly scenario: string }> {}

const ADVICE = "A seed fails the same way each time: run it alone and look at what consensus decided."
const SWEEP_ADVICE = "A seed fails the same way each time: look at the call and the fault of its first wrong state."
/** Seeds of a run that does not say how many. A sweep takes minutes for one. */
const SEEDS_DEFAULT = 10
const SWEEP_SEEDS_DEFAULT = 1
const ALL = "all"

const list = Effect.gen(function* () {
  yield* Console.log("Scenarios:")
  for (const { name, about } of SCENARIOS) yield* Console.log(`  ${name.padEnd(20)}${about}`)
  yield* Console.log(`  ${CRASH_SWEEP.padEnd(20)}${CRASH_SWEEP_ABOUT}`)
  yield* Console.log(`  ${ALL.padEnd(20)}every one of them but the sweep`)
  yield* Console.log(
    "\nRun one with: npm run simulate -- --scenario NAME --seeds N [--from S] [--write DIR] [--development] [--json]",
  )
})

/** How a command was asked to run. */
interface Asked {
  readonly from: number
  readonly seeds: number
  readonly json: boolean
  readonly write: string | undefined
  readonly development: boolean
}

const showFailure = (size: Size, failed: WorldResult, shrunk: ShrunkSeed, again: string, say: typeof Console.log) =>
  Effect.gen(function* () {
    const { parts, decisions } = shrunk.result
    yield* say(`seed ${failed.seed} over ${size} failed: ${failed.failure?.what}`)
    const found = shrunk.isMinimal
      ? "smallest schedule that fails so"
      : "smaller schedule that fails so, not the smallest"
    yield* say(`  ${found}: ${parts.length} of ${failed.parts.length} faults, found in ${shrunk.runs} runs`)
    for (const line of lastOf(parts.map(partWords))) yield* say(`    ${line}`)
    yield* say("  what consensus decided under it:")
    for (const line of lastOf(decisions)) yield* say(`    ${line}`)
    yield* say(`  again: npm run simulate -- ${again}`)
  })

const lastOf = (lines: ReadonlyArray<string>): ReadonlyArray<string> => {
  const hidden = lines.length - SHOWN_SCHEDULE_MAX
  return hidden <= 0 ? lines : [`(${hidden} before)`, ...lines.slice(hidden)]
}

/** A seed that failed, as a run reports it. */
interface FailedSeed {
  readonly seed: number
  readonly size: Size
  readonly failure: string
  readonly faults: ReadonlyArray<string>
}

const runSize = Effect.fnUntraced(function* (plan: Plan, size: Size, asked: Asked) {
  const { from, seeds, json, write, development } = asked
  const say = json ? Console.error : Console.log
  const failed: Array<FailedSeed> = []
  const happenings: Array<Happenings> = []
  for (let seed = from; seed < from + seeds; seed++) {
    const once = (options: WorldOptions) => runScenario(plan, size, seed, { ...options, development })
    const twice = (options: WorldOptions) => runTwice(() => once(options))
    // One seed shows whether seeds decide.
    const result = seed === from ? twice({}) : once({})
    if (result.happenings !== undefined) happenings.push(result.happenings)
    if (result.failure !== undefined) {
      const shrunk = yield* shrinkSeed(result, result.failure.kind === "P-14" ? twice : once, SHRINK_RUNS_MAX)
      failed.push({ seed, size, failure: result.failure.what, faults: shrunk.result.parts.map(partWords) })
      const again = `--scenario ${plan.name} --seeds 1 --from ${seed}${development ? " --development" : ""}`
      yield* showFailure(size, result, shrunk, again, say)
      if (write !== undefined) {
        const written = yield* writeRegression(write, { plan, size, result: shrunk.result, development })
        for (const file of written) yield* say(`  written: ${file}`)
        const [, bundle] = written
        if (bundle !== undefined) yield* say(`  what differs in it: npm run coppice -- replay ${bundle}`)
      }
    }
    yield* Effect.sleep(0)
  }
  // What happened in a seed that failed is not counted.
  const missed = happenings.length === 0 ? [] : missedBy({ intends: intendedOf(plan, size) }, happenings)
  const blocks = happenings.reduce((sum, { finalizedBlocks }) => sum + finalizedBlocks, 0)
  return { failed, missed, blocks }
})

const run = Effect.fnUntraced(function* (plan: Plan, asked: Asked) {
  const { from, seeds, json } = asked
  const startMs = yield* Clock.currentTimeMillis
  const sizes = yield* Effect.forEach(SIZES, (size) => runSize(plan, size, asked))
  const failed = sizes.flatMap((size) => size.failed)
  const missed = [...new Set(sizes.flatMap((size) => size.missed))]
  const blocks = sizes.reduce((sum, size) => sum + size.blocks, 0)
  const seconds = ((yield* Clock.currentTimeMillis) - startMs) / 1000
  if (json) {
    yield* Console.log(JSON.stringify({ scenario: plan.name, seeds, from, failed, missed, blocks, seconds }))
  } else {
    const runs = seeds * SIZES.length
    yield* Console.log(`${plan.name}: ${runs - failed.length} of ${runs} runs passed, ${blocks} blocks in ${seconds} s`)
    if (missed.length > 0) yield* Console.log(`never happened: ${missed.join(", ")}; more seeds are needed`)
  }
  return failed.length > 0 || missed.length > 0 ? failed.map(({ seed }) => seed) : undefined
})

const runAll = Effect.fnUntraced(function* (plans: ReadonlyArray<Plan>, name: string, asked: Asked) {
  const results = yield* Effect.forEach(plans, (plan) => run(plan, asked))
  const bad = results.filter((failed) => failed !== undefined)
  if (bad.length > 0) {
    return yield* new SimulationFailed({ scenario: name, failed: [...new Set(bad.flat())], advice: ADVICE })
  }
})

const sweep = Effect.fnUntraced(function* (from: number, seeds: number, json: boolean) {
  const startMs = yield* Clock.currentTimeMillis
  const result = yield* sweepCrashes(from, seeds, json ? Console.error : Console.log)
  const seconds = ((yield* Clock.currentTimeMillis) - startMs) / 1000
  if (json) yield* Console.log(JSON.stringify({ scenario: CRASH_SWEEP, seeds, from, ...result, seconds }))
  else yield* Console.log(summary(result))
  if (result.wrong.length > 0 || result.vacuous) {
    return yield* new SimulationFailed({ scenario: CRASH_SWEEP, failed: result.failed, advice: SWEEP_ADVICE })
  }
})

/** The command. */
export const simulate = Command.make(
  "simulate",
  {
    scenario: Flag.String("scenario").pipe(
      Flag.withDescription("Name of a scenario, all, or list; without it they are listed"),
      Flag.optional,
    ),
    seeds: Flag.Int("seeds").pipe(
      Flag.withSchema(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: SEEDS_MAX }))),
      Flag.withDescription(`How many seeds to run (default: ${SEEDS_DEFAULT}; the sweep: ${SWEEP_SEEDS_DEFAULT})`),
      Flag.optional,
    ),
    from: Flag.Int("from").pipe(
      Flag.withSchema(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 2 ** 31 }))),
      Flag.withDescription("The first seed (default: 1)"),
      Flag.withDefault(1),
    ),
    write: Flag.String("write").pipe(
      Flag.withDescription("Directory for tests that keep the seeds that fail, and their divergence bundles"),
      Flag.optional,
    ),
    development: Flag.Boolean("development").pipe(
      Flag.withDescription("Nodes execute every block twice, in shuffled surroundings, and assert the order of calls"),
      Flag.withDefault(false),
    ),
    json: Flag.Boolean("json").pipe(
      Flag.withDescription("One line of JSON at the end on standard output, progress on standard error"),
      Flag.withDefault(false),
    ),
  },
  Effect.fnUntraced(function* ({ scenario, seeds, from, json, write, development }) {
    const name = Option.getOrElse(scenario, () => "list")
    if (name === "list") return yield* list
    if (name === CRASH_SWEEP) {
      return yield* untilStopped(
        sweep(
          from,
          Option.getOrElse(seeds, () => SWEEP_SEEDS_DEFAULT),
          json,
        ),
      )
    }
    const plans = SCENARIOS.filter((plan) => name === ALL || plan.name === name)
    if (plans.length === 0) return yield* new UnknownScenario({ scenario: name })
    const asked = {
      from,
      seeds: Option.getOrElse(seeds, () => SEEDS_DEFAULT),
      json,
      write: Option.getOrUndefined(write),
      development,
    }
    if (asked.write !== undefined) yield* openRegressions(asked.write)
    yield* untilStopped(runAll(plans, name, asked))
  }),
).pipe(Command.withDescription("Run a network in virtual time, one schedule of faults per seed"))
