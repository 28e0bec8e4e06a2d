/**
 * Goal: what a user does with curl works on a real node, and every mistake gets a reason and changes nothing.
 * Method: a node on LMDB in a temporary directory under consensus of one, in real time; the platform's `fetch`.
 */

import { HTTP_BODY_BYTES_MAX } from "@coppice/node"
import { it } from "@effect/vitest"
import { Effect } from "effect"
import { describe, expect } from "vitest"
import { type Transfer, transferToJson } from "../src/index.ts"
import { trustedChain, verifyAccount, verifyReceipt } from "../src/wallet.ts"
import { alice, bob, CHAIN, carol, dave, ledgerWith, people, transfer } from "./support/chain.ts"
import { type Answer, eventually, post, request, start, temporaryDirectory } from "./support/server.ts"

const toHex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex")
const [ALICE, BOB] = [alice, bob].map(({ publicKey }) => toHex(publicKey)) as [string, string]
const ledger = () => ledgerWith([100n, 5n])
const json = (given: Transfer): string => JSON.stringify(transferToJson(given))

it.live("a transfer submitted over HTTP is in balance and receipt, provably, and still there after a restart", () =>
  Effect.gen(function* () {
    const directory = yield* temporaryDirectory
    const given = transfer(alice, bob, { amount: 30n })
    const id = toHex(ledger().idOf(given))

    /** What a wallet that trusts only `/chain` believes of the node behind a URL. */
    const believed = Effect.fnUntraced(function* (url: string) {
      const chain = trustedChain((yield* request(`${url}/chain`)).body)
      const isFinal = ({ status }: Answer): boolean => status === 200
      const receipt = yield* eventually(`${url}/receipts/${id}?proof=true`, isFinal)
      const accounts = yield* Effect.forEach([ALICE, BOB], (address) =>
        Effect.map(eventually(`${url}/accounts/${address}?proof=true`, isFinal), ({ body }) =>
          verifyAccount(chain, address, body),
        ),
      )
      return { receipt: verifyReceipt(chain, id, receipt.body), accounts }
    })

    const before = yield* Effect.scoped(
      Effect.gen(function* () {
        const { url } = yield* start(ledger(), directory)
        yield* eventually(`${url}/accounts/${ALICE}`, ({ body }) => (body as { balance: string }).balance === "100")
        expect(yield* post(url, json(given))).toEqual({ status: 202, body: { id } })
        return yield* believed(url)
      }),
    )
    const { from, to, amount, nonce } = given
    expect(before.receipt).toMatchObject({ valid: true, shown: { from, to, amount, nonce } })
    expect(before.accounts).toMatchObject([
      { valid: true, shown: { balance: 70n, nonce: 1n } },
      { valid: true, shown: { balance: 35n, nonce: 0n } },
    ])

    const { after, again } = yield* Effect.scoped(
      Effect.gen(function* () {
        const { url } = yield* start(ledger(), directory)
        return { after: yield* believed(url), again: yield* post(url, json(given)) }
      }),
    )
    expect(after.receipt).toEqual(before.receipt)
    expect(after.accounts).toMatchObject([
      { valid: true, shown: { balance: 70n, nonce: 1n } },
      { valid: true, shown: { balance: 35n, nonce: 0n } },
    ])
    expect(again).toMatchObject({ status: 409, body: { error: "DuplicateTransfer", state: "finalized" } })
  }).pipe(Effect.scoped),
)

it.live("several transfers of one account wait in a row and happen in order", () =>
  Effect.gen(function* () {
    const { url, halt } = yield* start(ledger(), yield* temporaryDirectory)
    yield* eventually(`${url}/accounts/${ALICE}`, ({ body }) => (body as { balance: string }).balance === "100")
    for (let nonce = 0n; nonce < 5n; nonce++) {
      const before = yield* request(`${url}/accounts/${ALICE}`)
      expect(before.body).toMatchObject({ nextNonce: String(nonce) })
      expect((yield* post(url, json(transfer(alice, carol, { amount: 20n, nonce })))).status).toBe(202)
    }
    yield* eventually(`${url}/accounts/${ALICE}`, ({ body }) => (body as { nonce: string }).nonce === "5")
    yield* halt
    expect((yield* request(`${url}/accounts/${ALICE}`)).body).toMatchObject({
      balance: "0",
      nonce: "5",
      nextNonce: "5",
    })
    expect((yield* request(`${url}/accounts/${toHex(carol.publicKey)}`)).body).toMatchObject({ balance: "100" })
  }).pipe(Effect.scoped),
)

/** A node that builds no more blocks, and everything that a request could change in it. */
const standing = Effect.gen(function* () {
  const { url, node, mempool, halt } = yield* start(ledger(), yield* temporaryDirectory)
  yield* eventually(`${url}/accounts/${ALICE}`, ({ body }) => (body as { balance: string }).balance === "100")
  yield* halt
  const image = Effect.gen(function* () {
    const answers = yield* Effect.forEach(people, ({ publicKey }) => request(`${url}/accounts/${toHex(publicKey)}`))
    // Blocks that were final before consensus ended may still be executed: the height may rise.
    const accounts = answers.map(({ body }) => ({ ...(body as object), height: undefined }))
    const waiting = mempool.take(1e9, 1e9).map(({ transaction }) => transferToJson(transaction))
    return { accounts, waiting, receipts: node.set.use("read", ({ receipts }) => receipts.active) }
  })
  return { url, mempool, image }
})

type Refused = readonly [status: number, error: string, evidence?: object]

/** Sends requests to one node; each must be answered as said, in the one shape, and change nothing. */
const refuses = (cases: Readonly<Record<string, readonly [(url: string) => Effect.Effect<Answer>, Refused]>>) =>
  Effect.gen(function* () {
    const { url, image } = yield* standing
    const before = yield* image
    for (const [what, [send, [status, error, evidence = {}]]] of Object.entries(cases)) {
      const answer = yield* send(url)
      expect(answer, what).toMatchObject({ status, body: { error, message: expect.stringMatching(/./), ...evidence } })
      expect(yield* image, `${what} changed something`).toEqual(before)
    }
  }).pipe(Effect.scoped)

const good = transferToJson(transfer(alice, bob, { amount: 30n }))

const submits =
  (body: string | Uint8Array, contentType?: string) =>
  (url: string): Effect.Effect<Answer> =>
    post(url, body, contentType)

const submitsWith = (change: object) => submits(JSON.stringify({ ...good, ...change }))

const asks =
  (path: string, init?: RequestInit) =>
  (url: string): Effect.Effect<Answer> =>
    request(url + path, init)

/** A malformed request, with the field that is blamed. */
const blames = (path: string): Refused => [
  400,
  "Malformed",
  { issues: expect.arrayContaining([expect.objectContaining({ path })]) },
]

describe("refused with a reason, changing nothing", () => {
  it.live("bodies that are no JSON, no transfer, too large or of another type", () =>
    refuses({
      "cut JSON": [submits(json(transfer(alice, bob)).slice(0, -1)), blames("")],
      "no body": [submits(""), blames("")],
      "bytes that are no text": [submits(Uint8Array.of(0xff, 0xfe, 0x7b)), blames("")],
      "an array": [submits(`[${JSON.stringify(good)}]`), blames("")],
      null: [submits("null"), blames("")],
      "a body one byte too large": [submits(JSON.stringify(good).padEnd(HTTP_BODY_BYTES_MAX + 1)), [413, "TooLarge"]],
      "a form": [submits("from=1", "application/x-www-form-urlencoded"), [415, "UnsupportedMediaType"]],
      text: [submits(JSON.stringify(good), "text/plain"), [415, "UnsupportedMediaType"]],
    }),
  )

  it.live("fields that are missing, unknown, of another type, length or range", () => {
    const { signature: _, ...unsigned } = good
    return refuses({
      "a missing field": [submits(JSON.stringify(unsigned)), blames("signature")],
      "an unknown field": [submitsWith({ memo: "hello" }), blames("memo")],
      "a number for text": [submitsWith({ amount: 30 }), blames("amount")],
      "null for text": [submitsWith({ to: null }), blames("to")],
      "a short address": [submitsWith({ from: ALICE.slice(2) }), blames("from")],
      "a long address": [submitsWith({ to: `${BOB}00` }), blames("to")],
      "half a byte": [submitsWith({ to: BOB.slice(1) }), blames("to")],
      "upper case": [submitsWith({ from: ALICE.toUpperCase() }), blames("from")],
      "no hex": [submitsWith({ to: `zz${BOB.slice(2)}` }), blames("to")],
      "a short signature": [submitsWith({ signature: good.signature.slice(2) }), blames("signature")],
      "2^64": [submitsWith({ amount: String(1n << 64n) }), blames("amount")],
      "a nonce of 2^64": [submitsWith({ nonce: String(1n << 64n) }), blames("nonce")],
      "a thousand digits": [submitsWith({ amount: "9".repeat(1000) }), blames("amount")],
      "a negative amount": [submitsWith({ amount: "-1" }), blames("amount")],
      "a fraction": [submitsWith({ amount: "1.5" }), blames("amount")],
      "an exponent": [submitsWith({ amount: "1e3" }), blames("amount")],
      "a leading zero": [submitsWith({ amount: "030" }), blames("amount")],
      "an empty number": [submitsWith({ nonce: "" }), blames("nonce")],
    })
  })

  it.live("paths and queries that are malformed or unknown", () =>
    refuses({
      "a short address": [asks("/accounts/00"), blames("address")],
      "an upper-case address": [asks(`/accounts/${ALICE.toUpperCase()}`), blames("address")],
      "an address that is no hex": [asks(`/accounts/${"zz".repeat(32)}`), blames("address")],
      "a short id": [asks("/receipts/00"), blames("id")],
      "a proof that is neither": [asks(`/accounts/${ALICE}?proof=yes`), blames("proof")],
      "a parameter that does not exist": [asks(`/accounts/${ALICE}?prof=true`), blames("prof")],
      "transfers, asked for": [asks("/transfers"), [404, "NoSuchEndpoint"]],
      "a transfer, put": [asks("/transfers", { method: "PUT" }), [404, "NoSuchEndpoint"]],
      "an account, deleted": [asks(`/accounts/${ALICE}`, { method: "DELETE" }), [404, "NoSuchEndpoint"]],
    }),
  )

  it.live("transfers that cannot happen, each by its reason", () => {
    const amount = "101"
    return refuses({
      "a changed amount": [submitsWith({ amount: "31" }), [422, "BadSignature", { chain: CHAIN }]],
      "another chain's": [submits(json(transfer(alice, bob, { chain: "another" }))), [422, "BadSignature"]],
      "a later nonce": [
        submits(json(transfer(alice, bob, { nonce: 1n }))),
        [409, "WrongNonce", { expected: "0", actual: "1" }],
      ],
      "more than there is": [
        submits(json(transfer(alice, bob, { amount: BigInt(amount) }))),
        [422, "ShortBalance", { available: "100", amount }],
      ],
      "from nobody": [submits(json(transfer(dave, bob))), [422, "ShortBalance", { available: "0", amount: "1" }]],
    })
  })

  it.live("what is not there", () => {
    const id = "00".repeat(32)
    return refuses({
      "a receipt": [asks(`/receipts/${id}`), [404, "ReceiptNotFound", { id, state: "unknown" }]],
      "a receipt to prove": [asks(`/receipts/${id}?proof=true`), [404, "ReceiptNotFound", { id, state: "unknown" }]],
      "an account to prove": [
        asks(`/accounts/${toHex(dave.publicKey)}?proof=true`),
        [409, "ProofNotReady", { reason: "absent" }],
      ],
    })
  })

  it.live("what waits already, and what does not fit any more", () =>
    Effect.gen(function* () {
      const { url, mempool, image } = yield* standing
      const first = json(transfer(alice, alice, { amount: 0n }))
      const { body } = yield* post(url, first)
      const { id } = body as { readonly id: string }
      for (let nonce = 1n; mempool.waiting < mempool.limits.senderTransactionsMax; nonce++) {
        mempool.submit(transfer(alice, alice, { amount: 0n, nonce }))
      }
      const nonce = BigInt(mempool.limits.senderTransactionsMax)
      const before = yield* image
      expect(yield* post(url, first)).toMatchObject({
        status: 409,
        body: { error: "DuplicateTransfer", id, state: "waiting" },
      })
      expect(yield* request(`${url}/receipts/${id}`)).toMatchObject({
        status: 404,
        body: { error: "ReceiptNotFound", id, state: "waiting" },
      })
      expect(yield* post(url, json(transfer(alice, bob, { nonce })))).toMatchObject({
        status: 429,
        body: { error: "MempoolFull", limit: "sender", allowed: Number(nonce) },
      })
      expect(yield* image).toEqual(before)
    }).pipe(Effect.scoped),
  )

  it.live("canary: a request that is accepted does change something", () =>
    Effect.gen(function* () {
      const { url, image } = yield* standing
      const before = yield* image
      expect((yield* post(url, JSON.stringify(good))).status).toBe(202)
      expect(yield* image).not.toEqual(before)
    }).pipe(Effect.scoped),
  )
})

it.live("the API describes itself: every endpoint with its refusals, and the form of every field", () =>
  Effect.gen(function* () {
    const { url } = yield* standing
    const { body } = yield* request(`${url}/openapi.json`)
    const { paths, components } = body as {
      readonly paths: Readonly<Record<string, Readonly<Record<string, { readonly responses: object }>>>>
      readonly components: { readonly schemas: Readonly<Record<string, { readonly properties: object }>> }
    }
    const statuses = (path: string, method: string) => Object.keys(paths[path]![method]!.responses)
    expect(statuses("/transfers", "post")).toEqual(expect.arrayContaining(["202", "409", "422", "429"]))
    expect(statuses("/accounts/{address}", "get")).toEqual(expect.arrayContaining(["200", "409"]))
    expect(statuses("/receipts/{id}", "get")).toEqual(expect.arrayContaining(["200", "404", "409"]))
    expect(components.schemas["Transfer"]!.properties).toMatchObject({
      from: { type: "string", pattern: "^[0-9a-f]{64}$" },
      amount: { type: "string", pattern: "^(0|[1-9][0-9]{0,19})$" },
    })
  }).pipe(Effect.scoped),
)
