/**
 * Prints a line per published row: does this build reproduce it?
 *
 *   npm run conformance [-- --all]
 *
 * The last line is `N/34 rows match`. Exit status 0 when every row that is built matches; with `--all`, only when all do.
 */
import { conclude, judge, publishedRows, type Verdict } from "./rows.ts"
import { workloads } from "./workloads.ts"

const rows = publishedRows()
const width = Math.max(...rows.map((row) => row.name.length))
const verdicts: Array<Verdict> = []
for (const row of rows) {
  const verdict = await judge(row, workloads)
  verdicts.push(verdict)
  console.log(`${row.name.padEnd(width)}  ${verdict}`)
}
const { line, succeeds } = conclude(verdicts, { all: process.argv.includes("--all") })
console.log(line)
process.exitCode = succeeds ? 0 : 1
