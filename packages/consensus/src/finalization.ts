/**
 * Proposals and finalizations: the evidence that a block is final. Browser-safe.
 *
 *   proposal      round || parent view varint || payload (32)      the payload is the block's digest
 *   finalization  proposal || certificate
 *   signed bytes  varint(length) || namespace || proposal          namespace = base || "_FINALIZE"
 *
 * Invariant: a finalization verifies only under the participants of its epoch and the chain it was signed for; a vote
 * of another kind or of another chain never counts as one (CONS-24). Source: spec consensus §4.11, §4.12.
 */
import { Bytes, type Codec, encode, Varint } from "@coppice/codec"
import {
  type Certificate,
  certificateCodec,
  DIGEST_BYTES,
  type Digest,
  type Ed25519,
  type Participants,
  verifyCertificate,
} from "@coppice/crypto"
import { type Round, View } from "./coordinates.ts"
import { roundCodec } from "./encoding.ts"

/** What a vote is about. The parent is named by its view alone; the payload's embedded context names it by digest. */
export interface Proposal {
  readonly round: Round
  readonly parentView: View
  readonly payload: Digest
}

/** A proposal with the votes of a quorum that it is final. */
export interface Finalization {
  readonly proposal: Proposal
  readonly certificate: Certificate
}

const payload = Bytes(DIGEST_BYTES)

/** Encoding of a proposal. */
export const proposalCodec: Codec<Proposal> = {
  name: "proposal",
  size: undefined,
  sizeMax: roundCodec.sizeMax + Varint.sizeMax + DIGEST_BYTES,
  write: (writer, proposal) => {
    roundCodec.write(writer, proposal.round)
    writer.varint(proposal.parentView)
    payload.write(writer, proposal.payload)
  },
  read: (reader) => ({
    round: roundCodec.read(reader),
    parentView: View(reader.varintSafe()),
    payload: payload.read(reader),
  }),
}
