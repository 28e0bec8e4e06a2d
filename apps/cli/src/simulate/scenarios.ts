/**
 * The scenarios of `coppice simulate`, as data: what consensus does, and what must have happened for a run to count.
 *
 * Invariant: a scenario in which nothing of what it is named for happened, over all its seeds, is a failure.
 */
import { type ConsensusSchedule, type ConsensusStatistics, DEFAULT_SCHEDULE } from "@coppice/simulate"

/** One scenario. */
export interface Scenario {
  readonly name: string
  readonly about: string
  readonly schedule: ConsensusSchedule
  /** Chance that a message between marshals is lost. */
  readonly lossChance: number
  /** Every validator stands there, durably, at the end. */
  readonly height: number
  /** What the scenario is about, counted over all seeds: it must not be zero. */
  readonly happened: (statistics: ConsensusStatistics) => number
}

const CALM: ConsensusSchedule = {
  ...DEFAULT_SCHEDULE,
  silentChance: 0,
  splitChance: 0,
  forkChance: 0,
  stallChance: 0,
  corruptChance: 0,
  restarts: undefined,
}

/** Every scenario, by name. */
export const SCENARIOS: ReadonlyArray<Scenario> = [
  {
    name: "plain",
    about: "every view is final at once",
    schedule: CALM,
    lossChance: 0,
    height: 20,
    happened: ({ finalizedBlocks }) => finalizedBlocks,
  },
  {
    name: "forks",
    about: "leaders leave certified blocks behind and build on older ones",
    schedule: { ...CALM, silentChance: 0.05, splitChance: 0.35, forkChance: 0.8 },
    lossChance: 0.05,
    height: 20,
    happened: ({ forks }) => forks,
  },
  {
    name: "delayed-finality",
    about: "finality stalls for up to eight views, then covers many blocks at once",
    schedule: { ...CALM, splitChance: 0.1, forkChance: 0.3, stallChance: 0.35, stallViewsMax: 8 },
    lossChance: 0.05,
    height: 20,
    happened: ({ finalizedAtOnceMax }) => Math.max(0, finalizedAtOnceMax - 2),
  },
  {
    name: "restart",
    about: "validators lose power, one after another, and come back with what was durable",
    schedule: {
      ...CALM,
      splitChance: 0.15,
      forkChance: 0.5,
      stallChance: 0.1,
      restarts: { everyViews: 8, downViews: 5 },
    },
    lossChance: 0.05,
    height: 25,
    happened: ({ restarts }) => restarts,
  },
  {
    name: "bad-root",
    about: "leaders propose blocks whose header commits to a state that execution does not give",
    schedule: { ...CALM, splitChance: 0.1, forkChance: 0.3, corruptChance: 0.3 },
    lossChance: 0,
    height: 20,
    happened: ({ corrupted }) => corrupted,
  },
]
