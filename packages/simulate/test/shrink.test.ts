/**
 * Goal: shrinking ends with a list that fails and from which nothing can be left out, within its bound.
 * Method: failures that need a known part of a list, drawn at random; every list that is tried is recorded.
 */
import { fc, test as property } from "@fast-check/vitest"
import { Effect } from "effect"
import { describe, expect, test } from "vitest"
import { shrink } from "../src/shrink.ts"

const listOf = (count: number): ReadonlyArray<number> => Array.from({ length: count }, (_, i) => i)

/** Shrinks a list whose failure needs all of `needed`. */
const shrinkTo = (count: number, needed: ReadonlySet<number>, runsMax: number) => {
  const tried: Array<ReadonlyArray<number>> = []
  const fails = (part: ReadonlyArray<number>) =>
    Effect.sync(() => {
      tried.push(part)
      return [...needed].every((item) => part.includes(item))
    })
  return { ...Effect.runSync(shrink(listOf(count), fails, runsMax)), tried }
}

describe("shrinking", () => {
  property.prop([fc.integer({ min: 1, max: 60 }), fc.array(fc.nat(59), { maxLength: 4 })])(
    "what is left is what the failure needs, in its order",
    (count, drawn) => {
      const needed = new Set(drawn.filter((item) => item < count))
      const { items, isMinimal, runs, tried } = shrinkTo(count, needed, 10_000)
      expect(items).toEqual([...needed].sort((a, b) => a - b))
      expect({ isMinimal, runs }).toEqual({ isMinimal: true, runs: tried.length })
    },
  )

  test("a failure that needs nothing is known after one run", () => {
    expect(shrinkTo(1_000, new Set(), 100)).toMatchObject({ items: [], runs: 1, isMinimal: true })
  })

  test("an item that can only go after another has gone goes", () => {
    // 0 may be left out only where 3 is: found by going round again.
    const fails = (part: ReadonlyArray<number>) =>
      Effect.succeed(part.includes(1) && (part.includes(0) || !part.includes(3)))
    expect(Effect.runSync(shrink(listOf(4), fails, 100)).items).toEqual([1])
  })

  test("what two items show alone is found where larger parts of the list hide it", () => {
    const fails = (part: ReadonlyArray<number>) =>
      Effect.succeed(part.length > 4 || (part.length === 2 && part.includes(6) && part.includes(7)))
    expect(Effect.runSync(shrink(listOf(8), fails, 100))).toMatchObject({ items: [6, 7], isMinimal: true })
  })

  test("at its bound it ends with what is known to fail, and says that it is not minimal", () => {
    const { items, runs, isMinimal, tried } = shrinkTo(64, new Set([5, 40]), 7)
    expect({ runs, isMinimal, tried: tried.length }).toEqual({ runs: 7, isMinimal: false, tried: 7 })
    expect(items).toEqual(expect.arrayContaining([5, 40]))
    expect(items.length).toBeLessThan(64)
  })
})
