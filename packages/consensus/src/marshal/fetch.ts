/**
 * Fetching from peers: one request is put to one peer after another until an answer proves itself.
 *
 *   peer a: does not have it --> peer b: wrong bytes, blamed --> peer c: timeout --> pause --> peer a: the block
 *
 * Invariant: a fetch ends with a checked answer or with its interruption, never by giving up (spec consensus §3.6). What
 * an answer is worth depends on the request and the bytes alone (CONS-18).
 */
import { ByteReader, bytesEqual, bytesKey, DecodeError } from "@coppice/codec"
import { type Finalization, finalizationCodec } from "@coppice/verify/certificate"
import { Effect, Metric, Option, Random } from "effect"
import { type Block, type BlockCodec, decodeBlock } from "../block.ts"
import { FETCH_PAUSE_MS, FETCH_PAUSE_MS_MAX, FETCH_TIMEOUT_MS } from "../limits.ts"
import { answersRefused } from "./metrics.ts"
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

/** Fetches until satisfied. Interruptible. Peers are asked one at a time, from a random one on; a liar is not asked again. */
export const fetchAnswer = Effect.fnUntraced(function* <B extends Block>(
  rules: AnswerRules<B>,
  transport: BlockTransport,
  request: BlockRequest,
) {
  const blamed = new Set<string>()
  for (let pauseMs = FETCH_PAUSE_MS; ; pauseMs = Math.min(2 * pauseMs, FETCH_PAUSE_MS_MAX)) {
    const peers = (yield* transport.peers).filter((peer) => !blamed.has(bytesKey(peer)))
    const first = peers.length === 0 ? 0 : yield* Random.nextIntBetween(0, peers.length, { halfOpen: true })
    for (const peer of [...peers.slice(first), ...peers.slice(0, first)]) {
      const bytes = yield* transport.request(peer, request).pipe(
        Effect.timeoutOption(FETCH_TIMEOUT_MS),
        Effect.map(Option.getOrUndefined),
        Effect.catchTag("RequestFailed", () => Effect.succeed(undefined)),
      )
      if (bytes === undefined) continue
      const answer = checkAnswer(rules, request, bytes)
      if (typeof answer !== "string") return answer
      blamed.add(bytesKey(peer))
      yield* Metric.update(answersRefused, 1)
      yield* transport.blame(peer, answer)
    }
    yield* Effect.sleep(pauseMs * (yield* Random.nextBetween(0.5, 1)))
  }
})
