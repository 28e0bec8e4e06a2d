/**
 * Goal: a node that joins a running chain by state sync at a floor follows it with equal roots, and goes on from its plan
 * after power is lost at any of its durable writes.
 * Method: clusters in virtual time whose other nodes keep few blocks, so that a joiner cannot do without; state sync replays
 * final blocks that the test has noted. The sweep cuts the joiner's power at its n-th write, until its plan is complete.
 */
import { Struct, Text, U64 } from "@coppice/codec"
import { type Finalization, Height, type Marshal } from "@coppice/consensus"
import { keyPairFromSeed } from "@coppice/crypto"
import { nodeEd25519, nodeHasher } from "@coppice/crypto/node"
import { type Planned, type StateSync, startByPlan } from "@coppice/node"
import { Qmdb, SCRATCH_MAPS } from "@coppice/qmdb"
import {
  Application,
  bindSet,
  type MemberSync,
  makeSetSync,
  openSyncPlan,
  type PlanRecord,
  SET_MAPS,
  targetsEqual,
} from "@coppice/stateful"
import { type Fault, faultAt } from "@coppice/storage"
import { Effect, Exit } from "effect"
import { describe, expect, test } from "vitest"
import { DEFAULT_SCHEDULE, makeCluster, makeDisks, type NodeContext, replayedSync, simulate } from "../src/index.ts"

const CHAIN = "joining"
const NODES = 4
const JOINER = 3
const ACKS = 2
const KEPT = 4
const KEPT_ALL = 1_000
/** One member is behind the other, and both gain on a chain that has a block every 100 ms. */
const blockMs = (member: string) => (member === "by" ? 20 : 55)
/** Blocks that the chain goes on for after the floor. */
const MORE = 9
const keys = Array.from({ length: NODES }, (_, i) => keyPairFromSeed(nodeEd25519, new Uint8Array(32).fill(i + 1)))

const Ticks = Application.make({
  name: "ticks",
  databases: { by: Qmdb.any({ key: Text(8), value: U64 }), last: Qmdb.immutable({ key: Text(8), value: U64 }) },
  transaction: Struct({ name: Text(8) }),
  hasher: nodeHasher,
  begin: ({ by, last }, { height }) => {
    by.put(`n${height % 5}`, BigInt(height))
    last.set(`h${height}`, BigInt(height))
  },
  execute: () => {},
})
type Block = ReturnType<typeof Ticks.blocks.make>
type Databases = typeof Ticks.databases
type Node = Planned<Block, Databases>

const { genesis } = bindSet({ application: Ticks, chainId: CHAIN, hasher: nodeHasher })

interface Joining {
  /** What befalls the joiner's n-th write. */
  readonly cut?: { readonly n: number; readonly fault: Fault }
  /** What makes one sync of members in place of `makeSetSync`. */
  readonly over?: typeof makeSetSync
  /** Whether nobody tells of a floor once the joiner has recorded one; the others keep all blocks then. */
  readonly silent?: boolean
  /** Whether order and agreement of calls are asserted. */
  readonly development?: boolean
}

/** What a run of a joiner has shown. */
interface Seen {
  /** Its plan at each boot, before anything of that boot. */
  readonly plans: Array<PlanRecord["tag"]>
  readonly ways: Array<Node["tag"]>
  lost: boolean
  /** Why state sync failed, if power was not lost. */
  failed: string | undefined
  /** Heights at which state sync was asked to start. */
  readonly starts: Array<number>
  /** What marshal had seen acknowledged by then. */
  readonly processed: Array<number>
  /** First height that each attempt of the sync has asked for, if it asked for any. */
  readonly asked: Array<number>
  regrouped: number
  rewound: number
}

const program = Effect.fnUntraced(function* (
  seed: number,
  { cut, over, silent = false, development = false }: Joining,
) {
  const disks = makeDisks(seed, NODES, 1)
  const disk = disks[JOINER]!
  const chain = new Map<number, Block>()
  const nodes: Array<Node | undefined> = keys.map(() => undefined)
  const seen: Seen = {
    plans: [],
    ways: [],
    lost: false,
    failed: undefined,
    starts: [],
    processed: [],
    asked: [],
    regrouped: 0,
    rewound: 0,
  }
  let floor: Finalization | undefined
  const blockAt = (height: number): Effect.Effect<Block> =>
    Effect.suspend(() => {
      const block = chain.get(height)
      return block === undefined ? Effect.delay(blockAt(height), 10) : Effect.succeed(block)
    })
  const stateSync = (
    floor: StateSync<Block, Databases>["floor"],
    source: Marshal<Block>,
  ): StateSync<Block, Databases> => ({
    ...(floor && { floor }),
    sync: (home) => {
      const onRegroup = () => void seen.regrouped++
      const onRewind = () => void seen.rewound++
      let hasAsked = false
      const asked = (height: number) => {
        if (!hasAsked) seen.asked.push(height)
        hasAsked = true
        return blockAt(height)
      }
      const { run } = replayedSync(home, { blockAt: asked, blockMs, onRegroup, onRewind, ...(over && { over }) })
      return {
        run: Effect.fnUntraced(function* (start, newer) {
          seen.starts.push(start.anchor.height)
          seen.processed.push((yield* source.processedHeight) ?? 0)
          return yield* run(start, newer)
        }),
      }
    },
  })
  const executor = Effect.fnUntraced(function* ({ index, source, disk }: NodeContext<Block>) {
    const storage = yield* disk.open("set", SET_MAPS)
    const scratch = yield* disk.open("scratch", SCRATCH_MAPS, { scratch: true })
    const application = {
      ...Ticks,
      finalized: (block: Block) => Effect.sync(() => void chain.set(block.height, block)),
    }
    const plan = yield* openSyncPlan({ application, chainId: CHAIN, hasher: nodeHasher, storage })
    const isJoiner = index === JOINER
    if (isJoiner) seen.plans.push(plan.record.tag)
    // The floor is given until it is recorded, as an operator would.
    const later = silent ? Effect.never : undefined
    const given = plan.record.tag === "absent" && floor !== undefined ? Effect.succeed(floor) : later
    const node = yield* startByPlan<Block, Databases>({
      ...{ application, chainId: CHAIN, hasher: nodeHasher, storage, scratch, source, development },
      verify: () => true,
      pruning: {
        interval: 2,
        marshal: { blocks: silent ? KEPT_ALL : KEPT, prune: (height) => Effect.ignore(source.prune(height)) },
      },
      ...(isJoiner ? { stateSync: stateSync(given, source) } : {}),
    })
    if (isJoiner) seen.ways.push(node.tag)
    if (node.tag === "joining") {
      const judged = Effect.catch(node.joining.stopped, (error) =>
        Effect.sync(() => {
          if (!seen.lost) seen.failed = String("cause" in error ? error.cause : error)
        }),
      )
      yield* Effect.forkScoped(judged)
    }
    nodes[index] = node
    return node
  })
  const cluster = yield* makeCluster<Block, unknown>({
    ...{ chainId: CHAIN, genesis, codec: Ticks.codec, validators: keys, ed25519: nodeEd25519, seed, executor, disks },
    schedule: { ...DEFAULT_SCHEDULE, viewMs: 100, restarts: undefined, corruptChance: 0, stallChance: 0 },
    link: { latencyMs: { min: 1, max: 3 }, lossChance: 0 },
    pendingAcksMax: ACKS,
    onFailure: (index) => (index === JOINER ? Effect.void : Effect.die(`node ${index} failed`)),
  })
  const others = [...keys.keys()].filter((index) => index !== JOINER)
  for (const index of others) yield* cluster.boot(index)
  const until = (holds: () => Effect.Effect<boolean>) =>
    Effect.gen(function* () {
      for (let waits = 0; !(yield* Effect.suspend(holds)); waits++) {
        if (waits > 2_000 || seen.failed !== undefined)
          throw new Error(`seed ${seed}: the joiner does not come up: ${JSON.stringify(seen)}`)
        yield* Effect.sleep(20)
      }
    })
  const processed = (index: number) =>
    Effect.suspend(() => cluster.node(index)?.marshal.processedHeight ?? Effect.succeed(undefined))
  const act = Effect.gen(function* () {
    const { marshal } = cluster.node(0)!
    yield* until(() => Effect.map(processed(0), (height) => (height ?? 0) > KEPT + 1))
    const { height } = yield* marshal.tip
    for (let at = height; floor === undefined; at--) floor = yield* marshal.finalizationAt(Height(at))
    const target = height + MORE
    const script = cut === undefined ? () => undefined : faultAt(cut.n, cut.fault, { name: "write" })
    disk.faults = (call) => {
      const fault = script(call)
      if (fault !== undefined) seen.lost = true
      return fault
    }
    const arrived = until(() => Effect.map(processed(JOINER), (at) => (at ?? 0) >= target))
    const boot = Effect.ignore(cluster.boot(JOINER))
    yield* Effect.raceFirst(
      Effect.andThen(boot, Effect.never),
      Effect.raceFirst(
        arrived,
        until(() => Effect.sync(() => seen.lost)),
      ),
    )
    if (seen.lost) {
      yield* cluster.crash(JOINER)
      yield* cluster.boot(JOINER)
      yield* arrived
    }
    yield* until(() => Effect.succeed(others.every((index) => (chain.get(target) ?? index) !== index)))
    return target
  })
  const target = yield* Effect.raceAllFirst([act, cluster.consensus.run, cluster.failed])
  const node = nodes[JOINER]!
  const set = node.tag === "joining" ? (yield* node.joining.executor).set : node.started.set
  const block = chain.get(set.anchor.height)!
  const first = yield* cluster.node(JOINER)!.marshal.finalizedAt(Height(1))
  return {
    ...seen,
    target,
    height: Number(set.anchor.height),
    equal: (["by", "last"] as const).every((name) => targetsEqual(set.tip.targets[name], block.targets[name])),
    first,
  }
})

const run = (seed: number, joining: Joining) => {
  const { exit } = simulate(seed, Effect.scoped(program(seed, joining)))
  if (Exit.isFailure(exit)) throw new Error(`seed ${seed}: ${exit.cause}`, { cause: exit.cause })
  return exit.value
}

describe("a joiner", () => {
  test("INV-21 begins at its floor, gets what it cannot execute by state sync, and follows with equal roots", () => {
    const result = run(1, { development: true })
    expect(result).toMatchObject({ plans: ["absent"], ways: ["joining"], equal: true, first: undefined, rewound: 0 })
    expect(result.starts).toHaveLength(1)
    expect(result.regrouped).toBeGreaterThan(0)
    expect(result.height).toBeGreaterThanOrEqual(result.target)
  })

  test("canary: INV-24 a member that tells of targets that it has not reached", () => {
    const liar: MemberSync = {
      run: (start, { newer, reached, finish }) => {
        const tells = Effect.forever(
          Effect.andThen(
            newer.arrival,
            Effect.sync(() => reached(newer.poll()!)),
          ),
        )
        return Effect.andThen(
          Effect.sync(() => reached(start)),
          Effect.raceFirst(finish, tells),
        )
      },
    }
    const over: typeof makeSetSync = (options) =>
      makeSetSync({ ...options, members: { ...options.members, last: liar } })
    expect(() => run(1, { over })).toThrow(/INV-24 last/)
  })

  test("C3 goes on from its recorded floor when it hears of no newer one", () => {
    const result = run(1, { cut: { n: 4, fault: "crash durable" }, silent: true })
    expect(result).toMatchObject({ plans: ["absent", "in progress"], ways: ["joining", "joining"], equal: true })
  })

  test("C2 to C11 goes on from its plan, wherever its power is lost", { timeout: 120_000 }, () => {
    let acknowledged = 0
    let rewound = 0
    let resumed = 0
    const met = { absent: 0, "in progress": 0, complete: 0 }
    // One of each pair loses the write, one keeps it.
    const pairs: ReadonlyArray<ReadonlyArray<Fault>> = [
      ["crash before", "crash after"],
      ["crash visible", "crash durable"],
    ]
    for (let n = 1; met.complete < 4; n++) {
      for (const fault of pairs[n % 2]!) {
        const result = run(1, { cut: { n, fault } })
        const note = `write ${n}, ${fault}`
        expect(result.lost, note).toBe(true)
        expect(result, note).toMatchObject({ equal: true, first: undefined })
        const plan = result.plans.at(-1)!
        expect(result.ways.at(-1), note).toBe(plan === "complete" ? "executing" : "joining")
        met[plan]++
        rewound += result.rewound
        if (result.asked.some((height) => height > 1)) resumed++
        for (const [i, start] of result.starts.entries()) {
          expect(start, `INV-7 ${note}`).toBeGreaterThanOrEqual(result.processed[i]!)
          if (start > result.starts[0]!) acknowledged++
        }
      }
    }
    expect(acknowledged, "started after acknowledged blocks").toBeGreaterThan(0)
    expect(resumed, "went on from what was there").toBeGreaterThan(0)
    expect(rewound, "C6 C10 had gone further than the start").toBeGreaterThan(0)
    for (const [plan, times] of Object.entries(met)) expect(times, plan).toBeGreaterThan(0)
  })
})
