/**
 * The checked-out files as a value, so that a rule is a function of it and a test can hand it a tree of three files.
 *
 * Terms: a unit is a folder with a package.json; a file belongs to the deepest unit around it. A file's role is what
 * it is for: `src` ships, `test` and `bench` do not, `tool` is everything else (scripts, configuration).
 *
 * Invariant: paths are relative to the root, separated by "/", and sorted.
 */
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"

/** The parts of a package.json that the rules read. */
export interface Manifest {
  readonly name?: string
  readonly private?: boolean
  readonly exports?: Readonly<Record<string, string | null>>
  readonly dependencies?: Readonly<Record<string, string>>
  readonly devDependencies?: Readonly<Record<string, string>>
  readonly optionalDependencies?: Readonly<Record<string, string>>
  readonly peerDependencies?: Readonly<Record<string, string>>
}

/** A folder with a package.json. The root's folder is "". */
export interface Unit {
  readonly folder: string
  readonly manifest: Manifest
}

/** What a file is for. */
export type Role = "src" | "test" | "bench" | "tool"

/** Every text file of a checkout, and the units they belong to. */
export interface Tree {
  readonly files: ReadonlyMap<string, string>
  readonly units: ReadonlyArray<Unit>
}

const MANIFEST = "package.json"
/** What is no part of the checkout, folder or file: `.git` is a file in a linked work tree. */
const SKIPPED = new Set(["node_modules", ".git", ".coppice", "dist", "coverage"])
const BINARY = /\.(png|jpe?g|gif|ico|woff2?|wasm|gz|zip|mdb|bin)$/

/** Tree of a map from path to text. Throws when the root has no package.json. */
export const treeOf = (files: ReadonlyMap<string, string>): Tree => {
  const sorted = new Map([...files].sort(([a], [b]) => (a < b ? -1 : 1)))
  const units: Array<Unit> = []
  for (const [path, text] of sorted) {
    if (path !== MANIFEST && !path.endsWith(`/${MANIFEST}`)) continue
    units.push({ folder: path.slice(0, -MANIFEST.length).replace(/\/$/, ""), manifest: JSON.parse(text) as Manifest })
  }
  if (!units.some((unit) => unit.folder === "")) throw new Error("the tree has no root package.json")
  return { files: sorted, units }
}

/** Reads a checkout from disk, leaving out what is installed, built or written at run time. */
export const readTree = (root: string): Tree => {
  const files = new Map<string, string>()
  const visit = (folder: string): void => {
    for (const entry of readdirSync(join(root, folder), { withFileTypes: true })) {
      const path = folder === "" ? entry.name : `${folder}/${entry.name}`
      if (SKIPPED.has(entry.name)) continue
      if (entry.isDirectory()) visit(path)
      else if (entry.isFile() && !BINARY.test(entry.name)) files.set(path, readFileSync(join(root, path), "utf8"))
    }
  }
  visit("")
  return treeOf(files)
}

const holds = (folder: string, path: string): boolean => folder === "" || path.startsWith(`${folder}/`)

/** The unit that a path belongs to. */
export const unitOf = (tree: Tree, path: string): Unit => {
  let found: Unit | undefined
  for (const unit of tree.units) {
    if (holds(unit.folder, path) && (found === undefined || unit.folder.length > found.folder.length)) found = unit
  }
  return found as Unit
}

/** The role of a file inside its unit. */
export const roleOf = (unit: Unit, path: string): Role => {
  if (path.endsWith(".test.ts") || path.endsWith(".test-d.ts")) return "test"
  const top = (unit.folder === "" ? path : path.slice(unit.folder.length + 1)).split("/")[0]
  return top === "src" || top === "test" || top === "bench" ? (unit.folder === "" ? "tool" : top) : "tool"
}
