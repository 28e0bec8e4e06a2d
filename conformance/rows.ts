/**
 * The published rows: what must be reproduced, and how a row is judged.
 *
 * Terms: a workload makes the bytes of one seed; a row names a workload and the digest over all its seeds,
 * `sha256( for each seed: u64 little-endian length || bytes )`. A row is *built* when its workload is registered.
 *
 * Invariant: the rows come from the published file alone. What is not built follows from what is registered, so no list
 * of exceptions can go stale.
 */
import { createHash } from "node:crypto"
import { readFileSync } from "node:fs"

/** One published hash. */
export interface Row {
  readonly name: string
  readonly cases: number
  readonly sha256: string
  readonly workload: string
}

/** The bytes that a workload makes for a seed. A workload that does I/O may promise them. */
export type Workload = (seed: number) => Uint8Array | Promise<Uint8Array>

/** Workloads by the name that rows give them. */
export type Workloads = Readonly<Record<string, Workload>>

/** What became of a row. */
export type Verdict = "match" | "differs" | "not built"

interface Published {
  readonly rows: ReadonlyArray<Row>
  readonly codec_rows: ReadonlyArray<Omit<Row, "workload">>
}

const published = (): Published =>
  JSON.parse(readFileSync(new URL("./qmdb-conformance.json", import.meta.url), "utf8")) as Published

/** The published rows of roots, in the order of the file. */
export const publishedRows = (): ReadonlyArray<Row> => published().rows

/** The published rows of encodings, in the order of the file. The workload of each has its name. */
export const encodingRows = (): ReadonlyArray<Row> =>
  published().codec_rows.map((row) => ({ ...row, workload: row.name }))

/** The digest of a workload over seeds `0 .. cases`. */
export const hashWorkload = async (workload: Workload, cases: number): Promise<string> => {
  const hash = createHash("sha256")
  for (let seed = 0; seed < cases; seed++) {
    const bytes = await workload(seed)
    const length = Buffer.alloc(8)
    length.writeBigUInt64LE(BigInt(bytes.length))
    hash.update(length).update(bytes)
  }
  return hash.digest("hex")
}

/** Judges a row by the registered workloads. A workload that throws rejects: that is no verdict. */
export const judge = async (row: Row, workloads: Workloads): Promise<Verdict> => {
  const workload = Object.hasOwn(workloads, row.workload) ? workloads[row.workload] : undefined
  if (workload === undefined) return "not built"
  return (await hashWorkload(workload, row.cases)) === row.sha256 ? "match" : "differs"
}

/** How a group of rows ends: a line, and whether it succeeds. Every built row must match; with `all`, every row. */
export const conclude = (
  verdicts: ReadonlyArray<Verdict>,
  { all, what = "rows" }: { readonly all: boolean; readonly what?: string },
): { readonly line: string; readonly succeeds: boolean } => {
  const matching = verdicts.filter((verdict) => verdict === "match").length
  return {
    line: `${matching}/${verdicts.length} ${what} match`,
    succeeds: all ? matching === verdicts.length : !verdicts.includes("differs"),
  }
}
