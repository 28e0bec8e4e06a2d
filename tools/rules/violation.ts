/**
 * What a rule reports. Every rule is a function from the tree and its parsed sources to violations.
 */
import type { Source } from "./source.ts"
import type { Tree } from "./tree.ts"

/** Names of the rules, as they are printed and as exceptions name them. */
export type RuleName =
  | "parse"
  | "graph"
  | "dependency"
  | "ambient"
  | "head"
  | "docstring"
  | "unfinished"
  | "machine"
  | "switched-off"
  | "exception"

/** One place that breaks a rule. `what` is the offending name, which an exception may list. */
export interface Violation {
  readonly rule: RuleName
  readonly path: string
  readonly line: number
  readonly what: string
  readonly message: string
}

/** A checkout with every TypeScript and JavaScript file parsed. */
export interface Project {
  readonly tree: Tree
  readonly sources: ReadonlyArray<Source>
}
