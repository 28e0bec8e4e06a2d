/**
 * Finalization: from delivery to ack.
 *
 *   delivered --> checked --> pending? apply : replay, then apply --> flushed --> hook `finalized` --> ack
 *                 (fatal)                       |                       |
 *                                     losing work ends here     one flush at a time; the next one
 *                                     in the same turn          covers all that was applied meanwhile
 *
 * Terms: the *winner* is the block being finalized. A *redelivery* is a block at or below the anchor that this lifetime
 * started from: its state is durable already, its ack was not when the process ended.
 *
 * Invariant: one height after the other (INV-5); no ack before the block is durable (INV-9) and its hook has run (INV-16),
 * acks in height order (INV-8). Requests never delay any of it (INV-42).
 *
 * What a synced state covers is delivered like a redelivery, without a row. The hook repeats for redeliveries, since a crash may have come before it: it runs at least once for every block above
 * genesis. Exact duplicates within a lifetime are acknowledged and do nothing else (F21).
 */
import { bytesEqual } from "@coppice/codec"
import { anchorOf, type Block, ConflictingFinalized } from "@coppice/consensus"
import {
  AckWindowExceeded,
  type FatalError,
  FinalizedBelowTip,
  FinalizedGap,
  FinalizedHookFailed,
  FinalizedParentMismatch,
  FlushFailed,
} from "./errors.ts"
import type { Entry } from "./pending-tips.ts"
import type { Event, Outcome, RequestId, State } from "./protocol.ts"
import { schedulePrune } from "./pruning.ts"
import { cancelFlight, startFlight } from "./replay.ts"
import { retarget } from "./requests.ts"
import { type Core, cancelJob, type Delivery, emit, keyOf, must, nextHeight, startJob, stop } from "./state.ts"

/** Takes a finalized block in. */
export const deliver = <B extends Block, S extends State>(
  core: Core<B, S>,
  { block, ack, row }: Extract<Event<B, S>, { readonly type: "finalized" }>,
) => {
  const allowed = core.options.pendingAcksMax
  if (core.finalizing.length + core.unacked.length >= allowed) {
    return stop(core, new AckWindowExceeded({ height: block.height, allowed }))
  }
  core.finalizing.push({ block, key: keyOf(block), ack, row, hook: false })
}

/** Finalizes what was delivered, up to the first block whose state must be replayed. */
export const proceed = <B extends Block, S extends State>(core: Core<B, S>) => {
  while (!core.stopped) {
    const delivery = core.finalizing[0]
    if (delivery === undefined) return
    const error = check(core, delivery)
    if (error !== undefined) return stop(core, error)
    const isNew = delivery.block.height > core.tip.anchor.height
    const entry = core.pending.get(delivery.key)
    if (isNew && entry === undefined) return replayWinner(core, delivery)
    core.finalizing.shift()
    const first = core.delivered === undefined || delivery.block.height > core.delivered
    delivery.hook = first && delivery.block.height > 0
    if (first) core.delivered = delivery.block.height
    core.unacked.push(delivery)
    if (entry !== undefined) applyWinner(core, delivery, entry)
    releaseAcks(core)
  }
}

const check = <B extends Block, S extends State>(core: Core<B, S>, delivery: Delivery<B>): FatalError | undefined => {
  const { height, digest, parent } = delivery.block
  const tip = core.tip.anchor
  const { delivered } = core
  const expected = nextHeight({ height: delivered ?? tip.height })
  if (height > expected) return new FinalizedGap({ expected, actual: height })
  if (height > tip.height) {
    if (bytesEqual(parent, tip.digest)) return undefined
    return new FinalizedParentMismatch({ height, expected: tip.digest, actual: parent })
  }
  const repeated = height < expected && delivered !== undefined && height < tip.height
  const known = height === tip.height ? tip.digest : (delivery.row ?? (core.options.covered ? digest : undefined))
  if (known === undefined || repeated) return new FinalizedBelowTip({ height, digest, tip: tip.height })
  if (!bytesEqual(digest, known)) return new ConflictingFinalized({ height, known, conflicting: digest })
  return undefined
}

/** The winner has no state here: joins its running replay, or starts one on the live tip, which no caller can end. */
const replayWinner = <B extends Block, S extends State>(core: Core<B, S>, { block, key }: Delivery<B>) => {
  if (!core.flights.has(key)) startFlight(core, block, core.tip, "finalization")
}

const applyWinner = <B extends Block, S extends State>(core: Core<B, S>, winner: Delivery<B>, entry: Entry<S>) => {
  const { bytes, state } = entry
  const anchor = anchorOf(winner.block)
  const survives = core.pending.survivors(winner.key)
  const lost = endLosers(core, survives)
  emit(core, { type: "apply", state, anchor })
  core.forksPruned += core.pending.finalize(winner.key, survives)
  core.tip = { key: winner.key, anchor, state }
  core.applied.push({ height: anchor.height, bytes })
  startFlush(core)
  retarget(core, lost)
}

/** Ends every hook whose base neither is the winner nor descends from it. Returns the requests that wanted them. */
const endLosers = <B extends Block, S extends State>(
  core: Core<B, S>,
  survives: (key: string) => boolean,
): ReadonlySet<RequestId> => {
  const lost = new Set<RequestId>()
  for (const [id, { base, owner }] of core.jobs) {
    if (base === undefined || survives(base)) continue
    if (owner.of === "flight") {
      const flight = core.flights.get(owner.key)!
      for (const waiter of flight.waiters) lost.add(waiter)
      cancelFlight(core, flight)
    } else {
      if (owner.of === "request") lost.add(owner.request)
      cancelJob(core, id)
    }
  }
  return lost
}

const startFlush = <B extends Block, S extends State>(core: Core<B, S>) => {
  if (core.flushing || core.applied.length === 0) return
  core.flushing = true
  startJob(core, { of: "flush" }, { kind: "flush" })
}

/** The flush has settled: releases what it covers, and starts the next one if more was applied meanwhile. */
export const settleFlush = <B extends Block, S extends State>(core: Core<B, S>, outcome: Outcome<B, S>) => {
  core.flushing = false
  core.scratchFull = false
  if (outcome.kind !== "durable") {
    const cause = outcome.kind === "failed" ? outcome.cause : new Error(`settled with ${outcome.kind}`)
    return stop(core, new FlushFailed({ durable: core.durable.height, applied: core.tip.anchor.height, cause }))
  }
  const { height } = outcome.anchor
  must(height > core.durable.height && height <= core.tip.anchor.height, "a flush makes applied state durable")
  const before = core.durable.height
  core.durable = outcome.anchor
  while (core.applied[0] !== undefined && core.applied[0].height <= height) core.applied.shift()
  schedulePrune(core, before)
  startFlush(core)
  releaseAcks(core)
}

/** Runs hooks and releases acks of durable blocks, in height order, one hook at a time. */
const releaseAcks = <B extends Block, S extends State>(core: Core<B, S>) => {
  while (!core.hooking) {
    const delivery = core.unacked[0]
    if (delivery === undefined || delivery.block.height > core.durable.height) return
    if (delivery.hook) {
      core.hooking = true
      startJob(core, { of: "delivery", delivery }, { kind: "finalized", block: delivery.block })
      return
    }
    core.unacked.shift()
    emit(core, { type: "acknowledge", ack: delivery.ack })
  }
}

/** The `finalized` hook of the first un-acked delivery has settled. */
export const settleFinalizedHook = <B extends Block, S extends State>(
  core: Core<B, S>,
  delivery: Delivery<B>,
  outcome: Outcome<B, S>,
) => {
  const { height, digest } = delivery.block
  must(delivery === core.unacked[0], "INV-16 hooks run in height order")
  core.hooking = false
  if (outcome.kind !== "done") {
    const cause = outcome.kind === "failed" ? outcome.cause : new Error(`settled with ${outcome.kind}`)
    return stop(core, new FinalizedHookFailed({ height, digest, cause }))
  }
  delivery.hook = false
  releaseAcks(core)
}
