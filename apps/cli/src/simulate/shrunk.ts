/**
 * The smallest schedule found that makes a seed fail the way it did.
 *
 * Invariant: what is shown was run: parts and decisions are those of one run, which failed for the same kind of reason.
 */
import { shrink } from "@coppice/simulate"
import { Effect } from "effect"
import { SHRINK_RUNS_MAX } from "../limits.ts"
import { type RunOptions, runSeed, type SchedulePart, type SeedResult } from "./run.ts"
import type { Scenario } from "./scenarios.ts"

/** A failing seed with as little of its schedule as was found to do. */
export interface ShrunkSeed {
  readonly result: SeedResult
  /** Runs that it took. */
  readonly runs: number
  /** False when the bound on runs came before the end. */
  readonly isMinimal: boolean
}

/** A part of a schedule in words, which name it within its run. */
export const partWords = (part: SchedulePart): string => {
  switch (part.kind) {
    case "loss":
      return "messages between nodes are lost"
    case "silent":
      return `view ${part.view}: the leader says nothing`
    case "split":
      return `view ${part.view}: nullified besides being notarized`
    case "fork":
      return `view ${part.view}: the leader builds on an older block than it could`
    case "stall":
      return `view ${part.view}: finality begins to stall`
    case "corrupt":
      return `view ${part.view}: the leader's block commits to a wrong root`
    case "down":
      return `view ${part.view}: validator ${part.node} loses power`
  }
}

/** Shrinks the schedule of a seed that failed. Other work gets its turn between runs; interruption ends it. */
export const shrinkSeed = Effect.fnUntraced(function* (
  scenario: Scenario,
  failed: SeedResult,
  { application }: Pick<RunOptions, "application"> = {},
) {
  let result = failed
  const fails = (parts: ReadonlyArray<SchedulePart>) =>
    Effect.gen(function* () {
      yield* Effect.sleep(0)
      const kept = new Set(parts.map(partWords))
      const keeps = (part: SchedulePart): boolean => kept.has(partWords(part))
      const run = runSeed(scenario, failed.seed, { ...(application === undefined ? {} : { application }), keeps })
      const isSame = run.failure !== undefined && run.failure.kind === failed.failure?.kind
      if (isSame) result = run
      return isSame
    })
  const { runs, isMinimal } = yield* shrink(failed.parts, fails, SHRINK_RUNS_MAX)
  const shrunk: ShrunkSeed = { result, runs, isMinimal }
  return shrunk
})
