/**
 * Proposals and finalizations: the evidence that a block is final.
 *
 *   proposal      round || parent view varint || payload (32)      the payload is the block's digest
 *   finalization  proposal || certificate                          spec consensus §4.11
 *   signed bytes  the proposal, in the chain's namespace of finalize votes               §4.12
 *
 * Invariant: a finalization verifies only under the participants of its epoch and the chain it was signed for; a vote
 * of another kind or of another chain never counts as one (CONS-24).
 */
import { Bytes, type Codec, encode, Varint } from "@coppice/codec"
import {
  type Attestation,
  attest,
  type Certificate,
  certificateCodec,
  consensusNamespaces,
  DIGEST_BYTES,
  type Digest,
  type Ed25519,
  PARTICIPANTS_MAX,
  type Participants,
  verifyCertificate,
} from "@coppice/crypto"
import { roundCodec } from "./context.ts"
import { type Round, View } from "./coordinates.ts"

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
const certificate = certificateCodec(PARTICIPANTS_MAX)

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

/** Encoding of a finalization. Says nothing about its certificate: that is `verifyFinalization`. */
export const finalizationCodec: Codec<Finalization> = {
  name: "finalization",
  size: undefined,
  sizeMax: proposalCodec.sizeMax + certificate.sizeMax,
  write: (writer, finalization) => {
    proposalCodec.write(writer, finalization.proposal)
    certificate.write(writer, finalization.certificate)
  },
  read: (reader) => ({ proposal: proposalCodec.read(reader), certificate: certificate.read(reader) }),
}

/** A participant's vote that a proposal is final. `signer` is its index among the participants. */
export const attestFinalization = (
  ed25519: Ed25519,
  secret: Uint8Array,
  signer: number,
  chainId: string,
  proposal: Proposal,
): Attestation =>
  attest(ed25519, secret, signer, consensusNamespaces(chainId).finalize, encode(proposalCodec, proposal))

/**
 * Whether a quorum of the participants voted, on this chain, that the proposal is final.
 *
 * Cost: one signature check per signer. A light client needs nothing else to trust the payload.
 */
export const verifyFinalization = (
  ed25519: Ed25519,
  participants: Participants,
  chainId: string,
  finalization: Finalization,
): boolean =>
  verifyCertificate(
    ed25519,
    participants,
    consensusNamespaces(chainId).finalize,
    encode(proposalCodec, finalization.proposal),
    finalization.certificate,
  )
