/**
 * Rule "machine": nothing in the repository names the machine or the registry it was written on.
 *
 * A lockfile holds integrity hashes alone, so that an install works from any registry and proves what it got.
 */
import { lineAt } from "./source.ts"
import type { Project, Violation } from "./violation.ts"

const LOCKFILE = "pnpm-lock.yaml"
const OTHER_LOCKFILE = /(^|\/)(package-lock\.json|npm-shrinkwrap\.json|yarn\.lock|bun\.lockb?)$/

const PATTERNS: ReadonlyArray<{ readonly pattern: RegExp; readonly message: string }> = [
  { pattern: /https?:\/\/[\w.-]*registry[\w.-]*/g, message: "names a registry host" },
  { pattern: /(?<![\w.~/-])\/(?:work|root|home|Users)\/[\w.-]*/g, message: "is a path of one machine" },
]

/** Reports registry hosts and machine paths in any file, hosts in the lockfile, and lockfiles of other tools. */
export const machine = (project: Project): ReadonlyArray<Violation> => {
  const found: Array<Violation> = []
  const report = (path: string, line: number, what: string, message: string): void => {
    found.push({ rule: "machine", path, line, what, message })
  }
  for (const [path, text] of project.tree.files) {
    if (OTHER_LOCKFILE.test(path)) report(path, 1, path, `the only lockfile is ${LOCKFILE}`)
    for (const { pattern, message } of PATTERNS) {
      for (const match of text.matchAll(pattern)) {
        report(path, lineAt(text, match.index), match[0], `${match[0]} ${message}`)
      }
    }
  }
  const lockfile = project.tree.files.get(LOCKFILE)
  if (lockfile === undefined) report(LOCKFILE, 1, LOCKFILE, "the lockfile is missing")
  const host = lockfile?.search(/http|resolved:|tarball:/) ?? -1
  if (host !== -1) report(LOCKFILE, lineAt(lockfile ?? "", host), "http", "the lockfile names a host")
  return found
}
