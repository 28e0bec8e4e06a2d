/**
 * Goal: forks share what they do not change, and nothing of one is seen in another.
 * Method: arrays of records are written, forked, cut and extended beside plain maps.
 */
import fc from "fast-check"
import { describe, expect, it } from "vitest"
import { Pages } from "../src/internal/pages.ts"

const RECORD_BYTES = 12
const record = (value: number): Uint8Array => new Uint8Array(RECORD_BYTES).fill(value)

const filled = (count: number): Pages => {
  const pages = new Pages(RECORD_BYTES).fork()
  pages.cover(0, count)
  for (let i = 0; i < count; i++) pages.write(i, record(i))
  return pages.seal()
}

const step = fc.record({
  from: fc.nat(400),
  length: fc.nat(800),
  writes: fc.array(fc.tuple(fc.nat(1200), fc.integer({ min: 1, max: 255 })), { maxLength: 6 }),
})

describe("records in shared pages", () => {
  it("a chain of forks reads as plain maps do, each as it was sealed", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 8 }), (steps) => {
        let pages = filled(300)
        let expected = new Map(Array.from({ length: 300 }, (_, i) => [i, i % 256]))
        const sealed = [{ pages, expected }]
        for (const { from, length, writes } of steps) {
          pages = pages.fork()
          pages.cover(from, from + length)
          const next = new Map<number, number>()
          // A record keeps its page when the cover holds it before and after.
          for (const [i, value] of expected) if (i >= from && i < from + length) next.set(i, value)
          for (const [at, value] of writes) {
            if (at >= length) continue
            pages.write(from + at, record(value))
            next.set(from + at, value)
          }
          expected = next
          sealed.push({ pages: pages.seal(), expected })
        }
        for (const state of sealed) {
          for (const [i, value] of state.expected) {
            if (!state.pages.read(i).every((byte) => byte === value)) expect.fail(`record ${i} is not ${value}`)
          }
        }
      }),
    )
  })

  it("a fork costs the pages that it writes, and their directory", () => {
    const parent = filled(10_000)
    const fork = parent.fork()
    fork.write(5_000, record(1))
    fork.write(5_001, record(2))
    expect(fork.seal().bytes).toBeLessThan(parent.bytes / 20)
    expect(parent.fork().seal().bytes).toBeLessThan(fork.bytes)
    expect(parent.bytes).toBeGreaterThan(10_000 * RECORD_BYTES)
  })

  it("what is cleared is zero to the end of its page, and zero is seen as such", () => {
    const fork = filled(100).fork()
    expect(fork.isZero(50)).toBe(false)
    fork.clearFrom(50, 5)
    expect([...fork.read(50)]).toEqual([...record(50).fill(0, 5)])
    expect(fork.isZero(50)).toBe(false)
    expect(fork.isZero(51)).toBe(true)
    fork.clearFrom(50, 0)
    expect(fork.isZero(50)).toBe(true)
    expect([...fork.read(49)]).toEqual([...record(49)])
  })

  it("a sealed array is not written, and records outside are refused", () => {
    const pages = filled(10)
    expect(() => pages.write(3, record(0))).toThrow("not written")
    expect(() => pages.read(5_000)).toThrow("not held")
    const moved = pages.fork()
    moved.cover(4_000, 4_010)
    expect(() => moved.read(3)).toThrow("not held")
    expect(moved.isZero(4_009)).toBe(true)
  })
})
