/**
 * `npm run fuzz -- [--cases N] [--seed S] [--from I] [--workers W] [--json]`: changed claims of every kind, checked against the truth.
 *
 * Prints progress, then the cases, the share that was decoded, refusals by check, and every break with how to run it alone.
 * Exit status: 1 when there is a break, 2 on a wrong argument.
 */
import { parseArgs } from "node:util"
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads"
import { addReport, emptyReport, Fuzz, type Report } from "./run.ts"
import { subjects } from "./subjects.ts"

const PART = 20_000
/** What the process may hold at most: a decoder that believed a count would go beyond it. */
const RESIDENT_BYTES_MAX = 1.5e9

const options = {
  cases: { type: "string", default: "100000" },
  seed: { type: "string", default: "1" },
  from: { type: "string", default: "0" },
  workers: { type: "string", default: "2" },
  json: { type: "boolean", default: false },
} as const

const integer = (name: string, text: string, least: number): number => {
  const value = Number(text)
  if (!Number.isSafeInteger(value) || value < least)
    throw new TypeError(`--${name} ${text}: an integer from ${least} on`)
  return value
}

interface Arguments {
  readonly cases: number
  readonly seed: number
  readonly from: number
  readonly workers: number
  readonly json: boolean
}

const parse = (args: ReadonlyArray<string>): Arguments => {
  try {
    const { values } = parseArgs({ args: [...args], options })
    return {
      cases: integer("cases", values.cases, 1),
      seed: integer("seed", values.seed, 0),
      from: integer("from", values.from, 0),
      workers: integer("workers", values.workers, 1),
      json: values.json,
    }
  } catch (error) {
    console.error((error as Error).message)
    console.error("usage: npm run fuzz -- [--cases N] [--seed S] [--from I] [--workers W] [--json]")
    return process.exit(2)
  }
}

interface Share {
  readonly seed: number
  readonly from: number
  readonly to: number
}

/** Runs a share of the cases, reporting after each part. */
const work = ({ seed, from, to }: Share): void => {
  const all = subjects()
  for (let start = from; start < to; start += PART) {
    const fuzz = new Fuzz(all, seed)
    if (start === from) fuzz.unchanged()
    for (let index = start; index < Math.min(start + PART, to); index++) fuzz.run(index)
    parentPort?.postMessage(fuzz.report)
  }
}

const ranked = (counts: ReadonlyMap<string, number>): ReadonlyArray<readonly [string, number]> =>
  Array.from(counts).sort((a, b) => b[1] - a[1])

const print = (report: Report, { seed, json }: Arguments, residentMax: number): void => {
  const { cases, decoded, shaped, accepted, breaks } = report
  const share = (decoded + shaped) / cases
  if (json) {
    const counts = {
      refused: Object.fromEntries(ranked(report.refused)),
      kinds: Object.fromEntries(ranked(report.kinds)),
    }
    console.log(JSON.stringify({ seed, cases, decoded, shaped, accepted, ...counts, residentMax, breaks }))
    return
  }
  for (const [name, count] of ranked(report.refused)) console.log(`${String(count).padStart(10)}  ${name}`)
  console.log(`${String(accepted).padStart(10)}  accepted, and true`)
  for (const { index, kind, what } of breaks) {
    console.log(`BREAK ${kind}: ${what}\n  npm run fuzz -- --seed ${seed} --from ${index} --cases 1`)
  }
  console.log(
    `${cases} cases of ${report.kinds.size} kinds, seed ${seed}: ${decoded} decoded (${Math.floor((100 * decoded) / cases)} %), ` +
      `${Math.floor(100 * share)} % reached a check, ${(residentMax / 2 ** 20).toFixed(0)} MiB at most, ${breaks.length} breaks`,
  )
}

const main = async (given: Arguments): Promise<void> => {
  const { cases, seed, from, json } = given
  const report = emptyReport()
  const workers = Math.min(given.workers, Math.ceil(cases / PART))
  let residentMax = 0
  let shown = 0
  const shares = Array.from({ length: workers }, (_, i) => ({
    seed,
    from: from + Math.floor((cases * i) / workers),
    to: from + Math.floor((cases * (i + 1)) / workers),
  }))
  const run = (share: Share): Promise<void> =>
    new Promise((resolve, reject) => {
      const worker = new Worker(new URL(import.meta.url), { workerData: share })
      worker.on("message", (part: Report) => {
        addReport(report, part)
        for (const { index, kind, what } of part.breaks) console.error(`BREAK case ${index}, ${kind}: ${what}`)
        residentMax = Math.max(residentMax, process.memoryUsage.rss())
        const percent = Math.floor((100 * report.cases) / cases)
        if (!json && percent >= shown + 5) {
          shown = percent
          console.error(`${report.cases} cases, ${report.breaks.length} breaks`)
        }
      })
      worker.on("error", reject)
      worker.on("exit", (code) => (code === 0 ? resolve() : reject(new Error(`a worker ended with ${code}`))))
    })
  await Promise.all(shares.map(run))
  if (residentMax > RESIDENT_BYTES_MAX)
    report.breaks.push({ index: from, kind: "memory", what: `${residentMax} bytes` })
  print(report, given, residentMax)
  process.exitCode = report.breaks.length === 0 ? 0 : 1
}

if (isMainThread) await main(parse(process.argv.slice(2)))
else work(workerData as Share)
