/** Clocks of virtual time. */
import { type Clock, Effect } from "effect"

/** A clock that tells the time that `ms` and `ns` give, wall clock and monotonic alike. */
export const clockBy = (ms: () => number, ns: () => bigint, sleep: Clock.Clock["sleep"]): Clock.Clock => ({
  currentTimeMillisUnsafe: ms,
  currentTimeNanosUnsafe: ns,
  monotonicTimeNanosUnsafe: ns,
  currentTimeMillis: Effect.sync(ms),
  currentTimeNanos: Effect.sync(ns),
  monotonicTimeNanos: Effect.sync(ns),
  sleep,
})
