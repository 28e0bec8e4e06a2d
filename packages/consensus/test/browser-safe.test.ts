/**
 * Goal: what a light client imports needs neither Effect nor Node.
 * Method: follow the imports of the entry that are left at run time through the sources of this package.
 */
import { readFileSync } from "node:fs"
import { expect, test } from "vitest"

/** Packages that a module, and what it imports, need at run time. */
const needs = (file: URL, seen = new Set<string>()): ReadonlySet<string> => {
  const found = new Set<string>()
  if (seen.has(file.href)) return found
  seen.add(file.href)
  for (const [, target] of readFileSync(file, "utf8").matchAll(/^(?:import|export)(?! type)[^"]*from "([^"]+)"/gm)) {
    const more = target!.startsWith(".") ? needs(new URL(target!, file), seen) : [target!]
    for (const name of more) found.add(name)
  }
  return found
}

test("@coppice/consensus/finalization needs codec and crypto alone", () => {
  const source = new URL("../src/", import.meta.url)
  expect(needs(new URL("finalization.ts", source))).toEqual(new Set(["@coppice/codec", "@coppice/crypto"]))
  expect(needs(new URL("index.ts", source)), "canary: the whole package needs more").toContain("effect")
})
