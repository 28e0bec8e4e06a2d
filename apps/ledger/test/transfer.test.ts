/**
 * Goal: a signature is about one transfer on one chain, and about every field of it.
 * Method: random transfers; each field, the chain and the signature are changed, one at a time.
 * Canary: a scheme that accepts everything accepts the changed ones, so it is the scheme that refuses them.
 */
import { decode, encode } from "@coppice/codec"
import { type Ed25519, nobleHasher, portableEd25519 } from "@coppice/crypto"
import { nodeEd25519 } from "@coppice/crypto/node"
import { fc, test } from "@fast-check/vitest"
import { describe, expect, it } from "vitest"
import { isSigned, signTransfer, type Transfer, TransferCodec, transferId, transferNamespace } from "../src/index.ts"
import { alice, bob, CHAIN, people, transfer } from "./support/chain.ts"

const U64_MAX = (1n << 64n) - 1n
const u64 = fc.bigInt({ min: 0n, max: U64_MAX })
const person = fc.constantFrom(...people)
const signed = fc
  .record({ from: person, to: person, amount: u64, nonce: u64 })
  .map(({ from, to, amount, nonce }) => transfer(from, to, { amount, nonce }))

const flip = (bytes: Uint8Array, bit: number): Uint8Array => {
  const changed = bytes.slice()
  changed[Math.floor(bit / 8)]! ^= 1 << (bit % 8)
  return changed
}

const holds = (given: Transfer, chain = CHAIN, ed25519: Ed25519 = nodeEd25519): boolean =>
  isSigned(ed25519, transferNamespace(chain), given)

const changed = fc.oneof(
  fc.record({ field: fc.constantFrom("from" as const, "to" as const), bit: fc.nat(255) }),
  fc.record({ field: fc.constant("signature" as const), bit: fc.nat(511) }),
  fc.record({ field: fc.constantFrom("amount" as const, "nonce" as const), bit: fc.nat(63) }),
)

const change = (given: Transfer, { field, bit }: { field: keyof Transfer; bit: number }): Transfer => {
  const value = given[field]
  return { ...given, [field]: typeof value === "bigint" ? value ^ (1n << BigInt(bit)) : flip(value, bit) }
}

describe("signatures", () => {
  test.prop([signed])("a signed transfer is signed, whichever provider looks", (given) => {
    expect(holds(given)).toBe(true)
    expect(holds(given, CHAIN, portableEd25519)).toBe(true)
  })

  test.prop([signed, changed])("one changed bit of any field makes it unsigned", (given, where) => {
    expect(holds(change(given, where))).toBe(false)
  })

  test.prop([signed, fc.string({ maxLength: 20 }).filter((name) => name !== CHAIN)])(
    "it is unsigned on every other chain",
    (given, chain) => {
      expect(holds(given, chain)).toBe(false)
    },
  )

  test.prop([signed, person])("it is nobody else's", (given, other) => {
    const stolen = { ...given, from: other.publicKey }
    expect(holds(stolen)).toBe(Buffer.from(other.publicKey).equals(given.from))
  })

  test.prop([signed, changed])("canary: a scheme that accepts everything accepts the changed ones", (given, where) => {
    expect(holds(change(given, where), CHAIN, { ...nodeEd25519, verify: () => true })).toBe(true)
  })
})

describe("encoding", () => {
  test.prop([signed])("a transfer has 144 bytes, and they decode to it", (given) => {
    const bytes = encode(TransferCodec, given)
    expect(bytes.length).toBe(144)
    expect(decode(TransferCodec, bytes)).toEqual(given)
  })

  test.prop([signed, changed])("an id names all of a transfer: a changed bit changes it", (given, where) => {
    expect(transferId(nobleHasher, change(given, where))).not.toEqual(transferId(nobleHasher, given))
  })

  it("an amount or nonce that has no 64 bits is a RangeError, not another transfer", () => {
    const sign = (amount: bigint, nonce: bigint) => () =>
      signTransfer(nodeEd25519, alice, transferNamespace(CHAIN), { to: bob.publicKey, amount, nonce })
    expect(sign(U64_MAX + 1n, 0n)).toThrow(RangeError)
    expect(sign(0n, -1n)).toThrow(RangeError)
    expect(sign(U64_MAX, U64_MAX)).not.toThrow()
  })
})
