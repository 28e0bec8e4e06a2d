/**
 * The determinism guard: a block is executed again in shuffled surroundings before its verdict is given.
 *
 *   verify(block) ------------------------> targets ---+
 *   verify(block) over a second fork,                  +--> equal? the verdict : NonDeterministic
 *     other time, chance, timers, member order -> targets
 *
 * A proposal is a vote too: what `propose` built is verified in the same way, against the state that it was built with. What
 * it chose to put in may depend on the clock.
 *
 * Invariant: no vote leaves a node for a block on which its own application cannot agree with itself (INV-40). The guard
 * costs one execution per repetition: it is for development, and for laws.
 */
import type { Ancestry, Block, ConsensusContext, Height } from "@coppice/consensus"
import type { Digest } from "@coppice/crypto"
import type { SyncTarget } from "@coppice/qmdb"
import { Data, Effect } from "effect"
import { rememberingFirst, startingWith } from "../ancestry.ts"
import type { Application, Hook, HookTools, Targets } from "../application.ts"
import type { Batches, DatabaseSet, Databases, SealedSet } from "../database-set.ts"
import { runHook } from "../hooks.ts"
import { targetsEqual } from "../targets.ts"
import { type Intercept, interceptCalls } from "./batches.ts"
import { differenceOn, type Execution, executionOf, type OperationDifference, onMember } from "./executions.ts"
import { onFork, type TrackedSet } from "./forks.ts"
import { awaitOutside, runShuffled, Surroundings } from "./surroundings.ts"

/** The hook whose answer is a vote, or the state under one. */
type Hooked = "propose" | "verify" | "apply"

/** Where two executions of one block part: the first member that differs, or the verdict. */
export interface Difference {
  /** Undefined when one execution accepted the block and the other did not. */
  readonly member: string | undefined
  /** Undefined: the block was found invalid. */
  readonly first: SyncTarget | undefined
  readonly again: SyncTarget | undefined
}

/** Two executions of one block over one state differ. No node may vote with an application that does this. */
export class NonDeterministic extends Data.TaggedError("NonDeterministic")<
  Difference & {
    readonly hook: Hooked
    readonly height: Height
    readonly digest: Digest
    /** What the second execution read that a hook must not depend on. */
    readonly consulted: ReadonlyArray<string>
    /** The first operation of that member that differs; undefined where there is none. */
    readonly operation: OperationDifference | undefined
  }
> {
  override get message(): string {
    const from = this.operation === undefined ? "" : ` from operation ${this.operation.location} on`
    const what = this.member === undefined ? "once valid and once not" : `two states of member ${this.member}${from}`
    const read = this.consulted.length === 0 ? "" : `; it read ${this.consulted.join(", ")}`
    return `${this.hook} of the block at height ${this.height} gives ${what}${read}`
  }
}

/** The block of a `NonDeterministic`, and what the two executions made of its state, first and again, where they made one. */
export interface Evidence {
  readonly block: Block
  readonly executions: ReadonlyArray<Execution<Databases>>
}

// Beside the error: it is printed, and these are long.
const evidence = new WeakMap<NonDeterministic, Evidence>()

/** What is behind an error that a guard of this process made. */
export const evidenceBehind = (error: NonDeterministic): Evidence | undefined => evidence.get(error)

/** How often, and how, the guard executes again. */
export interface GuardOptions {
  /** Executions besides the one that counts; 1 when not given. */
  readonly repetitions?: number
  /** First seed of the shuffles; 0 when not given. */
  readonly seed?: number
}

const differenceOf = <M extends Databases>(
  databases: M,
  first: Targets<M> | undefined,
  again: Targets<M> | undefined,
): Difference | undefined => {
  if (first === undefined && again === undefined) return undefined
  for (const member of Object.keys(databases)) {
    const [one, two] = [first?.[member], again?.[member]]
    if (one === undefined || two === undefined) return { member: undefined, first: one, again: two }
    if (!targetsEqual(one, two)) return { member, first: one, again: two }
  }
  return undefined
}

/** An ancestry that can be walked again, without asking its source twice for what it gave. */
export const replayableAncestry = <B extends Block>(source: Ancestry<B>): (() => Ancestry<B>) => {
  const taken: Array<B | undefined> = []
  return () => {
    let at = 0
    const next = Effect.suspend(() => {
      const here = at++
      if (here < taken.length) return Effect.succeed(taken[here])
      return Effect.tap(source.next, (block) =>
        Effect.sync(() => {
          taken[here] = block
        }),
      )
    })
    return { next }
  }
}

type Inputs<M extends Databases> = readonly [Batches<M>, HookTools<M>]
type Run<M extends Databases> = (batches: Batches<M>, tools: HookTools<M>) => Hook<SealedSet<M> | undefined>

const passOn: Intercept = (_member, _method, _args, call) => {
  const result = call()
  return Effect.isEffect(result) ? awaitOutside(result as Effect.Effect<unknown, unknown>) : result
}

/** A shuffle that is another order, where there is one. */
const anotherOrder = (surroundings: Surroundings, names: ReadonlyArray<string>): ReadonlyArray<string> => {
  const shuffled = surroundings.shuffle(names)
  return shuffled.every((name, i) => name === names[i]) ? names.toReversed() : shuffled
}

/** Two states of one block that differ, and where they come from. */
interface Disagreement<M extends Databases> {
  readonly difference: Difference
  readonly executions: ReadonlyArray<Execution<M>>
}

const disagreementOf = <M extends Databases>(
  databases: M,
  set: DatabaseSet<M>,
  first: SealedSet<M> | undefined,
  again: SealedSet<M> | undefined,
): Disagreement<M> | undefined => {
  const difference = differenceOf(databases, first?.targets, again?.targets)
  if (difference === undefined) return undefined
  const executions = [first, again].flatMap((sealed) => (sealed === undefined ? [] : [executionOf(set, sealed)]))
  return { difference, executions }
}

/** Runs an execution over a fork in shuffled surroundings, compares its state with the first one and lets go of it. */
const compareShuffled = <M extends Databases>(
  databases: M,
  {
    set,
    parent,
    first,
  }: { readonly set: DatabaseSet<M>; readonly parent: SealedSet<M>; readonly first: SealedSet<M> | undefined },
  surroundings: Surroundings,
  execution: Run<M>,
  until: AbortSignal,
): Effect.Effect<Disagreement<M> | undefined, unknown> => {
  const hook: Run<M> = (batches, tools) => {
    const through = interceptCalls({ batches, tools }, passOn, anotherOrder(surroundings, Object.keys(batches)))
    const seal = (given: Batches<M>) => awaitOutside(through.tools.seal(given))
    return runShuffled(
      surroundings,
      runHook(() => execution(through.batches, { ...through.tools, seal })),
    )
  }
  return Effect.map(onFork({ set, parent, hook, stateOf: (sealed) => sealed, until }), (again) => {
    try {
      return disagreementOf(databases, set, first, again)
    } finally {
      if (again !== undefined) set.close(again)
    }
  })
}

/**
 * An application that executes every block again, in shuffled surroundings, before it answers.
 *
 * Errors: hooks fail with `NonDeterministic`, which stops an executor before it votes. A block that is executed over batches
 * of another set is executed once. A proposal that its own application abstains on waits until that ends.
 */
export const guardDeterminism = <B extends Block, M extends Databases>(
  application: Application<B, M>,
  tracked: TrackedSet<M>,
  { repetitions = 1, seed = 0 }: GuardOptions = {},
): Application<B, M> => {
  const disagreement = (
    hook: Hooked,
    block: B,
    parent: SealedSet<M>,
    { difference, executions }: Disagreement<M>,
    consulted: ReadonlyArray<string>,
  ): NonDeterministic => {
    const { member } = difference
    const [first, again] = executions
    const operation =
      member && first && again
        ? differenceOn(
            application.databases,
            member,
            parent.targets[member]!.end,
            onMember(first, member),
            onMember(again, member),
          )
        : undefined
    const { height, digest } = block
    const error = new NonDeterministic({ ...difference, hook, height, digest, consulted, operation })
    evidence.set(error, { block, executions: executions as ReadonlyArray<Execution<Databases>> })
    return error
  }
  /** Fails unless executing a block again, over the state under `batches`, gives `first` in all surroundings. */
  const again = Effect.fnUntraced(function* (
    hook: Hooked,
    block: B,
    [batches, { signal }]: Inputs<M>,
    first: SealedSet<M> | undefined,
    execution: () => Run<M>,
  ) {
    const parent = tracked.parentOf(batches)
    if (parent === undefined) return
    for (let i = 0; i < repetitions; i++) {
      const surroundings = new Surroundings(seed + i)
      const over = { set: tracked.set, parent, first }
      const found = yield* compareShuffled(application.databases, over, surroundings, execution(), signal)
      if (found !== undefined) return yield* disagreement(hook, block, parent, found, [...surroundings.consulted])
    }
  })
  const verifying = (context: ConsensusContext, ancestry: () => Ancestry<B>) => (): Run<M> => (batches, tools) =>
    application.verify(context, { next: awaitOutside(ancestry().next) }, batches, tools)
  return {
    ...application,
    propose: (context, ancestry, ...inputs) =>
      Effect.gen(function* () {
        const walk = replayableAncestry(ancestry)
        const proposal = yield* runHook(() => application.propose(context, walk(), ...inputs))
        if (proposal === undefined) return undefined
        const { block, sealed } = proposal
        yield* again(
          "propose",
          block,
          inputs,
          sealed,
          verifying(context, () => startingWith([block], walk())),
        )
        return proposal
      }),
    verify: (context, ancestry, ...inputs) =>
      Effect.gen(function* () {
        const seen = rememberingFirst(ancestry)
        const execution = verifying(context, replayableAncestry(seen.ancestry))
        const sealed = yield* runHook(() => execution()(...inputs))
        const judged = seen.first()
        if (judged !== undefined) yield* again("verify", judged, inputs, sealed, execution)
        return sealed
      }),
    apply: (block, ...inputs) =>
      Effect.gen(function* () {
        const execution = (): Run<M> => (batches, tools) => application.apply(block, batches, tools)
        const sealed = yield* runHook(() => execution()(...inputs))
        yield* again("apply", block, inputs, sealed, execution)
        return sealed
      }),
  }
}
