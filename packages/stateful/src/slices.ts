/**
 * Long synchronous work in short turns.
 *
 *   generator: step step step | yield to the event loop | step step | await a hash job elsewhere | step ... return
 *
 * Terms: a *slice* is what runs between two returns to the event loop: at most `SLICE_MS` by Effect's clock and at most
 * `SLICE_STEPS_MAX` steps, whichever comes first; one step is never cut.
 *
 * Invariant: a generator is either run to its end or returned, whatever ends the effect: its `finally` always runs.
 */
import type { Hasher } from "@coppice/crypto"
import type { SealStep } from "@coppice/qmdb"
import { Clock, Effect } from "effect"
import { isOperatingError } from "./errors.ts"
import { SLICE_MS, SLICE_STEPS_MAX } from "./limits.ts"

type Pause<A> =
  | { readonly tag: "done"; readonly value: A }
  | { readonly tag: "elsewhere"; readonly job: Promise<void> }
  | { readonly tag: "time" }

const NANOS_PER_MS = 1_000_000n
const SLICE_NANOS = BigInt(SLICE_MS) * NANOS_PER_MS

const slice = <A>(work: Generator<SealStep, A, void>, hasher: Hasher, clock: Clock.Clock): Pause<A> => {
  const end = clock.monotonicTimeNanosUnsafe() + SLICE_NANOS
  for (let steps = 0; steps < SLICE_STEPS_MAX; steps++) {
    const step = work.next()
    if (step.done === true) return { tag: "done", value: step.value }
    if (step.value !== undefined) {
      const job = hasher.run(step.value)
      if (job !== undefined) return { tag: "elsewhere", job }
    }
    if (clock.monotonicTimeNanosUnsafe() >= end) break
  }
  return { tag: "time" }
}

const outcomeOf = <A, E>(run: () => Effect.Effect<A, E>): Effect.Effect<A, E> => {
  try {
    return run()
  } catch (error) {
    return isOperatingError(error) ? Effect.fail(error as E) : Effect.die(error)
  }
}

/** The outcome of synchronous code: operating errors that it throws fail the effect, anything else is a defect. */
export const attempt = <A, E>(run: () => A): Effect.Effect<A, E> =>
  Effect.suspend(() => outcomeOf(() => Effect.succeed(run())))

const slices = <A, E>(work: Generator<SealStep, A, void>, hasher: Hasher, clock: Clock.Clock): Effect.Effect<A, E> =>
  outcomeOf(() => {
    const pause = slice(work, hasher, clock)
    if (pause.tag === "done") return Effect.succeed(pause.value)
    // Its buffers are borrowed until it ends, so interruption waits for it.
    const over = pause.tag === "elsewhere" ? Effect.uninterruptible(Effect.promise(() => pause.job)) : Effect.yieldNow
    return Effect.flatMap(over, () => slices(work, hasher, clock))
  })

/**
 * Runs a generator to its end in slices, with its hash jobs on the hasher.
 *
 * Errors: operating errors thrown by a step fail with themselves; the caller names them. Others are defects.
 * Cancellation: at any return to the event loop; the generator is returned. Cost: one clock reading per step.
 */
export const runInSlices = <A, E>(work: Generator<SealStep, A, void>, hasher: Hasher): Effect.Effect<A, E> =>
  Effect.ensuring(
    Effect.withFiber((fiber) => slices<A, E>(work, hasher, fiber.getRef(Clock.Clock))),
    Effect.sync(() => void work.return(undefined as never)),
  )
