/**
 * Goal: every published row whose workload is built is reproduced, and a row that differs is told from one that matches.
 * Method: judge each registered row over all its seeds; then judge the same workloads (of encodings, one of each kind)
 * with one bit of one seed flipped, and rows with one bit of the published hash flipped, which must all differ.
 */
import { expect, test } from "vitest"
import { encodingWorkloads } from "./encodings.ts"
import { conclude, encodingRows, judge, publishedRows, type Row, type Verdict, type Workload } from "./rows.ts"
import { workloads } from "./workloads.ts"

const rows = publishedRows()
const encodings = encodingRows()
const built = rows.filter((row) => Object.hasOwn(workloads, row.workload))

/** The workload, with one bit of the bytes of the row's last seed flipped. */
const flipped =
  (row: Row, workload: Workload): Workload =>
  async (seed) => {
    const bytes = Uint8Array.from(await workload(seed))
    if (seed === row.cases - 1) bytes[0]! ^= 1
    return bytes
  }

/** The workload, each seed of it run once. */
const remembered = (workload: Workload): Workload => {
  const known = new Map<number, Uint8Array>()
  return async (seed) => {
    const bytes = known.get(seed) ?? (await workload(seed))
    known.set(seed, bytes)
    return bytes
  }
}

test("the published file has 34 rows, each with a name of its own", () => {
  expect(rows.length).toBe(34)
  expect(new Set(rows.map((row) => row.name)).size).toBe(34)
})

test("every registered workload is the workload of a published row", () => {
  const published = new Set(rows.map((row) => row.workload))
  expect(Object.keys(workloads).filter((name) => !published.has(name))).toEqual([])
  expect(built.map((row) => row.name)).toEqual(expect.arrayContaining(["MmrRootStability", "MmbRootStability"]))
})

test.each(built)("$name is reproduced, and differs when one bit of one seed is flipped", async (row) => {
  const workload = remembered(workloads[row.workload]!)
  expect(await judge(row, { [row.workload]: workload })).toBe("match")
  expect(await judge(row, { [row.workload]: flipped(row, workload) })).toBe("differs")
})

test("the published file has 40 rows of encodings, each built", () => {
  const names = encodings.map((row) => row.name)
  expect(names.length).toBe(40)
  expect(Object.keys(encodingWorkloads).sort()).toEqual(names.toSorted())
})

test.each(encodings)("$name is reproduced", async (row) => {
  expect(await judge(row, encodingWorkloads)).toBe("match")
})

const kinds = ["any-update/unordered/fixed", "keyless-operation/fixed", "compact-target/mmr"]

test.each(encodings.filter(({ name }) => kinds.includes(name)))(
  "$name differs when one bit of one seed is flipped",
  async (row) => {
    const canary = { [row.workload]: flipped(row, encodingWorkloads[row.workload]!) }
    expect(await judge(row, canary)).toBe("differs")
  },
)

test("a row differs when one bit of its published hash is flipped", async () => {
  const row = built[0]!
  const digit = (Number.parseInt(row.sha256[0]!, 16) ^ 1).toString(16)
  expect(await judge({ ...row, sha256: digit + row.sha256.slice(1) }, workloads)).toBe("differs")
})

test("a row is not built exactly when its workload is not registered", async () => {
  expect(await judge(built[0]!, {})).toBe("not built")
  expect(await judge({ ...built[0]!, workload: "toString" }, workloads)).toBe("not built")
})

test("a run succeeds when no built row differs, and with --all only when every row matches", () => {
  const end = (verdicts: ReadonlyArray<Verdict>, all: boolean) => Object.values(conclude(verdicts, { all }))
  expect(end(["match", "not built", "match"], false)).toEqual(["2/3 rows match", true])
  expect(end(["match", "not built", "match"], true)).toEqual(["2/3 rows match", false])
  expect(end(["match", "differs"], false)).toEqual(["1/2 rows match", false])
  expect(end(["match", "match"], true)).toEqual(["2/2 rows match", true])
  expect(conclude(["match"], { all: true, what: "encoding rows" }).line).toBe("1/1 encoding rows match")
})
