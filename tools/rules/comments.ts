/**
 * Rules "head", "docstring" and "unfinished": what every file and every exported symbol says about itself.
 *
 * The head is the block comment at the very top, apart from the docstring of what follows it. A docstring is the block
 * comment right above a declaration; of several declarations of one name (overloads, a value and its type) one has it.
 */
import { type Comment, lineAt, type Node, nameOf, type Source } from "./source.ts"
import type { Project, RuleName, Violation } from "./violation.ts"

const MARKERS = /\b(TODO|FIXME|XXX|HACK)\b/

const isDocstring = (comment: Comment): boolean => comment.type === "Block" && comment.value.startsWith("*")

/** The docstring that ends right above `at`, line comments between them aside. */
const docstringAbove = (source: Source, at: number): Comment | undefined => {
  let end = at
  for (const comment of source.comments.toReversed()) {
    if (comment.end > end) continue
    if (source.text.slice(comment.end, end).trim() !== "") return undefined
    if (comment.type === "Block") return isDocstring(comment) ? comment : undefined
    end = comment.start
  }
  return undefined
}

const violation = (source: Source, rule: RuleName, at: number, what: string, message: string): Violation => ({
  rule,
  path: source.path,
  line: lineAt(source.text, at),
  what,
  message,
})

const head = (source: Source): ReadonlyArray<Violation> => {
  const start = /^#![^\n]*\n/.exec(source.text)?.[0].length ?? 0
  const first = source.comments.find((comment) => comment.start >= start)
  const statement = (source.program["body"] as ReadonlyArray<Node>)[0]
  const atTop = first !== undefined && isDocstring(first) && source.text.slice(start, first.start).trim() === ""
  const declares = statement?.type === "ExportNamedDeclaration" && statement["declaration"] != null
  const describes = declares && docstringAbove(source, statement.start) === first
  if (atTop && !describes) return []
  return [violation(source, "head", 0, source.path, "the file has no head comment: what it is and what it guarantees")]
}

/** Declared names of a statement with the place where its docstring must end. */
const declarations = (statement: Node): ReadonlyArray<{ name: string; at: number; exported: boolean }> => {
  const exported = statement.type === "ExportNamedDeclaration"
  const declaration = exported ? (statement["declaration"] as Node | null) : statement
  if (declaration === null) return []
  const declarators = declaration["declarations"] as ReadonlyArray<Node> | undefined
  const names = declarators?.map((each) => nameOf(each["id"])) ?? [nameOf(declaration["id"])]
  return names.flatMap((name) => (name === undefined ? [] : [{ name, at: statement.start, exported }]))
}

const docstrings = (source: Source): ReadonlyArray<Violation> => {
  const body = source.program["body"] as ReadonlyArray<Node>
  const declared = body.flatMap(declarations)
  const exported = new Map(declared.filter((each) => each.exported).map((each) => [each.name, each.at]))
  for (const statement of body) {
    if (statement.type !== "ExportNamedDeclaration" || statement["source"] != null) continue
    for (const specifier of statement["specifiers"] as ReadonlyArray<Node>) {
      const name = nameOf(specifier["local"])
      const own = declared.find((each) => each.name === name)
      if (name !== undefined && own !== undefined) exported.set(name, own.at)
    }
  }
  return [...exported].flatMap(([name, at]) => {
    const places = declared.filter((each) => each.name === name).map((each) => each.at)
    if (places.some((place) => docstringAbove(source, place) !== undefined)) return []
    return [violation(source, "docstring", at, name, `${name} is exported without a docstring`)]
  })
}

const defaults = (source: Source): ReadonlyArray<Violation> =>
  (source.program["body"] as ReadonlyArray<Node>)
    .filter((statement) => statement.type === "ExportDefaultDeclaration")
    .map((statement) => violation(source, "docstring", statement.start, "default", "a default export has no name"))

const unfinished = (source: Source): ReadonlyArray<Violation> =>
  source.comments.flatMap((comment) => {
    const marker = MARKERS.exec(comment.value)
    if (marker === null) return []
    const at = comment.start + 2 + marker.index
    return [violation(source, "unfinished", at, marker[0], `${marker[0]} in a comment: finish it or open an issue`)]
  })

/** Reports files without a head, exported symbols of sources and tools without a docstring, and unfinished work. */
export const comments = (project: Project): ReadonlyArray<Violation> =>
  project.sources.flatMap((source) => [
    ...head(source),
    ...(source.role === "src" || source.role === "tool" ? docstrings(source) : []),
    ...(source.role === "src" ? defaults(source) : []),
    ...unfinished(source),
  ])
