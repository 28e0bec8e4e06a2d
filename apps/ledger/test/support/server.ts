/**
 * The ledger as its users meet it: a node on LMDB in a directory, its HTTP server, and a consensus of one.
 *
 *   start --> node, server, consensus --> blocks in real time --> halt: no more blocks --> the scope closes: all of it ends
 *
 * Invariant: what a start leaves to the next one on the same directory is what is on disk.
 */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { createParticipants, keyPairFromSeed } from "@coppice/crypto"
import { nodeEd25519 } from "@coppice/crypto/node"
import { keepSecret, NodeApi, nodePaths, openNode, serveNode } from "@coppice/node"
import { DEFAULT_SCHEDULE, makeBlockNetwork, makeSimulatedConsensus } from "@coppice/simulate"
import { Effect, Fiber } from "effect"
import {
  type Ledger,
  LedgerApi,
  type LedgerBlock,
  type LedgerDatabases,
  ledgerHandlers,
  pageRoutes,
} from "../../src/index.ts"

const LATENCY_MS = { min: 0, max: 1 }
const validator = keyPairFromSeed(nodeEd25519, new Uint8Array(32).fill(77))

/** A directory that is removed when the scope closes. */
export const temporaryDirectory = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "coppice-ledger-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true })),
)

const openValidator = Effect.fnUntraced(function* (ledger: Ledger, directory: string) {
  const mempool = ledger.mempool()
  const network = makeBlockNetwork({ latencyMs: LATENCY_MS, lossChance: 0 })
  yield* keepSecret(nodePaths(directory), Effect.succeed(validator.secret))
  const node = yield* openNode<LedgerBlock, LedgerDatabases>({
    directory,
    application: ledger.application.withInputs(mempool),
    chainId: ledger.chainId,
    participants: createParticipants([validator.publicKey]),
    transport: network.transport(validator.publicKey),
  })
  mempool.finalized(node.set.durable.height, [])
  network.attach(validator.publicKey, node.marshal.serve)
  return { node, mempool }
})

const SCHEDULE = { ...DEFAULT_SCHEDULE, viewMs: 5, latencyMs: LATENCY_MS, corruptChance: 0, restarts: undefined }

/** Starts the ledger in a directory, until the scope closes. `halt` ends consensus: the state stands still from then on. */
export const start = Effect.fnUntraced(function* (ledger: Ledger, directory: string) {
  const { node, mempool } = yield* openValidator(ledger, directory)
  const { set, marshal, executor, genesis } = node
  const api = NodeApi.add(LedgerApi)
  const handlers = ledgerHandlers({ ledger, mempool, set, marshal, gossip: () => {} })
  const { url } = yield* serveNode(node, { api, handlers, routes: pageRoutes, port: 0 })
  const consensus = yield* makeSimulatedConsensus({
    chainId: ledger.chainId,
    genesis,
    codec: ledger.application.codec,
    validators: [validator],
    ed25519: nodeEd25519,
    seed: 1,
    schedule: SCHEDULE,
  })
  yield* consensus.join(0, { executor: executor.port, marshal })
  const running = yield* Effect.forkScoped(consensus.run)
  return { url, node, mempool, halt: Fiber.interrupt(running) }
})

/** An answer over HTTP: its status, and its body as JSON. */
export interface Answer {
  readonly status: number
  readonly body: unknown
}

/** Sends a request with the platform's `fetch`. */
export const request = (url: string, init: RequestInit = {}): Effect.Effect<Answer> =>
  Effect.promise(async () => {
    const response = await fetch(url, init)
    return { status: response.status, body: await response.json() }
  })

/** Submits the JSON text of a transfer, as curl does. */
export const post = (url: string, body: string | Uint8Array, contentType = "application/json"): Effect.Effect<Answer> =>
  request(`${url}/transfers`, { method: "POST", body, headers: { "content-type": contentType } })

/** Asks until an answer fits. */
export const eventually = Effect.fnUntraced(function* (url: string, fits: (answer: Answer) => boolean) {
  for (;;) {
    const answer = yield* request(url)
    if (fits(answer)) return answer
  }
})
