/**
 * Brings the pinned pnpm, Node and dependencies to a machine that has only Node 20 and npm, then runs a command on them.
 *
 *   node tools/bootstrap.mjs COMMAND [ARG ...]
 *
 * The install is from the frozen lockfile and is skipped while its stamp (a digest of the lockfile and manifests)
 * matches, so a second run starts at once. The command runs with node_modules/.bin first on PATH: `node` is the pinned
 * Node 24, whatever Node started this file. This file itself may use nothing newer than Node 20.
 */
import { spawn, spawnSync } from "node:child_process"
import { createHash } from "node:crypto"
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { delimiter, dirname, join } from "node:path"
import { fileURLToPath } from "node:url"

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8"))
const pnpm = `pnpm@${manifest.devDependencies.pnpm}`
const stampFile = join(root, "node_modules", ".coppice-install")

const manifests = () => {
  const files = ["package.json", "pnpm-lock.yaml", "pnpm-workspace.yaml"]
  for (const group of ["packages", "apps", "examples"]) {
    const dir = join(root, group)
    if (!existsSync(dir)) continue
    for (const name of readdirSync(dir).sort()) {
      const file = join(group, name, "package.json")
      if (existsSync(join(root, file))) files.push(file)
    }
  }
  return files
}

const digest = () => {
  const hash = createHash("sha256")
  hash.update(`${process.platform} ${process.arch}\n`)
  for (const file of manifests()) hash.update(`${file}\n`).update(readFileSync(join(root, file)))
  return hash.digest("hex")
}

const install = () => {
  const stamp = digest()
  if (existsSync(stampFile) && readFileSync(stampFile, "utf8") === stamp) return
  console.error("Installing the pinned toolchain and dependencies (only the first run does this) ...")
  const npx = process.platform === "win32" ? "npx.cmd" : "npx"
  const done = spawnSync(npx, ["-y", pnpm, "install", "--frozen-lockfile"], {
    cwd: root,
    stdio: ["ignore", 2, 2],
    env: { ...process.env, CI: "true" },
    shell: process.platform === "win32",
  })
  if (done.error) throw done.error
  if (done.status !== 0) process.exit(done.status ?? 1)
  mkdirSync(dirname(stampFile), { recursive: true })
  writeFileSync(stampFile, stamp)
}

const run = (command, args) => {
  const bin = join(root, "node_modules", ".bin")
  const child = spawn(command, args, {
    cwd: root,
    stdio: "inherit",
    env: { ...process.env, PATH: bin + delimiter + (process.env["PATH"] ?? "") },
  })
  // The terminal delivers Ctrl-C to the whole group; a signal sent to this process alone is passed on.
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => child.kill(signal))
  child.on("error", (error) => {
    console.error(error.message)
    process.exit(1)
  })
  child.on("exit", (code, signal) => process.exit(code ?? (signal === "SIGINT" ? 130 : 1)))
}

const [command, ...args] = process.argv.slice(2)
if (command === undefined) {
  console.error("usage: node tools/bootstrap.mjs COMMAND [ARG ...]")
  process.exit(2)
}
install()
run(command, args)
