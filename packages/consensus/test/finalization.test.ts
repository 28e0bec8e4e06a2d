/**
 * Goal: evidence of finality has one encoding and one meaning.
 * Method: fixed bytes, round trips, and every way in which a certificate can be about something else.
 */
import { decode, encode } from "@coppice/codec"
import { consensusNamespaces, createParticipants, keyPairFromSeed, signedBytes } from "@coppice/crypto"
import {
  blockCodec,
  CHAIN,
  certify,
  childOf,
  ed25519,
  finalize,
  genesis,
  participants,
  proposalOf,
  validators,
} from "@coppice/simulate/chain"
import { fc, test as property } from "@fast-check/vitest"
import { describe, expect, test } from "vitest"
import {
  contextCodec,
  decodeBlock,
  encodeBlock,
  finalizationCodec,
  proposalCodec,
  Round,
  roundCodec,
  View,
  verifyFinalization,
} from "../src/index.ts"

const block = childOf(genesis, 300)
const proposal = proposalOf(block)
const holds = (finalization: ReturnType<typeof finalize>, chainId = CHAIN) =>
  verifyFinalization(ed25519, participants, chainId, finalization)
const coordinate = fc.maxSafeNat()
const bytes32 = fc.uint8Array({ minLength: 32, maxLength: 32 })

describe("encoding", () => {
  test("a round is epoch and view as varints", () => {
    expect(encode(roundCodec, Round(1, 300))).toEqual(new Uint8Array([1, 0xac, 0x02]))
  })

  test("a proposal is round, parent view and payload; a context has the leader between", () => {
    expect(encode(proposalCodec, proposal)).toEqual(new Uint8Array([0, 0xac, 0x02, 0, ...block.digest]))
    const { leader, parent } = block.context
    expect(encode(contextCodec, block.context)).toEqual(new Uint8Array([0, 0xac, 0x02, ...leader, 0, ...parent.digest]))
  })

  test("a finalization is proposal and certificate, 237 bytes for three of four and small counters", () => {
    const small = finalize(childOf(genesis, 1))
    expect(encode(finalizationCodec, small).length).toBe(237)
  })

  property.prop([coordinate, coordinate, coordinate, bytes32, bytes32])(
    "contexts and proposals round-trip over the whole range of coordinates",
    (epoch, view, parentView, leader, digest) => {
      const round = Round(epoch, view)
      const context = { round, leader, parent: { view: View(parentView), digest } }
      expect(decode(contextCodec, encode(contextCodec, context))).toEqual(context)
      const proposal = { round, parentView: View(parentView), payload: digest }
      expect(decode(proposalCodec, encode(proposalCodec, proposal))).toEqual(proposal)
    },
  )

  test("a finalization round-trips; cut or extended bytes are refused", () => {
    const bytes = encode(finalizationCodec, finalize(block))
    expect(decode(finalizationCodec, bytes)).toEqual(finalize(block))
    for (let cut = 0; cut < bytes.length; cut++) {
      expect(() => decode(finalizationCodec, bytes.subarray(0, cut)), `cut to ${cut}`).toThrow()
    }
    expect(() => decode(finalizationCodec, new Uint8Array([...bytes, 0]))).toThrow("trailing")
  })

  test("a block decodes whole and within its bound, or not at all", () => {
    const bytes = encodeBlock(blockCodec, block)
    expect(decodeBlock(blockCodec, bytes)).toEqual(block)
    expect(() => decodeBlock(blockCodec, new Uint8Array([...bytes, 0]))).toThrow("trailing")
    expect(() => decodeBlock(blockCodec, new Uint8Array(blockCodec.bytesMax + 1))).toThrow("longer")
    expect(() => encodeBlock({ ...blockCodec, bytesMax: 10 }, block)).toThrow(RangeError)
  })
})

describe("CONS-24 a finalization holds for its chain, its proposal and its participants alone", () => {
  test("a quorum of any three holds", () => {
    expect(holds(certify(proposal, [0, 1, 2]))).toBe(true)
    expect(holds(certify(proposal, [3, 1, 0]))).toBe(true)
    expect(holds(certify(proposal, [0, 1, 2, 3]))).toBe(true)
  })

  test("another proposal, chain or vote kind does not", () => {
    const { certificate } = certify(proposal)
    expect(holds({ proposal: { ...proposal, parentView: View(1) }, certificate })).toBe(false)
    expect(holds({ proposal: { ...proposal, round: Round(1, 300) }, certificate })).toBe(false)
    expect(holds({ proposal: proposalOf(childOf(genesis, 300, 1)), certificate })).toBe(false)
    expect(holds(certify(proposal, [0, 1, 2], "other-chain"))).toBe(false)
    const notarizes = validators.slice(0, 3).map(({ secret, publicKey }) => ({
      signer: participants.indexOf(publicKey)!,
      signature: ed25519.sign(
        secret,
        signedBytes(consensusNamespaces(CHAIN).notarize, encode(proposalCodec, proposal)),
      ),
    }))
    const sorted = notarizes.sort((a, b) => a.signer - b.signer)
    const signers = sorted.map(({ signer }) => signer)
    expect(
      holds({ proposal, certificate: { n: 4, signers, signatures: sorted.map(({ signature }) => signature) } }),
    ).toBe(false)
  })

  test("too few signers, a flipped bit or other participants do not", () => {
    const { certificate } = certify(proposal)
    const { n, signers, signatures } = certificate
    expect(holds({ proposal, certificate: { n, signers: signers.slice(1), signatures: signatures.slice(1) } })).toBe(
      false,
    )
    const flipped = signatures.map((signature) => signature.map((byte, i) => (i === 5 ? byte ^ 1 : byte)))
    expect(holds({ proposal, certificate: { n, signers, signatures: flipped } })).toBe(false)
    const others = createParticipants(
      Array.from({ length: 4 }, (_, i) => keyPairFromSeed(ed25519, new Uint8Array(32).fill(i + 9)).publicKey),
    )
    expect(verifyFinalization(ed25519, others, CHAIN, { proposal, certificate })).toBe(false)
  })
})
