/**
 * What consensus knows of a block.
 *
 * Terms: the *context* is what consensus hands out for one attempt; the block carries the copy it was proposed under (the
 * *embedded context*). An *anchor* names one block by height, round and digest; its round is that of the embedded context.
 *
 * Invariant: a block's digest covers its height, parent, context and every state commitment. Recovery trusts that context.
 */
import { ByteReader, type ByteWriter, DecodeError, encode } from "@coppice/codec"
import type { Digest } from "@coppice/crypto"
import type { ConsensusContext, Height, Round } from "@coppice/verify/certificate"

/** The least a block must say. Applications add what they like, as long as the digest covers it. */
export interface Block {
  readonly height: Height
  /** Digest of the parent block; 32 zero bytes for genesis. */
  readonly parent: Digest
  readonly context: ConsensusContext
  readonly digest: Digest
}

/**
 * Bounded, canonical encoding of blocks.
 *
 * Bounds: at most `bytesMax` bytes. Errors: `read` throws `DecodeError`; it recomputes the digest and never trusts one
 * from the wire.
 */
export interface BlockCodec<B extends Block> {
  readonly bytesMax: number
  readonly write: (writer: ByteWriter, block: B) => void
  readonly read: (reader: ByteReader) => B
}

/** Canonical bytes of a block. Errors: RangeError when they are more than its codec allows: ours to fix. */
export const encodeBlock = <B extends Block>(
  codec: Pick<BlockCodec<B>, "bytesMax" | "write">,
  block: B,
): Uint8Array => {
  const bytes = encode(codec, block)
  if (bytes.length > codec.bytesMax) throw new RangeError(`block: ${bytes.length} bytes is outside`)
  return bytes
}

/** The block whose canonical encoding is the whole of `bytes`. Errors: `DecodeError`. */
export const decodeBlock = <B extends Block>(codec: BlockCodec<B>, bytes: Uint8Array): B => {
  if (bytes.length > codec.bytesMax) throw new DecodeError("longer than a block may be", 0)
  const reader = new ByteReader(bytes)
  const block = codec.read(reader)
  reader.end()
  return block
}

/** Names one block. The round is that of the block's embedded context. */
export interface Anchor {
  readonly height: Height
  readonly round: Round
  readonly digest: Digest
}

/** Anchor of a block. */
export const anchorOf = (block: Block): Anchor => ({
  height: block.height,
  round: block.context.round,
  digest: block.digest,
})
