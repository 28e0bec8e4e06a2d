/**
 * Goal: headers are believed exactly as far as a certificate of the right validators leads.
 * Method: a chain of three headers whose last one four validators finalize; then each way in which it can be wrong.
 */
import { decode, encode } from "@coppice/codec"
import { createParticipants, keyPairFromSeed, nobleHasher, portableEd25519 } from "@coppice/crypto"
import { Location } from "@coppice/merkle"
import { describe, expect, it } from "vitest"
import {
  attestFinalization,
  checkHeaders,
  type Finalization,
  finalizationCodec,
  type Header,
  type HeaderTarget,
  Height,
  headerCodec,
  headerDigest,
  Round,
  View,
} from "../src/certificate/index.ts"

type Targets = { readonly accounts: HeaderTarget; readonly receipts: HeaderTarget }

const CHAIN = "test"
const keys = Array.from({ length: 4 }, (_, i) => keyPairFromSeed(portableEd25519, new Uint8Array(32).fill(i + 1)))
const participants = createParticipants(keys.map(({ publicKey }) => publicKey))
const trusted = { chainId: CHAIN, participants, ed25519: portableEd25519, hasher: nobleHasher }
const codec = headerCodec<Targets>({ accounts: { canonical: true }, receipts: { canonical: false } })
const digestOf = (header: Header<Targets>): Uint8Array => headerDigest(nobleHasher, encode(codec, header))
const bytes = (fill: number): Uint8Array => new Uint8Array(32).fill(fill)

const target = (root: number): HeaderTarget => ({ root: bytes(root), start: Location(root), end: Location(root + 1) })
const header = (height: number, parent: Uint8Array): Header<Targets> => ({
  height: Height(height),
  context: { round: Round(0, height), leader: bytes(9), parent: { view: View(height - 1), digest: parent } },
  targets: { accounts: { ...target(height), canonical: bytes(0x40) }, receipts: target(height + 1) },
  body: bytes(0x50),
})

const first = header(1, bytes(0))
const second = header(2, digestOf(first))
const third = header(3, digestOf(second))
const headers = [first, second, third]

const finalize = (payload: Uint8Array, signers: ReadonlyArray<number>, chain = CHAIN): Finalization => {
  const proposal = { round: Round(0, 3), parentView: View(2), payload }
  const votes = signers.map((i) => {
    const { secret, publicKey } = keys[i]!
    return attestFinalization(portableEd25519, secret, participants.indexOf(publicKey)!, chain, proposal)
  })
  const bySigner = votes.toSorted((a, b) => a.signer - b.signer)
  const certificate = {
    n: participants.n,
    signers: bySigner.map(({ signer }) => signer),
    signatures: bySigner.map(({ signature }) => signature),
  }
  return { proposal, certificate }
}

const sound = finalize(digestOf(third), [0, 1, 2])
const tagOf = (shown: ReadonlyArray<Header<Targets>>, finalization = sound) =>
  checkHeaders(trusted, codec, shown, finalization)?._tag

describe("headers", () => {
  it("are read as they were written, with the canonical root of those that have one", () => {
    expect(headers.map((each) => decode(codec, encode(codec, each)))).toEqual(headers)
    const { canonical: _, ...bare } = first.targets.accounts
    expect(() => encode(codec, { ...first, targets: { ...first.targets, accounts: bare } })).toThrow(RangeError)
  })

  it("are certified by a quorum for the last of them", () => {
    const read = decode(finalizationCodec, encode(finalizationCodec, sound))
    expect(checkHeaders(trusted, codec, headers, read)).toBeUndefined()
    expect(tagOf([third])).toBeUndefined()
  })

  it("are not when one does not follow the other, or the last is another", () => {
    expect(tagOf([])).toBe("NoHeaders")
    expect(tagOf([first, third])).toBe("HeaderUnlinked")
    expect(tagOf([first, second])).toBe("HeaderUnlinked")
    expect(tagOf([{ ...first, body: bytes(1) }, second, third])).toBe("HeaderUnlinked")
    const forged = { ...third, targets: { ...third.targets, receipts: target(7) } }
    expect(checkHeaders(trusted, codec, [second, forged], sound)).toEqual({
      _tag: "HeaderUnlinked",
      index: 1,
      expected: digestOf(third),
      actual: digestOf(forged),
    })
  })

  it("are not when too few signed, or for another chain", () => {
    const few = checkHeaders(trusted, codec, headers, finalize(digestOf(third), [0, 1]))
    expect(few).toEqual({ _tag: "CertificateInvalid", signers: 2, quorum: 3 })
    expect(tagOf(headers, finalize(digestOf(third), [0, 1, 2], "another"))).toBe("CertificateInvalid")
  })
})
