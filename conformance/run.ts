/**
 * Prints a line per published row: does this build reproduce it?
 *
 *   npm run conformance [-- --all]
 *
 * The last line but one is `N/40 encoding rows match`, the last one `N/34 rows match`. Exit status 0 when every row that is
 * built matches; with `--all`, only when all of both kinds do.
 */
import { encodingWorkloads } from "./encodings.ts"
import { conclude, encodingRows, judge, publishedRows, type Row, type Verdict, type Workloads } from "./rows.ts"
import { workloads } from "./workloads.ts"

const groups: ReadonlyArray<readonly [ReadonlyArray<Row>, Workloads, string]> = [
  [encodingRows(), encodingWorkloads, "encoding rows"],
  [publishedRows(), workloads, "rows"],
]
const all = process.argv.includes("--all")
const width = Math.max(...groups.flatMap(([rows]) => rows.map((row) => row.name.length)))
const ends: Array<{ readonly line: string; readonly succeeds: boolean }> = []
for (const [rows, registered, what] of groups) {
  const verdicts: Array<Verdict> = []
  for (const row of rows) {
    const verdict = await judge(row, registered)
    verdicts.push(verdict)
    console.log(`${row.name.padEnd(width)}  ${verdict}`)
  }
  ends.push(conclude(verdicts, { all, what }))
}
for (const { line } of ends) console.log(line)
process.exitCode = ends.every(({ succeeds }) => succeeds) ? 0 : 1
