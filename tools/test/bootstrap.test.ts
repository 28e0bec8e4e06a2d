/**
 * Goal: the bootstrap installs once, leaves no stamp behind an install that did not finish, and lets one of several
 * starts install.
 * Method: the real script in a small copy of the repository, with an `npx` on PATH that writes down each call. Nothing
 * waits for time: a blocked install reads from a named pipe until the test writes to it.
 */
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process"
import { once } from "node:events"
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs"
import { tmpdir } from "node:os"
import { delimiter, join } from "node:path"
import { afterEach, beforeEach, expect, test } from "vitest"

let root: string
let bin: string

const write = (path: string, text: string): void => {
  mkdirSync(join(root, path, ".."), { recursive: true })
  writeFileSync(join(root, path), text)
}

/** Puts an `npx` on PATH that logs its arguments, provides a Node and then runs `more`. */
const fakeNpx = (more = ""): void => {
  const lines = ["#!/bin/sh", 'echo "$@" >> calls', "mkdir -p node_modules/.bin"]
  lines.push(`ln -sf "${process.execPath}" node_modules/.bin/node`, more)
  writeFileSync(join(bin, "npx"), `${lines.join("\n")}\n`)
  chmodSync(join(bin, "npx"), 0o755)
}

const environment = (): NodeJS.ProcessEnv => ({ ...process.env, PATH: bin + delimiter + (process.env["PATH"] ?? "") })
const script = (): string => join(root, "tools", "bootstrap.mjs")
const run = () => spawnSync(process.execPath, [script()], { env: environment(), encoding: "utf8" })
const calls = (): ReadonlyArray<string> =>
  existsSync(join(root, "calls")) ? readFileSync(join(root, "calls"), "utf8").trim().split("\n") : []
const stamped = (): boolean => existsSync(join(root, "node_modules", ".coppice-install"))
const locked = (): boolean => existsSync(join(root, ".coppice", "install.lock"))

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "coppice-bootstrap-"))
  bin = join(root, "path")
  mkdirSync(bin)
  mkdirSync(join(root, "tools"))
  copyFileSync(new URL("../bootstrap.mjs", import.meta.url), script())
  write("package.json", JSON.stringify({ devDependencies: { pnpm: "1.2.3" } }))
  write("pnpm-lock.yaml", "lockfileVersion: '9.0'\n")
  write("pnpm-workspace.yaml", "packages: [packages/*]\n")
  write("packages/a/package.json", "{}")
  fakeNpx()
})

afterEach(() => rmSync(root, { recursive: true, force: true }))

test("the first run installs the pinned pnpm's frozen lockfile, the second does and says nothing", () => {
  const first = run()
  expect(first.status).toBe(0)
  expect(first.stdout).toBe("")
  expect(calls()).toEqual(["-y pnpm@1.2.3 install --frozen-lockfile"])
  const second = run()
  expect(second).toMatchObject({ status: 0, stdout: "", stderr: "" })
  expect(calls().length).toBe(1)
  expect(locked()).toBe(false)
})

test.for(["pnpm-lock.yaml", "pnpm-workspace.yaml", "package.json", "packages/a/package.json"])(
  "a change of %s installs again",
  (file) => {
    run()
    write(file, `${readFileSync(join(root, file), "utf8")}\n`)
    expect(run().status).toBe(0)
    expect(calls().length).toBe(2)
  },
)

test("a new package and a lost Node install again", () => {
  run()
  write("packages/b/package.json", "{}")
  run()
  expect(calls().length).toBe(2)
  rmSync(join(root, "node_modules", ".bin", "node"))
  run()
  expect(calls().length).toBe(3)
})

test("an install that fails leaves no stamp, not even an older one", () => {
  run()
  write("packages/a/package.json", '{ "changed": true }')
  fakeNpx("exit 7")
  const failed = run()
  expect(failed.status).toBe(1)
  expect(failed.stderr).toContain("The install failed (7)")
  expect([stamped(), locked()]).toEqual([false, false])
  write("packages/a/package.json", "{}")
  fakeNpx()
  expect(run().status).toBe(0)
  expect(calls().length).toBe(3)
})

test("a missing lockfile is named, and nothing is installed", () => {
  rmSync(join(root, "pnpm-lock.yaml"))
  const { status, stderr } = run()
  expect(status).toBe(1)
  expect(stderr).toContain("pnpm-lock.yaml is missing")
  expect(calls()).toEqual([])
})

test("a Node that does not run is replaced by one that does", () => {
  fakeNpx("printf '#!/bin/sh\\nexit 1\\n' > broken; chmod +x broken; ln -sf ../../broken node_modules/.bin/node")
  expect(run().status).toBe(0)
  const version = execFileSync(join(root, "node_modules", ".bin", "node"), ["--version"], { encoding: "utf8" })
  expect(Number(/^v(\d+)/.exec(version)?.[1])).toBeGreaterThanOrEqual(24)
})

/** Starts the script; `says` resolves once its standard error contains a text. */
const start = () => {
  const child = spawn(process.execPath, [script()], { env: environment(), stdio: ["ignore", "ignore", "pipe"] })
  let text = ""
  const says = async (wanted: string): Promise<void> => {
    while (!text.includes(wanted)) text += String(((await once(child.stderr, "data")) as [Buffer])[0])
  }
  return { child, says, exited: once(child, "exit") as Promise<[number | null, string | null]> }
}

const blockInstalls = (): void => {
  execFileSync("mkfifo", [join(root, "gate")])
  fakeNpx("echo blocked >&2; read line < gate")
}
const openGate = (): void => writeFileSync(join(root, "gate"), "go\n")

test("of two starts at once one installs and the other waits for it", async () => {
  blockInstalls()
  const first = start()
  await first.says("blocked")
  const second = start()
  await second.says("Another start is installing")
  openGate()
  expect(await first.exited).toEqual([0, null])
  expect(await second.exited).toEqual([0, null])
  expect(calls().length).toBe(1)
  expect([stamped(), locked()]).toEqual([true, false])
})

test("an interrupted install leaves no stamp, and the next start takes over its lock", async () => {
  blockInstalls()
  const first: { child: ChildProcess; says: (text: string) => Promise<void>; exited: Promise<unknown> } = start()
  await first.says("blocked")
  first.child.kill("SIGKILL")
  await first.exited
  openGate()
  expect([stamped(), locked()]).toEqual([false, true])
  fakeNpx()
  expect(run().status).toBe(0)
  expect(calls().length).toBe(2)
  expect([stamped(), locked()]).toEqual([true, false])
})
