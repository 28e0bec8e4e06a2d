/**
 * Goal: the arithmetic of both families is right for small trees, around 2^32 and up to the largest tree.
 * Method: compare with a tree grown by its merge rule (model.ts), with the tables of spec merkle §2 and §3, with the
 * published vectors, and with the formulas of the specification in arbitrary precision where no tree can be grown.
 */
import fc from "fast-check"
import { describe, expect, test } from "vitest"
import {
  type Family,
  type FamilyName,
  family,
  inactivePeaks,
  Location,
  mmb,
  mmr,
  PEAKS_MAX,
  POSITION_MAX,
  Position,
} from "../src/index.ts"
import { emptyModel, growModel, type Model, vectors } from "./model.ts"

const families = [mmr, mmb]
const shape = (nodes: ReadonlyArray<{ start: number; height: number; position: number }>) =>
  nodes.map(({ start, height, position }) => ({ start, height, position }))

/** `size(n)` of spec merkle §2, in arbitrary precision. */
const exactSize = (name: FamilyName, leaves: bigint): bigint => {
  const lost =
    name === "mmr" ? [...leaves.toString(2)].filter((bit) => bit === "1").length : (leaves + 1n).toString(2).length - 1
  return 2n * leaves - BigInt(lost)
}

/** The peaks of spec merkle §3, in arbitrary precision. */
const exactPeaks = (name: FamilyName, leaves: bigint): Array<{ start: number; height: number; position: number }> => {
  const bits = [...(name === "mmr" ? leaves : leaves + 1n).toString(2)].map(Number).reverse()
  const heights: Array<number> = []
  if (name === "mmr") for (let h = bits.length - 1; h >= 0; h--) if (bits[h] === 1) heights.push(h)
  if (name === "mmb") for (let i = bits.length - 2; i >= 0; i--) heights.push(i + bits[i]!)
  let start = 0n
  return heights.map((height) => {
    const span = 1n << BigInt(height)
    const position =
      name === "mmr"
        ? exactSize(name, start) + 2n * span - 2n
        : height === 0
          ? exactSize(name, start)
          : exactSize(name, start + (3n * span) / 2n - 2n) + 1n
    const peak = { start: Number(start), height, position: Number(position) }
    start += span
    return peak
  })
}

const growAndCompare = (family: Family, model: Model, leaves: number): void => {
  for (let n = 0; n < leaves; n++) {
    const known = model.nodes.length
    growModel(family.name, model, new Uint8Array(0))
    const at = Location(model.leaves)
    const note = `${family.name} with ${at} leaves`
    expect(family.size(at), note).toBe(model.size)
    expect(shape(family.peaks(at)), note).toEqual(shape(model.peaks))
    for (const node of model.nodes.slice(known)) {
      expect(family.position(Location(node.start), node.height), note).toBe(node.position)
      expect(family.birth(Location(node.start), node.height), note).toBe(node.birth)
      const index = node.start / 2 ** node.height
      expect(family.count(at, node.height), note).toBe(index + 1)
      expect(family.count(Location(at - 1), node.height), note).toBe(index)
    }
  }
}

describe.each(families)("$name", (family) => {
  const at = (n: number) => family.peaks(Location(n)).map((p) => `(${p.start},${p.height})@${p.position}`)

  test("positions, births, counts and peaks agree with a tree grown leaf by leaf, for 3,000 leaf counts", () => {
    growAndCompare(family, emptyModel(), 3000)
  })

  test.each([2 ** 31, 2 ** 32, 2 ** 33, 2 ** 51])("the arithmetic holds across %d leaves", (centre) => {
    const leaves = centre - 300
    const peaks = exactPeaks(family.name, BigInt(leaves))
    expect(shape(family.peaks(Location(leaves)))).toEqual(peaks)
    const model: Model = {
      leaves,
      size: Number(exactSize(family.name, BigInt(leaves))),
      nodes: [],
      peaks: peaks.map((peak) => ({ ...peak, birth: 0, digest: new Uint8Array(32) })),
    }
    growAndCompare(family, model, 600)
  })

  test("the last leaves below the maximum have exact positions", () => {
    const leaves = family.leavesMax - 300
    const model: Model = {
      leaves,
      size: Number(exactSize(family.name, BigInt(leaves))),
      nodes: [],
      peaks: exactPeaks(family.name, BigInt(leaves)).map((p) => ({ ...p, birth: 0, digest: new Uint8Array(32) })),
    }
    growAndCompare(family, model, 300)
    expect(model.leaves).toBe(family.leavesMax)
  })

  test("size and peaks agree with exact integers for any leaf count", () => {
    fc.assert(
      fc.property(fc.maxSafeInteger(), fc.nat(52), (big, shift) => {
        const leaves = Location(Math.floor((Math.abs(big) / 2 ** shift) % (family.leavesMax + 1)))
        expect(family.size(leaves)).toBe(Number(exactSize(family.name, BigInt(leaves))))
        expect(shape(family.peaks(leaves))).toEqual(exactPeaks(family.name, BigInt(leaves)))
        expect(family.peaks(leaves).length).toBeLessThanOrEqual(PEAKS_MAX)
      }),
      { numRuns: 2000 },
    )
  })

  test("a tree has at most PEAKS_MAX peaks, and one tree has as many", () => {
    const most = { mmr: 2 ** 52 - 1, mmb: family.leavesMax }[family.name]
    expect(family.peaks(Location(most)).length).toBe(PEAKS_MAX)
  })

  test("the leaf maximum is the last whose positions a double holds", () => {
    const max = BigInt(family.leavesMax)
    expect(exactSize(family.name, max) <= BigInt(POSITION_MAX)).toBe(true)
    expect(exactSize(family.name, max + 1n) > BigInt(POSITION_MAX)).toBe(true)
  })

  test("the nearest size of a node count is the largest valid size not above it", () => {
    let leaves = 0
    for (let nodes = 0; nodes < 5000; nodes++) {
      while (exactSize(family.name, BigInt(leaves + 1)) <= nodes) leaves++
      expect(family.leavesOfSize(Position(nodes)), `${nodes} nodes`).toBe(leaves)
    }
    fc.assert(
      fc.property(fc.maxSafeInteger(), (n) => {
        const nodes = Position(Math.abs(n))
        const found = family.leavesOfSize(nodes)
        expect(exactSize(family.name, BigInt(found)) <= nodes).toBe(true)
        expect(found === family.leavesMax || exactSize(family.name, BigInt(found) + 1n) > nodes).toBe(true)
      }),
    )
    expect(family.leavesOfSize(Position(POSITION_MAX))).toBe(family.leavesMax)
  })

  test("the published trees of 0 to 40 leaves have these sizes, peaks, parents and inactive counts", () => {
    const { trees } = (vectors("merkle-roots.json") as RootVectors).families[family.name]
    expect(trees.length).toBe(41)
    for (const tree of trees) {
      const leaves = Location(tree.leaves)
      expect(family.size(leaves)).toBe(tree.size)
      expect(family.peaks(leaves)).toEqual(tree.peaks)
      for (const node of tree.born_with_last_leaf) {
        expect(family.position(Location(node.start), node.height)).toBe(node.position)
        expect(family.birth(Location(node.start), node.height)).toBe(leaves)
      }
      tree.inactive_peaks_by_floor.forEach((expected, floor) => {
        expect(inactivePeaks(family, leaves, Location(floor)), `${leaves} leaves, floor ${floor}`).toBe(expected)
      })
    }
  })

  test("the peaks that spec merkle §3 prints", () => {
    expect(at(0)).toEqual([])
    expect(at(1)).toEqual(["(0,0)@0"])
    expect(at(3)).toEqual(["(0,1)@2", "(2,0)@3"])
    const printed = {
      mmr: [["(0,2)@6", "(4,0)@7"], ["(0,3)@14"], ["(0,3)@14", "(8,1)@17", "(10,0)@18"]],
      mmb: [
        ["(0,2)@7", "(4,0)@6"],
        ["(0,2)@7", "(4,1)@9", "(6,1)@12"],
        ["(0,3)@18", "(8,1)@16", "(10,0)@17"],
      ],
    }
    expect([at(5), at(8), at(11)]).toEqual(printed[family.name])
  })
})

interface RootVectors {
  readonly families: Record<
    FamilyName,
    {
      readonly trees: ReadonlyArray<{
        readonly leaves: number
        readonly size: number
        readonly peaks: ReadonlyArray<{ start: number; height: number; position: number }>
        readonly born_with_last_leaf: ReadonlyArray<{ start: number; height: number; position: number }>
        readonly inactive_peaks_by_floor: ReadonlyArray<number>
      }>
    }
  >
}

test("the first appends that spec merkle §2 prints", () => {
  const table: ReadonlyArray<readonly [number, string, number, string]> = [
    [0, "", 0, ""],
    [1, "(0,1)@2", 1, "(0,1)@2"],
    [3, "", 3, ""],
    [4, "(2,1)@5 (0,2)@6", 4, "(2,1)@5"],
    [7, "", 6, "(0,2)@7"],
    [8, "(4,1)@9", 8, "(4,1)@9"],
    [10, "", 10, ""],
    [11, "(6,1)@12 (4,2)@13 (0,3)@14", 11, "(6,1)@12"],
    [15, "", 13, "(4,2)@14"],
    [16, "(8,1)@17", 15, "(8,1)@16"],
    [18, "", 17, "(0,3)@18"],
    [19, "(10,1)@20 (8,2)@21", 19, "(10,1)@20"],
  ]
  const parents = (family: Family, leaf: number): string => {
    const born: Array<string> = []
    for (let height = 1; height < 5; height++) {
      const index = family.count(Location(leaf), height)
      if (family.count(Location(leaf + 1), height) === index) continue
      const start = Location(index * 2 ** height)
      born.push(`(${start},${height})@${family.position(start, height)}`)
    }
    return born.join(" ")
  }
  table.forEach(([mmrPosition, mmrParents, mmbPosition, mmbParents], leaf) => {
    expect([mmr.size(Location(leaf)), parents(mmr, leaf)], `MMR leaf ${leaf}`).toEqual([mmrPosition, mmrParents])
    expect([mmb.size(Location(leaf)), parents(mmb, leaf)], `MMB leaf ${leaf}`).toEqual([mmbPosition, mmbParents])
  })
})

test("a family is found by its name", () => {
  expect([family("mmr"), family("mmb")]).toEqual([mmr, mmb])
})

test("locations and positions are integers from 0 to 2^53 - 1", () => {
  for (const make of [Location, Position]) {
    expect(make(0)).toBe(0)
    expect(make(2 ** 53 - 1)).toBe(2 ** 53 - 1)
    for (const bad of [-1, 0.5, Number.NaN, 2 ** 53, Number.POSITIVE_INFINITY])
      expect(() => make(bad)).toThrow(RangeError)
  }
})

test("the model is no copy: a wrong merge rule disagrees with the arithmetic", () => {
  expect(() => growAndCompare({ ...mmb, name: "mmr" }, emptyModel(), 20)).toThrow()
})
