/**
 * Goal: documents that name code cannot drift from it.
 * Method: each row of docs/invariants.md is checked against the files it names; code shown in READMEs against its source.
 */
import { readFileSync } from "node:fs"
import { describe, expect, it } from "vitest"

const read = (path: string): string => readFileSync(new URL(`../${path}`, import.meta.url), "utf8")

/** Rows `| NUMBER | words | `file`, `file` |` of a document. */
const rowsOf = (document: string) =>
  [...document.matchAll(/^\| ((?:INV|CONS|P)-\d+|F-?\d+|[CM]\d+) *\|[^|]+\|([^|]+)\|$/gm)].map(([, number, files]) => ({
    number: number!,
    files: [...files!.matchAll(/`([^`]+)`/g)].map(([, file]) => file!),
  }))

const quotes = (source: string, number: string): boolean => new RegExp(`\\b${number}\\b`).test(source)

describe("docs/invariants.md", () => {
  const rows = rowsOf(read("docs/invariants.md"))

  const text = read("docs/invariants.md")
  const span = (prefix: string, to: number) => Array.from({ length: to }, (_, i) => `${prefix}${i + 1}`)

  it("places every invariant and fault of the stateful layer: shown or retired, each once", () => {
    const shown = rows.map(({ number }) => number).filter((number) => /^(INV-|F\d)/.test(number))
    const retired = [...(/Retired: ([^.]+)\./.exec(text)?.[1] ?? "").matchAll(/INV-\d+|F\d+/g)].map(
      ([number]) => number,
    )
    expect(retired).toHaveLength(6)
    const placed = [...shown, ...retired]
    expect(placed.toSorted()).toEqual([...span("INV-", 43), ...span("F", 66)].toSorted())
    expect(new Set(rows.map(({ number }) => number)).size).toBe(rows.length)
  })

  it("places every crash point of the stateful layer and of the marshal: shown, or said why not, each once", () => {
    const shown = rows.map(({ number }) => number).filter((number) => /^[CM]\d/.test(number))
    const [, without = ""] = /Without a row: ([^.]+)\./.exec(text) ?? []
    expect([...shown, ...without.split(", ")].toSorted()).toEqual([...span("C", 20), ...span("M", 11)].toSorted())
  })

  for (const { number, files } of rows) {
    it(`${number} is quoted by the files it names`, () => {
      expect(files.length).toBeGreaterThan(0)
      for (const file of files) expect(quotes(read(file), number), file).toBe(true)
    })
  }

  it("canary: a number that a file does not quote is told apart", () => {
    expect(quotes("INV-31 and F311", "INV-3")).toBe(false)
    expect(quotes("INV-31 and F311", "F31")).toBe(false)
  })
})

it("the README shows the counter as it is", () => {
  expect(read("README.md")).toContain(read("examples/counter/src/counter.ts").trimEnd())
})
