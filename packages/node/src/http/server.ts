/**
 * The HTTP server of a node.
 *
 *   listener (address, limits) --> current app, or a wait, or 503 --> router --> node
 *
 * Terms: an *app* answers requests for one running node and ends with it. A *listener* holds the address and may outlive
 * nodes: while one restarts, requests wait for the next.
 *
 * Invariant: a request holds bounded memory and time: header, body, duration and connections have limits. A server binds
 * to 127.0.0.1 unless it is told otherwise, and stops within its limit whatever its clients do.
 */
import { createServer, type Server } from "node:http"
import type { Block } from "@coppice/consensus"
import { Height } from "@coppice/consensus"
import type { Databases } from "@coppice/stateful"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import { ByteSize, Deferred, Effect, Layer, Metric, type Scope } from "effect"
import {
  HttpIncomingMessage,
  HttpRouter,
  type HttpServerError,
  type HttpServerRequest,
  type HttpServerResponse,
} from "effect/http"
import { type HttpApi, HttpApiBuilder, type HttpApiGroup, HttpApiScalar } from "effect/http-api"
import { PrometheusMetrics } from "effect/observability"
import { ListenFailed } from "../errors.ts"
import { explain } from "../explain.ts"
import {
  HTTP_BODY_BYTES_MAX,
  HTTP_CONNECTIONS_MAX,
  HTTP_HEADER_BYTES_MAX,
  HTTP_REQUEST_MS_MAX,
  HTTP_SHUTDOWN_MS_MAX,
} from "../limits.ts"
import { countRequest, recordDisk } from "../metrics.ts"
import type { RunningNode } from "../node.ts"
import { blockView, chainView, executedBlock, nodeStatus } from "../status.ts"
import { NodeApi, type NodeGroup } from "./api.ts"
import { withJsonErrors } from "./errors.ts"
import { knowRoutes } from "./methods.ts"

/** Answers one request; never fails. */
export type HttpApp = Effect.Effect<
  HttpServerResponse.HttpServerResponse,
  never,
  HttpServerRequest.HttpServerRequest | Scope.Scope
>

/** An API and what answers the groups that it adds to a node's own. */
export interface AppOptions<Groups extends HttpApiGroup.Constraint> {
  readonly api: HttpApi.HttpApi<"coppice", typeof NodeGroup | Groups>
  readonly handlers: Layer.Layer<HttpApiGroup.ToService<"coppice", Exclude<Groups, typeof NodeGroup>>>
  /** Routes beside the API's, for pages. */
  readonly routes?: Layer.Layer<never, never, HttpRouter.HttpRouter>
}

/** Where a server listens. */
export interface ListenOptions {
  /** Default 127.0.0.1. */
  readonly host?: string
  /** 0 takes a free one. */
  readonly port: number
  /** Bytes of a request body. */
  readonly bodyBytesMax?: number
}

/** A server that listens. */
export interface Listening {
  readonly host: string
  readonly port: number
  readonly url: string
}

const behind = (height: number, finalized: number) => ({
  error: "NotReady" as const,
  message: `executed height ${height}, final is ${finalized}`,
  reason: "behind" as const,
  height,
  finalized,
})

const readiness = Effect.fnUntraced(function* <B extends Block, M extends Databases>(node: RunningNode<B, M>) {
  const failure = node.failure()
  const { height } = node.set.anchor
  const { height: finalized } = yield* node.marshal.tip
  if (failure !== undefined) {
    const message = explain(failure).what
    return yield* Effect.fail({ error: "NotReady" as const, message, reason: "failed" as const, height, finalized })
  }
  if (finalized - height > node.marshal.pendingAcksMax) return yield* Effect.fail(behind(height, finalized))
  return { status: "ready" as const, height: Number(height) }
})

const blockAt = Effect.fnUntraced(function* <B extends Block, M extends Databases>(
  node: RunningNode<B, M>,
  height: number,
) {
  const block = yield* executedBlock(node, Height(height))
  if (block !== undefined) return yield* blockView(node, block)
  const latest = Number(node.set.anchor.height)
  const message = height > latest ? `the chain is at height ${latest}` : "the block is not held any more"
  return yield* Effect.fail({ error: "BlockNotFound" as const, message, height, latest })
})

const metricsText = Effect.fnUntraced(function* <B extends Block, M extends Databases>(node: RunningNode<B, M>) {
  const { set, marshal } = node.disk()
  const write = Effect.andThen(
    recordDisk({ databases: set.bytesUsed, blocks: marshal.bytesUsed }),
    PrometheusMetrics.format(),
  )
  return yield* Effect.provideService(write, Metric.MetricRegistry, node.metrics)
})

const nodeHandlers = <B extends Block, M extends Databases>(node: RunningNode<B, M>) =>
  HttpApiBuilder.group(NodeApi, "node", (handlers) =>
    handlers.handleAll({
      health: () => Effect.succeed({ status: "live" as const }),
      ready: () => readiness(node),
      chain: () => Effect.succeed(chainView(node)),
      status: () => nodeStatus(node),
      latestBlock: () => Effect.orDie(blockAt(node, node.set.anchor.height)),
      block: ({ params }) => blockAt(node, params.height),
      metrics: () => metricsText(node),
    }),
  )

/**
 * The app of a running node: its own endpoints, the application's, `/docs` and `/openapi.json`.
 *
 * What the handlers need is in their layer; both end with the scope.
 */
export const makeApp = Effect.fn("Node.makeApp")(function* <
  B extends Block,
  M extends Databases,
  Groups extends HttpApiGroup.Constraint,
>(
  node: RunningNode<B, M>,
  { api, handlers, routes = Layer.empty }: AppOptions<Groups>,
): Effect.fn.Return<HttpApp, never, Scope.Scope> {
  const all = Layer.mergeAll(
    routes,
    HttpApiBuilder.layer(api, { openapiPath: "/openapi.json" }),
    HttpApiScalar.layer(api, { path: "/docs" }),
  ).pipe(
    Layer.provide(Layer.merge(handlers, nodeHandlers(node))),
    Layer.provide(NodeHttpServer.layerHttpServices),
  ) as Layer.Layer<never, never, HttpRouter.HttpRouter>
  const { router, methodsAt } = knowRoutes(yield* HttpRouter.make)
  yield* Layer.build(Layer.provide(all, Layer.succeed(HttpRouter.HttpRouter, router)))
  return withJsonErrors(router.asHttpEffect() as HttpApp, methodsAt).pipe(
    Effect.tap(countRequest),
    Effect.provideService(Metric.MetricRegistry, node.metrics),
  )
})

const refused = (host: string, port: number, { cause }: HttpServerError.ServeError): ListenFailed => {
  const code = cause instanceof Error && "code" in cause ? cause.code : undefined
  const reason = code === "EADDRINUSE" ? "in use" : code === "EACCES" ? "not allowed" : "other"
  return new ListenFailed({ host, port, reason, cause })
}

/**
 * Refuses new connections, waits for requests under way as long as they may take, then cuts what is left.
 *
 * A finalizer cannot be interrupted, and so no race of effects can end a wait in it: both ends complete one promise.
 */
const drain = (native: Server): Effect.Effect<void> =>
  Effect.gen(function* () {
    const over = yield* Deferred.make<void>()
    yield* Effect.forkDetach(Effect.andThen(Effect.sleep(HTTP_SHUTDOWN_MS_MAX), Deferred.succeed(over, undefined)))
    native.close(() => Deferred.doneUnsafe(over, Effect.void))
    yield* Deferred.await(over)
    native.closeAllConnections()
  })

/**
 * Listens, and asks `app` for what answers each request.
 *
 * Errors: `ListenFailed`. Cancellation: closing the scope refuses new requests, gives those under way
 * `HTTP_SHUTDOWN_MS_MAX`, then cuts what is still open.
 */
export const listen = Effect.fn("Node.listen")(function* (
  options: ListenOptions,
  app: HttpApp,
): Effect.fn.Return<Listening, ListenFailed, Scope.Scope> {
  const { host = "127.0.0.1", port, bodyBytesMax = HTTP_BODY_BYTES_MAX } = options
  const native = createServer({
    maxHeaderSize: HTTP_HEADER_BYTES_MAX,
    requestTimeout: HTTP_REQUEST_MS_MAX,
    headersTimeout: HTTP_REQUEST_MS_MAX,
  })
  native.maxConnections = HTTP_CONNECTIONS_MAX
  const server = yield* NodeHttpServer.make(() => native, {
    host,
    port,
    disablePreemptiveShutdown: true,
  }).pipe(Effect.mapError((error) => refused(host, port, error)))
  // A server runs requests uninterruptibly, and a wait for a node that is down must end with the server.
  yield* server
    .serve(Effect.interruptible(app))
    .pipe(Effect.provideService(HttpIncomingMessage.MaxBodySize, ByteSize.bytes(bodyBytesMax)))
  yield* Effect.addFinalizer(() => drain(native))
  const address = native.address()
  const bound = typeof address === "object" && address !== null ? address.port : port
  return { host, port: bound, url: `http://${host.includes(":") ? `[${host}]` : host}:${bound}` }
})

/** Serves a node for as long as the scope: `makeApp` and `listen` in one. */
export const serveNode = Effect.fn("Node.serve")(function* <
  B extends Block,
  M extends Databases,
  Groups extends HttpApiGroup.Constraint,
>(node: RunningNode<B, M>, options: AppOptions<Groups> & ListenOptions) {
  return yield* listen(options, yield* makeApp(node, options))
})
