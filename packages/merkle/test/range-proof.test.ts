/**
 * Goal: range proofs and pins are the published ones, and every true claim is accepted.
 * Method: the 474 published range proofs, byte for byte and with their pins; the worked example of spec merkle §6 as printed;
 * every range of small trees, and of earlier trees inside larger ones, against roots of the model (model.ts).
 */
import { ByteWriter, DecodeError, decode, encode } from "@coppice/codec"
import { nobleHasher } from "@coppice/crypto"
import fc from "fast-check"
import { describe, expect, test } from "vitest"
import {
  type Bagging,
  checkRangeWithPins,
  type Family,
  family as familyOf,
  Location,
  mmb,
  mmr,
  PEAKS_MAX,
  type Position,
  pinPositions,
  RANGE_PROOF_DIGESTS_MAX,
  type RangeClaim,
  type RangeProof,
  rangeProof,
  rangeProofCodec,
  rangeProofPositions,
  reconstructRoot,
  verifyRangeProof,
  verifyRangeWithPins,
} from "../src/index.ts"
import { element, hex, modelRoot, modelTree, unhex, vectors } from "./model.ts"
import { elements, farTree, type Tree, treeOf } from "./tree.ts"

interface RangeVector {
  readonly family: Family["name"]
  readonly leaves: number
  readonly range: readonly [number, number]
  readonly bagging: Bagging
  readonly inactive_peaks: number
  readonly root: string
  readonly digests: ReadonlyArray<{
    part: string
    position?: number
    of?: ReadonlyArray<{ position: number }>
    digest: string
  }>
  readonly encoded: string
  readonly pins_at_start: ReadonlyArray<string>
}

const published = (vectors("merkle-proofs.json") as { range_proofs: ReadonlyArray<RangeVector> }).range_proofs
const range = (start: number, end: number) => ({ start: Location(start), end: Location(end) })
const baggings: ReadonlyArray<Bagging> = ["forward", "backward"]

const trees = new Map<string, Tree>()
const tree = (family: Family, leaves: number): Tree => {
  const key = `${family.name} ${leaves}`
  const known = trees.get(key) ?? treeOf(family, elements(leaves))
  trees.set(key, known)
  return known
}

test("the published range proofs are built, encoded, decoded and verified, with their pins", () => {
  expect(published.length).toBe(474)
  const parts = new Set<string>()
  for (const vector of published) {
    const family = familyOf(vector.family)
    const [start, end] = vector.range
    const note = `${vector.family} ${vector.leaves} [${start},${end}) ${vector.bagging} ${vector.inactive_peaks}`
    const { at, node } = tree(family, vector.leaves)
    const shape = { leaves: Location(vector.leaves), inactivePeaks: vector.inactive_peaks, bagging: vector.bagging }

    const proof = rangeProof(nobleHasher, family, shape, range(start, end), node)
    expect(proof.digests.map(hex), note).toEqual(vector.digests.map((digest) => digest.digest))
    const named = vector.digests.flatMap(({ position, of }) => of?.map((peak) => peak.position) ?? [position])
    expect(rangeProofPositions(family, shape, range(start, end)), note).toEqual(named)

    expect(hex(encode(rangeProofCodec(family), proof)), note).toBe(vector.encoded)
    expect(decode(rangeProofCodec(family), unhex(vector.encoded)), note).toEqual(proof)

    const claim = {
      family,
      bagging: shape.bagging,
      proof,
      start: Location(start),
      elements: elements(end).slice(start),
    }
    const root = unhex(vector.root)
    expect(verifyRangeProof(nobleHasher, claim, root), note).toBe(true)
    expect(reconstructRoot(nobleHasher, claim), note).toEqual({ _tag: "Root", root })

    const pins = pinPositions(family, Location(start)).map(at)
    expect(pins.map(hex), note).toEqual(vector.pins_at_start)
    expect(checkRangeWithPins(nobleHasher, claim, pins, root), note).toBeUndefined()
    for (const { part } of vector.digests) parts.add(part)
  }
  expect([...parts].sort()).toEqual([
    "active prefix peak",
    "after peak",
    "prefix accumulator",
    "sibling",
    "suffix accumulator",
  ])
})

test("the worked example of spec merkle §6: eleven leaves, backward, one inactive peak, location 9", () => {
  const shape = { leaves: Location(11), inactivePeaks: 1, bagging: "backward" } as const
  const proof = rangeProof(nobleHasher, mmr, shape, range(9, 10), tree(mmr, 11).node)
  expect(hex(encode(rangeProofCodec(mmr), proof))).toBe(
    "0b0103" +
      "34ed637cf708330d9f8309227f36879fac848a5f2ae4fe2120d6accca2bc9455" +
      "5c800a652944a8bcb7ee318f1562f097b3de735779af056170644492cda27a68" +
      "becc400c29f32860ac04956d5083ba5dcf1b85482fa664aaaa29105457371d8d",
  )
  const claim: RangeClaim = { family: mmr, bagging: "backward", proof, start: Location(9), elements: [element(9)] }
  const root = "69ab763529c02c97a7db87cc18723e799a85dc6d45e0a438ece2c567260e8182"
  expect(verifyRangeProof(nobleHasher, claim, unhex(root))).toBe(true)
})

test("the other shapes that spec merkle §6 prints for eleven leaves", () => {
  const printed = [
    [0, 3],
    [8, 1],
    [10, 0],
    [8, 0],
    [0, 1],
    [4, 2],
  ] as const
  const name = new Map(printed.map(([s, h]) => [mmr.position(Location(s), h), `(${s},${h})`]))
  const read = (bagging: Bagging, inactivePeaks: number, start: number, end: number) =>
    rangeProofPositions(mmr, { leaves: Location(11), inactivePeaks, bagging }, range(start, end)).map((at) =>
      name.get(at),
    )
  expect(read("forward", 0, 9, 10)).toEqual(["(0,3)", "(10,0)", "(8,0)"])
  expect(read("backward", 0, 9, 10)).toEqual(["(0,3)", "(10,0)", "(8,0)"])
  expect(read("forward", 0, 2, 4)).toEqual(["(8,1)", "(10,0)", "(0,1)", "(4,2)"])
  expect(read("backward", 0, 2, 4)).toEqual(["(8,1)", "(10,0)", "(0,1)", "(4,2)"])
  expect(read("backward", 1, 2, 4)).toEqual(["(8,1)", "(10,0)", "(0,1)", "(4,2)"])
  const count = (bagging: Bagging, start: number, end: number) =>
    rangeProof(
      nobleHasher,
      mmr,
      { leaves: Location(11), inactivePeaks: 0, bagging },
      range(start, end),
      tree(mmr, 11).node,
    ).digests.length
  expect([count("forward", 9, 10), count("backward", 9, 10), count("forward", 2, 4), count("backward", 2, 4)]).toEqual([
    3, 3, 4, 3,
  ])
})

describe.each([mmr, mmb])("$name", (family) => {
  const full = tree(family, 40)

  test("every range of every tree up to 16 leaves, each bagging and inactive count, and its pins, is accepted", () => {
    for (let leaves = 1; leaves <= 16; leaves++) {
      const model = modelTree(family.name, leaves)
      for (const bagging of baggings) {
        for (let inactivePeaks = 0; inactivePeaks <= model.peaks.length; inactivePeaks++) {
          const root = modelRoot(model, inactivePeaks, bagging)
          for (let start = 0; start < leaves; start++) {
            for (let end = start + 1; end <= leaves; end++) {
              const shape = { leaves: Location(leaves), inactivePeaks, bagging }
              // The nodes come from a tree of 40 leaves: the proof is a historical one (spec merkle §7).
              const proof = rangeProof(nobleHasher, family, shape, range(start, end), (node) => {
                expect(node.position).toBeLessThan(model.size)
                return full.node(node)
              })
              const parts = elements(end).slice(start)
              const claim = { family, bagging, proof, start: Location(start), elements: parts }
              const pins = pinPositions(family, Location(start)).map(full.at)
              const note = `${leaves} [${start},${end}) ${bagging} ${inactivePeaks}`
              expect(verifyRangeProof(nobleHasher, claim, root), note).toBe(true)
              expect(verifyRangeWithPins(nobleHasher, claim, pins, root), note).toBe(true)
            }
          }
        }
      }
    }
  })

  test("no elements prove the empty tree and nothing else", () => {
    const empty: RangeProof = { leaves: Location(0), inactivePeaks: 0, digests: [] }
    const claim = { family, bagging: "backward", proof: empty, start: Location(0), elements: [] } as const
    const root = modelRoot(modelTree(family.name, 0), 0, "backward")
    expect(verifyRangeWithPins(nobleHasher, claim, [], root)).toBe(true)
    const tag = (change: Partial<RangeClaim>) => reconstructRoot(nobleHasher, { ...claim, ...change })._tag
    expect(tag({ start: Location(1) })).toBe("RangeOutsideTree")
    expect(tag({ proof: { ...empty, leaves: Location(1), digests: [full.at(0 as Position)] } })).toBe(
      "RangeOutsideTree",
    )
    expect(tag({ proof: { ...empty, inactivePeaks: 1 } })).toBe("InactivePeaksAbovePeaks")
    expect(tag({ proof: { ...empty, digests: [root] } })).toBe("DigestCount")
  })

  test("a proof needs at most RANGE_PROOF_DIGESTS_MAX digests and asks for nodes of its tree alone, whatever the tree", () => {
    const leafCount = fc.oneof(
      fc.integer({ min: 1, max: 5000 }),
      fc.maxSafeInteger().map((n) => 1 + (Math.abs(n) % family.leavesMax)),
      fc.nat(500).map((n) => family.leavesMax - n),
      fc
        .tuple(fc.nat(52), fc.integer({ min: -3, max: 3 }))
        .map(([bits, d]) => Math.max(1, Math.min(2 ** bits + d, family.leavesMax))),
    )
    fc.assert(
      fc.property(
        leafCount,
        fc.double({ min: 0, max: 1, noNaN: true }),
        fc.nat(3000),
        fc.nat(PEAKS_MAX),
        fc.constantFrom(...baggings),
        (leaves, where, length, any, bagging) => {
          const start = Math.min(Math.floor(leaves * where), leaves - 1)
          const end = Math.min(start + 1 + length, leaves)
          const shape = {
            leaves: Location(leaves),
            inactivePeaks: Math.min(any, family.peaks(Location(leaves)).length),
            bagging,
          }
          const positions = rangeProofPositions(family, shape, range(start, end))
          expect(positions.length).toBeLessThanOrEqual(RANGE_PROOF_DIGESTS_MAX)
          expect(new Set(positions).size).toBe(positions.length)
          for (const position of positions) expect(position).toBeLessThan(family.size(Location(leaves)))
        },
      ),
      { numRuns: 500 },
    )
  })

  test("one range of one tree needs RANGE_PROOF_DIGESTS_MAX digests", () => {
    const leaves = Location({ mmr: 2 ** 52 - 1, mmb: 2 ** 52 - 1 + 16 }[family.name])
    const boundary = 2 ** family.peaks(leaves)[0]!.height
    const node = () => new Uint8Array(32)
    const shape = { leaves, inactivePeaks: 0, bagging: "forward" } as const
    const proof = rangeProof(nobleHasher, family, shape, range(boundary - 1, boundary + 1), node)
    expect(proof.digests.length).toBe(RANGE_PROOF_DIGESTS_MAX)
    expect(decode(rangeProofCodec(family), encode(rangeProofCodec(family), proof))).toEqual(proof)
  })

  test("claims and pins hold in trees of up to 2^52 leaves, where no tree can be grown", () => {
    const leafCount = fc.tuple(fc.integer({ min: 5, max: 52 }), fc.integer({ min: -20, max: 20 }), fc.nat(2 ** 30))
    fc.assert(
      fc.property(
        leafCount,
        fc.double({ min: 0, max: 1, noNaN: true }),
        fc.integer({ min: 1, max: 9 }),
        fc.constantFrom(...baggings),
        fc.nat(6),
        ([bits, near, more], where, length, bagging, any) => {
          const leaves = Location(Math.max(1, Math.min(2 ** bits + near + (more % 2 ** bits), family.leavesMax)))
          const start = Location(Math.min(Math.floor(leaves * where), leaves - 1))
          const end = Location(Math.min(start + length, leaves))
          const inactivePeaks = Math.min(any, family.peaks(leaves).length)
          const parts = elements(end - start)
          const far = farTree(family, leaves, { start, end }, parts)
          const root = modelRoot(far.model, inactivePeaks, bagging)
          const proof = rangeProof(nobleHasher, family, { leaves, inactivePeaks, bagging }, { start, end }, far.node)
          const claim = { family, bagging, proof, start, elements: parts }
          expect(checkRangeWithPins(nobleHasher, claim, far.pins, root)).toBeUndefined()
          const decoded = decode(rangeProofCodec(family), encode(rangeProofCodec(family), proof))
          expect(verifyRangeProof(nobleHasher, { ...claim, proof: decoded }, root)).toBe(true)
        },
      ),
      { numRuns: 60 },
    )
  })

  test("a range or an inactive count outside the tree cannot be proven", () => {
    const shape = { leaves: Location(11), inactivePeaks: 0, bagging: "backward" } as const
    const build =
      (start: number, end: number, change = {}) =>
      () =>
        rangeProof(nobleHasher, family, { ...shape, ...change }, range(start, end), full.node)
    for (const impossible of [
      build(3, 3),
      build(5, 4),
      build(10, 12),
      build(0, 1, { inactivePeaks: 4 }),
      build(0, 1, { inactivePeaks: -1 }),
      build(0, 1, { leaves: family.leavesMax + 1 }),
    ]) {
      expect(impossible).toThrow(RangeError)
    }
  })

  test("the codec refuses what no tree of the family can have, and more digests than it was given", () => {
    const proof = (leaves: number, inactivePeaks: number, count: number): RangeProof => ({
      leaves: leaves as Location,
      inactivePeaks,
      digests: Array.from({ length: count }, () => new Uint8Array(32)),
    })
    const codec = rangeProofCodec(family, 3)
    const largest = proof(family.leavesMax, PEAKS_MAX, 3)
    const bytes = encode(codec, largest)
    expect(decode(codec, bytes)).toEqual(largest)
    expect(bytes.length).toBe(codec.sizeMax)
    expect(() => encode(codec, proof(family.leavesMax + 1, 0, 0))).toThrow(RangeError)
    expect(() => encode(codec, proof(1, PEAKS_MAX + 1, 0))).toThrow(RangeError)
    expect(() => encode(codec, proof(1, 0, 4))).toThrow(RangeError)
    expect(() => encode(codec, { ...proof(1, 0, 0), digests: [new Uint8Array(31)] })).toThrow(RangeError)
    const four = encode(rangeProofCodec(family, 4), proof(9, 0, 4))
    expect(() => decode(codec, four)).toThrow(DecodeError)
    for (const bad of [
      "",
      "0b",
      "0b01",
      "0b0101",
      "8b0000",
      "0b3500",
      "0b0000ff",
      "ffffffffffffffffff010000",
      "ffffffffffffffffffff010000",
      "0b8000",
      "0b008000",
    ]) {
      expect(() => decode(codec, unhex(bad)), bad).toThrow(DecodeError)
    }
    const above = new ByteWriter()
      .varint(family.leavesMax + 1)
      .varint(0)
      .varint(0)
      .finish()
    expect(() => decode(codec, above)).toThrow(DecodeError)
    expect(decode(codec, unhex("0b0000"))).toEqual(proof(11, 0, 0))
  })
})
