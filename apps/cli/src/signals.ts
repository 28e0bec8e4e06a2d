/**
 * Signals that ask the process to end.
 *
 * A terminal's Ctrl-C reaches npm and this process, and npm passes it on: it comes twice, about a millisecond apart. So
 * the handlers stay for good: a signal that comes again while things are being stopped changes nothing. Output that nobody
 * reads any more (`npm start | head`) asks the same.
 */
import { Deferred, Effect } from "effect"

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const
/** What writing meets when the reader of a pipe, or the terminal, is gone. */
const READER_GONE: ReadonlySet<unknown> = new Set(["EPIPE", "EIO"])

/** Takes the end of a reader of the output as Ctrl-C, not as a failure. A command that listens for nothing goes on to its end. */
export const endWithReader = (): void => {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on("error", (error: NodeJS.ErrnoException) => {
      if (!READER_GONE.has(error.code)) throw error
      process.emit("SIGINT", "SIGINT")
    })
  }
}

/** Listens for signals from here on; the result succeeds once the process is asked to end. */
export const listenForStop: Effect.Effect<Effect.Effect<void>> = Effect.sync(() => {
  const asked = Deferred.makeUnsafe<void>()
  for (const signal of SIGNALS) process.on(signal, () => Deferred.doneUnsafe(asked, Effect.void))
  return Deferred.await(asked)
})

/** Interrupts an effect when the process is asked to end. */
export const untilStopped = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.flatMap(listenForStop, (asked) => Effect.raceFirst(effect, Effect.andThen(asked, Effect.interrupt)))
