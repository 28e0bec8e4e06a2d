/**
 * Goal: a node's HTTP API says what the node holds, and answers whatever it cannot serve in one shape, within bounds.
 * Method: a real node on LMDB with a few blocks, a real server on a free port, requests over the loopback.
 */
import { createServer, request } from "node:http"
import { connect } from "node:net"
import { decode, encode } from "@coppice/codec"
import { finalizationCodec, Height, verifyFinalization } from "@coppice/consensus"
import { nodeEd25519 } from "@coppice/crypto/node"
import { StorageDead } from "@coppice/storage"
import { it } from "@effect/vitest"
import { Deferred, Effect, Layer, Schema } from "effect"
import { HttpApiBuilder, HttpApiEndpoint, HttpApiGroup } from "effect/http-api"
import { describe, expect } from "vitest"
import { apiError, HTTP_BODY_BYTES_MAX, listen, NodeApi, openNode, serveNode, unavailable } from "../src/index.ts"
import { temporaryDirectory } from "./support/temporary.ts"
import { driveTo, fullMempool, makeToy, toyOptions } from "./support/toy.ts"

const Teapot = apiError("Teapot", 418, { spout: Schema.Int })

class EchoGroup extends HttpApiGroup.make("echo").add(
  HttpApiEndpoint.post("echo", "/echo", {
    payload: Schema.Struct({
      text: Schema.String.check(Schema.isMaxLength(8)),
      twice: Schema.optionalKey(Schema.Boolean),
    }),
    success: Schema.Struct({ text: Schema.String }),
    error: Teapot,
  }),
) {}

const EchoApi = NodeApi.add(EchoGroup)

const echo = HttpApiBuilder.group(EchoApi, "echo", (handlers) =>
  handlers.handle("echo", ({ payload: { text } }) => {
    if (text === "teapot") return Effect.fail({ error: "Teapot" as const, message: "short and stout", spout: 1 })
    if (text === "dead") return Effect.die(new StorageDead({ environment: "set", cause: "closed" }))
    return text === "bug" ? Effect.die(new Error("secret inside")) : Effect.succeed({ text })
  }),
)

interface Answer {
  readonly status: number
  readonly type: string | null
  // biome-ignore lint/suspicious/noExplicitAny: bodies are judged field by field
  readonly body: any
}

const ask = (url: string, init?: RequestInit): Effect.Effect<Answer> =>
  Effect.promise(async () => {
    const response = await fetch(url, init)
    const text = await response.text()
    const type = response.headers.get("content-type")
    return { status: response.status, type, body: type?.startsWith("application/json") ? JSON.parse(text) : text }
  })

const post = (url: string, body: string, type = "application/json") =>
  ask(url, { method: "POST", body, headers: { "content-type": type } })

/** What dashboards and alarms go by: a name is changed here on purpose, or not at all. */
const METRICS = [
  ...["environment_bytes", "http_requests_total"].map((name) => `coppice_node_${name}`),
  ...[
    ...["tip_height", "processed_height", "retained_height", "floor_height", "floor_pending", "acks_pending"],
    ...["fetches_pending", "subscriptions_open", "blocks_delivered_total", "blocks_pruned_total"],
    ...["requests_timed_out_total", "requests_failed_total", "answers_refused_total"],
  ].map((name) => `coppice_consensus_${name}`),
  ...[
    ...["applied_height", "durable_height", "prune_height", "pending_blocks", "pending_bytes", "scratch_blocks"],
    ...["scratch_bytes", "open_requests", "parked_requests", "waiting_requests", "queued_verifications"],
    ...["unacked_finalized_blocks", "sync_done", "sync_generation", "held_verifications"],
    ...["rebuild_pending_depth_blocks"],
    ...["pruned_forks_total", "replayed_blocks_total", "evicted_blocks_total", "dropped_verifications_total"],
    ...["spilled_blocks_total", "flushes_total", "prunes_total", "propose_duration_seconds"],
    ...["verify_duration_seconds", "finalize_duration_seconds", "rebuild_pending_duration_seconds"],
    ...["flush_duration_seconds", "prune_duration_seconds"],
  ].map((name) => `coppice_stateful_${name}`),
]

/** A node at height 3 or above, served. */
const served = Effect.gen(function* () {
  const application = makeToy().withInputs(fullMempool(60))
  const node = yield* openNode(yield* toyOptions(yield* temporaryDirectory, { application }))
  yield* driveTo(node, 3)
  const { url } = yield* serveNode(node, { api: EchoApi, handlers: echo, port: 0 })
  return { node, application, url }
})

describe("a node's API", () => {
  it.live("says that the process lives and the node is ready", () =>
    Effect.gen(function* () {
      const { url, node } = yield* served
      expect(yield* ask(`${url}/health`)).toMatchObject({ status: 200, body: { status: "live" } })
      expect(yield* ask(`${url}/ready`)).toMatchObject({ status: 200, body: { height: node.set.anchor.height } })
    }),
  )

  it.live("says 503 with the reason once the node has failed", () =>
    Effect.gen(function* () {
      const { node } = yield* served
      const failure = new StorageDead({ environment: "set", cause: "gone" })
      const failed = { ...node, failure: () => failure }
      const { url } = yield* serveNode(failed, { api: NodeApi, handlers: Layer.empty, port: 0 })
      expect(yield* ask(`${url}/ready`)).toMatchObject({ status: 503, body: { error: "NotReady", reason: "failed" } })
      expect((yield* ask(`${url}/health`)).status).toBe(200)
    }),
  )

  it.live("says where the node stands, with the roots of its databases", () =>
    Effect.gen(function* () {
      const { node, url } = yield* served
      const { status, body } = yield* ask(`${url}/status`)
      expect(status).toBe(200)
      const { counts, last } = node.set.tip.targets
      expect(body).toMatchObject({ chain: "test", application: "toy", validator: 0, height: node.set.anchor.height })
      expect(body.members).toEqual([
        { name: "counts", root: Buffer.from(counts.root).toString("hex"), start: counts.start, end: counts.end },
        { name: "last", root: Buffer.from(last.root).toString("hex"), start: last.start, end: last.end },
      ])
      expect(body.durable.height).toBeGreaterThanOrEqual(3)
      expect(body.flushes).toBeGreaterThan(0)
    }),
  )

  it.live("gives what a light client needs to trust a block: header, digest, certificate, validators", () =>
    Effect.gen(function* () {
      const { application, node, url } = yield* served
      const { body: chain } = yield* ask(`${url}/chain`)
      expect(chain).toMatchObject({ chain: "test", quorum: 1, members: [{ name: "counts" }, { name: "last" }] })
      let certified = 0
      for (let height = 1; height <= node.set.anchor.height; height++) {
        const { body } = yield* ask(`${url}/blocks/${height}`)
        const block = (yield* node.marshal.finalizedAt(Height(height)))!
        const header = decode(application.blocks.header, Buffer.from(body.header, "hex"))
        expect(Buffer.from(application.blocks.digestOf(header)).toString("hex")).toBe(body.digest)
        expect(encode(application.blocks.header, block)).toEqual(new Uint8Array(Buffer.from(body.header, "hex")))
        expect(body.targets.counts.root).toBe(Buffer.from(header.targets.counts.root).toString("hex"))
        expect(body.transactions).toBe(block.transactions.length)
        if (body.certificate === null) continue
        certified++
        const finalization = decode(finalizationCodec, Buffer.from(body.certificate, "hex"))
        expect(Buffer.from(finalization.proposal.payload).toString("hex")).toBe(body.digest)
        expect(verifyFinalization(nodeEd25519, node.participants, chain.chain, finalization)).toBe(true)
      }
      expect(certified).toBeGreaterThan(0)
      expect((yield* ask(`${url}/blocks/latest`)).body.height).toBe(node.set.anchor.height)
      const genesis = yield* ask(`${url}/blocks/0`)
      expect(genesis.body).toMatchObject({ height: 0, digest: chain.genesis, certificate: null, transactions: 0 })
    }),
  )

  it.live("describes itself, with the application's endpoints beside the node's", () =>
    Effect.gen(function* () {
      const { url } = yield* served
      const { body } = yield* ask(`${url}/openapi.json`)
      for (const path of [
        "/health",
        "/ready",
        "/chain",
        "/status",
        "/blocks/latest",
        "/blocks/{height}",
        "/metrics",
        "/echo",
      ])
        expect(Object.keys(body.paths)).toContain(path)
      expect(Object.keys(body.paths["/echo"].post.responses)).toContain("418")
      const docs = yield* ask(`${url}/docs`)
      expect(docs.type).toContain("text/html")
    }),
  )

  it.live("gives metrics of this node alone", () =>
    Effect.gen(function* () {
      const { node, url } = yield* served
      const { type, body } = yield* ask(`${url}/metrics`)
      expect(type).toContain("text/plain; version=0.0.4")
      expect(body).toContain(`coppice_stateful_applied_height ${node.set.anchor.height}\n`)
      expect(body).toMatch(/coppice_node_environment_bytes\{environment="databases"\} [1-9]/)
      yield* ask(`${url}/nothing`)
      expect((yield* ask(`${url}/metrics`)).body).toContain('coppice_node_http_requests_total{status="4xx"} 1\n')
      const other = yield* openNode(yield* toyOptions(yield* temporaryDirectory))
      const elsewhere = yield* serveNode(other, { api: NodeApi, handlers: Layer.empty, port: 0 })
      const { body: quiet } = yield* ask(`${elsewhere.url}/metrics`)
      expect(quiet).not.toContain(`coppice_stateful_applied_height ${node.set.anchor.height}\n`)
    }),
  )

  it.live("gives every metric, with its help, before anything has happened", () =>
    Effect.gen(function* () {
      const node = yield* openNode(yield* toyOptions(yield* temporaryDirectory))
      const { url } = yield* serveNode(node, { api: NodeApi, handlers: Layer.empty, port: 0 })
      const { body } = yield* ask(`${url}/metrics`)
      const helps = [...(body as string).matchAll(/^# HELP (\S+) .{10,}$/gm)].map(([, name]) => name!)
      expect(helps.toSorted()).toEqual(METRICS.toSorted())
      expect(body).toContain('coppice_node_http_requests_total{status="5xx"} 0\n')
      expect(body).toContain("coppice_stateful_prunes_total 0\n")
      expect(body).toContain("coppice_stateful_prune_duration_seconds_count 0\n")
      expect(body).toContain('coppice_stateful_prune_duration_seconds_bucket{le="+Inf"} 0\n')
    }),
  )
})

describe("what cannot be served has one shape", () => {
  it.live("and a status that says whose fault it is", () =>
    Effect.gen(function* () {
      const { node, url } = yield* served
      const latest = Number(node.set.anchor.height)
      const rows: ReadonlyArray<readonly [Effect.Effect<Answer>, number, object]> = [
        [ask(`${url}/blocks/99999`), 404, { error: "BlockNotFound", height: 99_999, latest }],
        [ask(`${url}/blocks/-1`), 400, { error: "Malformed" }],
        [ask(`${url}/blocks/1.5`), 400, { error: "Malformed" }],
        [ask(`${url}/blocks/x`), 400, { error: "Malformed", issues: [{ path: "height" }] }],
        [ask(`${url}/blocks/9007199254740993`), 400, { error: "Malformed" }],
        [ask(`${url}/nothing`), 404, { error: "NoSuchEndpoint" }],
        ...["1e3", "+1", "01", "0x1", " 1", "1 "].map(
          (height) => [ask(`${url}/blocks/${encodeURIComponent(height)}`), 400, { error: "Malformed" }] as const,
        ),
        [post(`${url}/status`, "{}"), 405, { error: "MethodNotAllowed", allowed: ["GET", "HEAD"] }],
        [post(`${url}/blocks/1?x=2`, "{}"), 405, { error: "MethodNotAllowed", allowed: ["GET", "HEAD"] }],
        [post(`${url}/docs`, "{}"), 405, { error: "MethodNotAllowed" }],
        [ask(`${url}/echo`), 405, { error: "MethodNotAllowed", allowed: ["POST"] }],
        [post(`${url}/blocks/1/2`, "{}"), 404, { error: "NoSuchEndpoint" }],
        [post(`${url}/echo`, "{"), 400, { error: "Malformed" }],
        [post(`${url}/echo`, ""), 400, { error: "Malformed" }],
        [post(`${url}/echo`, '{"text":1}'), 400, { error: "Malformed", issues: [{ path: "text" }] }],
        [post(`${url}/echo`, '{"text":"too long for it"}'), 400, { error: "Malformed" }],
        [post(`${url}/echo`, '{"text":"a"}', "text/plain"), 415, { error: "UnsupportedMediaType" }],
        [post(`${url}/echo`, '{"text":"teapot"}'), 418, { error: "Teapot", message: "short and stout", spout: 1 }],
        [post(`${url}/echo`, '{"text":"dead"}'), 503, { error: "Unavailable" }],
      ]
      for (const [index, [asked, status, body]] of rows.entries()) {
        const answer = yield* asked
        expect(answer, `row ${index}`).toMatchObject({ status, body })
        expect(answer.type, `row ${index}`).toBe("application/json")
        expect(typeof answer.body.message, `row ${index}`).toBe("string")
      }
      expect(yield* post(`${url}/echo`, '{"text":"fine"}')).toMatchObject({ status: 200, body: { text: "fine" } })
    }),
  )

  it.live("and a method that an endpoint has not is answered with those it has, as HTTP wants it", () =>
    Effect.gen(function* () {
      const { url } = yield* served
      const refused = yield* Effect.promise(() => fetch(`${url}/status`, { method: "DELETE" }))
      expect([refused.status, refused.headers.get("allow")]).toEqual([405, "GET, HEAD"])
      const asked = yield* Effect.promise(() => fetch(`${url}/status`, { method: "HEAD" }))
      expect(asked.status).toBe(200)
    }),
  )

  it.live("and a defect tells the client nothing of its inside", () =>
    Effect.gen(function* () {
      const { url } = yield* served
      const answer = yield* post(`${url}/echo`, '{"text":"bug"}')
      expect(answer).toMatchObject({ status: 500, body: { error: "Internal" } })
      expect(JSON.stringify(answer.body)).not.toContain("secret")
    }),
  )

  it.live("and a body over the limit is refused, with its length told or not", () =>
    Effect.gen(function* () {
      const { url } = yield* served
      const body = JSON.stringify({ text: "x".repeat(HTTP_BODY_BYTES_MAX) })
      expect(yield* post(`${url}/echo`, body)).toMatchObject({ status: 413, body: { error: "TooLarge" } })
      const status = yield* Effect.promise(
        () =>
          new Promise<number>((resolve, reject) => {
            const sent = request(`${url}/echo`, { method: "POST", headers: { "content-type": "application/json" } })
            sent.on("response", (response) => resolve(response.resume().statusCode!))
            sent.on("error", reject)
            for (let at = 0; at < body.length; at += 8192) sent.write(body.slice(at, at + 8192))
            sent.end()
          }),
      )
      expect(status).toBe(413)
    }),
  )
})

describe("the listener", () => {
  it.live("says that a port is in use", () =>
    Effect.gen(function* () {
      const taken = yield* Effect.acquireRelease(
        Effect.promise(
          () =>
            new Promise<ReturnType<typeof createServer>>((resolve) => {
              const server = createServer().listen(0, "127.0.0.1", () => resolve(server))
            }),
        ),
        (server) => Effect.sync(() => server.close()),
      )
      const { port } = taken.address() as { readonly port: number }
      const refused = yield* Effect.flip(listen({ port }, Effect.succeed(unavailable("nobody"))))
      expect(refused).toMatchObject({ _tag: "ListenFailed", reason: "in use", port })
    }),
  )

  it.live("binds to the loopback alone unless told otherwise", () =>
    Effect.gen(function* () {
      const { host, url } = yield* listen({ port: 0 }, Effect.succeed(unavailable("nobody")))
      expect(host).toBe("127.0.0.1")
      expect(yield* ask(url)).toMatchObject({ status: 503, body: { error: "Unavailable", message: "nobody" } })
    }),
  )

  it.live("stops although a client keeps half a request open", () =>
    Effect.gen(function* () {
      const closed = yield* Effect.scoped(
        Effect.gen(function* () {
          const arrived = yield* Deferred.make<void>()
          const app = Effect.andThen(Deferred.succeed(arrived, undefined), Effect.never)
          const { port } = yield* listen({ port: 0 }, app)
          const socket = connect(port, "127.0.0.1")
          const gone = new Promise<void>((resolve) => socket.on("close", () => resolve()))
          socket.on("error", () => {})
          socket.write("GET / HTTP/1.1\r\nhost: x\r\n\r\nGET /half")
          yield* Deferred.await(arrived)
          return gone
        }),
      )
      yield* Effect.promise(() => closed)
    }),
  )
})
