/**
 * One parsed source file: its imports, its comments, and the global names that it refers to.
 *
 * Terms: a reference is a dotted chain as far as it can be read, starting at a global or at an import from Node
 * (`process.hrtime.bigint`, `crypto.randomBytes`), whatever it is called locally. A chain that ends in "()" or starts
 * with "new " is a call or construction without arguments, which matters only for `Date`.
 *
 * Invariant: strings and comments never count as code, because a parser reads the file and no pattern does. The parser
 * is rolldown's: TypeScript 7 has none, and vitest already brings this one.
 */
import { parseSync } from "rolldown/utils"
import type { Role, Unit } from "./tree.ts"

/** A syntax node: the parser's types are a union of some 150 interfaces, of which the rules need three fields. */
export interface Node {
  readonly type: string
  readonly start: number
  readonly end: number
  readonly [key: string]: unknown
}

/** An import of any form. `specifier` is undefined when it is computed. */
export interface Import {
  readonly specifier: string | undefined
  readonly at: number
}

/**
 * A use of a global, or of something that Node exports.
 *
 * `how` is "test" where it is only asked about (`x instanceof Date`, `typeof crypto`), and `bare` marks a call or
 * construction without arguments.
 */
export interface Reference {
  readonly name: string
  readonly how: "read" | "call" | "new" | "test"
  readonly bare: boolean
  readonly at: number
}

/** A comment, without its delimiters. */
export interface Comment {
  readonly type: "Line" | "Block"
  readonly value: string
  readonly start: number
  readonly end: number
}

/** A parsed file. */
export interface Source {
  readonly path: string
  readonly text: string
  readonly unit: Unit
  readonly role: Role
  readonly program: Node
  readonly comments: ReadonlyArray<Comment>
  readonly imports: ReadonlyArray<Import>
  readonly errors: ReadonlyArray<string>
}

/** Parses a file. A file that does not parse has `errors` and whatever was understood. */
export const parse = (path: string, text: string, unit: Unit, role: Role): Source => {
  const { program, comments, errors, module } = parseSync(path, text, { sourceType: "module" })
  const root = program as unknown as Node
  const imports: Array<Import> = module.staticImports.map((found) => ({
    specifier: found.moduleRequest.value,
    at: found.start,
  }))
  for (const { entries } of module.staticExports) {
    const from = entries[0]?.moduleRequest
    if (from) imports.push({ specifier: from.value, at: from.start })
  }
  walk(root, (node) => {
    const target = importTarget(node)
    if (target !== undefined) imports.push({ specifier: literal(target), at: node.start })
  })
  return { path, text, unit, role, program: root, comments, imports, errors: errors.map((error) => error.message) }
}

const isNode = (value: unknown): value is Node => typeof (value as Node | null)?.type === "string"

const importTarget = (node: Node): unknown => {
  if (node.type === "ImportExpression" || node.type === "TSImportType")
    return node["source"] ?? node["argument"] ?? null
  if (node.type !== "CallExpression" || nameOf(node["callee"]) !== "require") return undefined
  return (node["arguments"] as ReadonlyArray<unknown>)[0] ?? null
}

/** Value of a string literal, or undefined for any other node. */
export const literal = (value: unknown): string | undefined => {
  const node = value as Node | null
  return node?.type === "Literal" && typeof node["value"] === "string" ? node["value"] : undefined
}

/** Name of an identifier, or undefined for any other node. */
export const nameOf = (value: unknown): string | undefined => {
  const node = value as Node | null
  return node?.type === "Identifier" ? (node["name"] as string) : undefined
}

/** Visits a node and everything under it, parents first; `skip` names fields to stay out of. */
export const walk = (
  node: Node,
  visit: (node: Node, parents: ReadonlyArray<Node>, field: string) => void,
  skip: ReadonlySet<string> = new Set(),
): void => {
  const parents: Array<Node> = []
  const step = (current: Node, field: string): void => {
    visit(current, parents, field)
    parents.push(current)
    for (const [key, value] of Object.entries(current)) {
      if (skip.has(key)) continue
      if (Array.isArray(value)) for (const item of value) isNode(item) && step(item, key)
      else if (isNode(value)) step(value, key)
    }
    parents.pop()
  }
  step(node, "")
}

/** Line of an offset, from 1. */
export const lineAt = (text: string, at: number): number => {
  let line = 1
  for (let i = text.indexOf("\n"); i !== -1 && i < at; i = text.indexOf("\n", i + 1)) line++
  return line
}
