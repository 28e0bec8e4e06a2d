/**
 * One seed of a scenario: real executors and marshals on disks in memory, in virtual time, and the judgement.
 *
 *   cluster --> every validator durable at the scenario's height --> judged: agreement, roots, contents
 *
 * Terms: a *property* is what must be true at the end of every run, whatever the seed. A *part* of a run's schedule is a
 * fault that consensus made happen, or the loss of messages as a whole.
 *
 * Invariant: the outcome depends on scenario, seed and the parts left out alone: what is left out moves nothing that is
 * drawn for the others. What is judged is read from the validators' databases.
 */
import { bytesEqual } from "@coppice/codec"
import { Height } from "@coppice/consensus"
import { keyPairFromSeed } from "@coppice/crypto"
import { nodeEd25519, nodeHasher } from "@coppice/crypto/node"
import { startExecutor, targetText } from "@coppice/node"
import {
  type Cluster,
  type ConsensusStatistics,
  type Fault,
  makeCluster,
  makeDisks,
  type NodeContext,
  Notes,
  type Stuck,
  simulate,
} from "@coppice/simulate"
import { bindSet, type DatabaseSet, type FatalError, memberNames, SET_MAPS, targetsEqual } from "@coppice/stateful"
import { Cause, Data, Deferred, Effect, Exit } from "effect"
import { type CellsBlock, type CellsDatabases, Model, makeCells, makeStrokes, type Workload } from "../cells/cells.ts"
import { explainFailure } from "../explain.ts"
import type { Scenario } from "./scenarios.ts"

/** A property does not hold. */
export class PropertyViolated extends Data.TaggedError("PropertyViolated")<{
  readonly property: "liveness" | "agreement" | "roots" | "contents"
  readonly validator: number
  readonly height: number
  readonly what: string
}> {}

/** A part of a schedule that a run can do without. */
export type SchedulePart = Fault | { readonly kind: "loss" }

/** Why a run failed. */
export interface SeedFailure {
  /** The property, or the error: equal for failures that are the same to look at. */
  readonly kind: string
  readonly what: string
}

/** What one seed came to. */
export interface SeedResult {
  readonly seed: number
  /** Undefined when every property holds. */
  readonly failure: SeedFailure | undefined
  readonly statistics: ConsensusStatistics | undefined
  /** Hash of the whole schedule: equal for equal seeds. */
  readonly audit: string | undefined
  /** The parts of the schedule that happened, in order. */
  readonly parts: ReadonlyArray<SchedulePart>
  /** What consensus decided, in order. */
  readonly decisions: ReadonlyArray<string>
}

/** How a seed is run. */
export interface RunOptions {
  /** Honest when not given. */
  readonly application?: MakeApplication
  /** Whether a part of the schedule happens; all do when not given. */
  readonly keeps?: (part: SchedulePart) => boolean
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

/** Starts executors; what stops one by itself goes to `stopped`, with the set that it stood on. */
const executorOf = (
  application: MakeApplication,
  sets: Sets,
  stopped: (index: number, set: DatabaseSet<CellsDatabases>, error: FatalError) => Effect.Effect<unknown>,
) =>
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
    yield* Effect.forkScoped(Effect.catch(started.executor.stopped, (error) => stopped(index, started.set, error)))
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
      return yield* violated("roots", at, `${name} is ${targetText(actual)}, the block says ${targetText(expected)}`)
    }
  }
  const cell = set.use("read", (readers) => model.difference(readers))
  if (cell !== undefined) return yield* violated("contents", height, `cell ${cell} is not what the blocks wrote`)
})

const blocksDatabases = makeCells(nodeHasher).databases

interface Plan {
  readonly application: MakeApplication
  readonly happens: (part: SchedulePart) => boolean
}

const program = Effect.fnUntraced(function* (scenario: Scenario, seed: number, { application, happens }: Plan) {
  const sets: Sets = validators.map(() => undefined)
  const lossChance = scenario.lossChance > 0 && happens({ kind: "loss" }) ? scenario.lossChance : 0
  const { genesis } = bindSet({ application: application(0), chainId: CHAIN_ID, hasher: nodeHasher })
  const failed = yield* Deferred.make<never, FatalError>()
  const cluster: Cluster<CellsBlock, unknown> = yield* makeCluster<CellsBlock, unknown>({
    chainId: CHAIN_ID,
    genesis,
    codec: application(0).codec,
    validators,
    ed25519: nodeEd25519,
    seed,
    schedule: scenario.schedule,
    allows: happens,
    link: { latencyMs: { min: 1, max: 10 }, lossChance },
    disks: makeDisks(seed, VALIDATORS),
    // An executor under which the power went is not at fault, whatever it stops for.
    executor: executorOf(application, sets, (index, set, error) =>
      sets[index] === set && cluster.node(index) !== undefined ? Deferred.fail(failed, error) : Effect.void,
    ),
    corrupt: withBadRoot,
  })
  for (const index of validators.keys()) yield* cluster.boot(index)
  const ends = [cluster.consensus.run, cluster.failed, Deferred.await(failed)]
  yield* Effect.raceAllFirst([untilDurable(cluster, sets, scenario.height), ...ends])
  const chain: Array<CellsBlock> = []
  for (const [index, set] of sets.entries()) yield* judge(cluster, set!, index, chain)
  return yield* cluster.consensus.statistics
})

const failureOf = (error: unknown): SeedFailure => {
  if (error instanceof PropertyViolated) {
    const { property, validator, height, what } = error
    return { kind: property, what: `${property}: validator ${validator} at height ${height}: ${what}` }
  }
  if (!(error instanceof Error)) return { kind: "unknown", what: String(error) }
  const kind = "_tag" in error ? String(error._tag) : error.name
  const explained = explainFailure(error)
  return { kind, what: `${kind}: ${explained === undefined ? error.message : explained.what}` }
}

/** Runs one seed of a scenario to its judgement. Never throws. */
export const runSeed = (
  scenario: Scenario,
  seed: number,
  { application = honestCells, keeps = () => true }: RunOptions = {},
): SeedResult => {
  const decisions: Array<string> = []
  const parts: Array<SchedulePart> = []
  const happens = (part: SchedulePart): boolean => {
    const isKept = keeps(part)
    if (isKept) parts.push(part)
    return isKept
  }
  const noted = Effect.flatMap(Notes, (take) => {
    const both = (words: string): void => {
      take(words)
      decisions.push(words)
    }
    return Effect.scoped(program(scenario, seed, { application, happens })).pipe(Effect.provideService(Notes, both))
  })
  const result = { seed, parts, decisions }
  try {
    const { exit, audit } = simulate(seed, noted, { stepsMax: STEPS_MAX })
    if (Exit.isSuccess(exit)) return { ...result, failure: undefined, statistics: exit.value, audit }
    return { ...result, failure: failureOf(Cause.squash(exit.cause)), statistics: undefined, audit }
  } catch (stuck) {
    return { ...result, failure: failureOf(stuck as Stuck), statistics: undefined, audit: undefined }
  }
}
