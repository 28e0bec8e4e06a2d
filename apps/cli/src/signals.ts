/**
 * Signals that ask the process to end.
 *
 * A terminal's Ctrl-C reaches npm and this process, and npm passes it on: it comes twice, about a millisecond apart. So
 * the handlers stay for good: a signal that comes again while things are being stopped changes nothing.
 */
import { Effect } from "effect"

const SIGNALS = ["SIGINT", "SIGTERM"] as const

/** Succeeds when the process is asked to end. Once this runs, the default of dying at once is off. */
export const stopSignal: Effect.Effect<void> = Effect.callback((resume) => {
  for (const signal of SIGNALS) process.on(signal, () => resume(Effect.void))
})

/** Interrupts an effect when the process is asked to end. */
export const untilStopped = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.raceFirst(effect, Effect.andThen(stopSignal, Effect.interrupt))
