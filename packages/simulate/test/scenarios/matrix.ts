/**
 * Runs scenarios as the tests do: twenty seeds each, over one database and over three in turn, to a lower height than the
 * command, so that the matrix fits into a test run.
 */
import { describe, expect, test } from "vitest"
import { missedBy, type Plan, runScenario, SCENARIOS, SIZES, stalledFor } from "../../src/scenarios.ts"

const SEEDS = Array.from({ length: 20 }, (_, i) => i + 1)
const HEIGHT_MAX = 8
/** Twenty worlds take seconds; on a machine that does much else, many. */
const TIMEOUT_MS = 180_000

/** The scenarios of each file. */
export const GROUPS = {
  consensus: [
    "plain",
    "forks",
    "delayed-finality",
    "spilling",
    "bad-root",
    "corrupt-leaders",
    "slow-executors",
    "stalled-finality",
  ],
  crashes: [
    "one-restart",
    "delayed-start",
    "random-crashes",
    "concurrent-crashes",
    "full-outages",
    "rapid-crashes",
    "crash-points",
    "every-sync",
    "outages-at-points",
  ],
  network: ["partition", "partitioned-restart", "lossy-links", "lying-servers", "forged-votes", "drifting-clocks"],
  storage: ["storage-faults", "read-faults", "power-cuts", "pruning", "everything"],
  "state-sync": [
    "state-sync",
    "state-sync-faults",
    "state-sync-crashes",
    "state-sync-liars",
    "state-sync-lossy",
    "crash-mid-sync",
  ],
} as const

/** The plan as it is run here: shorter where that leaves what it is about. */
const shorter = (plan: Plan): Plan => {
  if (plan.name === "stalled-finality") return stalledFor(160)
  return plan.pruning !== undefined ? plan : { ...plan, height: Math.min(plan.height, HEIGHT_MAX) }
}

const check = (plan: Plan): void => {
  test(`${plan.name}: every property holds for twenty seeds, what it intends happened, and a seed decides all (P-14)`, {
    timeout: TIMEOUT_MS,
  }, () => {
    const run = (seed: number) => runScenario(shorter(plan), seed % 2 === 0 ? "one" : "three", seed)
    const results = SEEDS.map(run)
    const failed = results.filter(({ failure }) => failure !== undefined)
    expect(failed.map(({ seed, failure }) => `seed ${seed}: ${failure!.what}`)).toEqual([])
    const happenings = results.map((result) => result.happenings!)
    expect(missedBy(plan, happenings)).toEqual([])
    expect(new Set(results.map(({ audit }) => audit)).size).toBe(SEEDS.length)
    for (const seed of SEEDS.slice(0, SIZES.length)) expect(run(seed)).toEqual(results[seed - 1])
  })
}

/** Tests the scenarios of a group. */
export const checkGroup = (group: keyof typeof GROUPS): void => {
  describe(`the ${group} scenarios`, () => {
    for (const name of GROUPS[group]) check(SCENARIOS.find((plan) => plan.name === name)!)
  })
}
