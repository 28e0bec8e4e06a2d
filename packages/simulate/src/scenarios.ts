/**
 * The scenario matrix, as data: what goes wrong, and what must have happened for a run to count.
 *
 * Every scenario has five validators, and runs over one database and over three of different families.
 *
 * Invariant: a scenario in which something that it intends never happened, over all its seeds, is a failure (P-16).
 */
import { marksOverOne, marksOverThree, overOne, overThree } from "./marks.ts"
import { type Plan, SYNC_POINTS } from "./plan.ts"
import {
  another,
  anyPoint,
  anyWay,
  between,
  crashing,
  drifting,
  EVERYONE,
  everyWrite,
  forging,
  halting,
  joining,
  losing,
  lying,
  missing,
  partition,
  point,
  some,
} from "./scenario-faults.ts"
import { type ConsensusSchedule, DEFAULT_SCHEDULE, MISBEHAVIOURS } from "./schedule.ts"
import { runWorld, type WorldOptions, type WorldResult } from "./world.ts"

export { type Happenings, missedBy, only, type Plan, partWords, type SchedulePart } from "./plan.ts"
export { bundleName, type Regression, regressionName, regressionTest, type ShrunkSeed, shrinkSeed } from "./shrunk.ts"
export { runTwice, type WorldOptions, type WorldResult } from "./world.ts"

/** A schedule in which every view is final at once. */
export const CALM: ConsensusSchedule = {
  ...DEFAULT_SCHEDULE,
  silentChance: 0,
  splitChance: 0,
  forkChance: 0,
  stallChance: 0,
  corruptChance: 0,
  viewMs: 200,
  restarts: undefined,
}

const FORKS: ConsensusSchedule = { ...CALM, silentChance: 0.05, splitChance: 0.3, forkChance: 0.7, stallChance: 0.1 }
const LINK: Plan["link"] = { latencyMs: { min: 5, max: 15 }, lossChance: 0 }
const PLAIN: Plan = {
  name: "plain",
  about: "every view is final at once",
  schedule: CALM,
  link: LINK,
  height: 20,
  faultsMs: 0,
  faults: () => [],
  intends: ["finalizedBlocks"],
}

/** Long enough for the others to have forgotten what a joiner would have to replay. */
const JOIN_MS = 2_800
const SYNCING: Plan = {
  ...PLAIN,
  name: "state-sync",
  about: "one validator joins by state sync when the others have forgotten what it missed",
  schedule: { ...CALM, viewTimeoutMs: 600 },
  // A sync takes as long as some blocks: they wait for it, and are handed over.
  link: { ...LINK, latencyMs: { min: 20, max: 50 } },
  pendingAcksMax: 3,
  pruning: { interval: 2, marshalBlocks: 8 },
  faultsMs: 3_400,
  faults: joining(JOIN_MS),
  intends: ["probed", "synced", "absorbed", "pruned", "regrouped"],
}

/** Power losses by which about half of the validators run no finalizer. */
const losses =
  (...crashes: Parameters<typeof crashing>): Plan["faults"] =>
  (chance) => [...crashing(...crashes)(chance), ...halting(chance)]

/** Pending states that a validator may hold while finality stalls, in memory and on its scratch disk. */
const STALLED = { pendingEntriesMax: 32, spilledEntriesMax: 96 } as const
const STALLED_HEIGHT = STALLED.pendingEntriesMax + STALLED.spilledEntriesMax

/** Finality stalls for so many views: the pending budget fills, nothing more is proposed, and one certificate ends it. */
export const stalledFor = (views: number): Plan => ({
  ...PLAIN,
  name: "stalled-finality",
  about: "finality stalls for 10,000 views: no more is held than the pending budget, and ten views later all is final",
  schedule: { ...CALM, viewMs: 50, viewTimeoutMs: 100, stall: { view: 1, views } },
  limits: STALLED,
  height: STALLED_HEIGHT,
  faultsMs: (views - STALLED_HEIGHT) * 100,
  intends: ["finalizedAtOnce", "nullified", "spilled"],
})

/** Every scenario, by name. */
export const SCENARIOS: ReadonlyArray<Plan> = [
  { ...PLAIN, height: 100 },
  {
    ...PLAIN,
    name: "forks",
    about: "leaders leave certified blocks behind and build on older ones",
    schedule: { ...CALM, silentChance: 0.05, splitChance: 0.35, forkChance: 0.8 },
    intends: ["forks", "nullified"],
  },
  {
    ...PLAIN,
    name: "delayed-finality",
    about: "finality stalls for up to eight views, then covers many blocks at once",
    schedule: { ...CALM, splitChance: 0.1, forkChance: 0.3, stallChance: 0.35, stallViewsMax: 8 },
    intends: ["finalizedAtOnce"],
  },
  {
    ...PLAIN,
    name: "spilling",
    about: "finality stalls for long while memory holds hardly a state, and validators lose power or their disks fail",
    schedule: { ...CALM, splitChance: 0.1, forkChance: 0.3, stallChance: 0.4, stallViewsMin: 10, stallViewsMax: 30 },
    limits: { pendingEntriesMax: 4 },
    faultsMs: 3_000,
    faults: crashing(1_500, 500, 1, 1),
    storage: { rates: { io: 0.002, "crash visible": 0.002 }, reads: false, fromMs: 500, toMs: 2_500 },
    intends: ["spilled", "finalizedAtOnce", "crashes", "storageFaults"],
  },
  {
    ...PLAIN,
    name: "one-restart",
    about: "one validator loses power once and comes back",
    schedule: FORKS,
    faultsMs: 2_500,
    faults: (chance) => crashing(1_000, between(chance, 200, 1_200), 1, 1)(chance),
    intends: ["crashes"],
  },
  {
    ...PLAIN,
    name: "delayed-start",
    about: "one validator joins when the others have gone on for a while",
    faultsMs: 2_500,
    faults: (chance) => [{ kind: "crash", atMs: 0, nodes: some(chance, 1), downMs: 2_000 }],
    intends: ["fetched"],
  },
  {
    ...PLAIN,
    name: "random-crashes",
    about: "every two seconds a validator loses power, for a second",
    schedule: FORKS,
    faultsMs: 7_000,
    faults: losses(2_000, 1_000, 1, 3),
    intends: ["crashes", "halted", "fetched", "forks"],
  },
  {
    ...PLAIN,
    name: "concurrent-crashes",
    about: "three of five validators lose power at once",
    schedule: FORKS,
    writeMsMax: 40,
    faultsMs: 7_000,
    faults: losses(2_000, 1_000, 3, 3),
    intends: ["crashes", "redelivered"],
  },
  {
    ...PLAIN,
    name: "full-outages",
    about: "all validators lose power at once",
    schedule: FORKS,
    writeMsMax: 40,
    faultsMs: 7_000,
    faults: losses(2_000, 1_000, 5, 3),
    intends: ["crashes", "redelivered"],
  },
  {
    ...PLAIN,
    name: "rapid-crashes",
    about: "every half second a validator loses power, for a tenth of one",
    schedule: FORKS,
    writeMsMax: 40,
    faultsMs: 6_000,
    faults: losses(500, 100, 1, 10),
    intends: ["crashes", "redelivered"],
  },
  {
    ...PLAIN,
    name: "crash-points",
    about: "validators lose power at named points of writes, votes and deliveries",
    schedule: FORKS,
    faultsMs: 6_000,
    faults: (chance) => [...Array.from({ length: 12 }, () => point(chance, anyPoint(chance))), ...halting(chance)],
    intends: ["pointCrashes", "halted", "redelivered"],
  },
  {
    ...PLAIN,
    name: "outages-at-points",
    about: "all validators lose power at once, whenever one of them passes a named point",
    schedule: FORKS,
    writeMsMax: 40,
    faultsMs: 6_000,
    faults: (chance) => [
      ...Array.from({ length: 6 }, () => ({ ...point(chance, anyPoint(chance)), everyone: true })),
      ...halting(chance),
    ],
    intends: ["pointCrashes", "crashes", "halted"],
  },
  {
    ...PLAIN,
    name: "every-sync",
    about: "one validator loses power at every n-th durable write of its databases or of its marshal",
    schedule: FORKS,
    faultsMs: 4_000,
    faults: (chance) => everyWrite(chance, between(chance, 0, EVERYONE.length), [2, 8], 8),
    intends: ["pointCrashes"],
  },
  {
    ...PLAIN,
    name: "partition",
    about: "one validator, then two, are cut off, both ways or one, and found again",
    schedule: FORKS,
    faultsMs: 9_000,
    faults: (chance) => [
      partition(500, some(chance, 1), between(chance, 500, 2_000), anyWay(chance)),
      partition(3_000, some(chance, 2), 5_000, anyWay(chance)),
    ],
    intends: ["partitions", "oneWay", "quorumLosses", "fetched"],
  },
  {
    ...PLAIN,
    name: "partitioned-restart",
    about: "all validators come up cut off from each other: nothing moves until they are connected",
    schedule: FORKS,
    faultsMs: 12_000,
    faults: (chance) => [
      { kind: "crash", atMs: between(chance, 1_000, 2_000), nodes: EVERYONE, downMs: 300 },
      ...EVERYONE.map((node) => partition(2_100, [node], 9_000)),
    ],
    intends: ["quorumLosses", "crashes"],
  },
  {
    ...PLAIN,
    name: "lossy-links",
    about: "links take 200 ms, give or take 150, and lose three of ten messages",
    schedule: { ...CALM, viewTimeoutMs: 2_000 },
    link: { latencyMs: { min: 50, max: 350 }, lossChance: 0.3 },
    faultsMs: 40_000,
    intends: ["nullified", "fetched"],
  },
  {
    ...PLAIN,
    name: "storage-faults",
    about: "for a while one in twenty writes of every disk fails, or finds it full",
    schedule: FORKS,
    faultsMs: 3_000,
    storage: { rates: { io: 0.04, "disk full": 0.02 }, reads: false, fromMs: 500, toMs: 2_500 },
    intends: ["storageFaults", "crashes"],
  },
  {
    ...PLAIN,
    name: "read-faults",
    about: "for a while reads of every disk fail, too",
    schedule: FORKS,
    faultsMs: 3_000,
    storage: { rates: { io: 0.002 }, reads: true, fromMs: 500, toMs: 2_500 },
    intends: ["storageFaults", "crashes"],
  },
  {
    ...PLAIN,
    name: "power-cuts",
    about: "disks lose power within a write, before, during and after it",
    schedule: FORKS,
    faultsMs: 4_000,
    storage: {
      rates: { "crash before": 0.01, "crash visible": 0.02, "crash durable": 0.02, "crash after": 0.01 },
      reads: false,
      fromMs: 500,
      toMs: 3_000,
    },
    intends: ["storageFaults", "crashes", "redelivered"],
  },
  {
    ...PLAIN,
    name: "bad-root",
    about: "leaders propose blocks whose header commits to a state that execution does not give",
    schedule: { ...CALM, splitChance: 0.1, forkChance: 0.3, corruptChance: 0.3 },
    intends: ["corrupted", "refused"],
  },
  {
    ...PLAIN,
    name: "corrupt-leaders",
    about: "leaders propose bad blocks, two blocks at once, to some only, or too late",
    schedule: { ...FORKS, corruptChance: 0.3, misbehaviours: MISBEHAVIOURS },
    faultsMs: 4_000,
    faults: crashing(1_500, 500, 1, 2),
    intends: ["corrupted", "refused", "crashes"],
  },
  {
    ...PLAIN,
    name: "slow-executors",
    about: "verifications take longer than a view or never end, and turns are declined",
    schedule: { ...FORKS, viewTimeoutMs: 400 },
    faultsMs: 4_000,
    hooks: { verifyMsMax: 500, abstainChance: 0.05, declineChance: 0.1 },
    intends: ["cancelled", "nullified", "abstained", "declined"],
  },
  {
    ...PLAIN,
    name: "lying-servers",
    about: "validators that missed blocks are answered with other blocks or certificates, parts, nothing, or too late",
    schedule: { ...FORKS, viewTimeoutMs: 400 },
    faultsMs: 7_000,
    faults: (chance) => [...missing(chance), ...lying(chance, 7), ...crashing(2_000, 1_000, 1, 3)(chance)],
    intends: ["lies", "blames", "fetched"],
  },
  {
    ...PLAIN,
    name: "forged-votes",
    about: "validators are given certificates that no quorum signed, and vote for blocks that they did not look at",
    schedule: { ...FORKS, blindChance: 0.3 },
    faultsMs: 4_000,
    faults: (chance) => forging(chance, 150, 24),
    intends: ["forgeries", "blindVotes"],
  },
  {
    ...PLAIN,
    name: "drifting-clocks",
    about: "clocks run up to a fifth faster or slower, up to two minutes apart, while blocks are missed and lost",
    schedule: { ...FORKS, viewTimeoutMs: 400 },
    link: { ...LINK, lossChance: 0.05 },
    faultsMs: 7_000,
    faults: (chance) => [...missing(chance), ...crashing(2_000, 1_000, 1, 3)(chance), ...drifting(chance)],
    intends: ["drifting", "crashes", "fetched"],
  },
  stalledFor(10_000),
  {
    ...PLAIN,
    name: "pruning",
    about: "databases and marshals forget what is old, and validators lose power meanwhile",
    schedule: FORKS,
    height: 32,
    faultsMs: 4_500,
    faults: losses(1_000, 300, 1, 4),
    pruning: { interval: 4, marshalBlocks: 24 },
    rewindHeights: 18,
    intends: ["pruned", "crashes"],
  },
  SYNCING,
  {
    ...SYNCING,
    name: "state-sync-faults",
    about: "disks fail or lose power while one validator joins by state sync",
    faultsMs: 4_300,
    storage: {
      rates: { io: 0.04, "disk full": 0.02, "crash visible": 0.03, "crash durable": 0.03 },
      reads: false,
      fromMs: JOIN_MS,
      toMs: JOIN_MS + 1_200,
    },
    intends: ["synced", "absorbed", "storageFaults", "cutSyncs"],
  },
  {
    ...SYNCING,
    name: "state-sync-crashes",
    about: "a validator that joins by state sync loses power again and again, and others too",
    faultsMs: 4_400,
    faults: joining(JOIN_MS, (chance, node) => [
      ...losing(chance, [node], JOIN_MS, 1_200, 3),
      ...losing(chance, some(chance, 1), JOIN_MS, 1_200, 1),
      ...halting(chance),
    ]),
    intends: ["synced", "absorbed", "cutSyncs", "halted", "redelivered", "regrouped"],
  },
  {
    ...SYNCING,
    name: "state-sync-liars",
    about: "one validator asks the others for a floor and for blocks, and one of them lies",
    faults: joining(JOIN_MS, (chance, node) => lying(chance, 4, another(chance, node))),
    intends: ["probed", "synced", "absorbed", "lies", "blames"],
  },
  {
    ...SYNCING,
    name: "state-sync-lossy",
    about: "one validator joins by state sync over slow links that lose messages, and is cut off meanwhile",
    schedule: { ...SYNCING.schedule, viewTimeoutMs: 400 },
    link: { latencyMs: { min: 10, max: 60 }, lossChance: 0.1 },
    faultsMs: 9_000,
    faults: joining(6_000, (chance, node) => [
      partition(6_000 + between(chance, 50, 500), [node], 800, anyWay(chance)),
    ]),
    intends: ["synced", "absorbed", "partitions", "pruned"],
  },
  {
    ...SYNCING,
    name: "crash-mid-sync",
    about: "a validator that joins by state sync loses power at every n-th durable write, and at steps of its sync",
    faultsMs: 4_400,
    faults: joining(JOIN_MS, (chance, node) => [
      ...everyWrite(chance, node, [1, 4], 4),
      ...SYNC_POINTS.map((name) => ({ ...point(chance, name), node, nth: between(chance, 1, 4), downMs: 100 })),
      ...halting(chance),
    ]),
    intends: ["synced", "absorbed", "pointCrashes", "cutSyncs", "halted", "redelivered"],
  },
  {
    ...PLAIN,
    name: "everything",
    about: "crashes, partitions, lies, corrupt leaders, bad disks and lossy links in one run",
    schedule: { ...FORKS, corruptChance: 0.1, misbehaviours: MISBEHAVIOURS },
    link: { latencyMs: { min: 5, max: 60 }, lossChance: 0.03 },
    faultsMs: 8_000,
    faults: (chance) => [
      ...missing(chance, anyWay),
      ...crashing(1_500, 600, 2, 4)(chance),
      point(chance, anyPoint(chance)),
      ...lying(chance, 8),
      ...forging(chance, 700, 8),
      ...drifting(chance),
      ...halting(chance),
    ],
    storage: {
      rates: { io: 0.004, "disk full": 0.002, "crash visible": 0.003 },
      reads: false,
      fromMs: 500,
      toMs: 6_000,
    },
    intends: ["crashes", "partitions", "oneWay", "corrupted", "storageFaults", "fetched", "lies"],
  },
]

/** A scenario of the matrix. Throws RangeError for a name that is none. */
export const scenario = (name: string): Plan => {
  const found = SCENARIOS.find((plan) => plan.name === name)
  if (found === undefined) throw new RangeError(`no scenario ${JSON.stringify(name)}`)
  return found
}

/** How many databases a scenario's application has. */
export const SIZES = ["one", "three"] as const

/** One of `SIZES`. */
export type Size = (typeof SIZES)[number]

/** What a plan intends over an application of a size: one database is never apart from others. */
export const intendedOf = ({ intends }: Plan, size: Size): Plan["intends"] =>
  size === "one" ? intends.filter((what) => what !== "regrouped") : intends

/** The applications of the scenarios, one for each size. */
export const SCENARIO_APPLICATIONS = [overOne, overThree] as const

const MARKS_PER_BLOCK = 8

/** Runs one seed of a plan over the application of a size. */
export const runScenario = (plan: Plan, size: Size, seed: number, options?: WorldOptions): WorldResult =>
  size === "one"
    ? runWorld(marksOverOne(MARKS_PER_BLOCK), plan, seed, options)
    : runWorld(marksOverThree(MARKS_PER_BLOCK), plan, seed, options)
