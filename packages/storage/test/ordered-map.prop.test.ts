/**
 * Goal: the ordered map of memory storage is an ordered map.
 * Method: any sequence of sets and removes against a plain map that is sorted when asked; keys from a small alphabet, so
 * that blocks split, empty and are hit again.
 */
import { bytesKey, keyBytes } from "@coppice/codec"
import { fc, test } from "@fast-check/vitest"
import { expect } from "vitest"
import { OrderedMap, type Value } from "../src/internal/ordered-map.ts"

const key = fc.uint8Array({ minLength: 1, maxLength: 3, max: 12 })
const bound = fc.option(key, { nil: undefined })
const value: fc.Arbitrary<Value> = fc.oneof(fc.uint8Array({ maxLength: 2 }), fc.string({ maxLength: 2 }))
const changes = fc.array(fc.tuple(key, fc.option(value, { nil: undefined, freq: 3 })), {
  maxLength: 1500,
  size: "max",
})

const text = (entries: Iterable<readonly [string, Value]>): ReadonlyArray<string> =>
  Array.from(entries, ([id, value]) => `${keyBytes(id)}=${value}`)

test.prop([changes, bound, bound], { numRuns: 60 })(
  "it holds, orders and counts as a plain map does",
  (given, start, end) => {
    const map = new OrderedMap()
    const plain = new Map<string, Value>()
    for (const [at, value] of given) {
      const id = bytesKey(at)
      expect(map.set(id, value)).toEqual(plain.get(id))
      if (value === undefined) plain.delete(id)
      else plain.set(id, value)
      expect(map.get(id)).toEqual(value)
    }
    const sorted = [...plain].sort(([a], [b]) => (a < b ? -1 : 1))
    const [low, high] = [start && bytesKey(start), end && bytesKey(end)]
    const within = (from: string | undefined, to: string | undefined) =>
      sorted.flatMap(([id], i) =>
        (from === undefined || id >= from) && (to === undefined || id < to) ? [sorted[i]!] : [],
      )
    const downTo = sorted.flatMap(([id], i) =>
      (low === undefined || id <= low) && (high === undefined || id > high) ? [sorted[i]!] : [],
    )
    expect(text(map.ascending(low, high))).toEqual(text(within(low, high)))
    expect(text(map.descending(low, high))).toEqual(text(downTo.toReversed()))
    expect(map.bytes).toBe(sorted.reduce((sum, [id, value]) => sum + id.length + value.length, 0))
  },
)
