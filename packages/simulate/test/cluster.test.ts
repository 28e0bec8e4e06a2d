/**
 * Goal: four validators under simulated consensus agree, deliver in order, and lose nothing across crashes.
 * Method: whole clusters with a stub executor in virtual time, one interleaving per seed; properties over the journal of
 * everything delivered, and proof that each run contained what it is about.
 */
import { bytesEqual, bytesKey } from "@coppice/codec"
import { anchorOf, roundKey } from "@coppice/consensus"
import { Effect, Exit } from "effect"
import { describe, expect, test } from "vitest"
import {
  blockCodec,
  CHAIN,
  ed25519,
  genesis,
  sealBlock,
  type TestBlock,
  validators,
} from "../../consensus/test/chain.ts"
import { type Cluster, type ConsensusStatistics, DEFAULT_SCHEDULE, makeCluster, simulate } from "../src/index.ts"
import type { ConsensusSchedule } from "../src/schedule.ts"
import { type DiskProbe, makeMapDisk } from "./map-disk.ts"
import { BAD_SALT, Journal, makeStubExecutor } from "./stub-executor.ts"

interface Run {
  readonly journal: Journal
  readonly statistics: ConsensusStatistics
  readonly audit: string
  readonly virtualMs: number
  readonly processed: ReadonlyArray<number | undefined>
}

interface Scenario {
  readonly schedule?: Partial<ConsensusSchedule>
  readonly height?: number
  readonly lossChance?: number
  readonly pendingAcksMax?: number
  readonly act?: (cluster: Cluster<TestBlock, unknown>) => Effect.Effect<void, unknown>
}

const corrupt = (block: TestBlock): TestBlock => sealBlock({ ...block, salt: BAD_SALT })

/** Runs a cluster until every node has processed a height, then a while longer without restarts. */
const run = (seed: number, { schedule, height = 40, lossChance = 0, pendingAcksMax, act }: Scenario = {}): Run => {
  const journal = new Journal()
  const probe: DiskProbe = { writes: 0, failsAt: 0 }
  const program = Effect.scoped(
    Effect.gen(function* () {
      const cluster = yield* makeCluster({
        chainId: CHAIN,
        genesis,
        codec: blockCodec,
        validators,
        ed25519,
        seed,
        schedule: { ...DEFAULT_SCHEDULE, ...schedule },
        link: { latencyMs: { min: 1, max: 10 }, lossChance },
        disk: (index) => makeMapDisk(`node-${index}`, probe),
        executor: makeStubExecutor({ journal, genesis }),
        corrupt,
        ...(pendingAcksMax === undefined ? {} : { pendingAcksMax }),
      })
      for (const index of validators.keys()) yield* cluster.boot(index)
      const processed = Effect.forEach(
        validators,
        (_, index) => cluster.node(index)?.marshal.processedHeight ?? Effect.succeed(undefined),
      )
      const reached = Effect.gen(function* () {
        for (;;) {
          yield* Effect.sleep("1 second")
          if ((yield* processed).every((at) => at !== undefined && at >= height)) return
        }
      })
      yield* Effect.raceAllFirst([
        reached,
        cluster.consensus.run,
        cluster.failed,
        ...(act ? [Effect.andThen(act(cluster), Effect.never)] : []),
      ])
      return { statistics: yield* cluster.consensus.statistics, processed: yield* processed }
    }),
  )
  const { exit, audit, virtualMs } = simulate(seed, program)
  if (Exit.isFailure(exit)) throw new Error(`seed ${seed} failed`, { cause: exit.cause })
  return { journal, audit, virtualMs, ...exit.value }
}

/** What a journal says against agreement, order and redelivery. */
const violations = ({ deliveries, boots }: Journal, pendingAcksMax = 16): ReadonlyArray<string> => {
  const found: Array<string> = []
  const byHeight = new Map<number, string>()
  const byRound = new Map<string, string>()
  const last = new Map<string, TestBlock | undefined>()
  const highest = new Map<number, number>()
  for (const { index, incarnation, block } of deliveries) {
    const digest = bytesKey(block.digest)
    if ((byHeight.get(block.height) ?? digest) !== digest) found.push(`P-1 height ${block.height} differs`)
    byHeight.set(block.height, digest)
    const round = roundKey(block.context.round)
    if ((byRound.get(round) ?? digest) !== digest) found.push(`P-1 round ${round} differs`)
    byRound.set(round, digest)
    const life = `${index}/${incarnation}`
    const boot = boots.find((at) => at.index === index && at.incarnation === incarnation)!
    const before = last.get(life)
    const expected = before === undefined ? boot.anchor : anchorOf(before)
    if (block.height !== expected.height + 1) found.push(`P-2 node ${life}: ${block.height} after ${expected.height}`)
    if (!bytesEqual(block.parent, expected.digest)) found.push(`P-2 node ${life}: ${block.height} is not linked`)
    last.set(life, block)
    const top = Math.max(highest.get(index) ?? 0, block.height)
    if (top - block.height >= pendingAcksMax) found.push(`P-3 node ${life}: ${block.height} again after ${top}`)
    highest.set(index, top)
  }
  return found
}

const redelivered = ({ deliveries }: Journal): number => {
  const seen = new Set<string>()
  return deliveries.filter(({ index, block }) => {
    const key = `${index}/${block.height}`
    return seen.has(key) || !seen.add(key)
  }).length
}

const CALM = { silentChance: 0, splitChance: 0, stallChance: 0, corruptChance: 0, restarts: undefined }

describe("agreement and delivery", () => {
  test("P-1 P-2 P-3 hold under the default schedule, and it shows forks, nullified views, delay and restarts", () => {
    let [forks, nullified, split, corrupted, restarts, again, atOnce, cancelled] = [0, 0, 0, 0, 0, 0, 0, 0]
    for (let seed = 0; seed < 8; seed++) {
      const { journal, statistics } = run(seed, { height: 100 })
      expect(violations(journal), `seed ${seed}`).toEqual([])
      expect(statistics.views).toBe(statistics.notarized + statistics.nullified - statistics.split)
      forks += statistics.forks
      nullified += statistics.nullified
      split += statistics.split
      corrupted += statistics.corrupted
      restarts += statistics.restarts
      atOnce = Math.max(atOnce, statistics.finalizedAtOnceMax)
      again += redelivered(journal)
      cancelled += journal.cancelled
      expect(statistics.forks, `seed ${seed}`).toBeGreaterThan(0)
    }
    console.log({ forks, nullified, split, corrupted, restarts, again, atOnce, cancelled })
    for (const count of [forks, nullified, split, corrupted, restarts, again, cancelled])
      expect(count).toBeGreaterThan(0)
    expect(atOnce).toBeGreaterThan(2)
  })
})
void CALM
