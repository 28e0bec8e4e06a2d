/**
 * The package graph, as data: which member of the workspace may import which.
 *
 *   codec, crypto -> merkle -> verify -> qmdb -> stateful -> node        storage under qmdb
 *                                                                        consensus beside qmdb, under stateful
 *                                                                        p2p, migration, cometbft over them
 *
 * Terms: a member is a folder with a package.json; `uses` lists its direct dependencies among members, and nothing
 * follows by transitivity. Test support (`simulate`, `laws`, the bench harness) may be imported by tests, benches,
 * examples and apps alone. A browser-safe member's sources import nothing of Node, but for `src/node/`, an entry apart.
 *
 * Invariant: a member that is not here does not build, and the `packages/` part has no cycle.
 */

/** What one member may import. */
export interface Member {
  /** Folders of the members it may depend on directly, or "any". */
  readonly uses: ReadonlyArray<string> | "any"
  /** True when its sources must run in a browser. */
  readonly browser?: true
}

const packages = (...names: ReadonlyArray<string>): ReadonlyArray<string> => names.map((name) => `packages/${name}`)

const BYTES = packages("codec", "crypto")
const STATE = [...BYTES, ...packages("merkle", "verify", "storage", "qmdb", "consensus")]
const EXECUTOR = [...STATE, ...packages("stateful")]

/** Every member of the workspace by folder. The root (scripts, tools, conformance) is the empty folder. */
export const GRAPH: Readonly<Record<string, Member>> = {
  "packages/codec": { uses: [], browser: true },
  "packages/crypto": { uses: packages("codec"), browser: true },
  "packages/merkle": { uses: BYTES, browser: true },
  "packages/verify": { uses: [...BYTES, ...packages("merkle")], browser: true },
  "packages/storage": { uses: packages("codec") },
  "packages/qmdb": { uses: [...BYTES, ...packages("merkle", "verify", "storage")] },
  "packages/consensus": { uses: [...BYTES, ...packages("verify", "storage")] },
  "packages/stateful": { uses: STATE },
  "packages/p2p": { uses: EXECUTOR },
  "packages/migration": { uses: EXECUTOR },
  "packages/cometbft": { uses: EXECUTOR },
  "packages/node": { uses: [...EXECUTOR, ...packages("p2p", "migration", "cometbft")] },
  "packages/simulate": { uses: "any" },
  "packages/laws": { uses: "any" },
  "apps/ledger": { uses: [...EXECUTOR, ...packages("node", "simulate", "laws")] },
  "apps/cli": { uses: "any" },
  "apps/explorer": { uses: packages("codec", "crypto", "merkle", "verify"), browser: true },
  "examples/counter": { uses: "any" },
  "examples/verify-account": { uses: "any" },
  "tools/bench": { uses: [] },
  "": { uses: "any" },
}

/** Members that only tests, benches, examples, apps and each other may import. */
export const TEST_SUPPORT: ReadonlyArray<string> = [...packages("simulate", "laws"), "tools/bench"]
