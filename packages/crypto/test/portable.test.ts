/**
 * Goal: the main entries of codec and crypto, and the wasm entry, run in a browser.
 * Method: follow the imports of each entry; what is reached is our own portable code and noble, nothing of Node or Effect.
 */
import { readFileSync } from "node:fs"
import { describe, expect, test } from "vitest"

const ALLOWED = /^(@coppice\/codec|@noble\/(hashes|curves)\/[a-z0-9.]+)$/

const source = (path: string): URL => new URL(`../../${path}`, import.meta.url)

/** Imports that are not allowed, reached from a file. */
const foreignImports = (file: URL, seen = new Set<string>()): ReadonlyArray<string> => {
  if (seen.has(file.href)) return []
  seen.add(file.href)
  const text = readFileSync(file, "utf8")
  const imports = [...text.matchAll(/(?:from|import)\s*\(?\s*"([^"]+)"/g)].map((match) => match[1]!)
  return imports.flatMap((name) => {
    if (name.startsWith(".")) return foreignImports(new URL(name, file), seen)
    return ALLOWED.test(name) ? [] : [name]
  })
}

describe("browser-safe entries", () => {
  for (const entry of ["codec/src/index.ts", "crypto/src/index.ts", "crypto/src/wasm/index.ts"]) {
    test(`${entry} reaches nothing of Node or Effect`, () => {
      expect(foreignImports(source(entry))).toEqual([])
    })
  }

  test("canary: the node entry is found out", () => {
    expect(foreignImports(source("crypto/src/node/index.ts"))).toContain("node:crypto")
  })
})
