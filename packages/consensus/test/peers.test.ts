/**
 * Goal: peers are asked in the order of their conduct, within their places, and a liar not at all.
 * Method: the book alone with a clock of numbers; then fetches that share one, in virtual time.
 */
import { bytesEqual } from "@coppice/codec"
import { simulate } from "@coppice/simulate"
import { blockCodec, chainOn, genesis, type TestBlock } from "@coppice/simulate/chain"
import { Effect, Exit } from "effect"
import { describe, expect, test } from "vitest"
import { type BlockRequest, encodeBlock } from "../src/index.ts"
import {
  FETCH_PAUSE_MS,
  PEER_BLAMED_MS,
  PEER_FAILURES_MAX,
  PEER_REQUESTS_MAX,
  PEERS_REMEMBERED_MAX,
} from "../src/limits.ts"
import { fetchAnswer } from "../src/marshal/fetch.ts"
import { PeerBook } from "../src/marshal/peers.ts"

const peer = (n: number): Uint8Array => new Uint8Array([n & 255, n >> 8])
const [a, b, c] = [peer(1), peer(2), peer(3)]

describe("the book", () => {
  test("those that fail come later, the more the later, and an answer wipes it out", () => {
    const book = new PeerBook()
    book.failed(a)
    book.failed(a)
    book.failed(b)
    expect(book.askable([a, b, c], 0)).toEqual([c, b, a])
    book.answered(a)
    expect(book.askable([a, b, c], 0)).toEqual([a, c, b])
    for (let i = 0; i < 3 * PEER_FAILURES_MAX; i++) book.failed(c)
    for (let i = 0; i < PEER_FAILURES_MAX; i++) book.failed(b)
    expect(book.askable([c, b], 0)).toEqual([c, b])
  })

  test("a liar is asked for nothing until its time is over", () => {
    const book = new PeerBook()
    book.lied(a, 1_000)
    expect(book.askable([a, b], 1_000)).toEqual([b])
    expect(book.askable([a, b], 1_000 + PEER_BLAMED_MS - 1)).toEqual([b])
    expect(book.askable([a, b], 1_000 + PEER_BLAMED_MS)).toEqual([a, b])
  })

  test("a peer has so many places, and each is given back", () => {
    const book = new PeerBook()
    const taken = Array.from({ length: PEER_REQUESTS_MAX + 1 }, () => book.take(a))
    expect(taken.indexOf(false)).toBe(PEER_REQUESTS_MAX)
    expect(book.take(b)).toBe(true)
    book.leave(a)
    expect(book.take(a)).toBe(true)
  })

  test("beyond the limit the peer heard of longest ago is forgotten, unless it is being asked", () => {
    const book = new PeerBook()
    book.take(a)
    book.lied(a, 0)
    book.lied(b, 0)
    for (let i = 0; i < PEERS_REMEMBERED_MAX; i++) book.answered(peer(100 + i))
    expect(book.askable([a, b], 0)).toEqual([b])
  })
})

describe("fetches that share a book", () => {
  const blocks = chainOn(genesis, 1, 10 * PEER_REQUESTS_MAX)
  const rules = { codec: blockCodec, verify: () => true }
  const find = (request: BlockRequest): TestBlock =>
    blocks.find(({ digest }) => request.tag === "block" && bytesEqual(digest, request.digest))!

  test("put no more than its places to one peer, and need not wait long for a place", () => {
    const asking = { now: 0, most: 0 }
    const transport = {
      request: (_: Uint8Array, request: BlockRequest) =>
        Effect.gen(function* () {
          asking.most = Math.max(asking.most, ++asking.now)
          yield* Effect.sleep(50)
          asking.now--
          return encodeBlock(blockCodec, find(request))
        }),
      blame: () => Effect.void,
    }
    const means = { transport, book: new PeerBook(), peers: Effect.succeed([a]) }
    const all = Effect.forEach(blocks, ({ digest }) => fetchAnswer(rules, means, { tag: "block", digest }), {
      concurrency: "unbounded",
    })
    const { exit, virtualMs } = simulate(1, all)
    expect(Exit.isSuccess(exit)).toBe(true)
    expect(asking.most).toBe(PEER_REQUESTS_MAX)
    expect(virtualMs).toBeLessThan(10 * FETCH_PAUSE_MS)
  })

  test("a place is given back when its request is abandoned", () => {
    const book = new PeerBook()
    const transport = { request: () => Effect.never, blame: () => Effect.void }
    const means = { transport, book, peers: Effect.succeed([a]) }
    const fetches = blocks.map(({ digest }) => fetchAnswer(rules, means, { tag: "block", digest }))
    simulate(1, Effect.timeoutOption(Effect.all(fetches, { concurrency: "unbounded" }), 500))
    expect(Array.from({ length: PEER_REQUESTS_MAX }, () => book.take(a)).every(Boolean)).toBe(true)
  })

  test("a liar of one fetch is not asked by another", () => {
    const asked: Array<Uint8Array> = []
    const transport = {
      request: (whom: Uint8Array, request: BlockRequest) =>
        Effect.sync(() => {
          asked.push(whom)
          return whom === a ? new Uint8Array([1]) : encodeBlock(blockCodec, find(request))
        }),
      blame: () => Effect.void,
    }
    const means = { transport, book: new PeerBook(), peers: Effect.succeed([a, b]) }
    for (const { digest } of blocks) simulate(3, fetchAnswer(rules, means, { tag: "block", digest }))
    expect(asked.filter((whom) => whom === a).length).toBe(1)
    expect(asked.length).toBe(blocks.length + 1)
  })
})
