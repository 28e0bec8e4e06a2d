/**
 * Rule "switched-off": every test that exists runs, every time.
 *
 * A test that is skipped, left for later, or run alone makes a green run say less than it seems to.
 */
import { lineAt, type Node, nameOf, type Source, walk } from "./source.ts"
import type { Project, Violation } from "./violation.ts"

const TESTS = new Set(["test", "it", "describe", "suite", "bench"])
const SWITCHES = new Set(["only", "skip", "todo", "skipIf", "runIf"])
const CONTEXTS = new Set(["ctx", "context", "task"])

/** The identifier that a chain of members and calls starts at: `it` of `it.effect.skip("...")`. */
const rootOf = (node: Node): string | undefined => {
  let current: unknown = node
  for (;;) {
    const { type } = current as Node
    if (type === "MemberExpression") current = (current as Node)["object"]
    else if (type === "CallExpression") current = (current as Node)["callee"]
    else return nameOf(current)
  }
}

const keysOf = (node: Node): ReadonlyArray<string> =>
  node.type === "ObjectExpression"
    ? (node["properties"] as ReadonlyArray<Node>).flatMap((property) => nameOf(property["key"]) ?? [])
    : []

const switchesOf = (node: Node): ReadonlyArray<string> => {
  if (node.type === "MemberExpression") {
    const name = nameOf(node["property"])
    const root = rootOf(node)
    if (name === undefined || root === undefined) return []
    return (SWITCHES.has(name) && TESTS.has(root)) || (name === "skip" && CONTEXTS.has(root)) ? [name] : []
  }
  if (node.type !== "CallExpression" || !TESTS.has(rootOf(node) ?? "")) return []
  return (node["arguments"] as ReadonlyArray<Node>).flatMap(keysOf).filter((key) => SWITCHES.has(key))
}

const inSource = (source: Source): ReadonlyArray<Violation> => {
  const found: Array<Violation> = []
  walk(source.program, (node) => {
    for (const what of switchesOf(node)) {
      const line = lineAt(source.text, node.start)
      found.push({ rule: "switched-off", path: source.path, line, what, message: `a test is switched by .${what}` })
    }
  })
  return found
}

/** Reports tests that are skipped, left for later, run alone, or run on a condition. */
export const switchedOff = (project: Project): ReadonlyArray<Violation> => project.sources.flatMap(inSource)
