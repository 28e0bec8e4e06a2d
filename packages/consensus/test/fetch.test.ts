/**
 * Goal: an answer is worth what the request and its bytes make of it, and a fetch goes on until one is worth something.
 * Method: the true answer and every lie near it; then peers that fail in every way, in virtual time.
 */
import { encode } from "@coppice/codec"
import { simulate } from "@coppice/simulate"
import {
  blockCodec,
  CHAIN,
  certify,
  chainOn,
  ed25519,
  finalize,
  genesis,
  participants,
  proposalOf,
  type TestBlock,
} from "@coppice/simulate/chain"
import { Effect, Exit, Fiber } from "effect"
import { describe, expect, test } from "vitest"
import {
  type BlockRequest,
  type BlockTransport,
  encodeBlock,
  type Finalization,
  finalizationCodec,
  Height,
  RequestFailed,
  verifyFinalization,
} from "../src/index.ts"
import { FETCH_TIMEOUT_MS } from "../src/limits.ts"
import { checkAnswer, fetchAnswer } from "../src/marshal/fetch.ts"
import { PeerBook } from "../src/marshal/peers.ts"

const [one, two] = chainOn(genesis, 1, 2) as [TestBlock, TestBlock]
const rules = {
  codec: blockCodec,
  verify: (finalization: Finalization) => verifyFinalization(ed25519, participants, CHAIN, finalization),
}
const block: BlockRequest = { tag: "block", digest: two.digest }
const finalized: BlockRequest = { tag: "finalized", height: Height(2) }
const bytesOf = (finalization: Finalization, of: TestBlock): Uint8Array =>
  new Uint8Array([...encode(finalizationCodec, finalization), ...encodeBlock(blockCodec, of)])
const truth = bytesOf(finalize(two), two)

describe("CONS-18 checkAnswer", () => {
  const check = (request: BlockRequest, bytes: Uint8Array) => checkAnswer(rules, request, bytes)

  test("accepts the block of that digest, and any certified block of that height", () => {
    expect(check(block, encodeBlock(blockCodec, two))).toEqual({ block: two, finalization: undefined })
    expect(check(finalized, truth)).toEqual({ block: two, finalization: finalize(two) })
    const other = certify(proposalOf(two), [1, 2, 3])
    expect(check(finalized, bytesOf(other, two))).toEqual({ block: two, finalization: other })
  })

  test("F55 refuses another block, another height, a certificate of another block and one that does not verify", () => {
    expect(check(block, encodeBlock(blockCodec, one))).toBe("another block")
    expect(check(finalized, bytesOf(finalize(one), one))).toBe("another height")
    expect(check(finalized, bytesOf(finalize(one), two))).toBe("certificate of another block")
    expect(check(finalized, bytesOf(certify(proposalOf(two), [0, 1, 2], "other"), two))).toBe("invalid certificate")
  })

  test("F55 refuses bytes that are cut, extended, or longer than any answer", () => {
    for (let cut = 0; cut < truth.length; cut++)
      expect(typeof check(finalized, truth.slice(0, cut)), `${cut}`).toBe("string")
    expect(check(finalized, new Uint8Array([...truth, 0]))).toMatch("trailing bytes")
    const bytes = encodeBlock(blockCodec, two)
    for (let cut = 0; cut < bytes.length; cut++)
      expect(typeof check(block, bytes.slice(0, cut)), `${cut}`).toBe("string")
    expect(check(block, new Uint8Array([...bytes, 0]))).toMatch("trailing bytes")
    expect(check(block, new Uint8Array(1e6))).toMatch("longer than a block may be")
    expect(check(finalized, new Uint8Array(1e6))).toBe("longer than an answer may be")
  })
})

describe("fetchAnswer", () => {
  /** Four peers: one silent, one unreachable, one without it, one lying; a fifth tells the truth after a while. */
  const world = (truthAfter: number) => {
    const asked: Array<number> = []
    const blamed: Array<readonly [number, string]> = []
    const behaviours: ReadonlyArray<Effect.Effect<Uint8Array | undefined, RequestFailed>> = [
      Effect.never,
      Effect.fail(new RequestFailed({ reason: "reset" })),
      Effect.succeed(undefined),
      Effect.succeed(encodeBlock(blockCodec, one)),
      Effect.suspend(() => Effect.succeed(asked.length < truthAfter ? undefined : encodeBlock(blockCodec, two))),
    ]
    const transport: BlockTransport = {
      peers: Effect.succeed(behaviours.map((_, i) => new Uint8Array([i]))),
      request: (peer) =>
        Effect.suspend(() => {
          asked.push(peer[0]!)
          return behaviours[peer[0]!]!
        }),
      blame: (peer, reason) => Effect.sync(() => void blamed.push([peer[0]!, reason])),
    }
    return { asked, blamed, transport }
  }

  test("INV-41 F55 goes from peer to peer until one proves it, blames the liar once and asks it no more; the late are not blamed", () => {
    for (let seed = 0; seed < 20; seed++) {
      const { asked, blamed, transport } = world(25)
      const { exit } = simulate(
        seed,
        fetchAnswer(rules, { transport, book: new PeerBook(), peers: transport.peers }, block),
      )
      expect(Exit.isSuccess(exit) && exit.value, `seed ${seed}`).toEqual({ block: two, finalization: undefined })
      expect(blamed, `seed ${seed}`).toEqual([[3, "another block"]])
      expect(asked.filter((peer) => peer === 3).length, `seed ${seed}`).toBe(1)
      expect(asked.filter((peer) => peer === 0).length, `seed ${seed}`).toBeGreaterThan(2)
    }
  })

  test("F56 INV-41 an answer that comes when nobody waits for it any more is nothing, whatever it says", () => {
    const blamed: Array<number> = []
    let asked = 0
    const late = Effect.suspend(() => {
      asked++
      return Effect.delay(Effect.succeed(new Uint8Array([1, 2, 3])), 3 * FETCH_TIMEOUT_MS)
    })
    const transport: BlockTransport = {
      peers: Effect.succeed([new Uint8Array([0]), new Uint8Array([1])]),
      request: (peer) => (peer[0] === 0 ? late : Effect.succeed(encodeBlock(blockCodec, two))),
      blame: (peer) => Effect.sync(() => void blamed.push(peer[0]!)),
    }
    const book = new PeerBook()
    const fetching = fetchAnswer(rules, { transport, book, peers: transport.peers }, block)
    const alone = Effect.succeed([new Uint8Array([0])])
    const abandoned = fetchAnswer(rules, { transport, book, peers: alone }, block)
    const program = Effect.gen(function* () {
      const fiber = yield* Effect.forkChild(abandoned)
      yield* Effect.sleep(FETCH_TIMEOUT_MS / 2)
      yield* Fiber.interrupt(fiber)
      const answer = yield* fetching
      yield* Effect.sleep(10 * FETCH_TIMEOUT_MS)
      return answer
    })
    for (let seed = 0; seed < 8; seed++) {
      const { exit } = simulate(seed, program)
      expect(Exit.isSuccess(exit) && exit.value, `seed ${seed}`).toEqual({ block: two, finalization: undefined })
    }
    expect(asked).toBeGreaterThan(8)
    expect(blamed).toEqual([])
  })

  test("pauses between rounds, so that peers without it are not flooded", () => {
    const { asked, transport } = world(1_000)
    const { virtualMs } = simulate(
      1,
      fetchAnswer(rules, { transport, book: new PeerBook(), peers: transport.peers }, block),
    )
    expect(virtualMs / asked.length).toBeGreaterThan(1_000)
  })
})
