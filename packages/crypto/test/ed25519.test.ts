/**
 * Goal: one acceptance predicate on every path (CONS-22), and deterministic signatures.
 * Method: RFC 8032 vectors; all pairs of small-order encodings, and honest signatures moved by every pair of small-order
 * points, whose verdicts ZIP-215 fixes; damaged and random input. Canary: the native rule alone must be told apart.
 */
import { createPublicKey, verify } from "node:crypto"
import { bytesEqual } from "@coppice/codec"
import { type Ed25519, keyPairFromSeed, portableEd25519 } from "@coppice/crypto"
import { nodeEd25519 } from "@coppice/crypto/node"
import { fc, test } from "@fast-check/vitest"
import { ed25519 } from "@noble/curves/ed25519.js"
import { sha512 } from "@noble/hashes/sha2.js"
import { describe, expect } from "vitest"

const providers: ReadonlyArray<readonly [string, Ed25519]> = [
  ["portable", portableEd25519],
  ["node", nodeEd25519],
]

const hex = (digits: string): Uint8Array => new Uint8Array(Buffer.from(digits, "hex"))
const seedOf = (n: number): Uint8Array => new Uint8Array(32).map((_, i) => n * 31 + i)

/** Secret, public key, message and signature of RFC 8032 section 7.1, tests 1 to 3. */
const vectors: ReadonlyArray<readonly [string, string, string, string]> = [
  [
    "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
    "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
    "",
    "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
  ],
  [
    "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
    "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
    "72",
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
  ],
  [
    "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
    "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
    "af82",
    "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
  ],
]

const { Point } = ed25519
const ORDER = Point.Fn.ORDER
const FIELD = Point.Fp.ORDER

const littleEndian = (n: bigint): Uint8Array => hex(n.toString(16).padStart(64, "0")).reverse()
const integer = (bytes: Uint8Array): bigint => BigInt(`0x${Buffer.from(bytes).reverse().toString("hex")}`)

const pointOrUndefined = (y: bigint) => {
  try {
    return Point.fromBytes(littleEndian(y), true)
  } catch {
    return undefined
  }
}

/** The eight points whose order divides the cofactor: the multiples of any point of order eight. */
const smallOrderPoints = (() => {
  for (let y = 2n; y < 100n; y++) {
    const point = pointOrUndefined(y)
    const generator = point?.multiplyUnsafe(ORDER - 1n).add(point)
    if (generator === undefined || generator.double().double().is0()) continue
    return Array.from({ length: 8 }, (_, i) => generator.multiplyUnsafe(BigInt(i)))
  }
  throw new Error("no point of order eight below y = 100")
})()

/** Every encoding of those points: the eight canonical ones, those of x = 0 with a sign, and those with y above the field. */
const smallOrderEncodings = (() => {
  const signed = 1n << 255n
  const encodings = new Map<string, Uint8Array>()
  const add = (n: bigint): void => {
    if (n >= 0n && n < 1n << 256n) encodings.set(n.toString(16), littleEndian(n))
  }
  for (const point of smallOrderPoints) {
    const { x, y } = point.toAffine()
    const ys = y + FIELD < signed ? [y, y + FIELD] : [y]
    for (const one of ys) {
      if (x === 0n || x % 2n === 0n) add(one)
      if (x === 0n || x % 2n === 1n) add(one + signed)
    }
  }
  return [...encodings.values()]
})()

const challenge = (r: Uint8Array, a: Uint8Array, message: Uint8Array): bigint =>
  integer(sha512(Uint8Array.of(...r, ...a, ...message))) % ORDER

/** A public key and signature whose equation holds up to the points of small order that were added to A and R. */
const movedSignature = (seed: Uint8Array, message: Uint8Array, inKey: number, inNonce: number) => {
  const { scalar, point } = ed25519.utils.getExtendedPublicKey(seed)
  const nonce = (scalar * 7n + BigInt(message.length) + 1n) % ORDER
  const a = point.add(smallOrderPoints[inKey]!).toBytes()
  const r = Point.BASE.multiply(nonce).add(smallOrderPoints[inNonce]!).toBytes()
  const s = (nonce + challenge(r, a, message) * scalar) % ORDER
  return { publicKey: a, signature: Uint8Array.of(...r, ...littleEndian(s)) }
}

/** The rule of the native library, without a second opinion. */
const nativeOnly: Ed25519["verify"] = (publicKey, message, signature) => {
  try {
    const key = Buffer.concat([Buffer.from("302a300506032b6570032100", "hex"), publicKey])
    return verify(null, message, createPublicKey({ key, format: "der", type: "spki" }), signature)
  } catch {
    return false
  }
}

/** Small-order pairs (A, R) with s = 0 that ZIP-215 accepts and a rule refuses. */
const smallOrderRefusals = (accepts: Ed25519["verify"]): number => {
  let refusals = 0
  for (const a of smallOrderEncodings) {
    for (const r of smallOrderEncodings) {
      if (!accepts(a, hex("5a63617368"), Uint8Array.of(...r, ...new Uint8Array(32)))) refusals++
    }
  }
  return refusals
}

for (const [name, provider] of providers) {
  describe(`Ed25519 (${name})`, () => {
    test("reproduces the vectors of RFC 8032", () => {
      for (const [secret, publicKey, message, signature] of vectors) {
        expect(Buffer.from(provider.publicKey(hex(secret))).toString("hex")).toBe(publicKey)
        expect(Buffer.from(provider.sign(hex(secret), hex(message))).toString("hex")).toBe(signature)
        expect(provider.verify(hex(publicKey), hex(message), hex(signature))).toBe(true)
      }
    })

    test("CONS-22 all 14 x 14 pairs of small-order encodings are accepted", () => {
      expect(smallOrderEncodings.length).toBe(14)
      expect(smallOrderRefusals(provider.verify)).toBe(0)
    })

    test("CONS-22 an honest signature moved by any pair of small-order points is accepted, and no other message", () => {
      const message = hex("c0ffee")
      for (let inKey = 0; inKey < 8; inKey++) {
        for (let inNonce = 0; inNonce < 8; inNonce++) {
          const { publicKey, signature } = movedSignature(seedOf(3), message, inKey, inNonce)
          expect(provider.verify(publicKey, message, signature), `${inKey}, ${inNonce}`).toBe(true)
        }
        const { publicKey, signature } = movedSignature(seedOf(3), message, inKey, 7 - inKey)
        expect(provider.verify(publicKey, hex("c0ffef"), signature), `${inKey}`).toBe(false)
      }
    })

    test("CONS-22 a scalar that is not below the group order is refused", () => {
      const { secret, publicKey } = keyPairFromSeed(provider, seedOf(1))
      const signature = provider.sign(secret, hex("01"))
      const scalar = integer(signature.subarray(32))
      for (let s = scalar + ORDER; s < 1n << 256n; s += ORDER) {
        expect(
          provider.verify(publicKey, hex("01"), Uint8Array.of(...signature.subarray(0, 32), ...littleEndian(s))),
        ).toBe(false)
      }
    })

    test("a key or nonce that is no point, and any other length, do not verify and do not throw", () => {
      const { secret, publicKey } = keyPairFromSeed(provider, seedOf(1))
      const signature = provider.sign(secret, hex("01"))
      const noPoint = littleEndian(2n)
      expect(provider.verify(noPoint, hex("01"), signature)).toBe(false)
      expect(provider.verify(publicKey, hex("01"), Uint8Array.of(...noPoint, ...signature.subarray(32)))).toBe(false)
      for (const length of [0, 31, 33, 63, 65]) {
        expect(provider.verify(new Uint8Array(length), hex("01"), signature)).toBe(false)
        expect(provider.verify(publicKey, hex("01"), new Uint8Array(length))).toBe(false)
      }
    })

    test("a secret of another length is a RangeError", () => {
      for (const length of [0, 31, 33, 64]) {
        expect(() => provider.sign(new Uint8Array(length), hex("01"))).toThrow(RangeError)
        expect(() => provider.publicKey(new Uint8Array(length))).toThrow(RangeError)
      }
    })
  })
}

describe("both providers", () => {
  test.prop([fc.uint8Array({ minLength: 32, maxLength: 32 }), fc.uint8Array({ maxLength: 300 })], { numRuns: 40 })(
    "CONS-22 keys and signatures are equal byte for byte, and the same every time",
    (seed, message) => {
      expect(bytesEqual(nodeEd25519.publicKey(seed), portableEd25519.publicKey(seed))).toBe(true)
      const signature = nodeEd25519.sign(seed, message)
      expect(bytesEqual(signature, portableEd25519.sign(seed, message))).toBe(true)
      expect(bytesEqual(signature, nodeEd25519.sign(seed, message))).toBe(true)
    },
  )

  const encodings = fc.oneof(fc.constantFrom(...smallOrderEncodings), fc.uint8Array({ minLength: 32, maxLength: 32 }))
  test.prop([fc.nat(3), fc.nat(1000), fc.nat(7), encodings], { numRuns: 100 })(
    "CONS-22 verdicts agree on damaged signatures",
    (part, at, bit, replacement) => {
      const { secret, publicKey } = keyPairFromSeed(nodeEd25519, seedOf(2))
      const message = hex("aabbccdd")
      const signature = nodeEd25519.sign(secret, message)
      if (part === 0) signature[at % 64]! ^= 1 << bit
      if (part === 1) publicKey[at % 32]! ^= 1 << bit
      if (part === 2) signature.set(replacement)
      if (part === 3) publicKey.set(replacement)
      expect(nodeEd25519.verify(publicKey, message, signature)).toBe(
        portableEd25519.verify(publicKey, message, signature),
      )
    },
  )

  test("more keys than the caches hold still verify", () => {
    const message = hex("00")
    for (let n = 0; n < 300; n++) {
      const seed = new Uint8Array(32).fill(n).fill(n >>> 8, 0, 1)
      expect(nodeEd25519.verify(nodeEd25519.publicKey(seed), message, nodeEd25519.sign(seed, message)), `${n}`).toBe(
        true,
      )
    }
  })

  test("canary: the native rule alone is told apart from ZIP-215", () => {
    expect(smallOrderRefusals(nativeOnly)).toBeGreaterThan(100)
  })
})
