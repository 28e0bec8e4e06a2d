/**
 * Goal: a certificate verifies exactly when a quorum of these participants signed this message in this namespace, and
 * its bytes have one form (CONS-23, CONS-24).
 * Method: a keyed hash stands in for Ed25519 where only who signed what matters, so that thousands of certificates are
 * tried; a table of malformed bytes; one certificate with real keys on both providers. Canaries: a verifier that skips
 * one check, and a smaller quorum, must be caught.
 */
import { Bytes, type Codec, DecodeError, decode, encode, Struct } from "@coppice/codec"
import {
  type Attestation,
  assemble,
  attest,
  attestationCodec,
  type Certificate,
  certificateCodec,
  consensusNamespaces,
  createNamespace,
  createParticipants,
  type Ed25519,
  keyPairFromSeed,
  NAMESPACE_BYTES_MAX,
  nobleHasher,
  PARTICIPANTS_MAX,
  type Participants,
  ParticipantsCodec,
  portableEd25519,
  quorum,
  signedBytes,
  signMessage,
  verifyAttestation,
  verifyCertificate,
  verifyMessage,
} from "@coppice/crypto"
import { nodeEd25519 } from "@coppice/crypto/node"
import { fc, test } from "@fast-check/vitest"
import { describe, expect } from "vitest"

const hexOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex")
const fromHex = (digits: string): Uint8Array => new Uint8Array(Buffer.from(digits, "hex"))

const keyedHash = (key: Uint8Array, message: Uint8Array): Uint8Array => {
  const half = nobleHasher.hash(Uint8Array.of(...key, ...message))
  return Uint8Array.of(...half, ...nobleHasher.hash(half))
}

/** Stands in for Ed25519: a public key is its secret, and whoever knows it signs. Same sizes, microseconds. */
const standIn: Ed25519 = {
  publicKey: (secret) => secret.slice(),
  sign: keyedHash,
  verify: (publicKey, message, signature) => hexOf(keyedHash(publicKey, message)) === hexOf(signature),
}

const secretOf = (i: number): Uint8Array => nobleHasher.hash(Uint8Array.of(i, i >>> 8))
const participantsOf = (n: number): Participants => createParticipants(Array.from({ length: n }, (_, i) => secretOf(i)))
const { notarize, nullify, finalize } = consensusNamespaces("test")
const message = fromHex("0102030405")

const attestations = (participants: Participants, signers: ReadonlyArray<number>): ReadonlyArray<Attestation> =>
  signers.map((signer) => attest(standIn, participants.keys[signer]!, signer, notarize, message))

const certificateOf = (participants: Participants, signers: ReadonlyArray<number>): Certificate => ({
  n: participants.n,
  signers,
  signatures: attestations(participants, signers).map((attestation) => attestation.signature),
})

const holds = (participants: Participants, certificate: Certificate, namespace = notarize, bytes = message): boolean =>
  verifyCertificate(standIn, participants, namespace, bytes, certificate)

/** Participants and a subset of them, in ascending order. */
const subsets = fc
  .integer({ min: 1, max: 24 })
  .chain((n) =>
    fc
      .subarray(Array.from({ length: n }, (_, i) => i))
      .map((signers) => ({ participants: participantsOf(n), signers })),
  )

describe("quorum", () => {
  /** Whether two quorums of `q` among `n` share an honest participant, and the honest ones alone reach one. */
  const isSafeAndLive = (q: number, n: number): boolean => {
    const f = Math.floor((n - 1) / 3)
    return 2 * q - n > f && q <= n - f
  }

  test("CONS-23 is n - floor((n - 1) / 3): two of them share an honest participant, the honest ones reach it", () => {
    expect([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 64, 100].map(quorum)).toEqual([1, 2, 3, 3, 4, 5, 5, 6, 7, 7, 43, 67])
    for (let n = 1; n <= PARTICIPANTS_MAX; n++) expect(isSafeAndLive(quorum(n), n), `n = ${n}`).toBe(true)
  })

  test("CONS-23 is what participants, assembly and verification use", () => {
    for (let n = 1; n <= 24; n++) {
      const participants = participantsOf(n)
      const all = Array.from({ length: n }, (_, i) => i)
      const [enough, short] = [all.slice(0, quorum(n)), all.slice(0, quorum(n) - 1)]
      expect(participants.quorum, `n = ${n}`).toBe(quorum(n))
      expect(assemble(attestations(participants, enough), n)?.signers, `n = ${n}`).toEqual(enough)
      expect(assemble(attestations(participants, short), n), `n = ${n}`).toBeUndefined()
      expect(holds(participants, certificateOf(participants, enough)), `n = ${n}`).toBe(true)
      expect(holds(participants, certificateOf(participants, short)), `n = ${n}`).toBe(false)
    }
  })

  test("canary: a quorum one smaller, or two thirds rounded down, is not safe", () => {
    expect(isSafeAndLive(quorum(4) - 1, 4)).toBe(false)
    expect(isSafeAndLive(Math.floor((2 * 4) / 3), 4)).toBe(false)
  })

  test("no participants have no quorum", () => {
    for (const n of [0, -1, 1.5, Number.NaN]) expect(() => quorum(n)).toThrow(RangeError)
  })
})

describe("participants", () => {
  test.prop([fc.uniqueArray(fc.nat(500), { minLength: 1, maxLength: 20 }), fc.nat()])(
    "have the same order whatever order they are given in",
    (ids, turn) => {
      const keys = ids.map(secretOf)
      const turned = keys.map((_, i) => keys[(i + turn) % keys.length]!)
      const participants = createParticipants(turned)
      expect(participants.keys.map(hexOf)).toEqual(keys.map(hexOf).sort())
      for (const key of keys) expect(hexOf(participants.keys[participants.indexOf(key)!]!)).toBe(hexOf(key))
      expect(participants.indexOf(secretOf(501))).toBeUndefined()
      expect(decode(ParticipantsCodec, encode(ParticipantsCodec, participants)).keys).toEqual(participants.keys)
    },
  )

  test("none, too many, a repeated key and a key of another length are RangeErrors", () => {
    expect(() => createParticipants([])).toThrow(RangeError)
    expect(() => createParticipants([secretOf(1), secretOf(2), secretOf(1)])).toThrow(RangeError)
    expect(() => createParticipants([new Uint8Array(31)])).toThrow(RangeError)
    expect(() => participantsOf(PARTICIPANTS_MAX + 1)).toThrow(RangeError)
    expect(participantsOf(PARTICIPANTS_MAX).quorum).toBe(683)
  })

  test("do not change when the caller's arrays do", () => {
    const key = Buffer.from(secretOf(1))
    const participants = createParticipants([key])
    key.fill(0)
    expect(hexOf(participants.keys[0]!)).toBe(hexOf(secretOf(1)))
  })

  test("bytes with no key, repeated keys or another order are refused", () => {
    const [low, high] = participantsOf(2).keys.map(hexOf) as [string, string]
    for (const digits of ["00", `02${low}${low}`, `02${high}${low}`, `01${low.slice(2)}`]) {
      expect(() => decode(ParticipantsCodec, fromHex(digits)), digits).toThrow(DecodeError)
    }
  })
})

describe("namespaces", () => {
  test("signed bytes are the length, the namespace and the message", () => {
    expect(hexOf(signedBytes(createNamespace("ab"), fromHex("ff")))).toBe("026162ff")
    expect([notarize, nullify, finalize].map((namespace) => namespace.name)).toEqual([
      "_COPPICE_CONSENSUS_test_NOTARIZE",
      "_COPPICE_CONSENSUS_test_NULLIFY",
      "_COPPICE_CONSENSUS_test_FINALIZE",
    ])
  })

  const names = fc.oneof(
    fc.constantFrom("a", "b", "a_NOTARIZE", "_NULLIFY", "a_FINALIZE_NOTARIZE"),
    fc.string({ minLength: 1, maxLength: 9 }),
  )
  test.prop([names, names])("CONS-24 no two kinds or chains share a signing domain", (a, b) => {
    const domains = [...new Set([a, b])].flatMap((chainId) => Object.values(consensusNamespaces(chainId)))
    expect(new Set(domains.map((namespace) => hexOf(namespace.prefix))).size).toBe(domains.length)
  })

  test.prop([names, names, fc.uint8Array({ maxLength: 12 }), fc.uint8Array({ maxLength: 12 })])(
    "equal signed bytes mean equal namespace and message",
    (a, b, x, y) => {
      const same = a === b && hexOf(x) === hexOf(y)
      expect(hexOf(signedBytes(createNamespace(a), x)) === hexOf(signedBytes(createNamespace(b), y))).toBe(same)
    },
  )

  test("an empty or overlong name is a RangeError", () => {
    expect(() => createNamespace("")).toThrow(RangeError)
    expect(() => createNamespace("a".repeat(NAMESPACE_BYTES_MAX + 1))).toThrow(RangeError)
    expect(() => consensusNamespaces("")).toThrow(RangeError)
    expect(() => consensusNamespaces("c".repeat(NAMESPACE_BYTES_MAX))).toThrow(RangeError)
  })

  test("a signature holds in its namespace only", () => {
    const { secret, publicKey } = keyPairFromSeed(nodeEd25519, secretOf(1))
    const signature = signMessage(nodeEd25519, secret, notarize, message)
    expect(verifyMessage(nodeEd25519, publicKey, notarize, message, signature)).toBe(true)
    expect(verifyMessage(nodeEd25519, publicKey, finalize, message, signature)).toBe(false)
  })
})

describe("attestations", () => {
  test("verify for their signer, message and namespace only", () => {
    const participants = participantsOf(4)
    const [own] = attestations(participants, [2]) as [Attestation]
    const check = (attestation: Attestation, namespace = notarize, bytes = message): boolean =>
      verifyAttestation(standIn, participants, namespace, bytes, attestation)
    expect(check(own)).toBe(true)
    expect(check({ ...own, signer: 3 })).toBe(false)
    expect(check({ ...own, signer: 4 })).toBe(false)
    expect(check(own, nullify)).toBe(false)
    expect(check(own, notarize, fromHex("00"))).toBe(false)
  })

  test("encode as index and signature, for at most n participants", () => {
    const attestation = { signer: 300, signature: new Uint8Array(64).fill(7) }
    const bytes = encode(attestationCodec(301), attestation)
    expect(hexOf(bytes)).toBe(`ac02${"07".repeat(64)}`)
    expect(decode(attestationCodec(301), bytes)).toEqual(attestation)
    expect(() => decode(attestationCodec(300), bytes)).toThrow(DecodeError)
    expect(() => encode(attestationCodec(300), attestation)).toThrow(RangeError)
    expect(() => decode(attestationCodec(301), bytes.subarray(0, -1))).toThrow(DecodeError)
  })

  test("assemble in any order, a signer counting once, and refuse to assemble what no participant signed", () => {
    const participants = participantsOf(4)
    const [a, b, c] = attestations(participants, [0, 1, 3]) as [Attestation, Attestation, Attestation]
    const certificate = assemble([c, a, { ...a, signature: b.signature }, b], 4)
    expect(certificate?.signers).toEqual([0, 1, 3])
    expect(holds(participants, certificate!)).toBe(true)
    expect(assemble([a, a, b, b], 4)).toBeUndefined()
    for (const signer of [-1, 4, 0.5]) expect(() => assemble([{ ...a, signer }], 4)).toThrow(RangeError)
    expect(() => assemble([{ ...a, signature: new Uint8Array(63) }], 4)).toThrow(RangeError)
  })
})

describe("certificates", () => {
  test.prop([subsets])(
    "CONS-24 verify exactly from a quorum on, and their bytes come back",
    ({ participants, signers }) => {
      const certificate = certificateOf(participants, signers)
      expect(holds(participants, certificate)).toBe(signers.length >= quorum(participants.n))
      if (signers.length === 0) return
      const codec = certificateCodec(24)
      const bytes = encode(codec, certificate)
      expect(decode(codec, bytes)).toEqual(certificate)
      expect(bytes.length).toBeLessThanOrEqual(codec.sizeMax)
    },
  )

  test("CONS-24 hold for their message, kind, chain and participants only", () => {
    const participants = participantsOf(4)
    const certificate = certificateOf(participants, [0, 1, 2])
    expect(holds(participants, certificate)).toBe(true)
    expect(holds(participants, certificate, notarize, fromHex("0102030406"))).toBe(false)
    for (const other of [nullify, finalize, consensusNamespaces("other").notarize]) {
      expect(holds(participants, certificate, other), other.name).toBe(false)
    }
    expect(holds(participantsOf(5), certificate)).toBe(false)
    expect(holds(participantsOf(3), certificate)).toBe(false)
    expect(holds(createParticipants([5, 6, 7, 8].map(secretOf)), certificate)).toBe(false)
  })

  /** Ways to build a certificate that must not verify, each from a valid one of 3 out of 4. */
  const forgeries: ReadonlyArray<readonly [string, (valid: Certificate) => Certificate]> = [
    ["for more participants", (c) => ({ ...c, n: 5 })],
    ["for fewer participants", (c) => ({ ...c, n: 3 })],
    [
      "below a quorum",
      ({ n, signers, signatures }) => ({ n, signers: signers.slice(1), signatures: signatures.slice(1) }),
    ],
    ["of nobody", ({ n }) => ({ n, signers: [], signatures: [] })],
    [
      "with a signer repeated",
      (c) => ({ ...c, signers: [0, 0, 1], signatures: [0, 0, 1].map((i) => c.signatures[i]!) }),
    ],
    ["with a signer outside", (c) => ({ ...c, signers: [0, 1, 4] })],
    ["with a signer that is no index", (c) => ({ ...c, signers: [0, 1, 1.5] })],
    ["with signatures exchanged", (c) => ({ ...c, signatures: c.signatures.toReversed() })],
    [
      "with its order turned",
      (c) => ({ ...c, signers: c.signers.toReversed(), signatures: c.signatures.toReversed() }),
    ],
    ["with a signature missing", (c) => ({ ...c, signatures: c.signatures.slice(1) })],
    ["with a signature too many", (c) => ({ ...c, signatures: [...c.signatures, c.signatures[0]!] })],
    [
      "with a signature cut short",
      (c) => ({ ...c, signatures: c.signatures.map((s, i) => (i === 2 ? s.subarray(1) : s)) }),
    ],
    [
      "with one bit changed",
      (c) => ({ ...c, signatures: c.signatures.map((s, i) => (i === 2 ? s.with(63, s[63]! ^ 1) : s)) }),
    ],
  ]

  /** Forgeries that a verifier lets through or crashes on. */
  const accepted = (check: (certificate: Certificate) => boolean): ReadonlyArray<string> =>
    forgeries.flatMap(([name, forge]) => (check(forge(certificateOf(participantsOf(4), [0, 1, 2]))) ? [name] : []))

  test("CONS-24 a forged certificate does not verify", () => {
    expect(accepted((certificate) => holds(participantsOf(4), certificate))).toEqual([])
  })

  test("canary: verifiers that skip the count, the quorum or the order are caught", () => {
    const { keys } = participantsOf(4)
    const signed = signedBytes(notarize, message)
    const eachHolds = ({ signers, signatures }: Certificate): boolean =>
      signers.every((signer, i) => standIn.verify(keys[signer] ?? new Uint8Array(32), signed, signatures[i]!))
    expect(accepted(eachHolds)).toContain("below a quorum")
    expect(accepted((c) => c.signers.length >= 3 && eachHolds(c))).toContain("with a signer repeated")
    expect(accepted((c) => new Set(c.signers).size >= 3 && eachHolds(c))).toContain("for more participants")
  })

  test("a certificate that has no encoding is a RangeError", () => {
    const codec = certificateCodec(4)
    const valid = certificateOf(participantsOf(4), [0, 1, 2])
    for (const [name, forge] of forgeries) {
      // What is well formed has an encoding, true or not.
      if (
        ["for fewer participants", "below a quorum", "with signatures exchanged", "with one bit changed"].includes(name)
      )
        continue
      expect(() => encode(codec, forge(valid)), name).toThrow(RangeError)
    }
    expect(() => encode(certificateCodec(3), valid)).toThrow(RangeError)
    for (const nMax of [0, 1.5, PARTICIPANTS_MAX + 1]) expect(() => certificateCodec(nMax)).toThrow(RangeError)
  })

  test("the layout is bit length, bitmap, count, signatures", () => {
    const signature = "5a".repeat(64)
    const certificate = { n: 10, signers: [0, 3, 9], signatures: [signature, signature, signature].map(fromHex) }
    const digits = `000000000000000a${"0902"}${"03"}${signature.repeat(3)}`
    expect(hexOf(encode(certificateCodec(10), certificate))).toBe(digits)
    expect(decode(certificateCodec(10), fromHex(digits))).toEqual(certificate)
  })

  test("sizes are those that the specification gives", () => {
    const sizeOf = (n: number): number =>
      encode(
        certificateCodec(n),
        certificateOf(
          participantsOf(n),
          Array.from({ length: quorum(n) }, (_, i) => i),
        ),
      ).length
    expect([sizeOf(4), sizeOf(10)]).toEqual([8 + 1 + 1 + 3 * 64, 8 + 2 + 1 + 7 * 64])
  })
})

describe("malformed certificates", () => {
  const s = "5a".repeat(64)
  const corpus: ReadonlyArray<readonly [string, string, string]> = [
    ["nothing", "", "truncated at byte 0"],
    ["no signers", "00000000000000040000", "certificate without signers at byte 0"],
    ["no participants", "000000000000000000", "certificate without signers at byte 0"],
    ["a bitmap above n", `000000000000000b010001${s}`, "bitmap above its limit at byte 0"],
    ["a bit length of 2^53", `0020000000000000010001${s}`, "integer above 2^53-1 at byte 0"],
    ["a bit length of 2^64 - 1", `ffffffffffffffff01${s}`, "integer above 2^53-1 at byte 0"],
    ["an unused bit", `00000000000000041101${s}`, "unused bits of the bitmap are set at byte 0"],
    ["a used and an unused bit counted", `00000000000000041102${s}${s}`, "unused bits of the bitmap are set at byte 0"],
    ["a bitmap cut short", "000000000000000a01", "truncated at byte 8"],
    ["a count below the bits", `00000000000000040301${s}`, "signature count differs from signer count at byte 9"],
    ["a count above the bits", `00000000000000040102${s}${s}`, "signature count differs from signer count at byte 9"],
    ["a count above n", `00000000000000040f0b${s}`, "integer above its limit at byte 9"],
    ["a count not in shortest form", `0000000000000004018100${s}`, "varint not in shortest form at byte 9"],
    ["a signature cut short", `00000000000000040101${s.slice(2)}`, "truncated at byte 10"],
    ["a missing signature", `00000000000000040302${s}`, "truncated at byte 74"],
    ["trailing bytes", `00000000000000040101${s}00`, "trailing bytes at byte 74"],
  ]
  for (const [name, digits, text] of corpus) {
    test(`CONS-24 refused: ${name}`, () => {
      expect(() => decode(certificateCodec(10), fromHex(digits))).toThrow(text)
      expect(() => decode(certificateCodec(10), fromHex(digits))).toThrow(DecodeError)
    })
  }

  const Framed: Codec<{ readonly certificate: Certificate; readonly tail: Uint8Array }> = Struct({
    certificate: certificateCodec(24),
    tail: Bytes(1),
  })
  test.prop([subsets, fc.nat(), fc.nat(255)])(
    "a changed byte is refused or is another certificate's only form",
    (subset, at, byte) => {
      fc.pre(subset.signers.length > 0)
      const bytes = encode(Framed, {
        certificate: certificateOf(subset.participants, subset.signers),
        tail: fromHex("00"),
      })
      bytes[at % bytes.length]! ^= byte
      let certificate: Certificate
      try {
        certificate = decode(Framed, bytes).certificate
      } catch (error) {
        expect(error).toBeInstanceOf(DecodeError)
        return
      }
      expect(hexOf(encode(certificateCodec(24), certificate))).toBe(hexOf(bytes.subarray(0, -1)))
    },
  )
})

test("CONS-22 a certificate signed natively verifies in portable code, and the other way round", () => {
  const pairs = [1, 2, 3, 4].map((i) => keyPairFromSeed(portableEd25519, secretOf(i)))
  const participants = createParticipants(pairs.map((pair) => pair.publicKey))
  const made = ([nodeEd25519, portableEd25519] as const).map((provider) => {
    const votes = pairs.slice(0, 3).map(({ secret, publicKey }) => {
      return attest(provider, secret, participants.indexOf(publicKey)!, finalize, message)
    })
    return encode(certificateCodec(4), assemble(votes, 4)!)
  })
  expect(hexOf(made[0]!)).toBe(hexOf(made[1]!))
  const certificate = decode(certificateCodec(4), made[0]!)
  for (const provider of [nodeEd25519, portableEd25519]) {
    expect(verifyCertificate(provider, participants, finalize, message, certificate)).toBe(true)
    expect(verifyCertificate(provider, participants, notarize, message, certificate)).toBe(false)
  }
})
