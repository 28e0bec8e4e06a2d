/**
 * Metrics of the node itself; those of the executor and the marshal are theirs.
 *
 * Invariant: labels have few values: an environment's name, the class of a status. Nothing carries a digest or an address.
 */
import { Effect, Metric } from "effect"
import type { HttpServerResponse } from "effect/http"

const environmentBytes = Metric.gauge("coppice_node_environment_bytes", {
  description: "Bytes of an environment on disk",
})
const requests = Metric.counter("coppice_node_http_requests_total", {
  description: "Requests answered, by class of status",
  incremental: true,
})

const CLASSES = ["2xx", "4xx", "5xx"]
const answered = (status: string) => Metric.withAttributes(requests, { status })

/** Makes counters known to whoever reads them, before their first event. */
export const announceMetrics: Effect.Effect<void> = Effect.forEach(
  CLASSES,
  (status) => Metric.value(answered(status)),
  {
    discard: true,
  },
)

/** Records the sizes of a node's environments, as of now. */
export const recordDisk = (bytes: { readonly databases: number; readonly blocks: number }): Effect.Effect<void> =>
  Effect.forEach(
    Object.entries(bytes),
    ([environment, size]) => Metric.update(Metric.withAttributes(environmentBytes, { environment }), size),
    { discard: true },
  )

/** Counts a request that was answered. */
export const countRequest = ({ status }: HttpServerResponse.HttpServerResponse): Effect.Effect<void> =>
  Metric.update(answered(`${Math.floor(status / 100)}xx`), 1)
