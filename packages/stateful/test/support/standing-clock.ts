/** Time for tests that say themselves when it passes. */
import { type Clock, Effect } from "effect"

/** A clock that tells the time that `ms` and `ns` give, and on which sleep never ends. */
export const clockBy = (ms: () => number, ns: () => bigint): Clock.Clock => ({
  currentTimeMillisUnsafe: ms,
  currentTimeNanosUnsafe: ns,
  monotonicTimeNanosUnsafe: ns,
  currentTimeMillis: Effect.sync(ms),
  currentTimeNanos: Effect.sync(ns),
  monotonicTimeNanos: Effect.sync(ns),
  sleep: () => Effect.never,
})

/** A clock that stands still until it is moved. */
export const standing = () => {
  let now = 0
  const ms = (): number => now
  const move = (byMs: number): void => {
    now += byMs
  }
  return { clock: clockBy(ms, () => BigInt(Math.round(now * 1e6))), ms, move }
}
