/**
 * Brings the pinned pnpm, Node and dependencies to a machine that has only Node 20 or newer and npm.
 *
 *   node tools/bootstrap.mjs && exec node_modules/.bin/node tools/check.ts
 *
 * The install is from the frozen lockfile. A stamp, the digest of the lockfile and every manifest, is removed before an
 * install and written after it: an interrupted install leaves none, and while it matches this file does nothing and
 * prints nothing. Of several starts at once one installs and the others wait for it; a lock whose owner died is taken.
 *
 * Invariant: after success node_modules/.bin/node is a Node 24. Scripts then `exec` it by that path: a shell left in
 * between would die of a signal that npm passes on and leave the program behind.
 *
 * This file may use nothing newer than Node 20. All output goes to standard error.
 */
import { spawnSync } from "node:child_process"
import { createHash } from "node:crypto"
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"

const NODE_MAJOR_MIN = 24
const PINNED_NODE = `node-${process.platform}-${process.arch}`
const WAIT_MS_MAX = 600_000
const POLL_MS = 100

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const modules = join(root, "node_modules")
const nodeBin = join(modules, ".bin", "node")
const stampFile = join(modules, ".coppice-install")
const lockFile = join(root, ".coppice", "install.lock")

const fail = (message) => {
  console.error(message)
  process.exit(1)
}

const read = (file) => {
  try {
    return readFileSync(join(root, file), "utf8")
  } catch (error) {
    if (error.code === "ENOENT") fail(`${file} is missing: restore it with git checkout -- ${file}`)
    throw error
  }
}

/** Every manifest of the workspace. The groups are the first line of pnpm-workspace.yaml: `packages: [packages/*, ...]`. */
const manifests = () => {
  const groups = /^packages: \[(.*)\]$/m.exec(read("pnpm-workspace.yaml"))?.[1]
  if (groups === undefined) fail("pnpm-workspace.yaml does not list its packages in one line")
  const files = ["package.json"]
  for (const group of groups.split(",").map((pattern) => pattern.trim().replace(/\/\*$/, ""))) {
    if (!existsSync(join(root, group))) continue
    for (const name of readdirSync(join(root, group)).sort()) {
      const file = `${group}/${name}/package.json`
      if (existsSync(join(root, file))) files.push(file)
    }
  }
  return files
}

const digest = () => {
  const hash = createHash("sha256").update(`${process.platform} ${process.arch}\n`)
  for (const file of ["pnpm-lock.yaml", "pnpm-workspace.yaml", ...manifests()]) {
    hash.update(`${file}\n`).update(read(file))
  }
  return hash.digest("hex")
}

const isInstalled = (stamp) => existsSync(nodeBin) && existsSync(stampFile) && readFileSync(stampFile, "utf8") === stamp

const isAlive = (pid) => {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return error.code === "EPERM"
  }
}

const ownerOfLock = () => {
  try {
    return readFileSync(lockFile, "utf8")
  } catch (error) {
    if (error.code === "ENOENT") return undefined
    throw error
  }
}

const tryLock = () => {
  mkdirSync(dirname(lockFile), { recursive: true })
  try {
    writeFileSync(lockFile, String(process.pid), { flag: "wx" })
    return true
  } catch (error) {
    if (error.code !== "EEXIST") throw error
    return false
  }
}

/** Takes the install lock, or returns false once another process has finished the install. */
const lockUnlessInstalled = (stamp) => {
  for (let waited = 0; !tryLock(); waited += POLL_MS) {
    const owner = ownerOfLock()
    // An empty lock is being written by its owner right now; only a whole one can be dead.
    if (owner !== undefined && owner !== "" && !isAlive(Number(owner))) rmSync(lockFile, { force: true })
    else {
      if (waited === 0) console.error("Another start is installing; waiting for it ...")
      if (waited >= WAIT_MS_MAX) fail(`Still waiting for process ${owner}. If it is not an install, delete ${lockFile}`)
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, POLL_MS)
    }
    if (isInstalled(stamp)) return false
  }
  return true
}

const majorOf = (node) => {
  const { stdout } = spawnSync(node, ["--version"], { encoding: "utf8" })
  return Number(/^v(\d+)\./.exec(stdout ?? "")?.[1] ?? 0)
}

/** Makes node_modules/.bin/node a Node 24: the pinned one, or the one on this machine where none is published for it. */
const provideNode = () => {
  const candidates = [nodeBin, join(modules, PINNED_NODE, "bin", "node"), process.execPath]
  const node = candidates.find((candidate) => majorOf(candidate) >= NODE_MAJOR_MIN)
  if (node === undefined) {
    fail(
      `There is no package of Node ${NODE_MAJOR_MIN} for ${process.platform} ${process.arch}: install it and run again.`,
    )
  }
  if (node === nodeBin) return
  rmSync(nodeBin, { force: true })
  symlinkSync(node, nodeBin)
}

const install = (stamp) => {
  rmSync(stampFile, { force: true })
  console.error("Installing the pinned toolchain and dependencies (only the first run does this) ...")
  const pnpm = `pnpm@${JSON.parse(read("package.json")).devDependencies.pnpm}`
  const { error, status } = spawnSync("npx", ["-y", pnpm, "install", "--frozen-lockfile"], {
    cwd: root,
    stdio: ["ignore", 2, 2],
    env: { ...process.env, CI: "true" },
  })
  if (error !== undefined) return `The install could not start: ${error.message}`
  if (status !== 0) return `The install failed (${status ?? "killed"}).`
  provideNode()
  writeFileSync(stampFile, stamp)
  return undefined
}

const stamp = digest()
if (!isInstalled(stamp) && lockUnlessInstalled(stamp)) {
  process.on("exit", () => rmSync(lockFile, { force: true }))
  const failure = isInstalled(stamp) ? undefined : install(stamp)
  if (failure !== undefined) fail(failure)
}
