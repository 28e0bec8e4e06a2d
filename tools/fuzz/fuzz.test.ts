/**
 * Goal: no changed claim is believed, and the fuzz that says so would notice a verifier that believes one.
 * Method: a small run with a printed seed; then canaries, each a verifier with one check removed, that must break. The long
 * run is `npm run fuzz -- --cases 10000000`.
 */
import { describe, expect, test } from "vitest"
import { CANARIES, type Canary, fieldsOf, ignoring } from "./canaries.ts"
import { Fuzz } from "./run.ts"
import type { Subject } from "./subject.ts"
import { subjects } from "./subjects.ts"

const SEED = 20_261_127
const all = subjects()

const kindsOf = (chosen: ReadonlyArray<Subject>): ReadonlyArray<string> => [...new Set(chosen.map(({ kind }) => kind))]

test("subjects are of every kind, honest ones are accepted, near misses refused by their check", () => {
  const kinds = kindsOf(all)
  for (const part of ["operations", "operations-with-pins", "multi-proof", "sync-operations", "sync-boundary"]) {
    for (const name of ["any/unordered", "any/ordered", "immutable", "keyless"]) {
      for (const family of ["mmr", "mmb"]) expect(kinds).toContain(`${name}/${family}/${part}`)
    }
  }
  for (const part of ["range", "key-value", "ops-root"]) expect(kinds).toContain(`current/unordered/mmb/${part}`)
  expect(kinds).toContain("current/ordered/mmb/exclusion")
  expect(kinds).toContain("compact/mmb/record")
  const fuzz = new Fuzz(all, SEED)
  fuzz.unchanged()
  expect(fuzz.report.breaks).toEqual([])
})

test("changed claims are refused unless they are true, most of them by a check", () => {
  const fuzz = new Fuzz(all, SEED)
  for (let index = 0; index < 40_000; index++) fuzz.run(index)
  const { cases, decoded, accepted, refused, breaks } = fuzz.report
  console.log(
    `seed ${SEED}: ${cases} cases, ${decoded} decoded, ${accepted} accepted, ${refused.size} ways to be refused`,
  )
  expect(breaks).toEqual([])
  expect(decoded / cases).toBeGreaterThan(0.3)
  const tags = [
    "RootMismatch",
    "DigestCount",
    "DigestLength",
    "InactivePeaksAbovePeaks",
    "RangeOutsideTree",
    "LeavesAboveMax",
    "LocationOutsideTree",
    "PinCount",
    "PinLength",
    "PinMismatch",
    "ChunkCount",
    "ChunkMismatch",
    "PartLength",
    "PartPresence",
    "PartialBits",
    "Inactive",
    "KeyActive",
    "KeyOutsideSpan",
    "FloorAboveCommit",
    "NotACommit",
    "MalformedCommit",
    "SizeMismatch",
    "OperationCount",
    "KindMismatch",
  ]
  for (const tag of tags) expect(refused.get(tag) ?? 0, tag).toBeGreaterThan(0)
})

test("a case is the same every time", () => {
  const run = () => {
    const fuzz = new Fuzz(all, SEED)
    for (let index = 500; index < 1500; index++) fuzz.run(index)
    return fuzz.report
  }
  expect(run()).toEqual(run())
})

/** Cases until the first break, or undefined. */
const casesToBreak = ({ kinds, judge }: Canary, most: number): number | undefined => {
  const fuzz = new Fuzz(
    all.filter(({ kind }) => kinds.test(kind)),
    SEED,
    judge,
  )
  for (let index = 0; index < most; index++) {
    fuzz.run(index)
    if (fuzz.report.breaks.length > 0) return index
  }
  return undefined
}

describe("canaries", () => {
  test.each(CANARIES)("$name: is caught", (canary) => {
    expect(casesToBreak(canary, 60_000)).toBeDefined()
  })

  const kinds = kindsOf(all).filter((kind) => !kind.endsWith("/operation") && kind.includes("mmb"))
  test.each(kinds)("%s: a verifier that does not look at one of the fields is caught", (kind) => {
    const own = all.filter((subject) => subject.kind === kind && subject.nearMiss === undefined)
    const paths = new Set(own.flatMap(({ claim }) => fieldsOf(claim).map((path) => path.join("."))))
    expect(paths.size).toBeGreaterThan(1)
    for (const path of paths) {
      expect(casesToBreak(ignoring(kind, path.split(".")), 30_000), path).toBeDefined()
    }
  })
})
