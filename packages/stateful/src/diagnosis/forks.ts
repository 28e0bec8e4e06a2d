/**
 * Forks for diagnosis: running a hook beside the executor, over the state that the executor's own run stands on.
 *
 *   executor --> openBatches(parent) --> batches        remembered: batches -> parent
 *   diagnosis -> onFork(parent) -------> batches'       closed when the hook has ended, whatever it ended with
 *
 * Invariant: what diagnosis opens, it closes. The executor's own batches and states are never touched.
 */
import { type Context, Effect } from "effect"
import type { Hook, HookTools } from "../application.ts"
import type { Batches, DatabaseSet, Databases, SealedSet } from "../database-set.ts"
import { HookRun } from "../executor/hook-run.ts"
import { runHook } from "../hooks.ts"
import { outside } from "./surroundings.ts"

/** A set that knows the state under each of its open batches. */
export interface TrackedSet<M extends Databases> {
  readonly set: DatabaseSet<M>
  /** The state that batches of this set were opened over; undefined for any other object. */
  readonly parentOf: (batches: Batches<M>) => SealedSet<M> | undefined
}

/** Makes a set remember what its batches stand on, for as long as somebody holds them. */
export const trackForks = <M extends Databases>(inner: DatabaseSet<M>): TrackedSet<M> => {
  const parents = new WeakMap<object, SealedSet<M>>()
  const openBatches = (parent: SealedSet<M>): Batches<M> => {
    const batches = inner.openBatches(parent)
    parents.set(batches, parent)
    return batches
  }
  const set = new Proxy(inner, {
    get: (target, key) => {
      if (key === "openBatches") return openBatches
      const value: unknown = Reflect.get(target, key, target)
      return typeof value === "function" ? value.bind(target) : value
    },
  })
  return { set, parentOf: (batches) => parents.get(batches) }
}

/** A hook over a fork: its effect, and the two ways in which the fork ends. Exactly one of them is to be called. */
export interface ForkRun<A> {
  readonly hook: Effect.Effect<A, unknown>
  /** Ends the run with its result and returns it; the caller owns the state in it. Throws TypeError for a foreign state. */
  readonly take: (result: A) => A
  /** Ends the run without a result: the signal is aborted, everything is closed. Cancelling an ended run is fine. */
  readonly cancel: () => void
}

/** What a fork is for: a hook over a state of a set. `stateOf` names the sealed state in the hook's result. */
export interface ForkOptions<M extends Databases, A> {
  readonly set: DatabaseSet<M>
  readonly parent: SealedSet<M>
  readonly hook: (batches: Batches<M>, tools: HookTools<M>) => Hook<A>
  readonly stateOf: (result: A) => SealedSet<M> | undefined
  /** Aborted when the state may be about to be closed: the fork ends then, at once. */
  readonly until?: AbortSignal
}

/** Forks a state for one run of a hook, sealing in fibers with the given services. Throws `StaleBatch`. */
export const openFork = <M extends Databases, A>(
  { set, parent, hook, stateOf }: ForkOptions<M, A>,
  services: Context.Context<never>,
): ForkRun<A> => {
  const run = new HookRun(set, parent, (effect) => outside(() => Effect.runForkWith(services)(effect)))
  return {
    hook: runHook(() => hook(run.batches, run.tools)),
    take: (result) => {
      run.take(stateOf(result))
      return result
    },
    cancel: () => run.cancel(),
  }
}

/**
 * Runs a hook over a fork of a state, as the executor does.
 *
 * Errors: the hook's own; TypeError as a defect when it gives a state that its own tools did not seal.
 * Cancellation: interruption closes everything, unless it comes between the end of the run and the use of its result.
 */
export const onFork = <M extends Databases, A>(options: ForkOptions<M, A>): Effect.Effect<A, unknown> =>
  Effect.flatMap(Effect.context<never>(), (services) => {
    const { hook, take, cancel } = openFork(options, services)
    options.until?.addEventListener("abort", cancel)
    const end = (): void => {
      options.until?.removeEventListener("abort", cancel)
      cancel()
    }
    return Effect.map(hook, take).pipe(Effect.ensuring(Effect.sync(end)))
  })
