/**
 * Goal: documents that name code cannot drift from it.
 * Method: each row of docs/invariants.md is checked against the files it names; code shown in READMEs against its source.
 */
import { readFileSync } from "node:fs"
import { describe, expect, it } from "vitest"

const read = (path: string): string => readFileSync(new URL(`../${path}`, import.meta.url), "utf8")

/** Rows `| NUMBER | words | `file`, `file` |` of a document. */
const rowsOf = (document: string) =>
  [...document.matchAll(/^\| ((?:INV|CONS|P)-\d+|F-?\d+|M\d+) *\|[^|]+\|([^|]+)\|$/gm)].map(([, number, files]) => ({
    number: number!,
    files: [...files!.matchAll(/`([^`]+)`/g)].map(([, file]) => file!),
  }))

const quotes = (source: string, number: string): boolean => new RegExp(`\\b${number}\\b`).test(source)

describe("docs/invariants.md", () => {
  const rows = rowsOf(read("docs/invariants.md"))

  it("has a row for every invariant and fault of executor and joining, each once", () => {
    const numbers = rows.map(({ number }) => number)
    const span = (prefix: string, from: number, to: number) =>
      Array.from({ length: to - from + 1 }, (_, i) => `${prefix}${from + i}`)
    const required = [
      ...span("INV-", 1, 24),
      ...span("INV-", 28, 34),
      ...["INV-36", "INV-37", "INV-39", "INV-40", "INV-42"],
      ...span("F", 1, 26),
      ...span("F", 29, 33),
      ...span("F", 35, 54),
      ...["F58", "F61", "F62", "F65", "F66"],
    ]
    expect(numbers).toEqual(expect.arrayContaining(required))
    expect(new Set(numbers).size).toBe(numbers.length)
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
