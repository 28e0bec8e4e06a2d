/**
 * Goal: the model by which the property tests judge the database is itself the specification.
 * Method: every fixed case of any-unordered.json and any-ordered.json and both genesis roots, through the model alone.
 */
import { readFileSync } from "node:fs"
import { describe, expect, it } from "vitest"
import { ModelState } from "./support/model.ts"

interface After {
  readonly size: number
  readonly floor: number
  readonly ops_root: string
  readonly new_operations: ReadonlyArray<{ readonly encoded: string }>
  readonly active: Record<string, number>
}
interface Step {
  readonly genesis?: After
  readonly mutations?: ReadonlyArray<{ readonly key: string; readonly value: string | null }>
  readonly metadata?: string | null
  readonly after?: After
}
interface Case {
  readonly family: "mmr" | "mmb"
  readonly encoding: string
  readonly script: string
  readonly steps: ReadonlyArray<Step>
}

const casesOf = (file: string): ReadonlyArray<Case> => {
  const vectors = new URL(`../../../conformance/vectors/${file}`, import.meta.url)
  const { cases } = JSON.parse(readFileSync(vectors, "utf8")) as { readonly cases: ReadonlyArray<Case> }
  return cases.filter(({ encoding }) => encoding === "fixed 32/32")
}
const cases = [false, true].flatMap((ordered) =>
  casesOf(`any-${ordered ? "ordered" : "unordered"}.json`).map((each) => ({ ...each, ordered })),
)
const bytes = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex, "hex"))
const text = (hex: string): string => Buffer.from(hex, "hex").toString("latin1")

describe("the model", () => {
  for (const { family, ordered, script, steps } of cases) {
    it(`equals the vectors of ${ordered ? "ordered" : "unordered"}, ${family}, ${script}`, () => {
      let state = ModelState.genesis({ family, ordered, sizes: { key: 32, value: 32 } })
      for (const { genesis, mutations, metadata, after } of steps) {
        const before = state.size
        if (genesis === undefined) {
          const writes = new Map(mutations!.map(({ key, value }) => [text(key), value === null ? null : bytes(value)]))
          state = state.seal(writes, typeof metadata === "string" ? bytes(metadata) : undefined)
        }
        const expected = (genesis ?? after)!
        expect(Buffer.from(state.root).toString("hex")).toBe(expected.ops_root)
        expect([state.size, state.floor]).toEqual([expected.size, expected.floor])
        expect(
          Object.fromEntries([...state.active].map(([k, l]) => [Buffer.from(k, "latin1").toString("hex"), l])),
        ).toEqual(expected.active)
        const added = genesis === undefined ? state.operations.slice(before) : state.operations
        expect(added.map((operation) => Buffer.from(operation.bytes).toString("hex"))).toEqual(
          expected.new_operations.map(({ encoded }) => encoded),
        )
      }
    })
  }

  it("has the published genesis roots in both encodings", () => {
    const root = (fixed: boolean, ordered: boolean, family: "mmr" | "mmb"): string =>
      Buffer.from(
        ModelState.genesis({ family, ordered, sizes: fixed ? { key: 32, value: 32 } : undefined }).root,
      ).toString("hex")
    for (const family of ["mmr", "mmb"] as const) {
      expect(root(true, false, family)).toBe("ea6e0567a525372add5e4ef4d0600c18ed47fa5dd041a0ab0d25b60ea8c35978")
      expect(root(true, true, family)).toBe("058e68ab381d74d82cd54bc8890015433d3bbb1cd8591c7e9870b2a8d774b03b")
      for (const ordered of [false, true]) {
        expect(root(false, ordered, family)).toBe("e24bf56ac8c9cd132ab3931b8c85795af8611744e8742063307222ff9d7ccd82")
      }
    }
  })
})
