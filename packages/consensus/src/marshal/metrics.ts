/** Metrics of the marshal. Nodes that share a process tell theirs apart by `Metric.CurrentMetricAttributes`. */
import { Metric } from "effect"

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
/** Answers of peers that did not check. */
export const answersRefused = Metric.counter("coppice_consensus_answers_refused_total", {
  description: "Answers of peers that were not what was asked for",
  incremental: true,
})
