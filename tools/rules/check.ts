/**
 * Applies every rule to a tree and takes out what an exception covers.
 *
 *   tree --parse--> sources --rules--> violations --exceptions--> what fails the build
 */
import { ambient } from "./ambient.ts"
import { comments } from "./comments.ts"
import { EXCEPTIONS, type Exception } from "./exceptions.ts"
import { imports } from "./imports.ts"
import { machine } from "./machine.ts"
import { parse } from "./source.ts"
import { switchedOff } from "./switched-off.ts"
import { roleOf, type Tree, unitOf } from "./tree.ts"
import type { Project, Violation } from "./violation.ts"

const RULES = [imports, ambient, comments, machine, switchedOff]
const EXCEPTIONS_FILE = "tools/rules/exceptions.ts"

/** Parses every TypeScript and JavaScript file of a tree. */
export const projectOf = (tree: Tree): Project => {
  const paths = [...tree.files].filter(([path]) => /\.(ts|mts|tsx|mjs|js)$/.test(path))
  const sources = paths.map(([path, text]) => {
    const unit = unitOf(tree, path)
    return parse(path, text, unit, roleOf(unit, path))
  })
  return { tree, sources }
}

/** True when a pattern of an exception covers a path. */
export const covers = (pattern: string, path: string): boolean => {
  const wanted = pattern.split("/")
  const actual = path.split("/")
  const below = wanted.at(-1) === ""
  if (below) wanted.pop()
  if (below ? actual.length <= wanted.length : actual.length !== wanted.length) return false
  return wanted.every((part, i) => part === "*" || part === actual[i])
}

const excuses = (exception: Exception, violation: Violation): boolean =>
  exception.rule === violation.rule &&
  covers(exception.path, violation.path) &&
  (exception.what === undefined || exception.what.includes(violation.what))

/** Everything in a tree that breaks a rule, in order of place, exceptions applied. */
export const check = (tree: Tree, exceptions: ReadonlyArray<Exception> = EXCEPTIONS): ReadonlyArray<Violation> => {
  const project = projectOf(tree)
  const unparsed: ReadonlyArray<Violation> = project.sources.flatMap(({ path, errors }) =>
    errors.map((message) => ({ rule: "parse", path, line: 1, what: path, message })),
  )
  const found = [...unparsed, ...RULES.flatMap((rule) => rule(project))]
  const stale: ReadonlyArray<Violation> = exceptions
    .filter((exception) => !exception.path.includes("*") && !exception.path.endsWith("/"))
    .filter((exception) => !found.some((violation) => excuses(exception, violation)))
    .map(({ rule, path }) => {
      const message = `the exception of rule ${rule} for ${path} is not needed any more`
      return { rule: "exception", path: EXCEPTIONS_FILE, line: 1, what: path, message }
    })
  const left = found.filter((violation) => !exceptions.some((exception) => excuses(exception, violation)))
  return [...left, ...stale].sort((a, b) => (a.path === b.path ? a.line - b.line : a.path < b.path ? -1 : 1))
}
