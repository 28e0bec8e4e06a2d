/**
 * What liars tell: answers to peers that ask for blocks or for a floor, and certificates that no quorum signed.
 *
 * Terms: a *lie* about an answer is told to a peer that asks; a *forgery* is a finalization given to a node that did not.
 *
 * Invariant: every forgery differs in one thing from a certificate that is good, so that nothing else can be what refuses
 * it. Deterministic.
 */
import { ByteReader, decode, encode } from "@coppice/codec"
import {
  attestFinalization,
  type BlockRequest,
  type Finalization,
  finalizationCodec,
  Height,
  type Proposal,
  probeResponseCodec,
  Round,
} from "@coppice/consensus"
import { assemble, type Certificate, createParticipants, type KeyPair } from "@coppice/crypto"
import { nodeEd25519 } from "@coppice/crypto/node"
import { Effect } from "effect"

/** How a server lies. The last three prove nothing: it may be slow, or not have the block. */
export const LIES = [
  "another block",
  "another certificate",
  "forged certificate",
  "truncated",
  "extended",
  "nothing",
  "silence",
  "too late",
] as const

/** One of `LIES`. */
export type Lie = (typeof LIES)[number]

/** How a finalization is forged. */
export const FORGERIES = ["bad signature", "impersonator", "too few", "another epoch", "another chain"] as const

/** One of `FORGERIES`. */
export type Forgery = (typeof FORGERIES)[number]

/** Time that a late liar takes: longer than a peer is waited for. */
const LATE_MS = 4_000
/** The same towards a probe. */
const PROBE_LATE_MS = 7_000

/** A certificate whose first signature has one bit changed. */
const spoiled = (certificate: Certificate): Certificate => ({
  ...certificate,
  signatures: certificate.signatures.map((signature, i) =>
    i === 0 ? signature.map((byte, at) => (at === 0 ? byte ^ 1 : byte)) : signature,
  ),
})

/** An answer to a request for a finalized block, in its two parts. */
const partsOf = (answer: Uint8Array) => {
  const reader = new ByteReader(answer)
  const finalization = finalizationCodec.read(reader)
  return { finalization, block: reader.raw(reader.remaining) }
}

const joined = (finalization: Finalization, block: Uint8Array): Uint8Array =>
  Uint8Array.from([...encode(finalizationCodec, finalization), ...block])

/** A lie in place of an honest answer. `honest` answers other requests; a lie that is impossible here is another one. */
export const lieOf = (
  lie: Lie,
  request: BlockRequest,
  answer: Uint8Array,
  honest: (request: BlockRequest) => Effect.Effect<Uint8Array | undefined>,
): Effect.Effect<Uint8Array | undefined> => {
  const extended = Uint8Array.from([...answer, 0])
  const below = request.tag === "finalized" ? Height(request.height - 1) : Height(1)
  switch (lie) {
    case "nothing":
      return Effect.succeed(undefined)
    case "silence":
      return Effect.never
    case "too late":
      return Effect.delay(Effect.succeed(answer), LATE_MS)
    case "truncated":
      return Effect.succeed(answer.subarray(0, answer.length >> 1))
    case "extended":
      return Effect.succeed(extended)
    case "another block":
      return Effect.map(honest({ tag: "finalized", height: below }), (other) => other ?? extended)
    case "another certificate":
      return Effect.map(honest({ tag: "finalized", height: below }), (other) => {
        if (other === undefined || request.tag === "block") return extended
        return joined(partsOf(other).finalization, partsOf(answer).block)
      })
    case "forged certificate": {
      if (request.tag === "block") return Effect.succeed(extended)
      const { finalization, block } = partsOf(answer)
      return Effect.succeed(joined({ ...finalization, certificate: spoiled(finalization.certificate) }, block))
    }
  }
}

/**
 * A lie in place of an honest answer to a probe. An old certificate is no proof of anything: it is
 * good, and only of no use.
 */
export const probeLieOf = (
  lie: Lie,
  answer: Uint8Array,
  old: Finalization,
): Effect.Effect<{ readonly told: Uint8Array | undefined; readonly isProof: boolean }> => {
  const proof = (told: Uint8Array) => Effect.succeed({ told, isProof: true })
  switch (lie) {
    case "nothing":
      return Effect.succeed({ told: undefined, isProof: false })
    case "silence":
      return Effect.never
    case "too late":
      return Effect.delay(Effect.succeed({ told: answer, isProof: false }), PROBE_LATE_MS)
    case "truncated":
      return proof(answer.subarray(0, answer.length >> 1))
    case "extended":
      return proof(Uint8Array.from([...answer, 0]))
    case "another block":
    case "another certificate":
      return Effect.succeed({ told: encode(probeResponseCodec, old), isProof: false })
    case "forged certificate": {
      const { proposal, certificate } = decode(probeResponseCodec, answer)
      return proof(encode(probeResponseCodec, { proposal, certificate: spoiled(certificate) }))
    }
  }
}

/** A finalization of a block that no quorum finalized, in the view after `good`. */
export const forge = (
  how: Forgery,
  good: Finalization,
  validators: ReadonlyArray<KeyPair>,
  chainId: string,
): Finalization => {
  const participants = createParticipants(validators.map(({ publicKey }) => publicKey))
  const { round, payload } = good.proposal
  const proposal: Proposal = {
    ...good.proposal,
    round: Round(round.epoch, round.view + 1),
    payload: payload.map((byte) => byte ^ 1),
  }
  const attestations = validators.slice(0, participants.quorum).map(({ secret, publicKey }, i) => {
    const key = how === "impersonator" && i === 0 ? validators.at(-1)!.secret : secret
    const chain = how === "another chain" ? `${chainId} of another` : chainId
    return attestFinalization(nodeEd25519, key, participants.indexOf(publicKey)!, chain, proposal)
  })
  const certificate = assemble(attestations, participants.n)!
  switch (how) {
    case "bad signature":
      return { proposal, certificate: spoiled(certificate) }
    case "too few": {
      const { n, signers, signatures } = certificate
      return { proposal, certificate: { n, signers: signers.slice(1), signatures: signatures.slice(1) } }
    }
    case "another epoch":
      return { proposal: { ...proposal, round: Round(round.epoch + 1, round.view + 1) }, certificate }
    case "impersonator":
    case "another chain":
      return { proposal, certificate }
  }
}
