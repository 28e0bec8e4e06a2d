/** Metrics of the marshal: one catalogue. Nodes that share a process tell theirs apart by `Metric.CurrentMetricAttributes`. */
import { type Context, Metric } from "effect"
import type { Block } from "../block.ts"
import type { Row } from "./rows.ts"
import type { MarshalState } from "./state.ts"

const gauge = (noun: string, description: string): Metric.Gauge<number> =>
  Metric.gauge(`coppice_consensus_${noun}`, { description })
const counter = (noun: string, description: string): Metric.Counter<number> =>
  Metric.counter(`coppice_consensus_${noun}_total`, { description, incremental: true })

/** Every metric of the marshal, with its help text. */
export const marshalMetrics = {
  tipHeight: gauge("tip_height", "Highest finalized block held"),
  processedHeight: gauge("processed_height", "Height up to which the executor's acknowledgements are durable"),
  acksPending: gauge("acks_pending", "Finalized blocks delivered and not yet acknowledged"),
  fetchesPending: gauge("fetches_pending", "Block requests to peers under way"),
  floorHeight: gauge("floor_height", "Height of the final block that this node began with, 0 for genesis"),
  floorPending: gauge("floor_pending", "1 while a floor waits for its block and delivery stands still, else 0"),
  retainedHeight: gauge("retained_height", "Final blocks below this height are let go"),
  subscriptionsOpen: gauge("subscriptions_open", "Callers that wait for a block"),
  blocksDelivered: counter("blocks_delivered", "Finalized blocks delivered to the executor"),
  blocksPruned: counter("blocks_pruned", "Finalized blocks removed below the retained height"),
  requestsTimedOut: counter("requests_timed_out", "Requests that a peer did not answer in time"),
  requestsFailed: counter(
    "requests_failed",
    "Requests that ended without an answer: peer unreachable, connection reset, over a limit",
  ),
  answersRefused: counter("answers_refused", "Answers of peers that were not what was asked for"),
} as const

/** Publishes what becomes of one marshal. */
export interface Measure {
  /** Where it stands after a turn, and the rows that this wrote. Cost: what has changed since it was published last. */
  readonly stands: <B extends Block>(state: MarshalState, subscriptions: number, rows: ReadonlyArray<Row<B>>) => void
  readonly delivered: () => void
}

/**
 * Publishes for one marshal: all of them from now on, at 0 before their first event.
 *
 * Metrics of the context's attributes; plain calls, because nine effects a turn cost more than most turns do.
 */
export const measureIn = (context: Context.Context<never>): Measure => {
  for (const metric of Object.values(marshalMetrics)) metric.valueUnsafe(context)
  const published = new Map<Metric.Gauge<number>, number>()
  const set = (gauge: Metric.Gauge<number>, value: number): void => {
    if (published.get(gauge) === value) return
    published.set(gauge, value)
    gauge.updateUnsafe(value, context)
  }
  return {
    stands: (state, subscriptions, rows) => {
      set(marshalMetrics.tipHeight, state.tip.height)
      set(marshalMetrics.processedHeight, state.processed ?? 0)
      set(marshalMetrics.acksPending, state.pending.length)
      set(marshalMetrics.fetchesPending, state.fetching.size)
      set(marshalMetrics.floorHeight, state.floor?.height ?? 0)
      set(marshalMetrics.floorPending, state.pendingFloor === undefined ? 0 : 1)
      set(marshalMetrics.retainedHeight, state.retained)
      set(marshalMetrics.subscriptionsOpen, subscriptions)
      const pruned = rows.reduce((count, { tag }) => (tag === "pruned" ? count + 1 : count), 0)
      if (pruned > 0) marshalMetrics.blocksPruned.updateUnsafe(pruned, context)
    },
    delivered: () => marshalMetrics.blocksDelivered.updateUnsafe(1, context),
  }
}
