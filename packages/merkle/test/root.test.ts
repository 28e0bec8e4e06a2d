/**
 * Goal: roots match the published ones for both families, both baggings and every inactive count.
 * Method: the vectors of 0 to 40 leaves, the worked example of spec merkle §5 as printed, and section 5 done word by word
 * (model.ts) on trees with more peaks than the vectors have.
 */
import { nobleHasher } from "@coppice/crypto"
import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { type Bagging, emptyFrontier, type Family, Location, mmb, mmr, root } from "../src/index.ts"
import { element, hex, modelRoot, modelTree, vectors } from "./model.ts"
import { elements, treeOf } from "./tree.ts"

const baggings: ReadonlyArray<Bagging> = ["forward", "backward"]
const rootOf = (family: Family, leaves: number, inactive: number, bagging: Bagging): string =>
  hex(root(nobleHasher, treeOf(family, elements(leaves)).frontier, inactive, bagging))

interface RootVectors {
  readonly families: Record<
    Family["name"],
    { readonly trees: ReadonlyArray<{ leaves: number } & Record<Bagging, ReadonlyArray<string>>> }
  >
}

describe.each([mmr, mmb])("$name", (family) => {
  test("the published roots of 0 to 40 leaves, both baggings, every inactive count", () => {
    let compared = 0
    for (const tree of (vectors("merkle-roots.json") as RootVectors).families[family.name].trees) {
      for (const bagging of baggings) {
        expect(tree[bagging].length).toBe(family.peaks(Location(tree.leaves)).length + 1)
        tree[bagging].forEach((expected, inactive) => {
          expect(rootOf(family, tree.leaves, inactive, bagging), `${tree.leaves} ${bagging} ${inactive}`).toBe(expected)
          compared++
        })
      }
    }
    expect(compared).toBeGreaterThan(200)
  })

  test("roots of larger trees follow section 5 of the specification", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 41, max: 700 }),
        fc.nat(12),
        fc.constantFrom(...baggings),
        (leaves, any, bagging) => {
          const inactive = Math.min(any, family.peaks(Location(leaves)).length)
          const expected = modelRoot(modelTree(family.name, leaves), inactive, bagging)
          expect(rootOf(family, leaves, inactive, bagging)).toBe(hex(expected))
        },
      ),
      { numRuns: 30 },
    )
  })

  test("an inactive count that is not one of the tree is refused", () => {
    const { frontier } = treeOf(family, elements(11))
    for (const inactive of [-1, 4, Number.NaN]) {
      expect(() => root(nobleHasher, frontier, inactive, "backward")).toThrow(RangeError)
    }
    expect(() => root(nobleHasher, emptyFrontier(family), 1, "forward")).toThrow(RangeError)
  })
})

test("the worked example of spec merkle §5: five leaves", () => {
  const digests: Record<number, string> = {
    0: "765b3f4a9dc9544f1a1b154738146871f74da58fa11f7e8a87bdd39f9a5962bf",
    1: "9064e4d9182dbaca08249f04c2497860f3ee6c06071dd064ecf01b77ba4d5563",
    2: "ac8e11d059ac3159ed060d00d06bf9577af687f45eceb7564d25be35f58d364c",
    3: "351c4c719ae9db1bf75cc95ae97218c0c409d59b8b846b7f349c1f70d33790fb",
    4: "2b474faf63af2b2ac44803491c61733fdc5f2bc2e15ef8bfa521eb7044f2b8ba",
    5: "97db9ae5f606d019328171eeeee7605ad3ec0abc26fc7d47ca39a7907f4840c5",
  }
  const mmrDigests = {
    ...digests,
    6: "306e74b10e8fd6ef253a57fbea334485a4656995f3959b24574640e8b15ecd36",
    7: "3a085701b1d4c8f3c21f398f79e7ea5f1f592f482b0d33ae076c84ed2f6efc96",
  }
  const mmbDigests = {
    ...digests,
    6: "b16354e7b666bffce457570552d3d063fe908818e1aaabc6c84592e9f960caf3",
    7: "030a1803031a30310247ff4dfae47f3f74f9b2bb07974fe9982b0b642e303f54",
  }
  for (const [family, printed] of [
    [mmr, mmrDigests],
    [mmb, mmbDigests],
  ] as const) {
    const { nodes } = treeOf(family, elements(5))
    expect(hex(nodes)).toBe(Object.values(printed).join(""))
  }
  const roots = {
    mmr: [
      "60c2888422dda7bd82d71435049da627bed0bfd600e013d1baaaf624886a2681",
      "285ba71aa4a419e95aa76154bb94da5119a9ead8ae526e7295a2107054b3f918",
      "d81dc394aff36912a75cb5e706871b92a17ffe5dd535f88e396e430b87593ad9",
    ],
    mmb: [
      "25b98043e20daaf31b23a7fc36c7f293e1e32e3ead3095000d79b5821f91ac11",
      "6d9e6aa8d05e895c731716ca8e9e2afd2928472f6908a8bed3efd6f5e6553f4c",
      "d1391a98bf110fa62a974c0d986231ba4be22e18fda4790b19521b182e002a33",
    ],
  }
  for (const family of [mmr, mmb]) {
    for (const bagging of baggings) {
      expect([0, 1, 2].map((inactive) => rootOf(family, 5, inactive, bagging))).toEqual(roots[family.name])
    }
  }
})

test("the root of the empty tree hashes eight zero bytes", () => {
  const empty = "af5570f5a1810b7af78caf4bc70a660f0df51e42baf91d4de5b2328de0e83dfc"
  expect(hex(element(0))).toBe(empty)
  for (const family of [mmr, mmb]) {
    for (const bagging of baggings) expect(hex(root(nobleHasher, emptyFrontier(family), 0, bagging))).toBe(empty)
  }
})

test("the vectors tell the two baggings apart", () => {
  expect(rootOf(mmb, 11, 0, "forward")).not.toBe(rootOf(mmb, 11, 0, "backward"))
})
