/**
 * `coppice simulate`: whole networks in virtual time, one schedule per seed; and the crash sweep of the databases.
 *
 * Invariant: a failing seed is printed with the command that runs it again, the smallest schedule found that fails the
 * same way, and what consensus decided in it. A run in which what the scenario is named for never happened fails.
 */
import { Clock, Console, Data, Effect, Option, Schema } from "effect"
import { Command, Flag } from "effect/cli"
import { SEEDS_MAX, SHOWN_SCHEDULE_MAX } from "../limits.ts"
import { untilStopped } from "../signals.ts"
import { CRASH_SWEEP, CRASH_SWEEP_ABOUT, summary, sweepCrashes } from "../simulate/crash-sweep.ts"
import { runSeed, type SeedResult } from "../simulate/run.ts"
import { SCENARIOS, type Scenario } from "../simulate/scenarios.ts"
import { partWords, type ShrunkSeed, shrinkSeed } from "../simulate/shrunk.ts"

/** Some seeds of a scenario failed, or it showed nothing. */
export class SimulationFailed extends Data.TaggedError("SimulationFailed")<{
  readonly scenario: string
  readonly failed: ReadonlyArray<number>
}> {}

/** There is no scenario of that name. */
export class UnknownScenario extends Data.TaggedError("UnknownScenario")<{ readonly scenario: string }> {}

const list = Effect.gen(function* () {
  yield* Console.log("Scenarios:")
  for (const { name, about } of SCENARIOS) yield* Console.log(`  ${name.padEnd(18)}${about}`)
  yield* Console.log(`  ${CRASH_SWEEP.padEnd(18)}${CRASH_SWEEP_ABOUT}`)
  yield* Console.log("\nRun one with: npm run simulate -- --scenario NAME --seeds N [--from S] [--json]")
})

const showFailure = (scenario: Scenario, failed: SeedResult, shrunk: ShrunkSeed, say: typeof Console.log) =>
  Effect.gen(function* () {
    const { parts, decisions } = shrunk.result
    yield* say(`seed ${failed.seed} failed: ${failed.failure?.what}`)
    const found = shrunk.isMinimal
      ? "smallest schedule that fails so"
      : "smaller schedule that fails so, not the smallest"
    yield* say(`  ${found}: ${parts.length} of ${failed.parts.length} faults, found in ${shrunk.runs} runs`)
    for (const line of lastOf(parts.map(partWords))) yield* say(`    ${line}`)
    yield* say("  what consensus decided under it:")
    for (const line of lastOf(decisions)) yield* say(`    ${line}`)
    yield* say(`  again: npm run simulate -- --scenario ${scenario.name} --seeds 1 --from ${failed.seed}`)
  })

const lastOf = (lines: ReadonlyArray<string>): ReadonlyArray<string> => {
  const hidden = lines.length - SHOWN_SCHEDULE_MAX
  return hidden <= 0 ? lines : [`(${hidden} before)`, ...lines.slice(hidden)]
}

const run = Effect.fnUntraced(function* (scenario: Scenario, from: number, seeds: number, json: boolean) {
  const say = json ? Console.error : Console.log
  const startMs = yield* Clock.currentTimeMillis
  const failed: Array<{ readonly seed: number; readonly failure: string; readonly faults: ReadonlyArray<string> }> = []
  let happened = 0
  let blocks = 0
  for (let seed = from; seed < from + seeds; seed++) {
    const result = runSeed(scenario, seed)
    if (result.failure !== undefined) {
      const shrunk = yield* shrinkSeed(scenario, result)
      failed.push({ seed, failure: result.failure.what, faults: shrunk.result.parts.map(partWords) })
      yield* showFailure(scenario, result, shrunk, say)
    }
    if (result.statistics !== undefined) {
      happened += scenario.happened(result.statistics)
      blocks += result.statistics.finalizedBlocks
    }
    yield* Effect.sleep(0)
  }
  // What happened in a seed that failed is not counted.
  const isVacuous = happened === 0 && failed.length < seeds
  const seconds = ((yield* Clock.currentTimeMillis) - startMs) / 1000
  const result = { scenario: scenario.name, seeds, from, failed, vacuous: isVacuous, happened, blocks, seconds }
  if (json) yield* Console.log(JSON.stringify(result))
  else {
    yield* say(`${scenario.name}: ${seeds - failed.length} of ${seeds} seeds passed, ${blocks} blocks in ${seconds} s`)
    if (isVacuous) yield* say("nothing of what this scenario is about happened: more seeds are needed")
  }
  if (failed.length > 0 || isVacuous) {
    return yield* new SimulationFailed({ scenario: scenario.name, failed: failed.map(({ seed }) => seed) })
  }
})

const sweep = Effect.fnUntraced(function* (from: number, seeds: number, json: boolean) {
  const startMs = yield* Clock.currentTimeMillis
  const result = yield* sweepCrashes(from, seeds, json ? Console.error : Console.log)
  const seconds = ((yield* Clock.currentTimeMillis) - startMs) / 1000
  if (json) yield* Console.log(JSON.stringify({ scenario: CRASH_SWEEP, seeds, from, ...result, seconds }))
  else yield* Console.log(summary(result))
  if (result.wrong.length > 0 || result.vacuous) {
    return yield* new SimulationFailed({ scenario: CRASH_SWEEP, failed: result.failed })
  }
})

/** The command. */
export const simulate = Command.make(
  "simulate",
  {
    scenario: Flag.String("scenario").pipe(
      Flag.withDescription("Name of a scenario; without it they are listed"),
      Flag.optional,
    ),
    seeds: Flag.Int("seeds").pipe(
      Flag.withSchema(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: SEEDS_MAX }))),
      Flag.withDescription("How many seeds to run (default: 10)"),
      Flag.withDefault(10),
    ),
    from: Flag.Int("from").pipe(
      Flag.withSchema(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 2 ** 31 }))),
      Flag.withDescription("The first seed (default: 1)"),
      Flag.withDefault(1),
    ),
    json: Flag.Boolean("json").pipe(
      Flag.withDescription("One line of JSON at the end on standard output, progress on standard error"),
      Flag.withDefault(false),
    ),
  },
  Effect.fnUntraced(function* ({ scenario, seeds, from, json }) {
    if (Option.isNone(scenario)) return yield* list
    if (scenario.value === CRASH_SWEEP) return yield* untilStopped(sweep(from, seeds, json))
    const found = SCENARIOS.find(({ name }) => name === scenario.value)
    if (found === undefined) return yield* new UnknownScenario({ scenario: scenario.value })
    yield* untilStopped(run(found, from, seeds, json))
  }),
).pipe(Command.withDescription("Run a network in virtual time, one schedule of faults per seed"))
