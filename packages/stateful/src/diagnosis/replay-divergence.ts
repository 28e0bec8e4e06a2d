/**
 * Replaying a divergence bundle: the block of the bundle, executed again by code of one's choice.
 *
 *   with the state     restore every member --> fork --> apply(block) --> calls, operations, roots, all compared
 *   without it         apply(block) over the recorded answers       --> calls compared up to the first that differs
 *
 * Terms: a member is *damaged* when its copied state does not give the root that the parent's header commits to: then the
 * databases of the node that wrote the bundle were at fault. The *reference* is the last execution of the bundle: what the replay
 * is compared with, operation by operation.
 *
 * Invariant: with the state, roots are computed by the databases themselves, from the parent's peaks and operations: nothing
 * but the copy is taken from the bundle, and the copy is held against the parent's root.
 */
import { type Block, decodeBlock, Height, Round } from "@coppice/consensus"
import type { Hasher } from "@coppice/crypto"
import { Location, type MemberHome, type StateCopy } from "@coppice/qmdb"
import { makeMemoryDisk } from "@coppice/storage"
import { Effect, Exit, type Scope } from "effect"
import type { Application, HookTools, Targets } from "../application.ts"
import type { AnchorRow, Batches, Databases, SealedSet } from "../database-set.ts"
import { runHook } from "../hooks.ts"
import { OpenSet } from "../open-set.ts"
import { rowCodec, SET_MAPS } from "../root-record.ts"
import { memberNames, targetsEqual } from "../targets.ts"
import { interceptCalls } from "./batches.ts"
import { CallPlayer, CallRecorder, differenceOfLogs, type LogDifference } from "./call-log.ts"
import {
  bytesOf,
  type Divergence,
  DivergenceUnreadable,
  endOf,
  executionFrom,
  type PlainTarget,
  plainTarget,
  targetOf,
  wordsOf,
} from "./divergence.ts"
import { type Execution, executionDifferences, executionOf, type OperationDifference } from "./executions.ts"
import { onFork } from "./forks.ts"

/** What the replayed execution came to, beside the ones in the bundle. */
export interface ReplayedState {
  /** By member; undefined when the replay did not seal. */
  readonly targets: Readonly<Record<string, PlainTarget>> | undefined
  /** Whether it is the state that the header commits to. */
  readonly isHeader: boolean
  /** Numbers, from 0, of the executions in the bundle whose state it is. */
  readonly equals: ReadonlyArray<number>
  /** Where it parts from the reference, on each member that differs: `one` is recorded, `other` replayed. */
  readonly differences: ReadonlyArray<OperationDifference>
  /** Members whose copied state is not what the parent's header commits to. */
  readonly damaged: ReadonlyArray<string>
}

/** What a replay found. */
export interface Replayed {
  /** Where its calls part from the recorded ones; undefined when they are the same. */
  readonly calls: LogDifference | undefined
  /** How each of the two ended. */
  readonly ended: { readonly recorded: Divergence["ended"]; readonly replayed: Divergence["ended"] }
  /** Undefined when the bundle lacks the state of a member: then nothing but calls is known. */
  readonly state: ReplayedState | undefined
  /** The first execution of the bundle that parts from its execution 0, and where: `one` is that of execution 0. */
  readonly between: { readonly execution: number; readonly differences: ReadonlyArray<OperationDifference> } | undefined
}

const unreadable = (reason: string): DivergenceUnreadable => new DivergenceUnreadable({ reason })

const requireSame = (what: string, expected: string, actual: string) =>
  expected === actual ? Effect.void : Effect.fail(unreadable(`its ${what} is ${expected}, the one given is ${actual}`))

/** Runs what throws on a bundle that contradicts itself. */
const reading = <A>(what: string, read: () => A): Effect.Effect<A, DivergenceUnreadable> =>
  Effect.try({ try: read, catch: (cause) => unreadable(`${what}: ${String(cause)}`) })

type Member = Divergence["members"][number]

/** What is asked of a replay: the bundle with what was read from it. */
interface Question<B extends Block, M extends Databases> {
  readonly application: Application<B, M>
  readonly bundle: Divergence
  readonly block: B
  readonly hasher: Hasher
}

const targetsBy = <M extends Databases>(
  members: ReadonlyArray<Member>,
  of: (member: Member) => PlainTarget,
): Targets<M> => Object.fromEntries(members.map((member) => [member.name, targetOf(of(member))])) as Targets<M>

/** The parent's state in databases of its own, in memory. */
const restore = Effect.fnUntraced(function* <B extends Block, M extends Databases>(
  { application, bundle, hasher }: Question<B, M>,
  copies: ReadonlyArray<StateCopy>,
) {
  const { databases } = application
  const names = memberNames(databases)
  const storage = yield* Effect.orDie(makeMemoryDisk({ chance: () => 0 }).open("replay", SET_MAPS))
  const homes = names.map((_, member): MemberHome => ({ storage, member, incarnation: 0, hasher, rewindCommits: 1 }))
  const changes = yield* Effect.forEach(names, (name, i) =>
    reading(`the state of ${name}`, () => databases[name]!.restore(homes[i]!, copies[i]!)),
  )
  yield* Effect.orDie(storage.write(changes.flat()))
  const members = yield* Effect.forEach(names, (name, i) =>
    reading(`the state of ${name}`, () => databases[name]!.open(homes[i]!)),
  )
  const targets = Object.fromEntries(names.map((name, i) => [name, members[i]!.tip.target])) as Targets<M>
  const { height, view, digest } = bundle.parent
  const row: AnchorRow<M> = { height: Height(height), round: Round(0, view), digest: bytesOf(digest), targets }
  const rowOf = rowCodec<M>(databases)
  const parts = { name: "replay", names, members, storage, scratch: undefined, hasher, row: rowOf, rows: [row] }
  return new OpenSet<M>({ ...parts, rewindHeights: 1 })
})

const damagedMembers = <M extends Databases>(bundle: Divergence, actual: Targets<M>): ReadonlyArray<string> =>
  bundle.members.flatMap(({ name, parent }) => (targetsEqual(targetOf(parent), actual[name]!) ? [] : [name]))

const executionsOf = <M extends Databases>(databases: M, bundle: Divergence): ReadonlyArray<Execution<M>> =>
  bundle.executions.map((execution) => executionFrom(databases, execution))

const overState = <B extends Block, M extends Databases>(
  question: Question<B, M>,
  copies: ReadonlyArray<StateCopy>,
): Effect.Effect<Omit<Replayed, "between">, DivergenceUnreadable, Scope.Scope> =>
  Effect.gen(function* () {
    const { application, bundle, block } = question
    const { databases } = application
    const set = yield* restore(question, copies)
    const recorder = new CallRecorder()
    const hook = (batches: Batches<M>, tools: HookTools<M>) => {
      const given = interceptCalls({ batches, tools }, recorder.intercept)
      return application.apply(block, given.batches, given.tools)
    }
    const exit = yield* Effect.exit(onFork({ set, parent: set.tip, hook, stateOf: (sealed) => sealed }))
    const replayed = Exit.isSuccess(exit) && exit.value !== undefined ? executionOf(set, exit.value) : undefined
    const executions = executionsOf(databases, bundle)
    const isEqual = (targets: Targets<M>): boolean =>
      replayed !== undefined &&
      memberNames(databases).every((name) => targetsEqual(targets[name]!, replayed.targets[name]!))
    const parent = targetsBy<M>(bundle.members, (member) => member.parent)
    // The recorded one where it was sealed.
    const reference = executions.at(-1)
    return {
      calls: differenceOfLogs(bundle, recorder.log),
      ended: { recorded: bundle.ended, replayed: endOf(exit) },
      state: {
        targets:
          replayed &&
          Object.fromEntries(memberNames(databases).map((name) => [name, plainTarget(replayed.targets[name]!)])),
        isHeader: isEqual(targetsBy<M>(bundle.members, (member) => member.header)),
        equals: executions.flatMap(({ targets }, i) => (isEqual(targets) ? [i] : [])),
        differences: replayed && reference ? executionDifferences(databases, parent, reference, replayed) : [],
        damaged: damagedMembers(bundle, set.tip.targets),
      },
    }
  })

const overAnswers = <B extends Block, M extends Databases>({
  application,
  bundle,
  block,
}: Question<B, M>): Effect.Effect<Omit<Replayed, "between">> =>
  Effect.gen(function* () {
    const player = new CallPlayer(bundle)
    const batches = player.batches<M>(memberNames(application.databases))
    const sealed: SealedSet<M> = { id: 0, targets: targetsBy<M>(bundle.members, ({ header }) => header), bytes: 0 }
    const tools: HookTools<M> = {
      seal: (given: Batches<M>) =>
        given === batches ? Effect.succeed(sealed) : Effect.die(new TypeError("a hook seals the batches it was given")),
      signal: new AbortController().signal,
    }
    const exit = yield* Effect.exit(runHook(() => application.apply(block, batches, tools)))
    const { difference, played: at } = player
    const isCut = player.isBeyond || (difference === undefined && !bundle.complete)
    const calls: LogDifference | undefined = isCut ? { tag: "cut", at } : difference && { tag: "call", ...difference }
    return { calls, ended: { recorded: bundle.ended, replayed: endOf(exit) }, state: undefined }
  })

/** The copies of all members; undefined when one of them is not in the bundle. */
const copiesOf = (members: ReadonlyArray<Member>): ReadonlyArray<StateCopy> | undefined => {
  const copies = members.flatMap(({ state }) =>
    state === null
      ? []
      : [{ start: Location(state.start), pins: wordsOf(state.pins), operations: wordsOf(state.operations) }],
  )
  return copies.length === members.length ? copies : undefined
}

/**
 * Applies a bundle's block with an application: over the parent's state where the bundle has it, else over the recorded
 * answers.
 *
 * Errors: `DivergenceUnreadable` when the bundle is not of this application, its block does not decode with it, or a copied
 * state is none. Cost: a hash per operation of the copied state, and memory for all of them.
 */
export const replayDivergence = Effect.fn("Stateful.replayDivergence")(function* <B extends Block, M extends Databases>(
  application: Application<B, M>,
  bundle: Divergence,
  hasher: Hasher,
): Effect.fn.Return<Replayed, DivergenceUnreadable> {
  const { databases, codec } = application
  const names = memberNames(databases)
  yield* requireSame("application", bundle.application, application.name)
  yield* requireSame("list of members", bundle.members.map(({ name }) => name).join(", "), names.join(", "))
  for (const { name, format } of bundle.members) {
    yield* requireSame(`format of ${name}`, format, databases[name]!.format)
  }
  const block = yield* reading("its block", () => decodeBlock(codec, bytesOf(bundle.block)))
  yield* requireSame("block", bundle.digest, Buffer.from(block.digest).toString("hex"))
  const question = { application, bundle, block, hasher }
  const copies = copiesOf(bundle.members)
  const found = yield* Effect.scoped(copies === undefined ? overAnswers(question) : overState(question, copies))
  return { ...found, between: partingOf(databases, bundle) }
})

const partingOf = <M extends Databases>(databases: M, bundle: Divergence): Replayed["between"] => {
  const parent = targetsBy<M>(bundle.members, (member) => member.parent)
  const [first, ...others] = executionsOf(databases, bundle)
  for (const [i, other] of others.entries()) {
    const differences = executionDifferences(databases, parent, first!, other)
    if (differences.length > 0) return { execution: i + 1, differences }
  }
  return undefined
}
