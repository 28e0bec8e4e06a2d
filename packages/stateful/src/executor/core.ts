/**
 * The executor's core: one synchronous step per event.
 *
 *              requests.ts        replay.ts          finalization.ts
 *   request --> pull, walk --> flight(missing) <-- delivery without state
 *                  |                |                    |
 *                 hook ----> pending-tips.ts <----- apply, prune --> flush --> hook --> ack
 *                                  ^
 *             budget.ts, spilling.ts: how much of it is in memory
 *
 * Terms: see protocol.ts for what goes in and out, state.ts for what is remembered.
 *
 * Invariant: same events, same actions. No clock, no chance, no promises; after `stop` only states that come too late are
 * still closed.
 */
import type { Anchor, Block, Height } from "@coppice/consensus"
import { bytesHeld } from "./budget.ts"
import { ApplicationFault, FinalizedBlockRejected, FinalizedCommitmentMismatch } from "./errors.ts"
import { deliver, proceed, settleFinalizedHook, settleFlush } from "./finalization.ts"
import { openRequest, wake } from "./places.ts"
import type { Action, Event, JobId, Outcome, State, Work } from "./protocol.ts"
import { allowPrunes, settlePrune } from "./pruning.ts"
import { admit, startFlight } from "./replay.ts"
import { leave, refuse, resume, settleRequest } from "./requests.ts"
import { settleSpill, startSpill } from "./spilling.ts"
import { type Core, closeState, type Flight, stop } from "./state.ts"

export { type Core, type CoreLimits, type CoreOptions, createCore } from "./state.ts"

/** Takes one event and returns what is to be done about it, in order. Throws only on a violated invariant. */
export const step = <B extends Block, S extends State>(
  core: Core<B, S>,
  event: Event<B, S>,
): ReadonlyArray<Action<B, S>> => {
  if (core.stopped) return late(event)
  react(core, event)
  if (!core.stopped) {
    proceed(core)
    wake(core)
    startSpill(core)
  }
  const actions = core.actions
  core.actions = []
  return actions
}

/** A state that arrives after the end is closed; everything else is the shell's to refuse. */
const late = <B extends Block, S extends State>(event: Event<B, S>): ReadonlyArray<Action<B, S>> =>
  event.type === "settled" && "state" in event.outcome ? [{ type: "close", state: event.outcome.state }] : []

const react = <B extends Block, S extends State>(core: Core<B, S>, event: Event<B, S>) => {
  switch (event.type) {
    case "request":
      return openRequest(core, event.request, event.kind, event.context)
    case "left":
      return leave(core, event.request)
    case "settled":
      return settle(core, event.job, event.outcome)
    case "finalized":
      return deliver(core, event)
    case "complete":
      return allowPrunes(core)
    case "fault":
      return stop(core, event.error)
    case "shutdown":
      return stop(core, undefined)
  }
}

const settle = <B extends Block, S extends State>(core: Core<B, S>, id: JobId, outcome: Outcome<B, S>) => {
  const job = core.jobs.get(id)
  if (job === undefined) {
    // Cancelled before: nobody may see this result any more (F5, F26).
    if ("state" in outcome) closeState(core, outcome.state)
    return
  }
  core.jobs.delete(id)
  switch (job.owner.of) {
    case "request":
      return settleRequest(core, core.requests.get(job.owner.request)!, outcome)
    case "flight":
      return settleFlight(core, core.flights.get(job.owner.key)!, outcome)
    case "flush":
      return settleFlush(core, outcome)
    case "prune":
      return settlePrune(core, outcome)
    case "spill":
      return settleSpill(core, job.owner.keys, job.work as Extract<Work<B, S>, { readonly kind: "spill" }>, outcome)
    case "delivery":
      return settleFinalizedHook(core, job.owner.delivery, outcome)
  }
}

const settleFlight = <B extends Block, S extends State>(
  core: Core<B, S>,
  flight: Flight<B>,
  outcome: Outcome<B, S>,
) => {
  const { block, key, waiters } = flight
  const { height, digest } = block
  core.flights.delete(key)
  if (outcome.kind !== "sealed" && outcome.kind !== "declined") {
    const cause = outcome.kind === "failed" ? outcome.cause : new Error(`settled with ${outcome.kind}`)
    return stop(core, new ApplicationFault({ hook: "apply", height, cause }))
  }
  const mismatch = outcome.kind === "sealed" ? core.options.mismatch(outcome.state, block) : undefined
  if (outcome.kind === "sealed" && mismatch === undefined) {
    core.replayed++
    admit(core, block, outcome.state, "replayed")
    return resume(core, flight)
  }
  if (outcome.kind === "sealed") closeState(core, outcome.state)
  const winner = core.finalizing[0]?.key === key
  if (!winner) {
    for (const id of waiters) refuse(core, core.requests.get(id)!)
    return
  }
  // A replay that a request began may fail for reasons of its own; the finalization convinces itself (F25).
  if (flight.purpose === "recovery") {
    const again = startFlight(core, block, core.tip, "finalization")
    for (const id of waiters) again.waiters.add(id)
    return
  }
  stop(
    core,
    mismatch === undefined
      ? new FinalizedBlockRejected({ height, digest })
      : new FinalizedCommitmentMismatch({ ...mismatch, height, digest }),
  )
}

/** What a core holds and has done. Counters start at zero with it. */
export interface CoreFigures {
  /** Newest applied block. */
  readonly tip: Anchor
  /** Newest block whose state survives power loss. */
  readonly durable: Anchor
  /** Oldest height kept by the newest completed prune; undefined before the first. */
  readonly pruned: Height | undefined
  readonly pendingEntries: number
  /** Bytes of memory of all un-flushed states, pending and applied. */
  readonly pendingBytes: number
  /** Pending blocks that are spilled: those above less these have their whole state in memory. */
  readonly scratchEntries: number
  /** Bytes of them that are in scratch. */
  readonly scratchBytes: number
  /** Open proposals and verifications, those below included. */
  readonly requests: number
  /** Requests whose data source has ended; they wait for their caller to leave. */
  readonly parked: number
  /** Requests that wait for room in the pending budget. */
  readonly waiting: number
  /** Verifications that wait for a place among those at work. */
  readonly queued: number
  /** Finalized blocks delivered and not acknowledged. */
  readonly unacked: number
  /** Pending blocks dropped because another branch was finalized. */
  readonly forksPruned: number
  /** Blocks executed again, for recovery or finalization. */
  readonly replayed: number
  /** Pending blocks dropped to keep the budget. */
  readonly evicted: number
  /** Verifications that are never answered, since as many as may be were held. */
  readonly dropped: number
  /** Pending blocks moved to scratch to keep the budget. */
  readonly spilled: number
}

/** Figures of a core, as of now. Cost: one pass over the requests. */
export const figuresOf = <B extends Block, S extends State>(core: Core<B, S>): CoreFigures => {
  let parked = 0
  let waiting = 0
  let queued = 0
  for (const { wait } of core.requests.values()) {
    if (wait?.on === "source") parked++
    if (wait?.on === "room") waiting++
    if (wait?.on === "place") queued++
  }
  return {
    tip: core.tip.anchor,
    durable: core.durable,
    pruned: core.pruned,
    pendingEntries: core.pending.size,
    pendingBytes: bytesHeld(core),
    scratchEntries: core.pending.size - core.pending.heldSize,
    scratchBytes: core.pending.scratchBytes,
    requests: core.requests.size,
    parked,
    waiting,
    queued,
    unacked: core.finalizing.length + core.unacked.length,
    forksPruned: core.forksPruned,
    replayed: core.replayed,
    evicted: core.evicted,
    dropped: core.dropped,
    spilled: core.spilled,
  }
}
