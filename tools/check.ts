/**
 * What `npm test` runs: lint and rules, types, then every test, whatever the one before said.
 *
 *   node tools/check.ts [VITEST ARGUMENT ...]
 *
 * Invariant: the last line is `N passed, N failed`, in plain characters, and the exit status is 0 exactly when nothing
 * failed. Lint and types count as one failure each when they fail, and so does a test run that died without a result.
 */
import { type ChildProcess, spawn } from "node:child_process"
import { delimiter, dirname, join } from "node:path"
import type { TestCounts } from "./vitest/summary-reporter.ts"

const root = dirname(import.meta.dirname)
const env = { ...process.env, PATH: join(root, "node_modules", ".bin") + delimiter + (process.env["PATH"] ?? "") }

interface Ended {
  readonly ok: boolean
  readonly counts: TestCounts | undefined
}

let running: ChildProcess | undefined
for (const [signal, status] of [["SIGINT", 130] as const, ["SIGTERM", 143] as const]) {
  process.on(signal, () => {
    running?.kill(signal)
    process.exit(status)
  })
}

const run = (command: string, args: ReadonlyArray<string>): Promise<Ended> =>
  new Promise((resolve) => {
    const child = spawn(command, args, { cwd: root, env, stdio: ["ignore", "inherit", "inherit", "ipc"] })
    running = child
    let counts: TestCounts | undefined
    child.on("message", (message) => {
      counts = message as TestCounts
    })
    child.on("error", (error) => {
      console.error(`${command}: ${error.message}`)
      resolve({ ok: false, counts })
    })
    child.on("close", (code) => resolve({ ok: code === 0, counts }))
  })

const lint = await run("pnpm", ["run", "lint"])
const types = await run("pnpm", ["run", "check"])
const tests = await run("vitest", ["run", ...process.argv.slice(2)])

const passed = tests.counts?.passed ?? 0
let failed = tests.counts?.failed ?? 0
if (!tests.ok && failed === 0) failed = 1
for (const [name, { ok }] of Object.entries({ lint, types })) {
  if (ok) continue
  failed += 1
  console.log(`${name} failed: see above`)
}
if (tests.counts !== undefined && tests.counts.skipped > 0) console.log(`${tests.counts.skipped} skipped`)
console.log(`${passed} passed, ${failed} failed`)
process.exitCode = failed === 0 ? 0 : 1
