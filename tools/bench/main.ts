/**
 * `npm run bench -- [FILTER] [--json]`: runs every benchmark whose name contains FILTER.
 *
 * Standard output holds the figures and nothing else with `--json`, one line each; a table under a line about the
 * machine otherwise. Exit status: 1 when a bench failed to run or none matched, 2 on a wrong argument. A missed target
 * is printed and is no failure: a benchmark reports, it does not judge.
 */
import { cpus, totalmem } from "node:os"
import { dirname } from "node:path"
import { parseArgs } from "node:util"
import type { Figure } from "./harness.ts"
import { jsonLine, table } from "./report.ts"
import { discover, runAll } from "./run.ts"

const options = { json: { type: "boolean", default: false } } as const

const parse = (args: ReadonlyArray<string>) => {
  try {
    const { values, positionals } = parseArgs({ args: [...args], options, allowPositionals: true })
    if (positionals.length > 1) throw new TypeError("one filter at most")
    return { json: values.json, filter: positionals[0] ?? "" }
  } catch (error) {
    console.error(`${(error as Error).message}\nusage: npm run bench -- [FILTER] [--json]`)
    return process.exit(2)
  }
}

const machine = (): string => {
  const gigabytes = (totalmem() / 2 ** 30).toFixed(1)
  return `Node ${process.version}, ${process.platform} ${process.arch}, ${cpus().length} x ${cpus()[0]?.model ?? "unknown"}, ${gigabytes} GiB`
}

const main = async (args: ReadonlyArray<string>): Promise<number> => {
  const { json, filter } = parse(args)
  const root = dirname(dirname(import.meta.dirname))
  const all = await discover(root)
  const chosen = all.filter(({ bench }) => bench.name.includes(filter))
  if (chosen.length === 0) {
    console.error(`no bench matches "${filter}"; there are:\n${all.map(({ bench }) => `  ${bench.name}`).join("\n")}`)
    return 1
  }
  const figures: Array<Figure> = []
  const failed: Array<string> = []
  await runAll(root, chosen, {
    started: (name) => console.error(`${name} ...`),
    figure: (figure) => {
      figures.push(figure)
      if (json) console.log(jsonLine(figure))
    },
    failed: (name, error) => {
      failed.push(name)
      console.error(`${name} failed: ${error instanceof Error ? error.message : String(error)}`)
    },
  })
  if (!json) console.log(`${machine()}\n\n${table(figures)}`)
  if (failed.length > 0) console.error(`${failed.length} of ${chosen.length} benches failed: ${failed.join(", ")}`)
  return failed.length > 0 ? 1 : 0
}

process.exitCode = await main(process.argv.slice(2))
