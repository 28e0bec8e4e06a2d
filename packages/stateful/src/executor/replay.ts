/**
 * Replays: executing a block again to get its state back, once for all who need it.
 *
 *   request 1 --+
 *   request 2 --+--> flight(x): apply(x) over the state of x's parent --> entry x, origin "replayed"
 *   finalize x -+
 *
 * Terms: see `Flight` in state.ts. A flight belongs to nobody: it lives while a request waits for it or its block is being
 * finalized, so a caller who leaves takes nothing away from the others.
 *
 * Invariant: at most one replay of a block runs at a time, and none of a block whose state is here. A replayed block is
 * cached before anyone who waited for it goes on (INV-34).
 */
import { bytesKey } from "@coppice/codec"
import { anchorOf, type Block } from "@coppice/consensus"
import type { Key, Origin } from "./pending-tips.ts"
import type { RequestId, State } from "./protocol.ts"
import { type Base, baseOf, type Core, cancelJob, closeState, type Flight, keyOf, must, startJob } from "./state.ts"

/** Starts the replay of a block over its parent's state. */
export const startFlight = <B extends Block, S extends State>(
  core: Core<B, S>,
  block: B,
  base: Base<S>,
  purpose: Flight<B>["purpose"],
): Flight<B> => {
  const key = keyOf(block)
  must(!core.flights.has(key) && baseOf(core, key) === undefined, "one replay per missing block")
  const work = { kind: "apply", block, state: base.state, purpose } as const
  const job = startJob(core, { of: "flight", key }, work, base.key)
  const flight: Flight<B> = { key, block, job, purpose, waiters: new Set() }
  core.flights.set(key, flight)
  return flight
}

/** Ends a flight before it has settled. Who waited for it looks again. */
export const cancelFlight = <B extends Block, S extends State>(core: Core<B, S>, flight: Flight<B>) => {
  cancelJob(core, flight.job)
  core.flights.delete(flight.key)
}

/** A request waits for a flight no longer. The last one to go ends it, unless its block is being finalized. */
export const leaveFlight = <B extends Block, S extends State>(core: Core<B, S>, key: Key, request: RequestId) => {
  const flight = core.flights.get(key)
  if (flight === undefined) return
  flight.waiters.delete(request)
  if (flight.waiters.size === 0 && core.finalizing[0]?.key !== key) cancelFlight(core, flight)
}

/**
 * Caches the state of a block whose hook ran over its parent's state, after its targets were checked (INV-1). A block that
 * is here already keeps its state, and gains the better origin.
 */
export const admit = <B extends Block, S extends State>(core: Core<B, S>, block: B, state: S, origin: Origin) => {
  const key = keyOf(block)
  const known = core.pending.get(key)
  if (known !== undefined) {
    if (known.origin === "replayed") known.origin = origin
    core.pending.touch(key)
    closeState(core, state)
    return
  }
  const parent = bytesKey(block.parent)
  must(baseOf(core, parent) !== undefined, "INV-2 the parent of an entry is pending or the tip")
  core.pending.insert({ key, anchor: anchorOf(block), parent, state, origin })
}
