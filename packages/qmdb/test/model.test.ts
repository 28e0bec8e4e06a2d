/**
 * Goal: the model by which the property tests judge the database is itself the specification.
 * Method: every case of any-unordered.json and both genesis roots, through the model alone.
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

const vectors = new URL("../../../conformance/vectors/any-unordered.json", import.meta.url)
const { cases } = JSON.parse(readFileSync(vectors, "utf8")) as { readonly cases: ReadonlyArray<Case> }
const bytes = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex, "hex"))
const text = (hex: string): string => Buffer.from(hex, "hex").toString("latin1")

describe("the model", () => {
  for (const { family, script, steps } of cases.filter(({ encoding }) => encoding === "fixed 32/32")) {
    it(`equals the vectors of ${family}, ${script}`, () => {
      let state = ModelState.genesis({ family, sizes: { key: 32, value: 32 } })
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
    const root = (sizes: { key: number; value: number } | undefined, family: "mmr" | "mmb"): string =>
      Buffer.from(ModelState.genesis({ family, sizes }).root).toString("hex")
    for (const family of ["mmr", "mmb"] as const) {
      expect(root({ key: 32, value: 32 }, family)).toBe(
        "ea6e0567a525372add5e4ef4d0600c18ed47fa5dd041a0ab0d25b60ea8c35978",
      )
      expect(root(undefined, family)).toBe("e24bf56ac8c9cd132ab3931b8c85795af8611744e8742063307222ff9d7ccd82")
    }
  })
})
