/**
 * The work of a job as an Effect.
 *
 * A job's fiber does not give its outcome but a thunk for it, to be called when the fiber has ended: taking a sealed state
 * out of its hook's run is the last thing that happens, where no interruption can come between it and its use.
 *
 * Invariant: where tracing is on, every hook has a span with the height and digest of its block; that of a proposal names the
 * parent, since the block has no digest yet. Work for a proposal or verification continues the span of its caller.
 */
import type { Ancestry, Block } from "@coppice/consensus"
import { Effect, References, Tracer } from "effect"
import { startingWith } from "../ancestry.ts"
import type { Application } from "../application.ts"
import type { Databases, SealedSet } from "../database-set.ts"
import { runHook } from "../hooks.ts"
import type { ExecutorOptions } from "./actor.ts"
import type { HookRun } from "./hook-run.ts"
import type { Outcome, Work } from "./protocol.ts"

/** How a job of an executor ended. */
export type Result<B extends Block, M extends Databases> = Outcome<B, SealedSet<M>>

/** On whose behalf work is done: its span is the parent of the hook's. */
export interface WorkCaller<B extends Block> {
  readonly ancestry: Ancestry<B>
  readonly span: Tracer.AnySpan | undefined
}

/** What one job has besides its work. */
export interface WorkParts<B extends Block, M extends Databases> {
  /** What a hook borrows; there for work that forks a state. */
  readonly run: HookRun<M> | undefined
  /** Who asked, if anybody did and has not left. */
  readonly caller: WorkCaller<B> | undefined
}

type Thunk<B extends Block, M extends Databases> = Effect.Effect<() => Result<B, M>, unknown>

/** The work of a job. Fails with whatever the application, the set or a source fails with. */
export const effectOf = <B extends Block, M extends Databases>(
  work: Work<B, SealedSet<M>>,
  options: ExecutorOptions<B, M>,
  { caller, run }: WorkParts<B, M>,
): Thunk<B, M> => {
  const { application, set, source } = options
  const asBlock = (block: B | undefined) => (): Result<B, M> => ({ kind: "block", block })
  switch (work.kind) {
    case "pull":
      return Effect.map(caller?.ancestry.next ?? Effect.never, asBlock)
    case "fetch":
      return Effect.map(source.parentOf(work.block), asBlock)
    case "canonical":
      return Effect.map(source.finalizedAt(work.height), asBlock)
    case "flush":
      return Effect.map(set.flush, (anchor) => (): Result<B, M> => ({ kind: "durable", anchor }))
    case "spill":
      return Effect.map(set.spill(work.states), (bytes) => (): Result<B, M> => ({ kind: "spilled", bytes }))
    case "prune":
      return prune(work, options)
    case "finalized":
      return inSpan(
        Effect.as(
          runHook(() =>
            set.use("read", (readers) => application.finalized?.(work.block, readers, () => set.anchor) ?? Effect.void),
          ),
          (): Result<B, M> => ({ kind: "done" }),
        ),
        "finalized",
        work.block,
        undefined,
      )
    default:
      return execute(work, application, caller, run!)
  }
}

// A height that the set does not hold any more, or not yet, needs no forgetting: it began above it, or was pruned before.
const prune = <B extends Block, M extends Databases>(
  work: Extract<Work<B, SealedSet<M>>, { readonly kind: "prune" }>,
  { pruning, set }: ExecutorOptions<B, M>,
): Thunk<B, M> =>
  set.prune(work.set).pipe(
    Effect.catchTag("HeightNotRetained", () => Effect.void),
    Effect.andThen(pruning?.marshal?.prune(work.marshal) ?? Effect.void),
    Effect.as((): Result<B, M> => ({ kind: "done" })),
    Effect.withSpan("coppice.stateful.prune", { attributes: { height: work.set } }),
  )

const execute = <B extends Block, M extends Databases>(
  work: Extract<Work<B, SealedSet<M>>, { readonly state: SealedSet<M> }>,
  application: Application<B, M>,
  caller: WorkCaller<B> | undefined,
  run: HookRun<M>,
): Thunk<B, M> => {
  const { batches, tools } = run
  const take = (state: SealedSet<M> | undefined) => (): Result<B, M> => {
    run.take(state)
    return state === undefined ? { kind: "declined" } : { kind: "sealed", state }
  }
  if (work.kind === "apply") {
    const label = work.purpose === "recovery" ? "rebuild_pending_apply" : "finalize_reconstruct"
    const hook = runHook(() => application.apply(work.block, batches, tools))
    return inSpan(Effect.map(hook, take), label, work.block, undefined)
  }
  const rest = caller?.ancestry ?? { next: Effect.succeed(undefined) }
  if (work.kind === "verify") {
    const ancestry = startingWith([work.block, work.parent], rest)
    const hook = runHook(() => application.verify(work.context, ancestry, batches, tools))
    return inSpan(Effect.map(hook, take), "verify", work.block, caller?.span)
  }
  const ancestry = startingWith([work.parent], rest)
  const proposed = Effect.map(
    runHook(() => application.propose(work.context, ancestry, batches, tools)),
    (proposal) => (): Result<B, M> => {
      run.take(proposal?.sealed)
      if (proposal === undefined) return { kind: "declined" }
      return { kind: "proposed", block: proposal.block, state: proposal.sealed }
    },
  )
  return inSpan(proposed, "propose", work.parent, caller?.span)
}

// `useSpan` and not `withSpan`, which takes a stack: hooks start here alone, so it would always say the same, and it costs
// more than the span. Where tracing is off they get none: one that nobody sees costs as much as making it known to the hook.
const inSpan = <A, E>(
  hook: Effect.Effect<A, E>,
  name: string,
  block: Block,
  parent: Tracer.AnySpan | undefined,
): Effect.Effect<A, E> =>
  Effect.withFiber((fiber) => {
    if (!fiber.getRef(References.TracerEnabled)) return hook
    const attributes = { height: block.height, digest: Buffer.from(block.digest).toString("hex") }
    return Effect.useSpan(`coppice.stateful.${name}`, { attributes, parent }, (span) =>
      Effect.provideService(hook, Tracer.ParentSpan, span),
    )
  })
