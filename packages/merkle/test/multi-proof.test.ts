/**
 * Goal: multi-proofs are the published ones, and hold for nothing but what they were made of.
 * Method: the vectors of merkle-proofs.json; every pair of locations of small trees against roots of the model; then claims
 * with one thing changed.
 */
import { decode, encode } from "@coppice/codec"
import { nobleHasher } from "@coppice/crypto"
import { describe, expect, test } from "vitest"
import {
  type Bagging,
  checkMultiProof,
  family as familyOf,
  Location,
  MULTI_PROOF_ELEMENTS_MAX,
  type MultiClaim,
  mmb,
  mmr,
  multiProof,
  type RangeProof,
  rangeProofCodec,
} from "../src/index.ts"
import { element, hex, modelRoot, modelTree, unhex, vectors } from "./model.ts"
import { elements, treeOf } from "./tree.ts"

interface MultiVector {
  readonly family: "mmr" | "mmb"
  readonly leaves: number
  readonly bagging: Bagging
  readonly inactive_peaks: number
  readonly locations: ReadonlyArray<number>
  readonly root: string
  readonly digests: ReadonlyArray<{ readonly digest: string }>
  readonly encoded: string
}

const { multi_proofs: published } = vectors("merkle-proofs.json") as {
  readonly multi_proofs: ReadonlyArray<MultiVector>
}

const located = (locations: ReadonlyArray<number>) =>
  locations.map((n) => ({ location: Location(n), element: element(n) }))

test("the published multi-proofs are built, encoded, decoded and verified", () => {
  expect(published.length).toBe(32)
  for (const vector of published) {
    const { bagging, locations, leaves, inactive_peaks: inactivePeaks } = vector
    const family = familyOf(vector.family)
    const note = `${family.name} ${leaves} ${locations} ${bagging} ${inactivePeaks}`
    const shape = { leaves: Location(leaves), inactivePeaks, bagging }
    const { node } = treeOf(family, elements(leaves))
    const proof = multiProof(family, shape, locations.map(Location), node)
    expect(proof.digests.map(hex), note).toEqual(vector.digests.map(({ digest }) => digest))
    expect(hex(encode(rangeProofCodec(family), proof)), note).toBe(vector.encoded)
    expect(decode(rangeProofCodec(family), unhex(vector.encoded)), note).toEqual(proof)
    const claim: MultiClaim = { family, bagging, proof, elements: located(locations) }
    expect(checkMultiProof(nobleHasher, claim, unhex(vector.root)), note).toBeUndefined()
  }
})

describe.each([mmr, mmb])("$name", (family) => {
  const { node, frontier } = treeOf(family, elements(11))
  const { leaves } = frontier

  test("every pair of locations of every tree up to 11 leaves, each bagging and inactive count, is accepted", () => {
    for (let count = 1; count <= leaves; count++) {
      const model = modelTree(family.name, count)
      for (const bagging of ["forward", "backward"] as const) {
        for (let inactivePeaks = 0; inactivePeaks <= model.peaks.length; inactivePeaks++) {
          const root = modelRoot(model, inactivePeaks, bagging)
          for (let a = 0; a < count; a++) {
            for (let b = 0; b < count; b++) {
              const shape = { leaves: Location(count), inactivePeaks, bagging }
              const proof = multiProof(family, shape, [Location(a), Location(b)], node)
              const claim = { family, bagging, proof, elements: located([b, a]) }
              const note = `${count} ${a} ${b} ${bagging} ${inactivePeaks}`
              expect(checkMultiProof(nobleHasher, claim, root), note).toBeUndefined()
            }
          }
        }
      }
    }
  })

  const shape = { leaves, inactivePeaks: 1, bagging: "backward" } as const
  const places = [2, 7, 9]
  const proof = multiProof(family, shape, places.map(Location), node)
  const honest: MultiClaim = { family, bagging: "backward", proof, elements: located(places) }
  const root = modelRoot(modelTree(family.name, leaves), 1, "backward")
  const tagOf = (change: Partial<MultiClaim>) => checkMultiProof(nobleHasher, { ...honest, ...change }, root)?._tag
  const withProof = (change: Partial<RangeProof>) => tagOf({ proof: { ...proof, ...change } })

  test("a claim with one thing changed is refused, and says why", () => {
    expect(tagOf({})).toBeUndefined()
    expect(tagOf({ elements: located([2, 9]) })).toBe("DigestCount")
    expect(tagOf({ elements: [...located([2, 7]), { location: Location(9), element: element(8) }] })).toBe(
      "RootMismatch",
    )
    expect(tagOf({ elements: [...honest.elements, { location: leaves, element: element(11) }] })).toBe(
      "LocationOutsideTree",
    )
    expect(tagOf({ elements: [] })).toBe("RangeOutsideTree")
    expect(tagOf({ bagging: "forward" })).not.toBeUndefined()
    expect(withProof({ leaves: Location(family.leavesMax + 1) })).toBe("LeavesAboveMax")
    expect(withProof({ inactivePeaks: 9 })).toBe("InactivePeaksAbovePeaks")
    expect(withProof({ inactivePeaks: 0 })).toBe("RootMismatch")
    expect(withProof({ digests: proof.digests.slice(1) })).toBe("DigestCount")
    expect(withProof({ digests: [...proof.digests, root] })).toBe("DigestCount")
    expect(withProof({ digests: proof.digests.with(0, new Uint8Array(31)) })).toBe("DigestLength")
    for (const [i, digest] of proof.digests.entries()) {
      const flipped = digest.with(i % 32, digest[i % 32]! ^ 1)
      expect(withProof({ digests: proof.digests.with(i, flipped) }), `digest ${i}`).toBe("RootMismatch")
    }
  })

  test("more elements than MULTI_PROOF_ELEMENTS_MAX are neither proven nor checked", () => {
    const many = Array.from({ length: MULTI_PROOF_ELEMENTS_MAX + 1 }, () => Location(2))
    expect(tagOf({ elements: many.map((location) => ({ location, element: element(2) })) })).toBe("ElementsAboveMax")
    expect(() => multiProof(family, shape, many, node)).toThrow(RangeError)
    expect(() => multiProof(family, shape, [], node)).toThrow(RangeError)
    expect(() => multiProof(family, shape, [leaves], node)).toThrow(RangeError)
  })

  test("an element may be claimed twice, and both claims must hold", () => {
    const twice = [...honest.elements, honest.elements[1]!]
    expect(tagOf({ elements: twice })).toBeUndefined()
    expect(tagOf({ elements: [...honest.elements, { location: Location(7), element: element(3) }] })).toBe(
      "RootMismatch",
    )
  })

  test("no elements prove the empty tree", () => {
    const empty = { leaves: Location(0), inactivePeaks: 0, digests: [] }
    const claim: MultiClaim = { family, bagging: "backward", proof: empty, elements: [] }
    expect(checkMultiProof(nobleHasher, claim, modelRoot(modelTree(family.name, 0), 0, "backward"))).toBeUndefined()
  })
})
