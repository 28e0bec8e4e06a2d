/**
 * Checks the rules that no general linter knows: the package graph, ambient time and chance, dependencies, comments.
 *
 *   node tools/rules/main.ts        prints `path:line rule message` for each violation; exit 1 if there is one
 */
import { dirname } from "node:path"
import { check } from "./check.ts"
import { readTree } from "./tree.ts"

const violations = check(readTree(dirname(dirname(import.meta.dirname))))
for (const { path, line, rule, message } of violations) console.error(`${path}:${line}  ${rule}  ${message}`)
if (violations.length > 0) console.error(`\n${violations.length} violations of the project's rules`)
process.exitCode = violations.length > 0 ? 1 : 0
