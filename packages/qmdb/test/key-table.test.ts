/**
 * Goal: the key table is a set with numbers, also when keys were chosen so that their hashes collide.
 * Method: a property against an array, with the real hash and with one that sends every key to one place.
 */
import { bytesKey } from "@coppice/codec"
import fc from "fast-check"
import { afterEach, describe, expect, it, vi } from "vitest"
import * as keyHash from "../src/internal/key-hash.ts"
import { KeyTable } from "../src/internal/key-table.ts"

vi.mock("../src/internal/key-hash.ts", { spy: true })

afterEach(() => {
  vi.restoreAllMocks()
})

const key = fc.oneof(
  fc.uint8Array({ maxLength: 2 }),
  fc.uint8Array({ maxLength: 40 }),
  fc.nat(2000).map((n) => Uint8Array.of(0, 0, 0, n >> 8, n)),
)
const step = fc.oneof({ weight: 30, arbitrary: key }, { weight: 1, arbitrary: fc.nat(1000) })

const behaves = (runs: number): void => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 700, size: "max" }), (steps) => {
      const table = new KeyTable()
      let model: Array<string> = []
      for (const each of steps) {
        if (typeof each === "number") {
          model = model.slice(0, each % (model.length + 1))
          table.truncate(model.length)
        } else {
          const found = table.find(each)
          expect(found).toBe(model.indexOf(bytesKey(each)))
          if (found >= 0) continue
          expect(table.add(each)).toBe(model.length)
          model.push(bytesKey(each))
        }
        expect(table.count).toBe(model.length)
        expect(table.byteCount).toBe(model.reduce((sum, text) => sum + text.length, 0))
      }
      model.forEach((text, number) => {
        expect(table.text(number)).toBe(text)
        expect(table.find(Buffer.from(text, "latin1"))).toBe(number)
      })
    }),
    { numRuns: runs },
  )
}

describe("the key table", () => {
  it("finds exactly the keys it holds, by the number of their coming", () => {
    behaves(40)
  })

  it("does so when every key has the same hash", () => {
    vi.mocked(keyHash.hashBytes).mockReturnValue(7)
    behaves(10)
  })

  it("forgets keys from the end also when every key has the same hash", () => {
    vi.mocked(keyHash.hashBytes).mockReturnValue(7)
    const table = new KeyTable()
    const bytes = (n: number): Uint8Array => Uint8Array.of(n >> 8, n)
    const fill = (from: number): void => {
      for (let n = from; n < 600; n++) {
        expect(table.find(bytes(n))).toBe(-1)
        expect(table.add(bytes(n))).toBe(n)
      }
    }
    fill(0)
    for (const left of [580, 200, 0]) {
      table.truncate(left)
      for (let n = 0; n < 600; n++) expect(table.find(bytes(n)), `key ${n} of ${left}`).toBe(n < left ? n : -1)
      fill(left)
    }
  })

  it("takes a time in proportion to the keys when every key has the same hash", () => {
    const hash = vi.mocked(keyHash.hashBytes).mockReturnValue(7)
    const table = new KeyTable()
    for (let n = 0; n < 5000; n++) {
      const bytes = Uint8Array.of(n >> 8, n)
      if (table.find(bytes) < 0) table.add(bytes)
    }
    expect(table.count).toBe(5000)
    expect(hash.mock.calls.length, "the engine's map has taken over").toBeLessThan(1000)
  })
})
