/**
 * Goal: on real files a set reopens where it was, and a refused opening leaves the data file as it was, byte for byte.
 * Method: environments in a temporary directory. LMDB's `lock.mdb` is left out: it is the table of processes that have
 * the environment open, which reading changes too; a node refuses by its own config before it opens any environment.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { nobleHasher } from "@coppice/crypto"
import { openLmdb } from "@coppice/storage/lmdb"
import { it } from "@effect/vitest"
import { Effect, Exit, type Scope } from "effect"
import { expect } from "vitest"
import { openSyncPlan, SET_MAPS, type SetOpenError } from "../src/index.ts"
import { advance, application, CHAIN_ID, expected, type OpenOptions, observe, openSet } from "./support/chain.ts"

const temporary = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "set-"))),
  (directory) => Effect.sync(() => rmSync(directory, { recursive: true })),
)

const open = (directory: string) => openLmdb({ directory, maps: SET_MAPS })

/** Contents of every file but the lock, once the environment is closed. */
const bytesOf = (directory: string): ReadonlyArray<readonly [string, string]> =>
  readdirSync(directory)
    .filter((name) => name !== "lock.mdb")
    .sort()
    .map((name) => [name, readFileSync(join(directory, name)).toString("latin1")])

const grown = Effect.fnUntraced(function* (directory: string) {
  const set = yield* openSet(yield* open(directory))
  for (let i = 0; i < 20; i++) {
    yield* advance(set)
    if (i % 3 === 0) yield* set.flush
  }
  return (yield* set.flush).height
}, Effect.scoped)

/** Opens and closes the environment around an opening that must be refused. */
const refused = (
  directory: string,
  opening: (directory: string) => Effect.Effect<unknown, SetOpenError, Scope.Scope>,
) =>
  Effect.gen(function* () {
    const before = bytesOf(directory)
    const exit = yield* Effect.exit(Effect.scoped(opening(directory)))
    expect(bytesOf(directory)).toEqual(before)
    return Exit.isFailure(exit) ? exit.cause.reasons.map((r) => (r._tag === "Fail" ? r.error : r)).at(0) : "opened"
  })

const opening = (options: OpenOptions) => (directory: string) =>
  Effect.flatMap(open(directory), (storage) => openSet(storage, options))

it.live("a set reopens on real files at its durable anchor", () =>
  Effect.gen(function* () {
    const directory = yield* temporary
    expect(yield* grown(directory)).toBe(20)
    for (const height of [20, 21, 22]) {
      yield* Effect.scoped(
        Effect.gen(function* () {
          const set = yield* openSet(yield* open(directory))
          expect(observe(set)).toEqual(expected(height))
          yield* advance(set)
          yield* set.flush
          yield* advance(set)
        }),
      )
    }
  }),
)

it.live("a foreign set is refused and its files are byte-identical afterwards", () =>
  Effect.gen(function* () {
    const directory = yield* temporary
    yield* grown(directory)
    const plan = (chainId: string) => (at: string) =>
      Effect.flatMap(open(at), (storage) =>
        openSyncPlan({ application: application(), chainId, hasher: nobleHasher, storage }),
      )
    for (const [attempt, field] of [
      [opening({ chainId: "other" }), "chain"],
      [plan("other"), "chain"],
      [opening({ name: "other" }), "application"],
    ] as const) {
      expect(yield* refused(directory, attempt)).toMatchObject({ _tag: "ForeignSet", field })
    }
    yield* Effect.scoped(Effect.flatMap(open(directory), (storage) => openSet(storage)))
  }),
)

it.live("an unknown format version, a damaged anchor and F38 an unreadable plan are refused, byte-identical", () =>
  Effect.gen(function* () {
    for (const [key, value, expectedError] of [
      [0, [0, 0, 0, 1, 1, 2, 3], { _tag: "ForeignSet", field: "format", expected: "2", actual: "1" }],
      [1, [9, 9], { _tag: "SetCorrupt", row: "anchor" }],
      [2, [7], { _tag: "SyncPlanUnreadable" }],
    ] as const) {
      const directory = yield* temporary
      yield* grown(directory)
      yield* Effect.scoped(
        Effect.flatMap(open(directory), (storage) =>
          storage.write([{ tag: "put", map: "root", key: Uint8Array.of(key), value: Uint8Array.from(value) }]),
        ),
      )
      expect(yield* refused(directory, opening({})), `row ${key}`).toMatchObject(expectedError)
    }
  }),
)

it.live("canary: an opening that writes is not byte-identical", () =>
  Effect.gen(function* () {
    const directory = yield* temporary
    yield* grown(directory)
    const before = bytesOf(directory)
    yield* grown(directory)
    expect(bytesOf(directory)).not.toEqual(before)
  }),
)

it.live("F37 an application whose genesis is not that of empty databases writes nothing to an empty environment", () =>
  Effect.gen(function* () {
    const directory = yield* temporary
    yield* Effect.scoped(open(directory))
    const real = application()
    const wrong = { ...real, syncTargets: () => ({ ...real.genesis(emptyTargets()).targets, notes: forged }) }
    const forged = { ...emptyTargets().notes, root: new Uint8Array(32) }
    const attempt = (at: string) =>
      Effect.flatMap(open(at), (storage) =>
        openSyncPlan({ application: wrong, chainId: CHAIN_ID, hasher: nobleHasher, storage }),
      )
    expect(yield* refused(directory, attempt)).toMatchObject({ _tag: "GenesisTargetsMismatch", member: "notes" })
  }),
)

const emptyTargets = () => ({
  balances: application().databases.balances.initialTarget(nobleHasher),
  notes: application().databases.notes.initialTarget(nobleHasher),
})
