/**
 * Goal: chunks are counted, and pruning is bounded, as published.
 * Method: the boundaries of sync-compact.json, and every number against its definition by the nodes that a tree has.
 */
import { readFileSync } from "node:fs"
import { family as familyOf, Location, mmb, mmr } from "@coppice/merkle"
import { describe, expect, it } from "vitest"
import { alignedInactivePeaks, chunkCounts, grafting, syncBoundary } from "../src/grafting.ts"

interface Boundaries {
  readonly family: "mmr" | "mmb"
  readonly grafting_height: number
  readonly graftable_chunks_by_leaves: ReadonlyArray<number>
  readonly settle_size_by_chunks: ReadonlyArray<number>
}

const vectors = new URL("../../../conformance/vectors/sync-compact.json", import.meta.url)
const { boundaries } = JSON.parse(readFileSync(vectors, "utf8")) as { readonly boundaries: ReadonlyArray<Boundaries> }

describe.each(boundaries)("sync-compact.json, $family, height $grafting_height", (published) => {
  const shape = grafting(familyOf(published.family), 2 ** published.grafting_height / 8)

  it("has so many graftable chunks at each leaf count", () => {
    const counts = published.graftable_chunks_by_leaves.map((_, n) => chunkCounts(shape, Location(n)).graftable)
    expect(counts).toEqual(published.graftable_chunks_by_leaves)
  })

  it("may drop so many chunks from a leaf count on, and no earlier", () => {
    for (const [i, settled] of published.settle_size_by_chunks.entries()) {
      const floor = Location((i + 1) * shape.span)
      expect(syncBoundary(shape, Location(settled), floor), `${i + 1} chunks`).toBe(floor)
      expect(syncBoundary(shape, Location(settled - 1), floor), `${i + 1} chunks`).toBeLessThan(floor)
    }
  })
})

describe.each([mmr, mmb])("$name", (family) => {
  it.each([1, 2, 4])(
    "chunks of %d bytes: graftable means that their node exists; at most one complete chunk is not",
    (bytes) => {
      const shape = grafting(family, bytes)
      for (let n = 0; n <= 300; n++) {
        const leaves = Location(n)
        const { complete, graftable, remainder } = chunkCounts(shape, leaves)
        const exists = (chunk: number) => family.birth(Location(chunk * shape.span), shape.height) <= n
        expect(complete * shape.span + remainder).toBe(n)
        expect(graftable === 0 || exists(graftable - 1), `${n} leaves`).toBe(true)
        expect(exists(graftable), `${n} leaves`).toBe(false)
        expect(complete - graftable, `${n} leaves`).toBeLessThanOrEqual(family === mmb ? 1 : 0)
      }
    },
  )

  it("inactive peaks end at or before the floor, the last of them where a chunk ends", () => {
    const shape = grafting(family, 1)
    for (let n = 1; n <= 120; n++) {
      const ends = family.peaks(Location(n)).map(({ start, height }) => start + 2 ** height)
      for (let floor = 0; floor <= n; floor++) {
        const last = ends.findLast((end) => end <= floor && end % 8 === 0)
        const expected = last === undefined ? 0 : ends.indexOf(last) + 1
        expect(alignedInactivePeaks(shape, Location(n), Location(floor)), `${n} leaves, floor ${floor}`).toBe(expected)
      }
    }
  })
})

it("chunks of another size than a power of two are refused", () => {
  for (const bytes of [0, 3, 0.5, 48, -8]) expect(() => grafting(mmb, bytes)).toThrow(RangeError)
  expect(grafting(mmb, 32)).toMatchObject({ height: 8, span: 256 })
})
