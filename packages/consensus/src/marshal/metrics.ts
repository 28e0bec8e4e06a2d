/** Metrics of the marshal. Nodes that share a process tell theirs apart by `Metric.CurrentMetricAttributes`. */
import { type Context, Metric } from "effect"
import type { Block } from "../block.ts"
import type { Row } from "./rows.ts"
import type { MarshalState } from "./state.ts"

/** Height of the highest finalized block held. */
export const tipHeight = Metric.gauge("coppice_consensus_tip_height", { description: "Highest finalized block held" })
/** Height up to which acknowledgements are durable. */
export const processedHeight = Metric.gauge("coppice_consensus_processed_height", {
  description: "Height up to which the executor's acknowledgements are durable",
})
/** Delivered blocks without a recorded acknowledgement. */
export const acksPending = Metric.gauge("coppice_consensus_acks_pending", {
  description: "Finalized blocks delivered and not yet acknowledged",
})
/** Fetches from peers under way. */
export const fetchesPending = Metric.gauge("coppice_consensus_fetches_pending", {
  description: "Block requests to peers under way",
})
/** Finalized blocks handed to the executor. */
export const blocksDelivered = Metric.counter("coppice_consensus_blocks_delivered_total", {
  description: "Finalized blocks delivered to the executor",
  incremental: true,
})
/** Height of the installed floor. */
export const floorHeight = Metric.gauge("coppice_consensus_floor_height", {
  description: "Height of the final block that this node began with, 0 for genesis",
})
/** Whether a floor waits for its block. */
export const floorPending = Metric.gauge("coppice_consensus_floor_pending", {
  description: "1 while a floor waits for its block and delivery stands still, else 0",
})
/** Lowest height whose final block is kept. */
export const retainedHeight = Metric.gauge("coppice_consensus_retained_height", {
  description: "Final blocks below this height are let go",
})
/** Callers that wait for a block. */
export const subscriptionsOpen = Metric.gauge("coppice_consensus_subscriptions_open", {
  description: "Callers that wait for a block",
})
/** Final blocks removed. */
export const blocksPruned = Metric.counter("coppice_consensus_blocks_pruned_total", {
  description: "Finalized blocks removed below the retained height",
  incremental: true,
})
/** Requests without an answer in time. */
export const requestsTimedOut = Metric.counter("coppice_consensus_requests_timed_out_total", {
  description: "Requests that a peer did not answer in time",
  incremental: true,
})
/** Requests that ended without an answer. */
export const requestsFailed = Metric.counter("coppice_consensus_requests_failed_total", {
  description: "Requests that ended without an answer: peer unreachable, connection reset, over a limit",
  incremental: true,
})
/** Answers of peers that did not check. */
export const answersRefused = Metric.counter("coppice_consensus_answers_refused_total", {
  description: "Answers of peers that were not what was asked for",
  incremental: true,
})

/** Publishes where a marshal stands after a turn that wrote rows. */
export type Measure = <B extends Block>(state: MarshalState, subscriptions: number, rows: ReadonlyArray<Row<B>>) => void

/**
 * Publishes for one marshal. Cost: what has changed since it was published last.
 *
 * Metrics of the context's attributes; plain calls, because nine effects a turn cost more than most turns do.
 */
export const measureIn = (context: Context.Context<never>): Measure => {
  const published = new Map<Metric.Gauge<number>, number>()
  const set = (gauge: Metric.Gauge<number>, value: number): void => {
    if (published.get(gauge) === value) return
    published.set(gauge, value)
    gauge.updateUnsafe(value, context)
  }
  return (state, subscriptions, rows) => {
    set(tipHeight, state.tip.height)
    set(processedHeight, state.processed ?? 0)
    set(acksPending, state.pending.length)
    set(fetchesPending, state.fetching.size)
    set(floorHeight, state.floor?.height ?? 0)
    set(floorPending, state.pendingFloor === undefined ? 0 : 1)
    set(retainedHeight, state.retained)
    set(subscriptionsOpen, subscriptions)
    const pruned = rows.reduce((count, { tag }) => (tag === "pruned" ? count + 1 : count), 0)
    blocksPruned.updateUnsafe(pruned, context)
  }
}
