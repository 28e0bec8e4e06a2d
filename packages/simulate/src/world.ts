/**
 * One seed of a plan: real executors and marshals over disks, links and a consensus that all go wrong, and the judgement.
 *
 *   plan, seed --> parts --> cluster --> faults over, all up --> every node durable at the height
 *              --> at rest: judged --> each node once more from its disk: judged again --> closed: nothing left
 *
 * Terms: see plan.ts. A *property* is what must be true in every run, whatever the seed; P-1 to P-16 are those of the
 * consensus specification, §6.4; INV, F and CONS are in docs/invariants.md.
 *
 * Invariant: the outcome depends on subject, plan, seed and the parts left out alone. What is judged is what nodes were
 * given, what they let out, and what their databases hold.
 */
import type { Block } from "@coppice/consensus"
import { keyPairFromSeed } from "@coppice/crypto"
import { nodeEd25519 } from "@coppice/crypto/node"
import type { Databases } from "@coppice/stateful"
import { drawer } from "@coppice/stateful/diagnosis"
import { Cause, Data, Effect, Exit, References } from "effect"
import { Notes } from "./audit.ts"
import { redeliveries } from "./journal.ts"
import { judgeAtRest } from "./judgement.ts"
import type { Happenings, Plan, SchedulePart, WorldFault } from "./plan.ts"
import { type Stuck, simulate } from "./scheduler.ts"
import type { Subject } from "./subject.ts"
import { makeWorld, type World, type WorldParts } from "./world-nodes.ts"

/** A property does not hold. */
export class PropertyViolated extends Data.TaggedError("PropertyViolated")<{
  /** Its number, `P-5` or `INV-16`; `IllegalCall` for a call out of order. */
  readonly property: string
  readonly what: string
}> {
  override get message(): string {
    return `${this.property} ${this.what}`
  }
}

/** Why a run failed. */
export interface WorldFailure {
  /** The property, or the error: equal for failures that are the same to look at. */
  readonly kind: string
  readonly what: string
}

/** What one seed came to. */
export interface WorldResult {
  readonly seed: number
  /** Undefined when every property holds. */
  readonly failure: WorldFailure | undefined
  readonly happenings: Happenings | undefined
  /** Hash of the whole schedule: equal for equal seeds. Undefined for a run that did not end. */
  readonly audit: string | undefined
  readonly virtualMs: number | undefined
  /** The parts of the schedule that happened, in order. */
  readonly parts: ReadonlyArray<SchedulePart>
  /** What consensus decided, in order. */
  readonly decisions: ReadonlyArray<string>
  /** The last different divergence bundles that nodes wrote, `BUNDLES_MAX` at most; none unless asked for. */
  readonly bundles: ReadonlyArray<WorldBundle>
}

/** A divergence bundle of a node. */
export interface WorldBundle {
  readonly name: string
  readonly text: string
}

/** How a seed is run. */
export interface WorldOptions {
  /** Whether a part of the schedule happens; all do when not given. */
  readonly keeps?: (part: SchedulePart) => boolean
  readonly stepsMax?: number
  /**
   * Nodes execute every block twice, in shuffled surroundings. It takes turns of its own: the audit is another. The legal
   * order of calls is asserted in every run.
   */
  readonly development?: boolean
  /** Nodes write divergence bundles. The audit is another as soon as one is written. */
  readonly bundles?: boolean
}

/** Bundles that one run keeps: the last ones are the nearest to its failure. */
export const BUNDLES_MAX = 16

/** Validators of a world. */
export const VALIDATORS = 5

const VIRTUAL_MS_MAX = 600_000
const STEPS_MAX = 50_000_000
/** Views after a stall in which every node must have come to the plan's height. */
const STALL_BACK_VIEWS = 10
/** Time after which nothing that a stopped consensus began is under way any more. */
const REST_MS = 10_000

const validators = Array.from({ length: VALIDATORS }, (_, i) =>
  keyPairFromSeed(nodeEd25519, new Uint8Array(32).fill(i + 1)),
)

/**
 * Waits until every node is up and durable at the plan's height, some blocks above where any of them was before, and above
 * where its state sync came out.
 */
const untilDurable = <B extends Block, M extends Databases>(world: World<B, M>, plan: Plan) =>
  Effect.gen(function* () {
    const target = Math.max(plan.height, world.durableMax + 3)
    const goal = (index: number) => Math.max(target, (world.watches[index]!.record.syncedAt ?? 0) + 1)
    const behind = () => validators.findIndex((_, index) => world.durable(index) < goal(index))
    yield* Effect.gen(function* () {
      while (behind() !== -1) yield* Effect.sleep(100)
    }).pipe(
      Effect.timeoutOrElse({
        duration: VIRTUAL_MS_MAX,
        orElse: () => {
          const what = `node ${behind()} stands at ${world.durable(behind())}, not at ${goal(behind())}, after ${VIRTUAL_MS_MAX / 60_000} quiet minutes`
          return Effect.fail(new PropertyViolated({ property: "P-11", what }))
        },
      }),
    )
  })

/** Once a stall is over every node comes to the plan's height within ten views (F65). */
const requireBack = Effect.fnUntraced(function* <B extends Block, M extends Databases>(world: World<B, M>, plan: Plan) {
  const { stall } = plan.schedule
  if (stall === undefined) return
  const { views } = yield* world.cluster.consensus.statistics
  const late = views - stall.view - stall.views - STALL_BACK_VIEWS
  if (late > 0)
    yield* requireNone([`F65 finality is back ${late} views later than ${STALL_BACK_VIEWS} after its stall`])
})

/** Restarts every node from a disk at rest: it must come up, and no lower than it stood (P-13). */
export const judgeRestarts = Effect.fnUntraced(function* (
  world: {
    readonly durable: (index: number) => number
    readonly restart: (index: number) => Effect.Effect<void, unknown>
  },
  nodes: Iterable<number>,
) {
  const found: Array<string> = []
  for (const index of nodes) {
    const before = world.durable(index)
    const exit = yield* Effect.exit(world.restart(index))
    const after = world.durable(index)
    if (Exit.isFailure(exit)) found.push(`P-13 node ${index} does not come up again: ${Cause.squash(exit.cause)}`)
    else if (after < before) found.push(`P-13 node ${index} came up at ${after}, stood at ${before}`)
  }
  return found
})

const requireNone = (violations: ReadonlyArray<string>): Effect.Effect<void, PropertyViolated> => {
  const [first] = violations
  if (first === undefined) return Effect.void
  const [, property, what] = /^(\S+) (.*)$/s.exec(first)!
  return Effect.fail(new PropertyViolated({ property: property!, what: what! }))
}

const program = Effect.fnUntraced(function* <B extends Block, M extends Databases>(
  subject: Subject<B, M>,
  plan: Plan,
  seed: number,
  happens: (part: SchedulePart) => boolean,
  watching: Pick<WorldParts<B, M>, "development" | "onBundle">,
) {
  const faults = plan.faults(drawer(seed, "faults")).filter((fault: WorldFault) => happens(fault))
  const lossChance = plan.link.lossChance > 0 && happens({ kind: "loss" }) ? plan.link.lossChance : 0
  const link = { ...plan.link, lossChance }
  const world = yield* makeWorld({ subject, plan, seed, faults, link, validators, happens, ...watching })
  const through = Effect.gen(function* () {
    yield* Effect.sleep(plan.faultsMs)
    yield* world.calm
    yield* untilDurable(world, plan)
    yield* requireBack(world, plan)
  })
  yield* Effect.raceAllFirst([through, world.runs])
  yield* Effect.sleep(REST_MS)
  yield* requireNone(world.violations())
  yield* requireNone(yield* judgeAtRest(world, subject))
  yield* requireNone(yield* judgeRestarts(world, validators.keys()))
  yield* Effect.sleep(REST_MS)
  yield* requireNone(world.violations())
  yield* requireNone(yield* judgeAtRest(world, subject))
  const { finalizedAtOnceMax, ...statistics } = yield* world.cluster.consensus.statistics
  const happenings: Happenings = {
    ...world.happenings(),
    finalizedBlocks: statistics.finalizedBlocks,
    forks: statistics.forks,
    nullified: statistics.nullified,
    finalizedAtOnce: Math.max(0, finalizedAtOnceMax - 2),
    corrupted: statistics.corrupted,
    declined: statistics.declined,
    blindVotes: statistics.blindVotes,
    refused: statistics.refused,
    redelivered: redeliveries(world.deliveries),
  }
  return happenings
})

/** Causes of causes that a failure is told with. */
const CAUSES_TOLD_MAX = 3

const shown = (value: unknown): string | undefined => {
  if (Array.isArray(value)) return `[${value.map(String).join(" ")}]`
  return ["object", "function", "undefined"].includes(typeof value) ? undefined : String(value)
}

/** An error in words: its fields, and what caused it. */
const wordsOf = (error: unknown, causes = CAUSES_TOLD_MAX): string => {
  if (!(error instanceof Error)) return String(error)
  const { _tag, name, message, cause, ...rest } = error as Error & { readonly _tag?: string }
  const fields = Object.entries(rest).flatMap(([field, value]) => {
    const text = shown(value)
    return text === undefined ? [] : [`${field} ${text}`]
  })
  const words = [_tag ?? name, message, fields.join(", ")].filter((part) => part !== "").join(": ")
  return cause === undefined || causes === 0 ? words : `${words}, because of ${wordsOf(cause, causes - 1)}`
}

const failureOf = (error: unknown): WorldFailure => {
  if (error instanceof PropertyViolated) return { kind: error.property, what: error.message }
  if (!(error instanceof Error)) return { kind: "unknown", what: String(error) }
  return { kind: "_tag" in error ? String(error._tag) : error.name, what: wordsOf(error) }
}

/** Runs one seed of a plan to its judgement. Never throws. */
export const runWorld = <B extends Block, M extends Databases>(
  subject: Subject<B, M>,
  plan: Plan,
  seed: number,
  { keeps = () => true, stepsMax = STEPS_MAX, development = false, bundles: asked = false }: WorldOptions = {},
): WorldResult => {
  const decisions: Array<string> = []
  const bundles: Array<WorldBundle> = []
  const onBundle = (node: number, name: string, text: string): void => {
    // Nodes that agree on a block write the same of it.
    if (bundles.some((bundle) => bundle.text === text)) return
    if (bundles.length === BUNDLES_MAX) bundles.shift()
    bundles.push({ name: `node-${node}-${name}`, text })
  }
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
    // Nobody looks at the spans and warnings of a run.
    return Effect.scoped(program(subject, plan, seed, happens, { development, ...(asked && { onBundle }) })).pipe(
      Effect.provideService(Notes, both),
      Effect.withTracerEnabled(false),
      Effect.provideService(References.MinimumLogLevel, "Error"),
    )
  })
  const result = { seed, parts, decisions, bundles, happenings: undefined }
  try {
    const { exit, audit, virtualMs, fibersLeft } = simulate(seed, noted, { stepsMax })
    const told = { ...result, audit, virtualMs }
    if (Exit.isFailure(exit)) return { ...told, failure: failureOf(Cause.squash(exit.cause)) }
    const leak = fibersLeft === 0 ? undefined : `${fibersLeft} fibers are left when everything is closed`
    const failure = leak === undefined ? undefined : { kind: "P-15", what: `P-15 ${leak}` }
    return { ...told, failure, happenings: exit.value }
  } catch (stuck) {
    return { ...result, failure: failureOf(stuck as Stuck), audit: undefined, virtualMs: undefined }
  }
}

/** Runs the same seed twice: it must take the same way (P-14). */
export const runTwice = (run: () => WorldResult): WorldResult => {
  const [first, second] = [run(), run()]
  if (first.audit === second.audit) return first
  const what = `P-14 seed ${first.seed} has audit ${first.audit}, and ${second.audit} the second time`
  return { ...first, failure: { kind: "P-14", what } }
}
