/**
 * The context that a block embeds, and the wire form of rounds.
 *
 *   round    epoch varint || view varint
 *   context  round || leader (32) || parent view varint || parent digest (32)
 *
 * Invariant: canonical, as every codec: minimal varints, nothing above 2^53 - 1. Source: spec consensus §4.11.
 */
import { Bytes, type Codec, Varint } from "@coppice/codec"
import { DIGEST_BYTES, type Digest } from "@coppice/crypto"
import { Epoch, type Round, View } from "./coordinates.ts"

/** Bytes of a validator's identity key. */
export const IDENTITY_BYTES = 32

/** Consensus data of one attempt. `parent.digest` is the block this attempt builds on, certified or final. */
export interface ConsensusContext {
  readonly round: Round
  /** Ed25519 identity key of the round's leader, 32 bytes. */
  readonly leader: Uint8Array
  readonly parent: { readonly view: View; readonly digest: Digest }
}

const identity = Bytes(IDENTITY_BYTES)
const digest = Bytes(DIGEST_BYTES)

/** Encoding of a round. */
export const roundCodec: Codec<Round> = {
  name: "round",
  size: undefined,
  sizeMax: 2 * Varint.sizeMax,
  write: (writer, round) => {
    writer.varint(round.epoch).varint(round.view)
  },
  read: (reader) => ({ epoch: Epoch(reader.varintSafe()), view: View(reader.varintSafe()) }),
}

/** Encoding of a context: what a block embeds. */
export const contextCodec: Codec<ConsensusContext> = {
  name: "context",
  size: undefined,
  sizeMax: roundCodec.sizeMax + IDENTITY_BYTES + Varint.sizeMax + DIGEST_BYTES,
  write: (writer, context) => {
    roundCodec.write(writer, context.round)
    identity.write(writer, context.leader)
    writer.varint(context.parent.view)
    digest.write(writer, context.parent.digest)
  },
  read: (reader) => ({
    round: roundCodec.read(reader),
    leader: identity.read(reader),
    parent: { view: View(reader.varintSafe()), digest: digest.read(reader) },
  }),
}
