/**
 * Finds the benchmarks of a checkout and runs them, one process each.
 *
 *   {packages,apps,examples}/NAME/bench/*.bench.ts  --import-->  benches  --filter-->  child per bench  -->  figures
 *
 * Invariant: a bench that fails costs its own figures and the exit status, and no one else's; the names of benches and
 * of figures are unique.
 */
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs"
import { join } from "node:path"
import { pathToFileURL } from "node:url"
import { type Bench, type Figure, inChild } from "./harness.ts"

const GROUPS = ["packages", "apps", "examples"]

/** A bench and the module that exports it. */
export interface Found {
  readonly module: string
  readonly bench: Bench
}

const list = (folder: string): ReadonlyArray<string> => {
  try {
    return readdirSync(folder).sort()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return []
    throw error
  }
}

/** Every bench of a checkout, in order of path. Throws when two have one name. */
export const discover = async (root: string): Promise<ReadonlyArray<Found>> => {
  const found: Array<Found> = []
  for (const group of GROUPS) {
    for (const member of list(join(root, group))) {
      const folder = join(root, group, member, "bench")
      for (const file of list(folder).filter((name) => name.endsWith(".bench.ts"))) {
        const module = pathToFileURL(join(folder, file)).href
        const { benches } = (await import(module)) as { readonly benches: ReadonlyArray<Bench> }
        for (const bench of benches) {
          const other = found.find((each) => each.bench.name === bench.name)
          if (other !== undefined) throw new Error(`two benches are named ${bench.name}: ${other.module}, ${module}`)
          found.push({ module, bench })
        }
      }
    }
  }
  return found
}

/** Input of `runBench`: which bench, and the folder its directories go to. */
export interface Order {
  readonly module: string
  readonly name: string
  readonly folder: string
}

/** Runs one bench in this process. The child's entry. */
export const runBench = async ({ module, name, folder }: Order): Promise<ReadonlyArray<Figure>> => {
  const { benches } = (await import(module)) as { readonly benches: ReadonlyArray<Bench> }
  const bench = benches.find((each) => each.name === name)
  if (bench === undefined) throw new Error(`${module} has no bench ${name}`)
  return bench.run({
    note: (text) => console.error(`  ${text}`),
    directory: () => mkdtempSync(join(folder, "d-")),
  })
}

/** What a run came to: figures as they arrive, and the names of the benches that failed. */
export interface Listener {
  readonly started: (name: string) => void
  readonly figure: (figure: Figure) => void
  readonly failed: (name: string, error: unknown) => void
}

/** Runs benches one after the other. Their directories are on the disk of the checkout: a flush to a RAM disk is none. */
export const runAll = async (root: string, found: ReadonlyArray<Found>, listener: Listener): Promise<void> => {
  const base = join(root, ".coppice", "bench")
  const names = new Set<string>()
  for (const { module, bench } of found) {
    listener.started(bench.name)
    mkdirSync(base, { recursive: true })
    const folder = mkdtempSync(join(base, "run-"))
    try {
      const order: Order = { module, name: bench.name, folder }
      const figures = await inChild<ReadonlyArray<Figure>>(new URL("./run.ts", import.meta.url).href, "runBench", order)
      for (const figure of figures) {
        if (names.has(figure.name)) throw new Error(`two figures are named ${figure.name}`)
        names.add(figure.name)
        listener.figure(figure)
      }
    } catch (error) {
      listener.failed(bench.name, error)
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  }
}
