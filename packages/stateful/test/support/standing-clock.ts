/** Time for tests that say themselves when it passes. */
import { type Clock, Effect } from "effect"

/** A clock that stands still until it is moved. */
export const standing = () => {
  let now = 0
  const ms = (): number => now
  const ns = (): bigint => BigInt(Math.round(now * 1e6))
  const clock: Clock.Clock = {
    currentTimeMillisUnsafe: ms,
    currentTimeNanosUnsafe: ns,
    monotonicTimeNanosUnsafe: ns,
    currentTimeMillis: Effect.sync(ms),
    currentTimeNanos: Effect.sync(ns),
    monotonicTimeNanos: Effect.sync(ns),
    sleep: () => Effect.never,
  }
  const move = (byMs: number): void => {
    now += byMs
  }
  return { clock, ms, move }
}
