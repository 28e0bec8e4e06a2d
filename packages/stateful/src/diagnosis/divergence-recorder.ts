/**
 * Writes a divergence bundle whenever a block leads to another state than its header says (F1, F2, F12, F24), or to two
 * states by two executions.
 *
 *   hook --> sealed state --> as the header says? : its operations, a copy of the parent's state,
 *                                                   the block once more over a fork of its own, recorded --> bundle
 *
 * Invariant: what the hook gave is passed on as it is, whatever becomes of the bundle, and no later than `DIVERGENCE_MS_MAX`
 * after it. At most `DIVERGENCE_FILES_MAX` are written in a lifetime, since peers decide how many bad blocks there are.
 */
import { type Block, encodeBlock } from "@coppice/consensus"
import { Effect, Exit, Option } from "effect"
import { rememberingFirst } from "../ancestry.ts"
import type { Application, Hook, HookTools, Targets } from "../application.ts"
import type { Batches, Databases, SealedSet, StateCopies } from "../database-set.ts"
import { runHook } from "../hooks.ts"
import { DIVERGENCE_FILES_MAX, DIVERGENCE_MS_MAX, DIVERGENCE_STATE_BYTES_MAX } from "../limits.ts"
import { memberNames, targetsEqual } from "../targets.ts"
import { interceptCalls } from "./batches.ts"
import { CallRecorder } from "./call-log.ts"
import { evidenceBehind, NonDeterministic } from "./determinism-guard.ts"
import {
  type Divergence,
  endOf,
  omissions,
  type PlainExecution,
  plainExecution,
  plainState,
  plainTarget,
  writeDivergence,
} from "./divergence.ts"
import { type Execution, executionOf } from "./executions.ts"
import { onFork, type TrackedSet } from "./forks.ts"

/** Where bundles go, and what they say of their origin. */
export interface RecorderOptions {
  readonly chainId: string
  /** Versions of whatever may matter: the program, its runtime. */
  readonly versions: Readonly<Record<string, string>>
  /** Writes a file. Its failures are ignored. */
  readonly write: (name: string, text: string) => Effect.Effect<void, unknown>
}

/** A hook that gave something its block does not say. */
interface Found<B extends Block, M extends Databases> {
  readonly hook: Divergence["hook"]
  readonly reason: Divergence["reason"]
  readonly block: B
  /** What was executed before: by the hook, or twice by a guard around it. */
  readonly executions: ReadonlyArray<readonly [PlainExecution["of"], Execution<M>]>
  readonly parent: SealedSet<M>
  readonly until: AbortSignal
}

class Recorder<B extends Block, M extends Databases> {
  readonly #application: Application<B, M>
  readonly #tracked: TrackedSet<M>
  readonly #options: RecorderOptions
  #left = DIVERGENCE_FILES_MAX

  constructor(application: Application<B, M>, tracked: TrackedSet<M>, options: RecorderOptions) {
    this.#application = application
    this.#tracked = tracked
    this.#options = options
  }

  /** Looks at what a hook came to, and records when it is not what the block says. */
  watch<A>(
    hook: Divergence["hook"],
    [batches, { signal }]: readonly [Batches<M>, HookTools<M>],
    run: Effect.Effect<A, unknown>,
    read: (result: A) => { readonly block: B | undefined; readonly sealed: SealedSet<M> | undefined },
  ): Effect.Effect<A, unknown> {
    const parent = this.#tracked.parentOf(batches)
    if (parent === undefined) return run
    const found = (reason: Divergence["reason"], block: B, executions: () => Found<B, M>["executions"]) =>
      Effect.suspend(() => this.#record({ hook, reason, block, executions: executions(), parent, until: signal })).pipe(
        Effect.timeoutOption(DIVERGENCE_MS_MAX),
        Effect.ignoreCause,
      )
    const checked = Effect.tap(run, (result) => {
      const { block, sealed } = read(result)
      if (block === undefined || sealed === undefined || this.#agrees(block, sealed.targets)) return Effect.void
      return found("commitment", block, () => [["hook", executionOf(this.#tracked.set, sealed)]])
    })
    return Effect.tapError(checked, (error) => {
      const evidence = error instanceof NonDeterministic ? evidenceBehind(error) : undefined
      if (evidence === undefined) return Effect.void
      const executions = evidence.executions as ReadonlyArray<Execution<M>>
      return found("determinism", evidence.block as B, () =>
        executions.map((execution, i) => [i === 0 ? "hook" : "guard", execution]),
      )
    })
  }

  #agrees(block: B, actual: Targets<M>): boolean {
    const header = this.#application.syncTargets(block)
    return memberNames(this.#application.databases).every((name) => targetsEqual(header[name]!, actual[name]!))
  }

  #record(found: Found<B, M>): Effect.Effect<void, unknown> {
    return Effect.gen({ self: this }, function* () {
      if (this.#left === 0) return
      this.#left--
      const { set } = this.#tracked
      const { block, parent, until } = found
      const copies = yield* Effect.option(set.copy(parent, DIVERGENCE_STATE_BYTES_MAX))
      const recorder = new CallRecorder()
      const hook = (batches: Batches<M>, tools: HookTools<M>): Hook<SealedSet<M> | undefined> => {
        const given = interceptCalls({ batches, tools }, recorder.intercept)
        return this.#application.apply(block, given.batches, given.tools)
      }
      const exit = yield* Effect.exit(onFork({ set, parent, hook, stateOf: (sealed) => sealed, until }))
      const recorded = Exit.isSuccess(exit) && exit.value !== undefined ? this.#letGo(exit.value) : []
      const executions = [...found.executions, ...recorded]
      const bundle = this.#bundle({ ...found, executions }, Option.getOrUndefined(copies), endOf(exit), recorder)
      const name = `divergence-${block.height}-${bundle.digest.slice(0, 16)}-${found.hook}.json`
      yield* this.#options.write(name, writeDivergence(bundle))
    })
  }

  /** What a recorded state came from; the state is closed. */
  #letGo(sealed: SealedSet<M>): Found<B, M>["executions"] {
    const { set } = this.#tracked
    try {
      return [["record", executionOf(set, sealed)]]
    } finally {
      set.close(sealed)
    }
  }

  #bundle(
    { hook, reason, block, executions, parent }: Found<B, M>,
    copies: StateCopies<M> | undefined,
    ended: Divergence["ended"],
    { log }: CallRecorder,
  ): Divergence {
    const { name, databases, codec, syncTargets } = this.#application
    const header = syncTargets(block)
    const members = memberNames(databases).map((member) => ({
      name: member,
      format: databases[member]!.format,
      parent: plainTarget(parent.targets[member]!),
      header: plainTarget(header[member]!),
      state: copies?.[member] === undefined ? null : plainState(copies[member]),
    }))
    const executed = executions.map(([of, execution]) => plainExecution(databases, of, execution))
    return {
      format: 2,
      versions: this.#options.versions,
      chain: this.#options.chainId,
      application: name,
      hook,
      reason,
      height: block.height,
      digest: Buffer.from(block.digest).toString("hex"),
      block: Buffer.from(encodeBlock(codec, block)).toString("hex"),
      parent: {
        height: block.height - 1,
        view: block.context.parent.view,
        digest: Buffer.from(block.parent).toString("hex"),
      },
      members,
      executions: executed,
      omitted: omissions(members, executed),
      ended,
      ...log,
    }
  }
}

/**
 * An application that records what a block asked of its databases when its state is not what its header says.
 *
 * Cost: nothing while states agree, one more execution when they do not. It sees what the given application gives, so a
 * guard belongs inside it.
 */
export const recordDivergence = <B extends Block, M extends Databases>(
  application: Application<B, M>,
  tracked: TrackedSet<M>,
  options: RecorderOptions,
): Application<B, M> => {
  const recorder = new Recorder(application, tracked, options)
  return {
    ...application,
    propose: (context, ancestry, ...inputs) =>
      recorder.watch(
        "propose",
        inputs,
        runHook(() => application.propose(context, ancestry, ...inputs)),
        (proposal) => ({ block: proposal?.block, sealed: proposal?.sealed }),
      ),
    verify: (context, ancestry, ...inputs) => {
      const seen = rememberingFirst(ancestry)
      return recorder.watch(
        "verify",
        inputs,
        runHook(() => application.verify(context, seen.ancestry, ...inputs)),
        (sealed) => ({ block: seen.first(), sealed }),
      )
    },
    apply: (block, ...inputs) =>
      recorder.watch(
        "apply",
        inputs,
        runHook(() => application.apply(block, ...inputs)),
        (sealed) => ({ block, sealed }),
      ),
  }
}
