/**
 * Goal: keys stand for byte strings: injective, in the same order, and back.
 * Method: random pairs with long common prefixes, every length around the special cases, one canary comparator.
 */
import { bytesEqual, bytesKey, compareBytes, keyBytes } from "@coppice/codec"
import { fc, test } from "@fast-check/vitest"
import { describe, expect } from "vitest"

const near = fc
  .tuple(fc.uint8Array({ maxLength: 40 }), fc.uint8Array({ maxLength: 3 }), fc.uint8Array({ maxLength: 3 }))
  .map(([prefix, a, b]) => [Uint8Array.of(...prefix, ...a), Uint8Array.of(...prefix, ...b)] as const)
const pairs = fc.oneof(near, fc.tuple(fc.uint8Array(), fc.uint8Array()))

const byKey = (a: Uint8Array, b: Uint8Array): number => {
  const [x, y] = [bytesKey(a), bytesKey(b)]
  return x < y ? -1 : x > y ? 1 : 0
}

/** Signs of a comparison that disagree with Node's own, over the given pair in both directions. */
const disagreement = (compare: typeof compareBytes, a: Uint8Array, b: Uint8Array): boolean =>
  Math.sign(compare(a, b)) !== Buffer.compare(a, b) || Math.sign(compare(b, a)) !== Buffer.compare(b, a)

describe("byte strings", () => {
  test.prop([pairs])("compareBytes and the order of keys are lexicographic", ([a, b]) => {
    expect(disagreement(compareBytes, a, b)).toBe(false)
    expect(disagreement(byKey, a, b)).toBe(false)
  })

  test.prop([pairs])("equality, order zero and equal keys are the same thing", ([a, b]) => {
    expect(bytesEqual(a, b)).toBe(compareBytes(a, b) === 0)
    expect(bytesEqual(a, b)).toBe(bytesKey(a) === bytesKey(b))
    expect(bytesEqual(a, a.slice())).toBe(true)
  })

  test("a key gives its bytes back at every length, also those that are read in pieces", () => {
    for (const length of [0, 1, 31, 32, 33, 255, 4095, 4096, 4097, 10_000, 200_000]) {
      const bytes = new Uint8Array(length).map((_, i) => (i * 197) ^ (i >>> 8))
      const key = bytesKey(bytes)
      expect(key.length).toBe(length)
      expect(bytesEqual(keyBytes(key), bytes), `length ${length}`).toBe(true)
    }
  })

  test("a string that is no key is a RangeError", () => {
    expect(() => keyBytes("\u0100")).toThrow(RangeError)
  })

  test("canary: a comparison that ignores the lengths is caught", () => {
    const careless = (a: Uint8Array, b: Uint8Array): number => {
      for (let i = 0; i < Math.min(a.length, b.length); i++) if (a[i] !== b[i]) return a[i]! - b[i]!
      return 0
    }
    expect(fc.check(fc.property(pairs, ([a, b]) => !disagreement(careless, a, b))).failed).toBe(true)
  })
})
