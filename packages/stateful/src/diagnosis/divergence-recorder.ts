/**
 * Writes a divergence bundle whenever a block leads to another state than its header says (F1, F2, F12, F24), or to two
 * states by two executions.
 *
 *   hook --> sealed state --> as the header says? : the block once more over a fork of its own, recorded --> bundle
 *
 * Invariant: what the hook gave is passed on as it is, whatever becomes of the bundle, and no later than `DIVERGENCE_MS_MAX`
 * after it. At most `DIVERGENCE_FILES_MAX` are
 * written in a lifetime, since peers decide how many bad blocks there are.
 */
import { type Ancestry, type Block, encodeBlock } from "@coppice/consensus"
import { Effect, Exit } from "effect"
import type { Application, Hook, HookTools, Targets } from "../application.ts"
import type { Batches, Databases, SealedSet } from "../database-set.ts"
import { runHook } from "../hooks.ts"
import { DIVERGENCE_FILES_MAX, DIVERGENCE_MS_MAX } from "../limits.ts"
import { memberNames, targetsEqual } from "../targets.ts"
import { interceptCalls } from "./batches.ts"
import { CallRecorder } from "./call-log.ts"
import { NonDeterministic } from "./determinism-guard.ts"
import { type Divergence, endOf, plainTarget, writeDivergence } from "./divergence.ts"
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
  readonly states: ReadonlyArray<Targets<M>>
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
    judged: () => B | undefined,
  ): Effect.Effect<A, unknown> {
    const parent = this.#tracked.parentOf(batches)
    if (parent === undefined) return run
    const found = (reason: Divergence["reason"], block: B, states: ReadonlyArray<Targets<M>>) =>
      this.#record({ hook, reason, block, states, parent, until: signal }).pipe(
        Effect.timeoutOption(DIVERGENCE_MS_MAX),
        Effect.ignoreCause,
      )
    const checked = Effect.tap(run, (result) => {
      const { block, sealed } = read(result)
      if (block === undefined || sealed === undefined || this.#agrees(block, sealed.targets)) return Effect.void
      return found("commitment", block, [sealed.targets])
    })
    return Effect.tapError(checked, (error) => {
      const block = judged()
      return error instanceof NonDeterministic && block !== undefined ? found("determinism", block, []) : Effect.void
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
      const recorder = new CallRecorder()
      const { set } = this.#tracked
      const { block, parent, until } = found
      const hook = (batches: Batches<M>, tools: HookTools<M>): Hook<SealedSet<M> | undefined> => {
        const given = interceptCalls({ batches, tools }, recorder.intercept)
        return this.#application.apply(block, given.batches, given.tools)
      }
      const exit = yield* Effect.exit(onFork({ set, parent, hook, stateOf: (sealed) => sealed, until }))
      const sealed = Exit.isSuccess(exit) ? exit.value : undefined
      if (sealed !== undefined) set.close(sealed)
      const states = sealed === undefined ? found.states : [...found.states, sealed.targets]
      const bundle = this.#bundle({ ...found, states }, sealed?.targets, endOf(exit), recorder)
      const name = `divergence-${block.height}-${bundle.digest.slice(0, 16)}-${found.hook}.json`
      yield* this.#options.write(name, writeDivergence(bundle))
    })
  }

  #bundle(
    { hook, reason, block, states, parent }: Found<B, M>,
    recorded: Targets<M> | undefined,
    ended: Divergence["ended"],
    { log }: CallRecorder,
  ): Divergence {
    const { name, databases, codec, syncTargets } = this.#application
    const header = syncTargets(block)
    return {
      format: 1,
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
      members: memberNames(databases).map((member) => ({
        name: member,
        format: databases[member]!.format,
        parent: plainTarget(parent.targets[member]!),
        header: plainTarget(header[member]!),
        states: states.map((targets) => plainTarget(targets[member]!)),
        appended: recorded === undefined ? null : recorded[member]!.end - parent.targets[member]!.end,
      })),
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
        () => undefined,
      ),
    verify: (context, ancestry, ...inputs) => {
      let judged: B | undefined
      const next = Effect.tap(ancestry.next, (block) =>
        Effect.sync(() => {
          judged ??= block
        }),
      )
      const seen: Ancestry<B> = { next }
      return recorder.watch(
        "verify",
        inputs,
        runHook(() => application.verify(context, seen, ...inputs)),
        (sealed) => ({ block: judged, sealed }),
        () => judged,
      )
    },
    apply: (block, ...inputs) =>
      recorder.watch(
        "apply",
        inputs,
        runHook(() => application.apply(block, ...inputs)),
        (sealed) => ({ block, sealed }),
        () => block,
      ),
  }
}
