/**
 * The crash sweep as a scenario: every fault at every storage call of every database family, one script of steps per seed.
 *
 * Invariant: the last line counts calls, families, runs and wrong states. A sweep in which a kind of write never happened,
 * or in which every write under way was kept, or every one lost, has shown nothing and fails.
 */
import { CRASH_FAMILIES, type CrashFamily, type SweepReport } from "@coppice/laws/crash"
import { Effect } from "effect"

/** Name of the scenario. */
export const CRASH_SWEEP = "crash-sweep"

/** What it is about, in a line. */
export const CRASH_SWEEP_ABOUT = "one database meets every fault at every storage call, in every family"

/** Rounds of a script: some 30 writes. */
const ROUNDS = 4

/** What a sweep of all families came to. */
export interface CrashSweepResult {
  readonly calls: number
  readonly families: number
  readonly runs: number
  readonly wrong: ReadonlyArray<string>
  /** Seeds with a wrong state. */
  readonly failed: ReadonlyArray<number>
  readonly vacuous: boolean
}

/** Purposes of writes that a sweep of all families must have met. Rows of real size leave `trim` nothing to do. */
const PURPOSES = ["create", "flush", "prune", "rewind"] as const

const isVacuous = (reports: ReadonlyArray<SweepReport>): boolean =>
  reports.some(({ kept, lost }) => kept === 0 || lost === 0) ||
  PURPOSES.some((purpose) => reports.every(({ writes }) => writes[purpose] === undefined))

/** The line that sums a sweep up. */
export const summary = ({ calls, families, runs, wrong }: CrashSweepResult): string =>
  `${calls} calls, ${families} families, ${runs} runs, ${wrong.length} wrong states`

/** Sweeps every family under each seed, and says each family's line. */
export const sweepCrashes = Effect.fnUntraced(function* (
  from: number,
  seeds: number,
  say: (line: string) => Effect.Effect<void>,
  families: ReadonlyArray<CrashFamily> = CRASH_FAMILIES,
) {
  const reports: Array<SweepReport> = []
  const wrong: Array<string> = []
  const failed = new Set<number>()
  for (let seed = from; seed < from + seeds; seed++) {
    for (const family of families) {
      const report = yield* family.sweep({ seed, rounds: ROUNDS, readsEvery: 1 })
      reports.push(report)
      const { calls, runs } = report
      yield* say(
        `seed ${seed}  ${family.name.padEnd(32)}${calls} calls, ${runs} runs, ${report.wrong.length} wrong states`,
      )
      for (const { call, name, fault, what } of report.wrong) {
        const line = `seed ${seed}, ${family.name}: ${fault} at call ${call} (${name}): ${what}`
        wrong.push(line)
        failed.add(seed)
        yield* say(`  ${line}`)
      }
    }
  }
  const sum = (of: (report: SweepReport) => number): number => reports.reduce((total, report) => total + of(report), 0)
  return {
    calls: sum(({ calls }) => calls),
    families: families.length,
    runs: sum(({ runs }) => runs),
    wrong,
    failed: [...failed],
    vacuous: isVacuous(reports),
  }
})
