/**
 * What travels between probes, and what a message is worth.
 *
 *   request   0
 *   response  1 || finalization          source: spec sync §18.1
 *
 * Invariant: a message that proves its sender wrong is told from one that merely cannot be judged: only the first is a reason
 * to block a peer (F59, F60). A proposal is read before its certificate, because its epoch says who may have signed it.
 */
import { ByteReader, type Codec, DecodeError } from "@coppice/codec"
import { certificateCodec, type Participants } from "@coppice/crypto"
import { type Epoch, type Finalization, finalizationCodec, proposalCodec } from "@coppice/verify/certificate"

/** The validators of one epoch, and how their certificates are judged. */
export interface Committee {
  readonly participants: Participants
  /** Whether a certificate of this epoch is good. Pure: `verifyFinalization` under these participants. */
  readonly verify: (finalization: Finalization) => boolean
}

/** What replies are judged by. */
export interface ProbeRules {
  /** The committee of an epoch, as far as this node knows it now. */
  readonly committeeOf: (epoch: Epoch) => Committee | undefined
  /** The committee that is asked; certificates of earlier epochs are of no use. Its committee is known. */
  readonly minimumEpoch: Epoch
}

/** What a response turns out to be. */
export type Judgement =
  | { readonly tag: "reply"; readonly finalization: Finalization }
  /** Of no use, and no evidence against its sender. */
  | { readonly tag: "ignored" }
  | { readonly tag: "refused"; readonly reason: string }

/** The validators that are asked. Throws Error when they are not known. */
export const committeeAsked = ({ committeeOf, minimumEpoch }: ProbeRules): Participants => {
  const committee = committeeOf(minimumEpoch)
  if (committee === undefined) throw new Error(`probe: no committee for epoch ${minimumEpoch}`)
  return committee.participants
}

const TAG_REQUEST = 0
const TAG_RESPONSE = 1

/** Asks for the newest finalization. */
export const PROBE_REQUEST = Uint8Array.of(TAG_REQUEST)

/** Wire form of a response. Says nothing about its certificate: that is `judgeResponse`. */
export const probeResponseCodec: Codec<Finalization> = {
  name: "probe response",
  size: undefined,
  sizeMax: 1 + finalizationCodec.sizeMax,
  write: (writer, finalization) => finalizationCodec.write(writer.u8(TAG_RESPONSE), finalization),
  read: (reader) => {
    const at = reader.offset
    if (reader.u8() !== TAG_RESPONSE) throw new DecodeError("no response of a probe", at)
    return finalizationCodec.read(reader)
  },
}

/** Which message the bytes begin; undefined when they are none. Reads no further. */
export const messageKind = (bytes: Uint8Array): "request" | "response" | undefined => {
  if (bytes[0] === TAG_REQUEST) return bytes.length === 1 ? "request" : undefined
  return bytes[0] === TAG_RESPONSE ? "response" : undefined
}

const refused = (reason: string): Judgement => ({ tag: "refused", reason })

/** What a response is worth. Pure. Cost: the check of one certificate, if it comes to that. */
export const judgeResponse = (rules: ProbeRules, from: Uint8Array, bytes: Uint8Array): Judgement => {
  const { committeeOf, minimumEpoch } = rules
  if (bytes.length > probeResponseCodec.sizeMax) return refused("longer than a response may be")
  try {
    const reader = new ByteReader(bytes)
    reader.u8()
    const proposal = proposalCodec.read(reader)
    const { epoch } = proposal.round
    const committee = epoch < minimumEpoch ? undefined : committeeOf(epoch)
    if (committee === undefined) return { tag: "ignored" }
    const certificate = certificateCodec(committee.participants.n).read(reader)
    reader.end()
    if (committeeAsked(rules).indexOf(from) === undefined) return refused("not of the committee asked")
    const finalization = { proposal, certificate }
    return committee.verify(finalization) ? { tag: "reply", finalization } : refused("invalid certificate")
  } catch (thrown) {
    if (thrown instanceof DecodeError) return refused(thrown.message)
    throw thrown
  }
}
