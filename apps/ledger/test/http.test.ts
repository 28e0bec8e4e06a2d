/**
 * Goal: what a user does with curl works on a real node, and every mistake gets a reason and changes nothing.
 * Method: a node on LMDB in a temporary directory under consensus of one, in real time; the platform's `fetch`.
 */

import { HTTP_BODY_BYTES_MAX } from "@coppice/node"
import type { DatabaseSet } from "@coppice/stateful"
import { it } from "@effect/vitest"
import { Effect } from "effect"
import { describe, expect } from "vitest"
import { ACCOUNTS_PAGE_MAX, type LedgerDatabases, type Transfer, transferToJson } from "../src/index.ts"
import { trustedChain, verifyAccount, verifyReceipt, verifyReceiptOf, verifyTransfer } from "../src/wallet.ts"
import { alice, bob, CHAIN, carol, dave, ledgerWith, people, transfer } from "./support/chain.ts"
import { type Answer, eventually, post, request, start, temporaryDirectory } from "./support/server.ts"

const toHex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex")
const [ALICE, BOB, DAVE] = [alice, bob, dave].map(({ publicKey }) => toHex(publicKey)) as [string, string, string]
const ledger = () => ledgerWith([100n, 5n])
const json = (given: Transfer): string => JSON.stringify(transferToJson(given))

it.live(
  "a transfer submitted over HTTP is there, in balance and receipt, provably, and still there after a restart",
  () =>
    Effect.gen(function* () {
      const directory = yield* temporaryDirectory
      const given = transfer(alice, bob, { amount: 30n })
      const id = toHex(ledger().idOf(given))

      /** What a wallet that trusts only `/chain` believes of the node behind a URL. */
      const believed = Effect.fnUntraced(function* (url: string) {
        const chain = trustedChain((yield* request(`${url}/chain`)).body)
        const isFinal = ({ status }: Answer): boolean => status === 200
        const executed = yield* eventually(`${url}/transfers/${id}?proof=true`, isFinal)
        const receiptOf = yield* eventually(`${url}/transfers/${id}/receipt?proof=true`, isFinal)
        const { receipt: location } = executed.body as { readonly receipt: number }
        const receipt = yield* eventually(`${url}/receipts/${location}?proof=true`, isFinal)
        const accounts = yield* Effect.forEach([ALICE, BOB, DAVE], (address) =>
          Effect.map(eventually(`${url}/accounts/${address}?proof=true`, isFinal), ({ body }) =>
            verifyAccount(chain, address, body),
          ),
        )
        return {
          executed: verifyTransfer(chain, id, executed.body),
          receipts: [verifyReceiptOf(chain, id, receiptOf.body), verifyReceipt(chain, location, receipt.body)],
          accounts,
        }
      })

      const before = yield* Effect.scoped(
        Effect.gen(function* () {
          const { url } = yield* start(ledger(), directory)
          yield* eventually(`${url}/accounts/${ALICE}`, ({ body }) => (body as { balance: string }).balance === "100")
          expect(yield* post(url, json(given))).toEqual({ status: 202, body: { id } })
          return yield* believed(url)
        }),
      )
      const balances = [
        { valid: true, shown: { exists: true, balance: 70n, nonce: 1n } },
        { valid: true, shown: { exists: true, balance: 35n, nonce: 0n } },
        { valid: true, shown: { exists: false } },
      ]
      const left = { valid: true, shown: { senderBalance: 70n, receiverBalance: 35n } }
      expect(before.executed).toMatchObject({ valid: true, shown: { transfer: given } })
      expect(before.receipts).toMatchObject([left, left])
      expect(before.accounts).toMatchObject(balances)

      const { after, again } = yield* Effect.scoped(
        Effect.gen(function* () {
          const { url } = yield* start(ledger(), directory)
          return { after: yield* believed(url), again: yield* post(url, json(given)) }
        }),
      )
      expect([after.executed, after.receipts]).toEqual([before.executed, before.receipts])
      expect(after.accounts).toMatchObject(balances)
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
    const given = ledger().idOf(transfer(alice, bob, { amount: 30n }))
    const waiting = mempool.take(1e9, 1e9).map(({ transaction }) => transferToJson(transaction))
    return { accounts, waiting, transfers: node.set.use("read", ({ transfers }) => transfers.locate(given)) }
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
      "a short id": [asks("/transfers/00"), blames("id")],
      "a short id of a receipt": [asks("/transfers/00/receipt"), blames("id")],
      "a location that is none": [asks("/receipts/one"), blames("location")],
      "a location below 0": [asks("/receipts/-1"), blames("location")],
      "a location between two": [asks("/receipts/1.5"), blames("location")],
      "a location beyond 2^53": [asks(`/receipts/${2 ** 53}`), blames("location")],
      "a start that is no address": [asks("/accounts?start=00"), blames("start")],
      "an end that is no address": [asks("/accounts?end=zz"), blames("end")],
      "a page of none": [asks("/accounts?limit=0"), blames("limit")],
      "a page too long": [asks(`/accounts?limit=${ACCOUNTS_PAGE_MAX + 1}`), blames("limit")],
      "a range with a proof": [asks("/accounts?proof=true"), blames("proof")],
      "a proof that is neither": [asks(`/accounts/${ALICE}?proof=yes`), blames("proof")],
      "a parameter that does not exist": [asks(`/accounts/${ALICE}?prof=true`), blames("prof")],
      "transfers, asked for": [asks("/transfers"), [405, "MethodNotAllowed"]],
      "a transfer, put": [asks("/transfers", { method: "PUT" }), [405, "MethodNotAllowed"]],
      "an account, deleted": [asks(`/accounts/${ALICE}`, { method: "DELETE" }), [405, "MethodNotAllowed"]],
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
      "a transfer": [asks(`/transfers/${id}`), [404, "TransferNotFound", { id, state: "unknown" }]],
      "a transfer to prove": [asks(`/transfers/${id}?proof=true`), [404, "TransferNotFound", { id, state: "unknown" }]],
      "its receipt": [asks(`/transfers/${id}/receipt`), [404, "TransferNotFound", { id, state: "unknown" }]],
      "a receipt where a block ends": [asks("/receipts/0"), [404, "ReceiptNotFound", { location: 0 }]],
      "a receipt beyond the log": [asks("/receipts/9007?proof=true"), [404, "ReceiptNotFound", { location: 9007 }]],
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
      expect(yield* request(`${url}/transfers/${id}`)).toMatchObject({
        status: 404,
        body: { error: "TransferNotFound", id, state: "waiting" },
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

it.live("accounts come in the order of their addresses, a page at a time, within bounds", () =>
  Effect.gen(function* () {
    const { url } = yield* standing
    const page = Effect.fnUntraced(function* (query: string) {
      const { status, body } = yield* request(`${url}/accounts${query}`)
      expect(status).toBe(200)
      const { accounts, next } = body as { accounts: ReadonlyArray<{ address: string; balance: string }>; next: string }
      return {
        addresses: accounts.map(({ address }) => address),
        balances: accounts.map(({ balance }) => balance),
        next,
      }
    })
    const both = [ALICE, BOB].sort() as [string, string]
    const whole = yield* page("")
    expect(whole).toMatchObject({ addresses: both, next: null })
    expect(whole.balances).toEqual(both.map((address) => (address === ALICE ? "100" : "5")))
    const first = yield* page("?limit=1")
    expect(first).toMatchObject({ addresses: [both[0]], next: both[1] })
    expect(yield* page(`?limit=1&start=${first.next}`)).toMatchObject({ addresses: [both[1]], next: null })
    expect(yield* page(`?end=${both[1]}`)).toMatchObject({ addresses: [both[0]], next: null })
    expect(yield* page(`?start=${both[1]}&end=${both[1]}`)).toMatchObject({ addresses: [], next: null })
  }).pipe(Effect.scoped),
)

it.live("a receipt that is not kept any more is gone, and says so", () =>
  Effect.gen(function* () {
    const kept = ledgerWith([100n], { logOperationsKept: 4 })
    const { url, node, halt } = yield* start(kept, yield* temporaryDirectory)
    const given = transfer(alice, bob)
    yield* eventually(`${url}/accounts/${ALICE}`, ({ body }) => (body as { balance: string }).balance === "100")
    yield* post(url, json(given))
    const isThere = ({ status }: Answer): boolean => status === 200
    const { body } = yield* eventually(`${url}/transfers/${toHex(kept.idOf(given))}`, isThere)
    const { receipt } = body as { readonly receipt: number }
    yield* eventually(`${url}/status`, () => node.set.tip.targets.receipts.start > receipt)
    yield* halt
    while (node.set.durable.height < node.set.anchor.height) yield* Effect.sleep(1)
    // Nothing executes any more, so that pruning by hand meets no executor's.
    yield* (node.set as DatabaseSet<LedgerDatabases>).prune(node.set.durable.height)
    expect(yield* request(`${url}/receipts/${receipt}?proof=true`)).toMatchObject({
      status: 410,
      body: { error: "ReceiptPruned", location: receipt },
    })
    expect(yield* request(`${url}/transfers/${toHex(kept.idOf(given))}`)).toMatchObject({ status: 404 })
  }).pipe(Effect.scoped),
)

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
    expect(statuses("/accounts", "get")).toEqual(["200"])
    expect(statuses("/transfers/{id}", "get")).toEqual(expect.arrayContaining(["200", "404", "409"]))
    expect(statuses("/transfers/{id}/receipt", "get")).toEqual(expect.arrayContaining(["200", "404", "409", "410"]))
    expect(statuses("/receipts/{location}", "get")).toEqual(expect.arrayContaining(["200", "404", "409", "410"]))
    expect(components.schemas["Transfer"]!.properties).toMatchObject({
      from: { type: "string", pattern: "^[0-9a-f]{64}$" },
      amount: { type: "string", pattern: "^(0|[1-9][0-9]{0,19})$" },
    })
  }).pipe(Effect.scoped),
)
