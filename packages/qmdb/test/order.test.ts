/**
 * Goal: orders are those of a comparator: numbers up to 2^53, byte strings of any lengths with any shared beginnings.
 * Method: properties against the language's own sort, around every size at which the method changes.
 */
import { compareBytes } from "@coppice/codec"
import fc from "fast-check"
import { describe, expect, it } from "vitest"
import { type ByteStrings, orderByBytes, orderByNumber } from "../src/internal/order.ts"

const byNumber = (values: ReadonlyArray<number>): Array<number> =>
  values.map((_, i) => i).sort((a, b) => values[a]! - values[b]! || a - b)

const packed = (keys: ReadonlyArray<Uint8Array>): ByteStrings => {
  const starts = new Uint32Array(keys.length + 1)
  keys.forEach((key, i) => {
    starts[i + 1] = starts[i]! + key.length
  })
  return { bytes: Buffer.concat(keys), starts, count: keys.length }
}

const byBytes = (keys: ReadonlyArray<Uint8Array>): Array<number> =>
  keys.map((_, i) => i).sort((a, b) => compareBytes(keys[a]!, keys[b]!) || a - b)

const many = <A>(item: fc.Arbitrary<A>) =>
  fc.oneof(
    { weight: 5, arbitrary: fc.array(item, { maxLength: 400, size: "max" }) },
    { weight: 1, arbitrary: fc.array(item, { minLength: 1022, maxLength: 1026, size: "max" }) },
  )

describe("numbers", () => {
  const whole = (max: number) => fc.maxSafeNat().map((n) => (max === Number.MAX_SAFE_INTEGER ? n : n % (max + 1)))
  for (const max of [0, 1, 255, 256, 2047, 2048, 2 ** 22, 2 ** 32 - 1, 2 ** 32, 2 ** 40, Number.MAX_SAFE_INTEGER]) {
    it(`up to ${max} come in ascending order, ties by entry`, () => {
      fc.assert(
        fc.property(many(whole(max)), fc.nat(3), (values, spare) => {
          const given = Float64Array.from([...values, ...Array.from({ length: spare }, () => -1)])
          expect([...orderByNumber(given, values.length)]).toEqual(byNumber(values))
        }),
        { numRuns: 40 },
      )
    })
  }

  it("far from zero and close together come in order", () => {
    const base = 2 ** 52 + 2 ** 33
    const values = Array.from({ length: 300 }, (_, i) => base + ((i * 7919) % 301))
    expect([...orderByNumber(Float64Array.from(values), values.length)]).toEqual(byNumber(values))
  })
})

describe("byte strings", () => {
  const few = fc.integer({ min: 0, max: 2 }).map((n) => [0, 1, 255][n]!)
  const tail = fc.uint8Array({ maxLength: 14 })
  const narrow = fc.array(few, { maxLength: 14, size: "max" }).map((bytes) => Uint8Array.from(bytes))
  const prefixed = fc.tuple(fc.constantFrom(0, 3, 4, 5, 9, 40), narrow).map(([length, end]) => {
    const bytes = new Uint8Array(length + end.length).fill(9, 0, length)
    bytes.set(end, length)
    return bytes
  })
  for (const [name, item] of [
    ["of all bytes", tail],
    ["that share beginnings and end in zeros", narrow],
    ["with long common beginnings", prefixed],
  ] as const) {
    it(`${name} come in ascending order, a proper prefix first`, () => {
      fc.assert(
        fc.property(many(item), (keys) => {
          expect([...orderByBytes(packed(keys))]).toEqual(byBytes(keys))
        }),
        { numRuns: 60 },
      )
    })
  }
})
