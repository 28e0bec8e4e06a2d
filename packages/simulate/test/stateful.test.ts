/**
 * Goal: the real executor over real databases survives what simulated consensus and power cuts do to it: same roots
 * everywhere, nothing final is lost, no transaction counts twice (P-6, P-12).
 * Method: whole clusters in virtual time, memory disks, one interleaving per seed; a counter whose sum tells how often each
 * transaction was executed; at the end every node's state is compared with the block it stands at.
 */
import { Struct, Text, U64 } from "@coppice/codec"
import { keyPairFromSeed } from "@coppice/crypto"
import { nodeEd25519, nodeHasher } from "@coppice/crypto/node"
import { Qmdb } from "@coppice/qmdb"
import {
  Application,
  bindSet,
  type DatabaseSet,
  Executor,
  Mempool,
  openDatabaseSet,
  openSyncPlan,
  reconcile,
  SET_MAPS,
} from "@coppice/stateful"
import { Effect, Exit, Random } from "effect"
import { describe, expect, test } from "vitest"
import {
  type Cluster,
  type ConsensusSchedule,
  type ConsensusStatistics,
  DEFAULT_SCHEDULE,
  makeCluster,
  makeDisks,
  type NodeContext,
  simulate,
} from "../src/index.ts"

const CHAIN = "counters"
const NODES = 4
const keys = Array.from({ length: NODES }, (_, i) => keyPairFromSeed(nodeEd25519, new Uint8Array(32).fill(i + 1)))

const Counters = Application.make({
  name: "counters",
  databases: {
    counts: Qmdb.any({ key: Text(8), value: U64 }),
    seen: Qmdb.any({ key: Text(16), value: U64 }),
  },
  transaction: Struct({ name: Text(8), nonce: U64 }),
  hasher: nodeHasher,
  begin: ({ counts }, { height }) => counts.put("height", BigInt(height)),
  execute: ({ counts, seen }, { name, nonce }, { height }) => {
    counts.put(name, (counts.get(name) ?? 0n) + 1n)
    seen.put(`${nonce}`, (seen.get(`${nonce}`) ?? 0n) * 1_000_000n + BigInt(height))
  },
})
type Block = ReturnType<typeof Counters.blocks.make>
type Set = DatabaseSet<typeof Counters.databases>
type CounterCluster = Cluster<Block, unknown>

const { genesis } = bindSet({ application: Counters, chainId: CHAIN, hasher: nodeHasher })

/** A block that claims another state: a bad-root leader's. */
const corrupt = ({ height, context, targets, transactions }: Block): Block => {
  const root = targets.counts.root.map((byte) => byte ^ 1)
  return Counters.blocks.make(
    { height, context, targets: { ...targets, counts: { ...targets.counts, root } } },
    transactions,
  )
}

interface Scenario {
  readonly schedule?: Partial<ConsensusSchedule>
  readonly height: number
  readonly act?: (cluster: CounterCluster) => Effect.Effect<void, unknown>
}

const program = Effect.fnUntraced(function* (seed: number, { schedule, height, act = () => Effect.void }: Scenario) {
  const pools = keys.map(() => new Mempool({ transaction: Counters.transaction, hasher: nodeHasher }))
  const sets: Array<Set | undefined> = keys.map(() => undefined)
  const executor = Effect.fnUntraced(function* ({ index, disk, source }: NodeContext<Block>) {
    const storage = yield* disk.open("set", SET_MAPS)
    const application = Counters.withInputs(pools[index]!)
    const options = { application, chainId: CHAIN, hasher: nodeHasher, storage }
    const plan = yield* openSyncPlan(options)
    const set = yield* openDatabaseSet({ ...options, pendingAcksMax: source.pendingAcksMax })
    const anchor = yield* reconcile(set, plan, source)
    const { port } = yield* Executor.make({ application, set, source })
    sets[index] = set
    return { port, anchor }
  })
  const cluster = yield* makeCluster({
    ...{
      chainId: CHAIN,
      genesis,
      codec: Counters.codec,
      validators: keys,
      ed25519: nodeEd25519,
      seed,
      executor,
      corrupt,
    },
    schedule: { ...DEFAULT_SCHEDULE, ...schedule },
    link: { latencyMs: { min: 1, max: 10 }, lossChance: 0 },
    disks: makeDisks(seed, NODES),
  })
  for (const index of keys.keys()) yield* cluster.boot(index)
  let submitted = 0
  const submit = Effect.gen(function* () {
    for (;;) {
      yield* Effect.sleep(yield* Random.nextBetween(1, 60))
      const transaction = { name: `name-${submitted % 3}`, nonce: BigInt(submitted++) }
      for (const pool of pools) pool.submit(transaction)
    }
  })
  const reached = Effect.gen(function* () {
    yield* act(cluster)
    for (;;) {
      yield* Effect.sleep("1 second")
      if (keys.every((_, index) => cluster.node(index) !== undefined && sets[index]!.durable.height >= height)) return
    }
  })
  yield* Effect.raceAllFirst([reached, cluster.consensus.run, cluster.failed, submit])
  yield* Effect.sleep("10 seconds")
  const ends = yield* Effect.forEach(keys, (_, index) => endOf(cluster, index, sets[index]!))
  return { ends, submitted, statistics: yield* cluster.consensus.statistics }
})

/** Where a node stands, and what its databases say. */
const endOf = Effect.fnUntraced(function* (cluster: CounterCluster, index: number, set: Set) {
  const { height } = set.durable
  const block = yield* cluster.node(index)!.marshal.finalizedAt(height)
  const matches = block !== undefined && set.anchor.height === height && set.matches(set.tip, block.targets)
  return set.use("read", ({ counts, seen }) => {
    const executed: Array<readonly [number, bigint]> = []
    for (let nonce = 0; nonce < 10_000; nonce++) {
      const value = seen.get(`${nonce}`)
      if (value !== undefined) executed.push([nonce, value])
    }
    const total = [0, 1, 2].reduce((sum, name) => sum + (counts.get(`name-${name}`) ?? 0n), 0n)
    return { height: height as number, matches, counted: counts.get("height"), executed, total: Number(total) }
  })
})

const run = (seed: number, scenario: Scenario) => {
  const { exit, audit } = simulate(seed, Effect.scoped(program(seed, scenario)))
  if (Exit.isFailure(exit)) throw new Error(`seed ${seed} failed: ${exit.cause}`, { cause: exit.cause })
  return { ...exit.value, audit }
}

/** What the ends of all nodes say against P-6 and P-12. */
const violations = ({ ends, submitted }: Pick<ReturnType<typeof run>, "ends" | "submitted">): ReadonlyArray<string> => {
  const found: Array<string> = []
  for (const [index, { height, matches, counted, executed, total }] of ends.entries()) {
    if (!matches) found.push(`node ${index}: its state at ${height} is not its block's`)
    if (counted !== BigInt(height)) found.push(`node ${index}: ${counted} blocks executed at height ${height}`)
    if (total !== executed.length) found.push(`node ${index}: ${executed.length} transactions counted ${total} times`)
    if (executed.some(([nonce, at]) => nonce >= submitted || at >= 1_000_000n))
      found.push(`node ${index}: executed twice`)
    const same = ends.find((other) => other.height === height)!
    if (JSON.stringify(same.executed, text) !== JSON.stringify(executed, text))
      found.push(`node ${index}: differs at ${height}`)
  }
  return found
}
const text = (_key: string, value: unknown): unknown => (typeof value === "bigint" ? `${value}` : value)

const crashing = (times: number) => (cluster: CounterCluster) =>
  Effect.gen(function* () {
    for (let i = 0; i < times; i++) {
      yield* Effect.sleep(yield* Random.nextBetween(1, 900))
      const all = (yield* Random.next) < 0.25
      const one = yield* Random.nextIntBetween(0, NODES, { halfOpen: true })
      const victims = all ? [...keys.keys()] : [one]
      for (const index of victims) yield* cluster.crash(index)
      yield* Effect.sleep(yield* Random.nextBetween(1, 700))
      yield* Effect.forEach(victims, cluster.boot, { concurrency: "unbounded", discard: true })
    }
  })

describe("the whole stack", () => {
  const total = (runs: ReadonlyArray<{ readonly statistics: ConsensusStatistics }>, of: keyof ConsensusStatistics) =>
    runs.reduce((sum, { statistics }) => sum + statistics[of], 0)

  test("P-6 P-12 under the default schedule all nodes have the state of their block, each transaction once", () => {
    const runs = [1, 2, 3].map((seed) => run(seed, { height: 50 }))
    for (const [i, result] of runs.entries()) {
      expect(violations(result), `seed ${i + 1}`).toEqual([])
      expect(result.ends[0]!.executed.length).toBeGreaterThan(50)
    }
    for (const of of ["forks", "split", "corrupted", "restarts"] as const)
      expect(total(runs, of), of).toBeGreaterThan(0)
    expect(total(runs, "rejected")).toBeGreaterThanOrEqual(total(runs, "corrupted"))
  })

  test("P-6 P-12 power cuts of one node and of all lose nothing that is final", () => {
    for (const seed of [4, 5, 6]) {
      const result = run(seed, { height: 60, schedule: { restarts: undefined }, act: crashing(10) })
      expect(violations(result), `seed ${seed}`).toEqual([])
    }
  })

  test("CONS-26 the same seed has the same audit", () => {
    expect(run(1, { height: 20 }).audit).toBe(run(1, { height: 20 }).audit)
  })

  test("canary: a lost block, a transaction executed twice and a differing node are seen", () => {
    const executed: Array<readonly [number, bigint]> = [[0, 1n]]
    const end = { height: 2, matches: true, counted: 2n, executed, total: 1 }
    const judge = (change: Partial<typeof end>) =>
      violations({ ends: [end, { ...end, ...change }], submitted: 5 }).join()
    expect(judge({})).toBe("")
    expect(judge({ counted: 1n })).toContain("blocks executed")
    expect(judge({ matches: false })).toContain("not its block's")
    expect(judge({ total: 2 })).toContain("counted 2 times")
    expect(judge({ executed: [[0, 2n]] })).toContain("differs")
  })
})
