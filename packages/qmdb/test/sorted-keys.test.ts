/**
 * Goal: SortedKeys answers as a sorted list of its keys would, whatever comes and goes in whatever order.
 * Method: random adds and removes beside a plain set, enough of them that blocks split and empty.
 */
import fc from "fast-check"
import { describe, expect, it } from "vitest"
import { SortedKeys } from "../src/internal/sorted-keys.ts"

const key = fc.string({ unit: fc.integer({ min: 0, max: 255 }).map((code) => String.fromCharCode(code)), maxLength: 3 })

const sorted = (keys: Iterable<string>): Array<string> => [...keys].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0))

const walked = (keys: SortedKeys): Array<string> => {
  const found: Array<string> = []
  for (let at = keys.atOrAfter(""); at !== undefined; at = keys.atOrAfter(`${at}\0`)) found.push(at)
  return found
}

describe("SortedKeys", () => {
  it("has the neighbours that a sorted list has", () => {
    const change = fc.record({ key, removed: fc.boolean() })
    fc.assert(
      fc.property(fc.array(change, { maxLength: 300 }), fc.array(key, { minLength: 1 }), (changes, asked) => {
        const keys = new SortedKeys()
        const plain = new Set<string>()
        for (const { key, removed } of changes) {
          if (removed) keys.remove(key)
          else keys.add(key)
          if (removed) plain.delete(key)
          else plain.add(key)
        }
        const list = sorted(plain)
        expect(walked(keys)).toEqual(list)
        expect(keys.before(undefined)).toBe(list.at(-1))
        for (const each of asked) {
          expect(keys.atOrAfter(each), `at or after ${each}`).toBe(list.find((other) => other >= each))
          expect(keys.before(each), `before ${each}`).toBe(list.findLast((other) => other < each))
        }
      }),
    )
  })

  it("keeps thousands of keys in order, added up, down and across, and half of them removed", () => {
    const all = Array.from({ length: 3000 }, (_, i) => i.toString().padStart(4, "0"))
    const orders = [all, [...all].reverse(), all.map((_, i) => all[(i * 1009) % 3000]!)]
    for (const order of orders) {
      const keys = new SortedKeys()
      for (const each of order) keys.add(each)
      for (const each of order) if (Number(each) % 2 === 1) keys.remove(each)
      expect(walked(keys)).toEqual(all.filter((each) => Number(each) % 2 === 0))
    }
  })
})
