/**
 * The port through which a marshal fetches blocks from peers, and what travels over it.
 *
 *   marshal A -- request(peer, key) --> transport ~~~> marshal B.serve(key)
 *   marshal A <------ bytes or "don't have it" ~~~~~~~ transport
 *
 *   Block(digest)     -> block
 *   Finalized(height) -> finalization || block
 *
 * Invariant: whether an answer is valid depends on the key and the bytes alone (CONS-18). Two honest peers may give
 * different certificates for one height; both are valid.
 */
import type { ByteReader, ByteWriter, Codec } from "@coppice/codec"
import { DecodeError } from "@coppice/codec"
import { DIGEST_BYTES, type Digest } from "@coppice/crypto"
import { Height } from "@coppice/verify/certificate"
import { Data, type Effect } from "effect"

/** What a peer can be asked for. */
export type BlockRequest =
  | { readonly tag: "block"; readonly digest: Digest }
  | { readonly tag: "finalized"; readonly height: Height }

/** The peer did not answer: unreachable, reset, or over a limit. Not evidence against it. */
export class RequestFailed extends Data.TaggedError("RequestFailed")<{ readonly reason: string }> {}

/** Network of block exchange as one node sees it. Peers are named by their identity keys. */
export interface BlockTransport {
  /** Peers that can be asked now, without this node itself. */
  readonly peers: Effect.Effect<ReadonlyArray<Uint8Array>>
  /** Asks one peer. Undefined: the peer does not have it. May stay pending; interruption abandons the request. */
  readonly request: (peer: Uint8Array, request: BlockRequest) => Effect.Effect<Uint8Array | undefined, RequestFailed>
  /** The peer answered with bytes that cannot be what was asked for. */
  readonly blame: (peer: Uint8Array, reason: string) => Effect.Effect<void>
}

const TAG_BLOCK = 0
const TAG_FINALIZED = 1

/** Wire form of a request: tag byte, then the digest or the height. Source: spec consensus §3.6. */
export const blockRequestCodec: Codec<BlockRequest> = {
  name: "block request",
  size: undefined,
  sizeMax: 1 + DIGEST_BYTES,
  write: (writer: ByteWriter, request: BlockRequest) => {
    if (request.tag === "block") writer.u8(TAG_BLOCK).raw(request.digest)
    else writer.u8(TAG_FINALIZED).varint(request.height)
  },
  read: (reader: ByteReader) => {
    const at = reader.offset
    const tag = reader.u8()
    if (tag === TAG_BLOCK) return { tag: "block", digest: reader.raw(DIGEST_BYTES) }
    if (tag === TAG_FINALIZED) return { tag: "finalized", height: Height(reader.varintSafe()) }
    throw new DecodeError("unknown request tag", at)
  },
}
