/** Runs whole clusters in virtual time and judges what their executors were given. */
import { Height, Round } from "@coppice/consensus"
import type { MemoryDisk } from "@coppice/storage"
import { Effect, Exit, Random } from "effect"
import { blockCodec, CHAIN, ed25519, genesis, sealBlock, type TestBlock, validators } from "../src/chain.ts"
import {
  type BadBlock,
  type Cluster,
  type ConsensusSchedule,
  DEFAULT_SCHEDULE,
  makeCluster,
  makeDisks,
  simulate,
} from "../src/index.ts"
import { deliveryViolations } from "../src/journal.ts"
import { BAD_SALT, Journal, makeStubExecutor, type StubOptions } from "./stub-executor.ts"

export type TestCluster = Cluster<TestBlock, unknown>

export interface Scenario {
  readonly schedule?: Partial<ConsensusSchedule>
  /** The run ends when every node has processed this height. */
  readonly height?: number
  readonly lossChance?: number
  readonly pendingAcksMax?: number
  readonly stub?: Partial<StubOptions>
  readonly delayMsMax?: number
  /** Disks of an earlier run. */
  readonly disks?: ReadonlyArray<MemoryDisk>
  readonly journal?: Journal
  readonly seedOfScript?: number
  /** Runs beside the cluster; the height counts only once it is over. */
  readonly act?: (cluster: TestCluster) => Effect.Effect<void, unknown>
}

/** A schedule in which every view is final at once. */
export const CALM = {
  silentChance: 0,
  splitChance: 0,
  forkChance: 0,
  stallChance: 0,
  corruptChance: 0,
  restarts: undefined,
} satisfies Partial<ConsensusSchedule>

/** A block that honest executors refuse. */
export const corrupt = (block: TestBlock, how: BadBlock = "bad root"): TestBlock => {
  switch (how) {
    case "bad parent": {
      const parent = block.parent.map((byte) => byte ^ 1)
      const context = { ...block.context, parent: { ...block.context.parent, digest: parent } }
      return sealBlock({ ...block, parent, context })
    }
    case "bad height":
      return sealBlock({ ...block, height: Height(block.height + 1) })
    case "bad epoch": {
      const { epoch, view } = block.context.round
      return sealBlock({ ...block, context: { ...block.context, round: Round(epoch + 1, view) } })
    }
    case "bad context":
      return sealBlock({ ...block, context: { ...block.context, leader: block.parent } })
    default:
      return sealBlock({ ...block, salt: BAD_SALT })
  }
}

const clusterOf = (seed: number, scenario: Scenario, journal: Journal, disks: ReadonlyArray<MemoryDisk>) =>
  makeCluster({
    chainId: CHAIN,
    genesis,
    codec: blockCodec,
    validators,
    ed25519,
    seed: scenario.seedOfScript ?? seed,
    schedule: { ...DEFAULT_SCHEDULE, ...scenario.schedule },
    link: { latencyMs: { min: 1, max: 10 }, lossChance: scenario.lossChance ?? 0 },
    disks,
    executor: makeStubExecutor({ journal, genesis, ...scenario.stub }),
    corrupt,
    ...(scenario.pendingAcksMax === undefined ? {} : { pendingAcksMax: scenario.pendingAcksMax }),
  })

const program = Effect.fnUntraced(function* (
  seed: number,
  scenario: Scenario,
  journal: Journal,
  disks: ReadonlyArray<MemoryDisk>,
) {
  const { height = 40, act = () => Effect.void } = scenario
  const cluster = yield* clusterOf(seed, scenario, journal, disks)
  for (const index of validators.keys()) yield* cluster.boot(index)
  const processed = Effect.forEach(validators, (_, index) =>
    Effect.suspend(() => cluster.node(index)?.marshal.processedHeight ?? Effect.succeed(undefined)),
  )
  const reached = Effect.gen(function* () {
    yield* act(cluster)
    for (;;) {
      yield* Effect.sleep("1 second")
      if ((yield* processed).every((at) => at !== undefined && at >= height)) return
    }
  })
  yield* Effect.raceAllFirst([reached, cluster.consensus.run, cluster.failed])
  return {
    statistics: yield* cluster.consensus.statistics,
    processed: yield* processed,
    blames: cluster.network.blames(),
  }
})

/** Runs a scenario to its end. Throws when it fails, with the seed. */
export const runCluster = (seed: number, scenario: Scenario = {}) => {
  const journal = scenario.journal ?? new Journal()
  const disks = scenario.disks ?? makeDisks(seed, validators.length, scenario.delayMsMax)
  const { exit, audit, virtualMs } = simulate(seed, Effect.scoped(program(seed, scenario, journal, disks)))
  if (Exit.isFailure(exit)) throw new Error(`seed ${seed} failed: ${exit.cause}`, { cause: exit.cause })
  return { journal, audit, virtualMs, ...exit.value }
}

/** What a journal says against P-1 to P-3, and blocks that were delivered before they were durable. */
export const violations = (journal: Journal, pendingAcksMax = 16): ReadonlyArray<string> => [
  ...(journal.premature === 0 ? [] : [`§8.1 M3 ${journal.premature} blocks were delivered before they were durable`]),
  ...deliveryViolations(journal, pendingAcksMax),
]

/** Crashes random nodes at random times; never more than one at once unless `all`. */
export const crashes = (cluster: TestCluster, times: number, options: { readonly all?: boolean } = {}) =>
  Effect.gen(function* () {
    for (let i = 0; i < times; i++) {
      yield* Effect.sleep(yield* Random.nextBetween(1, 900))
      const one = yield* Random.nextIntBetween(0, validators.length, { halfOpen: true })
      const victims = options.all ? [...validators.keys()] : [one]
      for (const index of victims) yield* cluster.crash(index)
      yield* Effect.sleep(yield* Random.nextBetween(1, 700))
      yield* Effect.forEach(victims, cluster.boot, { concurrency: "unbounded", discard: true })
    }
  })
