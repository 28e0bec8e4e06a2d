/**
 * Goal: batched append makes the same nodes and peaks as hashing leaf by leaf, in jobs of bounded size.
 * Method: compare node arrays byte by byte with a tree grown by its merge rule and hashed by Node (model.ts), for any split
 * into batches, from any pruned start, across 2^32, and with elements of awkward lengths.
 */
import { type Hasher, type HashJob, nobleHasher } from "@coppice/crypto"
import fc from "fast-check"
import { describe, expect, test } from "vitest"
import {
  APPEND_LEAVES_MAX,
  appendLeaves,
  emptyFrontier,
  type Family,
  type Frontier,
  frontierFromPins,
  HASH_JOB_BYTES_MAX,
  HASH_JOB_PREIMAGES_MAX,
  Location,
  mmb,
  mmr,
  pinPositions,
  runJobs,
} from "../src/index.ts"
import { element, emptyModel, growModel, hex, type Model, modelTree, vectors } from "./model.ts"
import { elements, sourceOf, treeOf } from "./tree.ts"

const append = (frontier: Frontier, parts: ReadonlyArray<Uint8Array>) =>
  runJobs(nobleHasher, appendLeaves(frontier, sourceOf(parts)))

const bytesOf = (nodes: Model["nodes"]): Uint8Array => {
  const bytes = new Uint8Array(nodes.length * 32)
  nodes.forEach(({ digest }, i) => void bytes.set(digest, i * 32))
  return bytes
}

/** Cuts of `0 .. total` into batches, empty ones included. */
const splits = (total: number) =>
  fc.array(fc.nat(total), { maxLength: 12 }).map((cuts) => [0, ...cuts.sort((a, b) => a - b), total])

const jobsOf = (
  frontier: Frontier,
  parts: ReadonlyArray<Uint8Array>,
): ReadonlyArray<{ count: number; bytes: number }> => {
  const seen: Array<{ count: number; bytes: number }> = []
  const watching: Hasher = {
    ...nobleHasher,
    run: (job: HashJob) => {
      seen.push({ count: job.count, bytes: job.inputOffsets[job.count]! })
      return nobleHasher.run(job)
    },
  }
  runJobs(watching, appendLeaves(frontier, sourceOf(parts)))
  return seen
}

describe.each([mmr, mmb])("$name", (family) => {
  const grown = modelTree(family.name, 400)

  test("the nodes of the published tree of 20 leaves", () => {
    const published = (vectors("merkle-roots.json") as NodeVectors).families[family.name].nodes_of_20_leaves
    const { at } = treeOf(family, elements(20))
    expect(published.length).toBe(family.size(Location(20)))
    for (const { start, height, digest } of published) {
      expect(hex(at(family.position(Location(start), height))), `(${start}, ${height})`).toBe(digest)
    }
  })

  test("any split into batches makes the nodes and peaks that leaf by leaf makes", () => {
    fc.assert(
      fc.property(splits(400), (cuts) => {
        let frontier = emptyFrontier(family)
        const nodes: Array<number> = []
        for (let i = 1; i < cuts.length; i++) {
          const appended = append(frontier, elements(400).slice(cuts[i - 1], cuts[i]))
          expect(appended.nodes.length).toBe(
            (family.size(Location(cuts[i]!)) - family.size(Location(cuts[i - 1]!))) * 32,
          )
          nodes.push(...appended.nodes)
          frontier = appended.frontier
        }
        expect(hex(new Uint8Array(nodes))).toBe(hex(bytesOf(grown.nodes)))
        expect(frontier.leaves).toBe(400)
        expect(frontier.peaks.map(hex)).toEqual(grown.peaks.map((peak) => hex(peak.digest)))
      }),
      { numRuns: 40 },
    )
  })

  test("a tree rebuilt from the pins of any location grows on like the whole one", () => {
    for (let pruned = 0; pruned <= 130; pruned++) {
      const pins = pinPositions(family, Location(pruned)).map((position) => grown.nodes[position]!.digest)
      const { frontier, nodes } = append(
        frontierFromPins(family, Location(pruned), pins),
        elements(400).slice(pruned, 400),
      )
      expect(hex(nodes), `pruned to ${pruned}`).toBe(hex(bytesOf(grown.nodes.slice(family.size(Location(pruned))))))
      expect(frontier.peaks.map(hex), `pruned to ${pruned}`).toEqual(grown.peaks.map((peak) => hex(peak.digest)))
    }
  })

  test.each([2 ** 31, 2 ** 32, 2 ** 52])(
    "positions above 32 bits are hashed whole: appends across %d nodes",
    (nodes) => {
      const leaves = Location(nodes / 2 - 20)
      const peaks = family.peaks(leaves).map((peak) => ({ ...peak, birth: 0, digest: element(peak.position) }))
      const model: Model = { leaves, size: family.size(leaves), nodes: [], peaks: [...peaks] }
      for (let i = 0; i < 60; i++) growModel(family.name, model, element(i))
      const frontier = frontierFromPins(
        family,
        leaves,
        peaks.map((peak) => peak.digest),
      )
      const appended = append(frontier, elements(60))
      expect(hex(appended.nodes)).toBe(hex(bytesOf(model.nodes)))
      expect(appended.frontier.peaks.map(hex)).toEqual(model.peaks.map((peak) => hex(peak.digest)))
    },
  )

  test("elements of any length, empty ones too, are hashed as they are", () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 100 }), { maxLength: 60 }), fc.boolean(), (parts, wide) => {
        const model = emptyModel()
        for (const part of parts) growModel(family.name, model, part)
        const { count, bytes, offsets } = sourceOf(parts)
        const shifted = new Uint8Array(bytes.length + 3)
        shifted.set(bytes, 3)
        const source = { count, bytes: shifted.subarray(3), offsets: wide ? Float64Array.from(offsets) : offsets }
        expect(hex(runJobs(nobleHasher, appendLeaves(emptyFrontier(family), source)).nodes)).toBe(
          hex(bytesOf(model.nodes)),
        )
      }),
    )
  })

  test("a job has a bounded number of preimages and of bytes, and a longer element a job of its own", () => {
    const many = jobsOf(
      emptyFrontier(family),
      Array.from({ length: 5000 }, () => new Uint8Array(1)),
    )
    expect(Math.max(...many.map((job) => job.count))).toBe(HASH_JOB_PREIMAGES_MAX)
    expect(many.reduce((sum, job) => sum + job.count, 0)).toBe(family.size(Location(5000)))

    const whole = HASH_JOB_BYTES_MAX
    const large = [1000, whole, 9, whole - 8, 100_000, whole - 100_016, 100_000, whole - 100_015].map((length, i) =>
      new Uint8Array(length).fill(i),
    )
    const jobs = jobsOf(emptyFrontier(family), large)
    expect(jobs.slice(0, 7)).toEqual([
      { count: 1, bytes: 1008 },
      { count: 1, bytes: HASH_JOB_BYTES_MAX + 8 },
      { count: 1, bytes: 17 },
      { count: 1, bytes: HASH_JOB_BYTES_MAX },
      { count: 2, bytes: HASH_JOB_BYTES_MAX },
      { count: 1, bytes: 100_008 },
      { count: 1, bytes: HASH_JOB_BYTES_MAX - 100_007 },
    ])
    const model = emptyModel()
    for (const part of large) growModel(family.name, model, part)
    expect(hex(append(emptyFrontier(family), large).nodes)).toBe(hex(bytesOf(model.nodes)))
  })

  test("an empty append changes nothing and hashes nothing", () => {
    const { frontier } = treeOf(family, elements(7))
    const appended = append(frontier, [])
    expect(appended.frontier).toEqual(frontier)
    expect(appended.nodes.length).toBe(0)
    expect(jobsOf(frontier, [])).toEqual([])
  })

  test("neither an abandoned nor a finished append touches the frontier that it started from", () => {
    const { frontier } = treeOf(family, elements(11))
    const before = frontier.peaks.map(hex)
    const abandoned = appendLeaves(frontier, sourceOf(elements(50)))
    abandoned.next()
    abandoned.return(undefined as never)
    const after = append(frontier, elements(50))
    after.nodes.fill(0)
    expect(frontier.peaks.map(hex)).toEqual(before)
    expect(after.frontier.peaks.map(hex)).toEqual(append(frontier, elements(50)).frontier.peaks.map(hex))
  })

  test("an append above the leaf maximum is refused and one up to it is not", () => {
    const near = Location(family.leavesMax - 3)
    const frontier = frontierFromPins(
      family,
      near,
      family.peaks(near).map(() => new Uint8Array(32)),
    )
    expect(append(frontier, elements(3)).frontier.leaves).toBe(family.leavesMax)
    expect(() => append(frontier, elements(4))).toThrow(RangeError)
  })

  test("an append above its own limit, or of bytes that are not there, is refused", () => {
    const bytes = new Uint8Array(10)
    const refuse = (source: { count: number; offsets: Uint32Array }) =>
      expect(() => runJobs(nobleHasher, appendLeaves(emptyFrontier(family), { bytes, ...source }))).toThrow(RangeError)
    refuse({ count: APPEND_LEAVES_MAX + 1, offsets: new Uint32Array(APPEND_LEAVES_MAX + 2) })
    refuse({ count: -1, offsets: new Uint32Array(1) })
    refuse({ count: 1.5, offsets: Uint32Array.of(0, 5, 10) })
    refuse({ count: 2, offsets: Uint32Array.of(0, 5) })
    refuse({ count: 2, offsets: Uint32Array.of(0, 5, 11) })
  })

  test("pins of a wrong count or length make no frontier", () => {
    const pins = [new Uint8Array(32), new Uint8Array(32)]
    expect(frontierFromPins(family, Location(3), pins).peaks).toEqual(pins)
    expect(() => frontierFromPins(family, Location(3), pins.slice(1))).toThrow(RangeError)
    expect(() => frontierFromPins(family, Location(3), [...pins, pins[0]!])).toThrow(RangeError)
    expect(() => frontierFromPins(family, Location(3), [pins[0]!, new Uint8Array(31)])).toThrow(RangeError)
    expect(() => frontierFromPins(family, Location(family.leavesMax + 1), [])).toThrow(RangeError)
  })
})

interface NodeVectors {
  readonly families: Record<
    Family["name"],
    { readonly nodes_of_20_leaves: ReadonlyArray<{ start: number; height: number; digest: string }> }
  >
}

test("the synchronous driver refuses a hasher that works elsewhere", () => {
  const elsewhere: Hasher = { ...nobleHasher, run: async (job) => nobleHasher.run(job) }
  expect(() => runJobs(elsewhere, appendLeaves(emptyFrontier(mmr), sourceOf(elements(3))))).toThrow(TypeError)
})

test("a driver may await between jobs: the buffers stay as they are until it resumes", async () => {
  const jobs = appendLeaves(emptyFrontier(mmb), sourceOf(elements(400)))
  let step = jobs.next()
  while (step.done !== true) {
    await Promise.resolve()
    void nobleHasher.run(step.value)
    step = jobs.next()
  }
  expect(hex(step.value.nodes)).toBe(hex(bytesOf(modelTree("mmb", 400).nodes)))
})

test("the comparison of nodes is no formality: one bit of one leaf changes it", () => {
  const parts = [...elements(40)]
  parts[17] = parts[17]!.map((byte, i) => (i === 0 ? byte ^ 1 : byte))
  expect(hex(append(emptyFrontier(mmb), parts).nodes)).not.toBe(hex(bytesOf(modelTree("mmb", 40).nodes)))
})
