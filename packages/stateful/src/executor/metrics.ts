/**
 * The executor's metrics: one catalogue, names `coppice_stateful_<noun>_<unit>`.
 *
 * Dimensions come from `Metric.CurrentMetricAttributes` of whoever starts the executor: the node names itself there, so
 * several executors in one process stay apart. Nothing here carries a digest or a peer.
 *
 * Invariant: durations are recorded for what succeeded: a block built, a verdict `true`, a block applied, a parent found. Those
 * of requests begin with the call, whatever the request then waits for; of one that state sync held, at the handover. All
 * are known from the start: gauges and counters at 0, histograms empty. Those of members begin with the sync of their set.
 */
import { type Context, Metric } from "effect"
import type { CoreFigures } from "./core.ts"

const SECONDS = [0.001, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1]

const gauge = (noun: string, description: string): Metric.Gauge<number> =>
  Metric.gauge(`coppice_stateful_${noun}`, { description })
const counter = (noun: string, description: string): Metric.Counter<number> =>
  Metric.counter(`coppice_stateful_${noun}_total`, { description, incremental: true })
const seconds = (noun: string, description: string): Metric.Histogram<number> =>
  Metric.histogram(`coppice_stateful_${noun}_seconds`, { description, boundaries: SECONDS })

/** Every metric of the executor, with its help text. */
export const executorMetrics = {
  appliedHeight: gauge("applied_height", "Height of the newest applied block"),
  durableHeight: gauge("durable_height", "Height of the newest block whose state survives power loss"),
  pruneHeight: gauge(
    "prune_height",
    "Oldest height whose state the newest prune kept, 0 before the first since the start",
  ),
  pendingBlocks: gauge("pending_blocks", "Speculative blocks whose state is held"),
  pendingBytes: gauge("pending_bytes", "Bytes of memory of all un-flushed states, pending and applied"),
  scratchBlocks: gauge(
    "scratch_blocks",
    "Speculative blocks whose state lies in scratch: finality stalls while there are any",
  ),
  scratchBytes: gauge("scratch_bytes", "Bytes of speculative states that lie in scratch instead of memory"),
  openRequests: gauge("open_requests", "Proposals and verifications that are not answered yet"),
  parkedRequests: gauge("parked_requests", "Requests whose data source has ended and whose caller still waits"),
  waitingRequests: gauge("waiting_requests", "Requests that wait for room in the pending budget"),
  queuedVerifications: gauge("queued_verifications", "Verifications that wait for a place among those at work"),
  unackedFinalized: gauge("unacked_finalized_blocks", "Finalized blocks delivered and not yet acknowledged"),
  syncDone: gauge("sync_done", "Whether the databases are complete (1) or state sync still brings them (0)"),
  syncGeneration: gauge(
    "sync_generation",
    "Newest generation of targets that state sync has sent its members, 0 at its start",
  ),
  heldVerifications: gauge("held_verifications", "Verifications that wait for state sync to end"),
  rebuildPendingDepth: gauge("rebuild_pending_depth_blocks", "Blocks replayed for the latest recovered request"),
  prunedForks: counter("pruned_forks", "Pending blocks dropped because another branch was finalized"),
  replayedBlocks: counter("replayed_blocks", "Blocks executed again, for recovery or finalization"),
  evictedBlocks: counter("evicted_blocks", "Pending blocks dropped to keep the budget"),
  droppedVerifications: counter("dropped_verifications", "Verifications never answered, since too many were held"),
  spilledBlocks: counter("spilled_blocks", "Pending blocks moved to scratch to keep the budget"),
  flushes: counter("flushes", "Durable writes of applied state"),
  proposeDuration: seconds("propose_duration", "From the request to the proposed block"),
  verifyDuration: seconds("verify_duration", "From the request to the verdict true"),
  finalizeDuration: seconds("finalize_duration", "From the delivery of a finalized block until it is applied"),
  rebuildPendingDuration: seconds("rebuild_pending_duration", "From a request until its replayed parent is here"),
  prunes: counter("prunes", "Completed prunes of the set and marshal"),
  flushDuration: seconds("flush_duration", "Time of one durable write of applied state"),
  pruneDuration: seconds("prune_duration", "Time of one prune, between the flushes that went before it"),
} as const

/** How far a member of a state sync is behind. */
const syncLag = gauge(
  "sync_lag_generations",
  "Generations of state sync that this member has yet to reach, 0 when there",
)

/** `syncLag` of one member. */
export const memberLag = (member: string): Metric.Gauge<number> => Metric.withAttributes(syncLag, { member })

/** Makes every metric known to whoever reads them, before its first event. Changes no value. */
export const announceMetrics = (context: Context.Context<never>): void => {
  for (const metric of Object.values(executorMetrics)) metric.valueUnsafe(context)
}

/** Figures that only rise. */
type Counted = "forksPruned" | "replayed" | "evicted" | "spilled" | "dropped"

/** Records what has changed in what a core holds and has done since `before`. */
export const recordFigures = (
  figures: CoreFigures,
  before: CoreFigures | undefined,
  context: Context.Context<never>,
): void => {
  const set = (metric: Metric.Gauge<number>, value: number, last: number | undefined) => {
    if (value !== last) metric.updateUnsafe(value, context)
  }
  const add = (metric: Metric.Counter<number>, count: Counted) => {
    const delta = figures[count] - (before?.[count] ?? 0)
    if (delta > 0) metric.updateUnsafe(delta, context)
  }
  set(executorMetrics.appliedHeight, figures.tip.height, before?.tip.height)
  set(executorMetrics.durableHeight, figures.durable.height, before?.durable.height)
  if (figures.pruned !== undefined) set(executorMetrics.pruneHeight, figures.pruned, before?.pruned)
  set(executorMetrics.pendingBlocks, figures.pendingEntries, before?.pendingEntries)
  set(executorMetrics.pendingBytes, figures.pendingBytes, before?.pendingBytes)
  set(executorMetrics.scratchBlocks, figures.scratchEntries, before?.scratchEntries)
  set(executorMetrics.scratchBytes, figures.scratchBytes, before?.scratchBytes)
  set(executorMetrics.openRequests, figures.requests, before?.requests)
  set(executorMetrics.parkedRequests, figures.parked, before?.parked)
  set(executorMetrics.waitingRequests, figures.waiting, before?.waiting)
  set(executorMetrics.queuedVerifications, figures.queued, before?.queued)
  set(executorMetrics.unackedFinalized, figures.unacked, before?.unacked)
  add(executorMetrics.prunedForks, "forksPruned")
  add(executorMetrics.replayedBlocks, "replayed")
  add(executorMetrics.evictedBlocks, "evicted")
  add(executorMetrics.droppedVerifications, "dropped")
  add(executorMetrics.spilledBlocks, "spilled")
}
