/**
 * What a node answers while its databases are on the way.
 *
 *   /health   200          anything else   503 `NotReady`: reason `syncing`, or `failed`          then   the running node's app
 *
 * Invariant: nothing is served from databases that are not complete. The app of the running node takes over once, and stays.
 */
import type { Block } from "@coppice/consensus"
import type { Databases } from "@coppice/stateful"
import { Effect, Metric, type Scope } from "effect"
import { HttpServerRequest, HttpServerResponse } from "effect/http"
import type { HttpApiGroup } from "effect/http-api"
import { explain } from "../explain.ts"
import { countRequest } from "../metrics.ts"
import type { JoiningNode, RunningNode } from "../node.ts"
import { type AppOptions, type HttpApp, makeApp } from "./server.ts"

const answer = Effect.fnUntraced(function* <B extends Block, M extends Databases>(node: JoiningNode<B, M>) {
  const { url } = yield* HttpServerRequest.HttpServerRequest
  if (url.split("?", 1)[0] === "/health") return HttpServerResponse.jsonUnsafe({ status: "live" })
  const { height: finalized } = yield* node.marshal.tip
  const failure = node.failure()
  const height = Number((yield* node.joining)?.recorded ?? 0)
  const message = failure === undefined ? "state sync brings the databases" : explain(failure).what
  const reason = failure === undefined ? "syncing" : "failed"
  return HttpServerResponse.jsonUnsafe(
    { error: "NotReady", message, reason, height, finalized: Number(finalized) },
    { status: 503 },
  )
})

/**
 * The app of a node that may be joining. `options` makes that of the running node, as for `makeApp`.
 *
 * While it joins, `height` in its answers is the newest height that state sync will not come out below, 0 before the first.
 */
export const makeJoiningApp = Effect.fn("Node.makeJoiningApp")(function* <
  B extends Block,
  M extends Databases,
  Groups extends HttpApiGroup.Constraint,
>(
  node: JoiningNode<B, M>,
  options: (node: RunningNode<B, M>) => AppOptions<Groups>,
): Effect.fn.Return<HttpApp, never, Scope.Scope> {
  let running: HttpApp | undefined
  const takeOver = Effect.gen(function* () {
    const complete = yield* node.running
    running = yield* makeApp(complete, options(complete))
  })
  // Why it does not come to that is in every answer.
  yield* Effect.forkScoped(Effect.ignore(takeOver), { startImmediately: true })
  const joining = answer(node).pipe(
    Effect.tap(countRequest),
    Effect.provideService(Metric.MetricRegistry, node.metrics),
  )
  return Effect.suspend(() => running ?? joining)
})
