/**
 * Fetching from peers: one request is put to one peer after another until an answer proves itself.
 *
 *   peer a: does not have it --> peer b: wrong bytes, blamed --> peer c: timeout --> pause --> peer a: the block
 *
 * One peer is asked at a time, from a random one on, the reliable before those that failed to answer; a liar is asked for
 * nothing more (see peers.ts).
 *
 * Invariant: a fetch ends with a checked answer or with its interruption, never by giving up (spec consensus §3.6). What
 * an answer is worth depends on the request and the bytes alone (CONS-18).
 */
import { ByteReader, bytesEqual, DecodeError } from "@coppice/codec"
import { type Finalization, finalizationCodec } from "@coppice/verify/certificate"
import { Clock, Effect, Metric, Option, Random } from "effect"
import { type Block, type BlockCodec, decodeBlock } from "../block.ts"
import { FETCH_PAUSE_MS, FETCH_PAUSE_MS_MAX, FETCH_TIMEOUT_MS } from "../limits.ts"
import { marshalMetrics } from "./metrics.ts"
import type { PeerBook } from "./peers.ts"
import type { Answer } from "./state.ts"
import type { BlockRequest, BlockTransport } from "./transport.ts"

/** What an answer is checked with. */
export interface AnswerRules<B extends Block> {
  readonly codec: BlockCodec<B>
  readonly verify: (finalization: Finalization) => boolean
}

/** The answer that `bytes` are, or the reason why they cannot be one. Pure. */
export const checkAnswer = <B extends Block>(
  { codec, verify }: AnswerRules<B>,
  request: BlockRequest,
  bytes: Uint8Array,
): Answer<B> | string => {
  try {
    if (request.tag === "block") {
      const block = decodeBlock(codec, bytes)
      return bytesEqual(block.digest, request.digest) ? { block, finalization: undefined } : "another block"
    }
    if (bytes.length > finalizationCodec.sizeMax + codec.bytesMax) return "longer than an answer may be"
    const reader = new ByteReader(bytes)
    const finalization = finalizationCodec.read(reader)
    const block = decodeBlock(codec, reader.raw(reader.remaining))
    if (block.height !== request.height) return "another height"
    if (!bytesEqual(block.digest, finalization.proposal.payload)) return "certificate of another block"
    return verify(finalization) ? { block, finalization } : "invalid certificate"
  } catch (thrown) {
    if (thrown instanceof DecodeError) return thrown.message
    throw thrown
  }
}

/** What a fetch asks with. */
export interface FetchMeans {
  readonly transport: Pick<BlockTransport, "request" | "blame">
  readonly book: PeerBook
  /** The peers that may be asked, read again before every round of asking. */
  readonly peers: BlockTransport["peers"]
}

/** Asks one peer. Undefined: nothing came of it. "busy": it has no place for the request and was not asked. */
const askPeer = Effect.fnUntraced(function* (
  { transport, book }: FetchMeans,
  peer: Uint8Array,
  request: BlockRequest,
): Effect.fn.Return<Uint8Array | "busy" | undefined> {
  const unanswered = (counter: typeof marshalMetrics.requestsFailed) =>
    Effect.as(
      Effect.andThen(
        Effect.sync(() => book.failed(peer)),
        Metric.update(counter, 1),
      ),
      undefined,
    )
  const asked: Effect.Effect<Uint8Array | "busy" | undefined> = transport.request(peer, request).pipe(
    Effect.timeoutOption(FETCH_TIMEOUT_MS),
    Effect.flatMap((answer) =>
      Option.isSome(answer) ? Effect.succeed(answer.value) : unanswered(marshalMetrics.requestsTimedOut),
    ),
    Effect.catchTag("RequestFailed", () => unanswered(marshalMetrics.requestsFailed)),
  )
  return yield* Effect.acquireUseRelease(
    Effect.sync(() => book.take(peer)),
    (isTaken): typeof asked => (isTaken ? asked : Effect.succeed("busy")),
    (isTaken) =>
      Effect.sync(() => {
        if (isTaken) book.leave(peer)
      }),
  )
})

/** Fetches until satisfied. Interruptible. */
export const fetchAnswer = Effect.fnUntraced(function* <B extends Block>(
  rules: AnswerRules<B>,
  means: FetchMeans,
  request: BlockRequest,
) {
  const { transport, book } = means
  for (let pauseMs = FETCH_PAUSE_MS; ; ) {
    let isAsked = false
    const peers = yield* means.peers
    const first = peers.length === 0 ? 0 : yield* Random.nextIntBetween(0, peers.length, { halfOpen: true })
    const nowMs = yield* Clock.currentTimeMillis
    for (const peer of book.askable([...peers.slice(first), ...peers.slice(0, first)], nowMs)) {
      const bytes = yield* askPeer(means, peer, request)
      if (bytes === "busy") continue
      isAsked = true
      if (bytes === undefined) continue
      const answer = checkAnswer(rules, request, bytes)
      if (typeof answer !== "string") {
        book.answered(peer)
        return answer
      }
      book.lied(peer, yield* Clock.currentTimeMillis)
      yield* Metric.update(marshalMetrics.answersRefused, 1)
      yield* transport.blame(peer, answer)
    }
    yield* Effect.sleep(pauseMs * (yield* Random.nextBetween(0.5, 1)))
    // That all peers are busy with us says nothing about how long to wait for what they do not have.
    if (isAsked) pauseMs = Math.min(2 * pauseMs, FETCH_PAUSE_MS_MAX)
  }
})
