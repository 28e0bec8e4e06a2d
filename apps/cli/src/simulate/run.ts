/**
 * One seed of a scenario: real executors and marshals on disks in memory, in virtual time, and the judgement.
 *
 *   cluster --> every validator durable at the scenario's height --> judged: agreement, roots, contents
 *
 * Terms: a *property* is what must be true at the end of every run, whatever the seed.
 *
 * Invariant: the outcome depends on scenario and seed alone. What is judged is read from the validators' databases.
 */
import { bytesEqual } from "@coppice/codec"
import { Height } from "@coppice/consensus"
import { keyPairFromSeed } from "@coppice/crypto"
import { nodeEd25519, nodeHasher } from "@coppice/crypto/node"
import { startExecutor, toHex } from "@coppice/node"
import {
  type Cluster,
  type ConsensusStatistics,
  makeCluster,
  makeDisks,
  type NodeContext,
  Notes,
  type Stuck,
  simulate,
} from "@coppice/simulate"
import { bindSet, type DatabaseSet, memberNames, SET_MAPS, targetsEqual } from "@coppice/stateful"
import { Cause, Data, Effect, Exit } from "effect"
import { type CellsBlock, type CellsDatabases, Model, makeCells, makeStrokes, type Workload } from "../cells/cells.ts"
import type { Scenario } from "./scenarios.ts"

/** A property does not hold. */
export class PropertyViolated extends Data.TaggedError("PropertyViolated")<{
  readonly property: "liveness" | "agreement" | "roots" | "contents"
  readonly validator: number
  readonly height: number
  readonly what: string
}> {}

/** What one seed came to. */
export interface SeedResult {
  readonly seed: number
  /** Why it failed; undefined when every property holds. */
  readonly failure: string | undefined
  readonly statistics: ConsensusStatistics | undefined
  /** Hash of the whole schedule: equal for equal seeds. */
  readonly audit: string | undefined
  /** What consensus decided, in order. */
  readonly schedule: ReadonlyArray<string>
}

/** The application of one validator. Tests give one that is wrong. */
export type MakeApplication = (validator: number) => ReturnType<typeof makeCells>

const CHAIN_ID = "simulation"
const VALIDATORS = 4
const WORKLOAD: Workload = { cells: 60, strokes: 8 }
const VIRTUAL_MS_MAX = 600_000
const STEPS_MAX = 20_000_000

const validators = Array.from({ length: VALIDATORS }, (_, i) =>
  keyPairFromSeed(nodeEd25519, new Uint8Array(32).fill(i + 1)),
)

/** Cells, with strokes of the validator's own. */
export const honestCells: MakeApplication = (validator) =>
  makeCells(nodeHasher, makeStrokes(WORKLOAD, BigInt(validator) * 1_000_000n))

const blocksOf = makeCells(nodeHasher).blocks

/** The block with a header that commits to another root for its first member. */
const withBadRoot = ({ height, context, targets, transactions }: CellsBlock): CellsBlock => {
  const root = targets.fixed.root.map((byte, i) => (i === 0 ? byte ^ 1 : byte))
  return blocksOf.make({ height, context, targets: { ...targets, fixed: { ...targets.fixed, root } } }, transactions)
}

type Sets = Array<DatabaseSet<CellsDatabases> | undefined>

const executorOf = (application: MakeApplication, sets: Sets) =>
  Effect.fnUntraced(function* ({ index, source, disk }: NodeContext<CellsBlock>) {
    const storage = yield* disk.open("set", SET_MAPS)
    const started = yield* startExecutor<CellsBlock, CellsDatabases>({
      application: application(index),
      chainId: CHAIN_ID,
      hasher: nodeHasher,
      storage,
      source,
    })
    sets[index] = started.set
    return { port: started.executor.port, anchor: started.anchor }
  })

const untilDurable = (cluster: Cluster<CellsBlock, unknown>, sets: Sets, height: number) =>
  Effect.gen(function* () {
    const isThere = (_: unknown, index: number): boolean =>
      cluster.node(index) !== undefined && (sets[index]?.durable.height ?? 0) >= height
    while (!validators.every(isThere)) yield* Effect.sleep(200)
  }).pipe(
    Effect.timeoutOrElse({
      duration: VIRTUAL_MS_MAX,
      orElse: () => {
        const validator = validators.findIndex((_, index) => (sets[index]?.durable.height ?? 0) < height)
        const what = `not at height ${height} after ${VIRTUAL_MS_MAX / 60_000} virtual minutes`
        const stands = sets[validator]?.durable.height ?? 0
        return Effect.fail(new PropertyViolated({ property: "liveness", validator, height: stands, what }))
      },
    }),
  )

/** Judges a validator against the chain, which it adds to where it is ahead of those before. */
const judge = Effect.fnUntraced(function* (
  cluster: Cluster<CellsBlock, unknown>,
  set: DatabaseSet<CellsDatabases>,
  validator: number,
  chain: Array<CellsBlock>,
) {
  const { height } = set.anchor
  const violated = (property: PropertyViolated["property"], at: number, what: string) =>
    new PropertyViolated({ property, validator, height: at, what })
  const model = new Model(WORKLOAD)
  for (let at = 1; at <= height; at++) {
    const block = yield* cluster.node(validator)!.marshal.finalizedAt(Height(at))
    if (block === undefined) return yield* violated("agreement", at, "the final block is not held")
    const known = chain[at] ?? block
    chain[at] = known
    if (!bytesEqual(known.digest, block.digest)) return yield* violated("agreement", at, "another block is final")
    model.advance(block)
    const row = set.row(Height(at))
    for (const name of row === undefined ? [] : memberNames(blocksDatabases)) {
      const [expected, actual] = [block.targets[name], row!.targets[name]]
      if (targetsEqual(expected, actual)) continue
      return yield* violated("roots", at, `${name} is ${toHex(actual.root)}, the block says ${toHex(expected.root)}`)
    }
  }
  const cell = set.use("read", (readers) => model.difference(readers))
  if (cell !== undefined) return yield* violated("contents", height, `cell ${cell} is not what the blocks wrote`)
})

const blocksDatabases = makeCells(nodeHasher).databases

const program = Effect.fnUntraced(function* (scenario: Scenario, seed: number, application: MakeApplication) {
  const sets: Sets = validators.map(() => undefined)
  const { genesis } = bindSet({ application: application(0), chainId: CHAIN_ID, hasher: nodeHasher })
  const cluster = yield* makeCluster({
    chainId: CHAIN_ID,
    genesis,
    codec: application(0).codec,
    validators,
    ed25519: nodeEd25519,
    seed,
    schedule: scenario.schedule,
    link: { latencyMs: { min: 1, max: 10 }, lossChance: scenario.lossChance },
    disks: makeDisks(seed, VALIDATORS),
    executor: executorOf(application, sets),
    corrupt: withBadRoot,
  })
  for (const index of validators.keys()) yield* cluster.boot(index)
  yield* Effect.raceAllFirst([untilDurable(cluster, sets, scenario.height), cluster.consensus.run, cluster.failed])
  const chain: Array<CellsBlock> = []
  for (const [index, set] of sets.entries()) yield* judge(cluster, set!, index, chain)
  return yield* cluster.consensus.statistics
})

const describe = (error: unknown): string => {
  if (error instanceof PropertyViolated) {
    return `${error.property}: validator ${error.validator} at height ${error.height}: ${error.what}`
  }
  return error instanceof Error ? `${"_tag" in error ? error._tag : error.name}: ${error.message}` : String(error)
}

/** Runs one seed of a scenario to its judgement. Never throws. */
export const runSeed = (scenario: Scenario, seed: number, application: MakeApplication = honestCells): SeedResult => {
  const schedule: Array<string> = []
  const noted = Effect.flatMap(Notes, (take) => {
    const both = (words: string): void => {
      take(words)
      schedule.push(words)
    }
    return Effect.scoped(program(scenario, seed, application)).pipe(Effect.provideService(Notes, both))
  })
  try {
    const { exit, audit } = simulate(seed, noted, { stepsMax: STEPS_MAX })
    if (Exit.isSuccess(exit)) return { seed, failure: undefined, statistics: exit.value, audit, schedule }
    return { seed, failure: describe(Cause.squash(exit.cause)), statistics: undefined, audit, schedule }
  } catch (stuck) {
    return { seed, failure: describe(stuck as Stuck), statistics: undefined, audit: undefined, schedule }
  }
}
