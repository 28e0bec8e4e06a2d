/**
 * The global names that a file refers to, under whatever name it calls them.
 *
 * A chain is read as far as it can be: `globalThis.crypto!.subtle["sign"]` is `crypto.subtle.sign`, and after
 * `import { hrtime as h } from "node:process"` a use of `h.bigint` is `process.hrtime.bigint`. Taking a chain apart
 * (`const { now } = Date`) is a use of each part. A name that the file itself declares is not global any more.
 *
 * Invariant: types never count; a chain that starts at another module's export starts with "import.".
 */
import { literal, type Node, nameOf, type Reference, type Source, walk } from "./source.ts"

const TYPE_FIELDS = new Set([
  "typeAnnotation",
  "typeArguments",
  "typeParameters",
  "returnType",
  "superTypeArguments",
  "implements",
])
const TYPE_NODES = new Set(["TSTypeAliasDeclaration", "TSInterfaceDeclaration"])
const TRANSPARENT = new Set([
  "TSNonNullExpression",
  "TSAsExpression",
  "TSSatisfiesExpression",
  "ParenthesizedExpression",
  "ChainExpression",
  "AwaitExpression",
])
const GLOBAL_OBJECTS = new Set(["globalThis", "window", "self", "global"])

/** What a namespace or default import of these modules stands for; their named exports hang below it. */
const NODE_MODULES: Readonly<Record<string, string>> = {
  "node:crypto": "crypto",
  "node:process": "process",
  "node:perf_hooks": "",
  "node:timers": "",
  "node:timers/promises": "",
}

/** Every use of a global name, in order of place. */
export const references = (source: Source): ReadonlyArray<Reference> => {
  const bound = importBindings(source.program)
  const declared = declaredNames(source.program)
  const found: Array<Reference> = [...reExports(source.program)]
  const visit = (node: Node, parents: ReadonlyArray<Node>, field: string): void => {
    const start = startOf(node, parents, field, bound, declared)
    if (start !== undefined) found.push(...uses(start, node, parents))
  }
  walk(source.program, visit, TYPE_FIELDS)
  return found
}

const join = (base: string, name: string): string => {
  if (base === "" || GLOBAL_OBJECTS.has(base)) return name
  return name === "" || (base === "crypto" && name === "webcrypto") ? base : `${base}.${name}`
}

const nodeModule = (node: unknown): string | undefined => NODE_MODULES[literal(node) ?? ""]

/** Local names bound by imports: to a global chain for Node's modules, to "import.x" for everybody else's. */
const importBindings = (program: Node): ReadonlyMap<string, string> => {
  const bound = new Map<string, string>()
  for (const statement of program["body"] as ReadonlyArray<Node>) {
    if (statement.type !== "ImportDeclaration") continue
    const base = nodeModule(statement["source"])
    for (const specifier of statement["specifiers"] as ReadonlyArray<Node>) {
      const imported = nameOf(specifier["imported"]) ?? literal(specifier["imported"]) ?? ""
      const name = imported === "default" ? "" : imported
      bound.set(nameOf(specifier["local"]) ?? "", base === undefined ? join("import", name) : join(base, name))
    }
  }
  return bound
}

const reExports = (program: Node): ReadonlyArray<Reference> =>
  (program["body"] as ReadonlyArray<Node>).flatMap((statement) => {
    const base = statement.type === "ExportNamedDeclaration" ? nodeModule(statement["source"]) : undefined
    if (base === undefined) return []
    return (statement["specifiers"] as ReadonlyArray<Node>).map((specifier) => ({
      name: join(base, nameOf(specifier["local"]) ?? ""),
      how: "read" as const,
      bare: false,
      at: specifier.start,
    }))
  })

/** True for an identifier that declares a name, as opposed to reading it. */
const declares = (parents: ReadonlyArray<Node>, field: string): boolean => {
  const parent = parents.at(-1)
  if (field === "id" || field === "params" || field === "param") return true
  if (field === "value") return parent?.type === "Property" && parents.at(-2)?.type === "ObjectPattern"
  if (field === "elements") return parent?.type === "ArrayPattern"
  if (field === "left") return parent?.type === "AssignmentPattern"
  return field === "argument" && parent?.type === "RestElement"
}

const declaredNames = (program: Node): ReadonlySet<string> => {
  const names = new Set<string>()
  walk(
    program,
    (node, parents, field) => {
      const name = nameOf(node)
      if (name !== undefined && declares(parents, field)) names.add(name)
    },
    TYPE_FIELDS,
  )
  return names
}

/** True for an identifier that is only a label of something else: a property, a key, an import or export specifier. */
const labels = (node: Node, parent: Node | undefined, field: string): boolean => {
  if (parent?.type === "MemberExpression") return field === "property" && parent["computed"] !== true
  if (field === "key") return parent?.["computed"] !== true && parent?.["value"] !== node
  return field === "label" || parent?.type.endsWith("Specifier") === true
}

const startOf = (
  node: Node,
  parents: ReadonlyArray<Node>,
  field: string,
  bound: ReadonlyMap<string, string>,
  declared: ReadonlySet<string>,
): string | undefined => {
  if (parents.some((parent) => TYPE_NODES.has(parent.type))) return undefined
  if (node.type === "ImportExpression") return nodeModule(node["source"])
  const local = nameOf(node)
  if (local === undefined || labels(node, parents.at(-1), field) || declares(parents, field)) return undefined
  return bound.get(local) ?? (declared.has(local) ? undefined : local)
}

const uses = (start: string, node: Node, parents: ReadonlyArray<Node>): ReadonlyArray<Reference> => {
  let name = start
  let top = node
  let up = parents.length - 1
  for (; up >= 0; up--) {
    const parent = parents[up] as Node
    if (parent.type === "MemberExpression" && parent["object"] === top) {
      const property = parent["computed"] === true ? literal(parent["property"]) : nameOf(parent["property"])
      if (property === undefined) break
      name = join(name, property)
    } else if (!TRANSPARENT.has(parent.type)) break
    top = parent
  }
  const parent = parents[up]
  const at = node.start
  if (parent?.type === "VariableDeclarator" && (parent["id"] as Node).type === "ObjectPattern") {
    const keys = ((parent["id"] as Node)["properties"] as ReadonlyArray<Node>).map((part) => nameOf(part["key"]) ?? "")
    return keys.map((key) => ({ name: join(name, key), how: "read", bare: false, at }))
  }
  return [{ name, ...manner(top, parent), at }]
}

const manner = (top: Node, parent: Node | undefined): Pick<Reference, "how" | "bare"> => {
  if (parent?.type === "BinaryExpression" && parent["operator"] === "instanceof") return { how: "test", bare: false }
  if (parent?.type === "UnaryExpression" && parent["operator"] === "typeof") return { how: "test", bare: false }
  if (parent === undefined || parent["callee"] !== top) return { how: "read", bare: false }
  const bare = (parent["arguments"] as ReadonlyArray<unknown>).length === 0
  return { how: parent.type === "NewExpression" ? "new" : "call", bare }
}
