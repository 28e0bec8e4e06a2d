/**
 * Rules "graph" and "dependency": who may import whom, and whether every manifest says exactly what is imported.
 *
 *   source --import--> package --declared in--> manifest --allowed by--> graph.ts
 *
 * Sources of a member import what its graph row lists and its own manifest declares. Tests and benches may besides
 * import test support and the root's devDependencies, which is where test tools are declared, once.
 *
 * Invariant: a declared dependency is used and a used one is declared, so that deleting a manifest line that passes
 * the rules never breaks anything.
 */
import { isBuiltin } from "node:module"
import { posix } from "node:path"
import { USED_WITHOUT_IMPORT } from "./exceptions.ts"
import { GRAPH, TEST_SUPPORT } from "./graph.ts"
import { type Import, lineAt, type Source } from "./source.ts"
import { type Manifest, type Tree, type Unit, unitOf } from "./tree.ts"
import type { Project, RuleName, Violation } from "./violation.ts"

/** "@scope/name/sub/path" -> "@scope/name". */
const packageOf = (specifier: string): string =>
  specifier
    .split("/")
    .slice(0, specifier.startsWith("@") ? 2 : 1)
    .join("/")

const shipped = (manifest: Manifest): ReadonlyArray<string> => [
  ...Object.keys(manifest.dependencies ?? {}),
  ...Object.keys(manifest.peerDependencies ?? {}),
  ...Object.keys(manifest.optionalDependencies ?? {}),
]

const titleOf = (unit: Unit): string => (unit.folder === "" ? "the root" : unit.folder)

/** Why `from` may not depend on `to`, or undefined when it may. `shipping` is false for tests and benches. */
const forbidden = (from: Unit, to: Unit, shipping: boolean): string | undefined => {
  const row = GRAPH[from.folder]
  if (row === undefined) return `${from.folder} is not in the package graph (tools/rules/graph.ts)`
  if (to.folder.startsWith("apps/") && from.folder.startsWith("packages/")) return "a package never imports an app"
  if (TEST_SUPPORT.includes(to.folder) && !shipping) return undefined
  if (row.uses === "any" || row.uses.includes(to.folder)) return undefined
  return `${titleOf(from)} may not import ${to.folder} (tools/rules/graph.ts)`
}

/** Folder of a browser-safe member for what only Node can run: an entry of its own that nothing else imports. */
const NODE_FOLDER = "src/node/"

const mustRunInBrowser = (source: Source): boolean =>
  source.role === "src" &&
  GRAPH[source.unit.folder]?.browser === true &&
  !source.path.startsWith(`${source.unit.folder}/${NODE_FOLDER}`)

type Report = (rule: RuleName, what: string, message: string) => Violation

const relativeImport = (tree: Tree, source: Source, specifier: string, report: Report): ReadonlyArray<Violation> => {
  const target = posix.normalize(posix.join(posix.dirname(source.path), specifier))
  if (target.startsWith("..") || unitOf(tree, target).folder !== source.unit.folder) {
    return [report("graph", specifier, `${specifier} leaves ${titleOf(source.unit)}: import the package by its name`)]
  }
  const inside = source.unit.folder === "" ? target : target.slice(source.unit.folder.length + 1)
  if (source.role === "src" && !inside.startsWith("src/") && !inside.endsWith(".json")) {
    return [report("graph", specifier, `sources import ${specifier}, which is not shipped`)]
  }
  if (mustRunInBrowser(source) && inside.startsWith(NODE_FOLDER)) {
    return [report("graph", specifier, `${titleOf(source.unit)} must run in a browser and imports ${specifier}`)]
  }
  return []
}

const memberImport = (source: Source, to: Unit, specifier: string, report: Report): ReadonlyArray<Violation> => {
  const shipping = source.role === "src"
  if (to.folder === source.unit.folder) {
    return shipping ? [report("graph", specifier, "a source imports its own package: name the file instead")] : []
  }
  const reason = forbidden(source.unit, to, shipping)
  if (reason !== undefined) return [report("graph", specifier, reason)]
  const entry = `.${specifier.slice((to.manifest.name ?? "").length)}`
  if (typeof to.manifest.exports?.[entry] === "string") return []
  return [report("graph", specifier, `${specifier} is not an entry of ${to.folder}: its internals are sealed`)]
}

const undeclared = (source: Source, name: string, root: Manifest, report: Report): ReadonlyArray<Violation> => {
  const manifest = source.unit.manifest
  const declared = new Set(shipped(manifest))
  if (source.role !== "src") {
    for (const each of [manifest, root]) for (const dev of Object.keys(each.devDependencies ?? {})) declared.add(dev)
  }
  if (declared.has(name) || name === manifest.name) return []
  const where = source.role === "src" ? "its dependencies" : "the devDependencies of its package or the root"
  return [report("dependency", name, `${name} is imported but not declared in ${where}`)]
}

const checkImport = (project: Project, source: Source, found: Import): ReadonlyArray<Violation> => {
  const report: Report = (rule, what, message) => {
    return { rule, path: source.path, line: lineAt(source.text, found.at), what, message }
  }
  const { specifier } = found
  if (specifier === undefined) return [report("graph", "import()", "a computed import: its target cannot be checked")]
  if (specifier.startsWith(".")) return relativeImport(project.tree, source, specifier, report)
  if (isBuiltin(specifier)) {
    if (!specifier.startsWith("node:")) return [report("graph", specifier, `write node:${specifier}`)]
    if (!mustRunInBrowser(source)) return []
    return [report("graph", specifier, `${source.unit.folder} must run in a browser and imports ${specifier}`)]
  }
  if (/^(\/|\w+:|#)/.test(specifier)) return [report("graph", specifier, "import a package or a relative file")]
  const name = packageOf(specifier)
  const root = unitOf(project.tree, "package.json").manifest
  const member = project.tree.units.find((unit) => unit.manifest.name === name)
  if (member === undefined && name.startsWith("@coppice/")) {
    return [report("graph", specifier, `there is no package ${name}`)]
  }
  return [
    ...(member === undefined ? [] : memberImport(source, member, specifier, report)),
    ...undeclared(source, name, root, report),
  ]
}

/** Packages that the wanted files import. */
const importedBy = (project: Project, wanted: (source: Source) => boolean): ReadonlySet<string> => {
  const names = new Set<string>()
  for (const source of project.sources) {
    if (!wanted(source)) continue
    for (const { specifier } of source.imports) {
      if (specifier !== undefined && !specifier.startsWith(".")) names.add(packageOf(specifier))
    }
  }
  return names
}

/** Packages that tests and benches of any unit import and take from the root, since their own unit declares none. */
const takenFromRoot = (project: Project): ReadonlySet<string> => {
  const names = project.tree.units.flatMap((unit) => {
    const imported = importedBy(project, (source) => source.unit === unit && source.role !== "src")
    const own = new Set([...shipped(unit.manifest), ...Object.keys(unit.manifest.devDependencies ?? {})])
    return [...imported].filter((name) => !own.has(name))
  })
  return new Set(names)
}

const usedOtherwise = (project: Project, unit: Unit, dependency: string): boolean =>
  USED_WITHOUT_IMPORT.some(
    (row) =>
      row.folder === unit.folder &&
      row.dependency === dependency &&
      project.tree.files.get(row.file)?.includes(row.text) === true,
  )

const manifestGraph = (project: Project, unit: Unit, report: Report): ReadonlyArray<Violation> => {
  const found: Array<Violation> = []
  const { manifest } = unit
  if (GRAPH[unit.folder] === undefined) {
    found.push(report("graph", unit.folder, `${unit.folder} is not in the package graph (tools/rules/graph.ts)`))
  }
  const check = (names: ReadonlyArray<string>, shipping: boolean): void => {
    for (const name of names) {
      const to = project.tree.units.find((each) => each.manifest.name === name)
      const reason = to === undefined || unit.folder === "" ? undefined : forbidden(unit, to, shipping)
      if (reason !== undefined) found.push(report("graph", name, `${name} is declared, but ${reason}`))
    }
  }
  check(shipped(manifest), true)
  check(Object.keys(manifest.devDependencies ?? {}), false)
  return found
}

const manifestUse = (project: Project, unit: Unit, report: Report): ReadonlyArray<Violation> => {
  const found: Array<Violation> = []
  const own = importedBy(project, (source) => source.unit === unit)
  const sources = importedBy(project, (source) => source.unit === unit && source.role === "src")
  const tests = unit.folder === "" ? takenFromRoot(project) : new Set<string>()
  for (const name of shipped(unit.manifest)) {
    if (sources.has(name) || usedOtherwise(project, unit, name)) continue
    const why = own.has(name) ? "is used by tests alone: move it to devDependencies" : "is declared and nothing uses it"
    found.push(report("dependency", name, `${name} ${why}`))
  }
  for (const name of Object.keys(unit.manifest.devDependencies ?? {})) {
    if (own.has(name) || tests.has(name) || usedOtherwise(project, unit, name)) continue
    found.push(report("dependency", name, `${name} is declared and nothing uses it`))
  }
  return found
}

const manifestVersions = (unit: Unit, report: Report): ReadonlyArray<Violation> => {
  const { manifest } = unit
  const ranges = { ...manifest.dependencies, ...manifest.devDependencies, ...manifest.optionalDependencies }
  return Object.entries(ranges)
    .filter(([, range]) => range !== "catalog:" && range !== "workspace:*" && !/^\d+\.\d+\.\d+$/.test(range))
    .map(([name, range]) => report("dependency", name, `${name} asks for ${range}: pin it in the catalog`))
}

/** Reports imports and manifest entries that the package graph forbids, and manifests that differ from the imports. */
export const imports = (project: Project): ReadonlyArray<Violation> => [
  ...project.sources.flatMap((source) => source.imports.flatMap((found) => checkImport(project, source, found))),
  ...project.tree.units.flatMap((unit) => {
    const path = unit.folder === "" ? "package.json" : `${unit.folder}/package.json`
    const text = project.tree.files.get(path) ?? ""
    const report: Report = (rule, what, message) => {
      return { rule, path, line: lineAt(text, Math.max(0, text.lastIndexOf(`"${what}"`))), what, message }
    }
    return [
      ...manifestGraph(project, unit, report),
      ...manifestUse(project, unit, report),
      ...manifestVersions(unit, report),
    ]
  }),
]
