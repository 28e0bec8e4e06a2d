/**
 * Goal: an environment that is not exactly ours is refused with evidence and left as it was.
 * Method: one environment is made and grown, one thing about it or about who opens it is changed, and the durable image
 * before and after the refused opening is compared byte for byte. `fixtures/` holds the rows that earlier programs wrote
 * for the same application at height 1. The same on real files is in `set-lmdb.test.ts`.
 */
import { Bytes, encode, Struct, Text, U32, U64 } from "@coppice/codec"
import { nobleHasher } from "@coppice/crypto"
import { Qmdb } from "@coppice/qmdb"
import { it } from "@effect/vitest"
import { Effect, Exit } from "effect"
import { describe, expect } from "vitest"
import {
  Application,
  describeSet,
  initialTargets,
  openDatabaseSet,
  openSyncPlan,
  SET_FORMAT_VERSION,
  type SetOpenError,
} from "../src/index.ts"
import FORMAT_1 from "./fixtures/set-format-1.json" with { type: "json" }
import { advance, application, CHAIN_ID, openSet } from "./support/chain.ts"
import { Disk } from "./support/disk.ts"
import { notebook } from "./support/notebook.ts"

const latin1 = (hex: string): string => Buffer.from(hex, "hex").toString("latin1")
const fromHex = (hex: string): Uint8Array => new Uint8Array(Buffer.from(hex, "hex"))

const grown = Effect.gen(function* () {
  const disk = new Disk()
  const set = yield* openSet(disk.open())
  yield* advance(set)
  yield* set.flush
  return disk
})

const refused = Effect.fnUntraced(function* <A>(disk: Disk, opening: Effect.Effect<A, SetOpenError>) {
  const image = disk.image()
  const writes = disk.writes
  const exit = yield* Effect.exit(opening)
  expect(disk.writes).toBe(writes)
  expect(disk.image()).toBe(image)
  return Exit.isFailure(exit) ? exit.cause.reasons.map((r) => (r._tag === "Fail" ? r.error : r)).at(0) : "opened"
})

const row = (disk: Disk, map: string, key: string): Uint8Array => disk.maps.get(map)!.get(key)!

describe("foreign environments", () => {
  it.effect("another chain id, with both names as evidence", () =>
    Effect.gen(function* () {
      const disk = yield* grown
      const error = yield* refused(disk, openSet(disk.open(), { chainId: "other-chain" }))
      expect(error).toMatchObject({ _tag: "ForeignSet", field: "chain", expected: "other-chain", actual: CHAIN_ID })
    }),
  )

  it.effect("another application", () =>
    Effect.gen(function* () {
      const disk = yield* grown
      const error = yield* refused(disk, openSet(disk.open(), { name: "other" }))
      expect(error).toMatchObject({ _tag: "ForeignSet", field: "application", expected: "other", actual: "test" })
    }),
  )

  it.effect("another genesis of the same name", () =>
    Effect.gen(function* () {
      const disk = yield* grown
      const real = application()
      const moved = {
        ...real,
        genesis: (targets: Parameters<typeof real.genesis>[0]) => ({
          ...real.genesis(targets),
          digest: new Uint8Array(32).fill(7),
        }),
      }
      const opening = openDatabaseSet({
        application: moved,
        chainId: CHAIN_ID,
        hasher: nobleHasher,
        storage: disk.open(),
        pendingAcksMax: 3,
      })
      expect(yield* refused(disk, opening)).toMatchObject({
        _tag: "ForeignSet",
        field: "genesis",
        expected: "07".repeat(32),
      })
    }),
  )

  it.effect("other member names, order, count or formats", () =>
    Effect.gen(function* () {
      const disk = yield* grown
      const balances = Qmdb.any({ key: Bytes(4), value: U64 })
      const others = [
        { notes: notebook(), balances },
        { balances, memos: notebook() },
        { balances },
        { balances: Qmdb.any({ key: Bytes(4), value: U32 }), notes: notebook() },
        { balances, notes: { ...notebook(), format: "notebook/2" } },
      ]
      for (const databases of others) {
        const opening = openDatabaseSet({
          application: Application.make<{ readonly note: string }, typeof databases>({
            name: "test",
            databases,
            transaction: Struct({ note: Text(32) }),
            execute: () => undefined,
          }),
          chainId: CHAIN_ID,
          hasher: nobleHasher,
          storage: disk.open(),
          pendingAcksMax: 3,
        })
        const error = yield* refused(disk, opening)
        expect(error, Object.keys(databases).join()).toMatchObject({ _tag: "ForeignSet", field: "members" })
      }
    }),
  )

  it.effect("an unknown format version, whatever follows it", () =>
    Effect.gen(function* () {
      for (const version of [0, SET_FORMAT_VERSION - 1, SET_FORMAT_VERSION + 1, 0xffff_ffff]) {
        const disk = yield* grown
        disk.maps.get("root")!.set("\0", Uint8Array.of(...encode(U32, version), 9, 9))
        for (const opening of [openSet(disk.open()), planOf(disk)]) {
          const error = yield* refused<unknown>(disk, opening)
          expect(error).toMatchObject({ _tag: "ForeignSet", field: "format", expected: "2", actual: String(version) })
        }
      }
    }),
  )

  it.effect("rows as format 1 wrote them: headers without canonical roots", () =>
    Effect.gen(function* () {
      const disk = new Disk()
      for (const [map, entries] of Object.entries(FORMAT_1)) {
        const rows = Object.entries(entries).map(([key, value]) => [latin1(key), fromHex(value)] as const)
        disk.maps.set(map, new Map(rows))
      }
      const foreign = { _tag: "ForeignSet", field: "format", expected: "2", actual: "1" }
      expect(yield* refused<unknown>(disk, openSet(disk.open()))).toMatchObject(foreign)
      expect(yield* refused<unknown>(disk, planOf(disk))).toMatchObject(foreign)
      expect(yield* Effect.flip(describeSet(disk.open()))).toMatchObject(foreign)
    }),
  )

  it.effect("entries without an identity", () =>
    Effect.gen(function* () {
      const disk = yield* grown
      disk.maps.get("root")!.delete("\0")
      expect(yield* refused(disk, openSet(disk.open()))).toMatchObject({ _tag: "SetCorrupt", row: "identity" })
    }),
  )
})

const planOf = (disk: Disk) =>
  openSyncPlan({ application: application(), chainId: CHAIN_ID, hasher: nobleHasher, storage: disk.open() })

describe("damaged rows", () => {
  it.effect("any truncation or extension of the root record is refused", () =>
    Effect.gen(function* () {
      for (const key of ["\0", "\x01"]) {
        const whole = row(yield* grown, "root", key)
        for (const length of [0, 3, 4, 5, whole.length - 1, whole.length + 1]) {
          const disk = yield* grown
          const damaged = new Uint8Array(length)
          damaged.set(whole.subarray(0, length))
          disk.maps.get("root")!.set(key, damaged)
          expect(yield* refused(disk, openSet(disk.open())), `${length}`).toMatchObject({
            _tag: expect.stringMatching(/SetCorrupt|ForeignSet/),
          })
        }
      }
    }),
  )

  it.effect("an anchor without its row, a hole, or a row of another block", () =>
    Effect.gen(function* () {
      const damage: ReadonlyArray<(rows: Map<string, Uint8Array>) => void> = [
        (rows) => rows.clear(),
        (rows) => rows.delete([...rows.keys()].at(-1)!),
        (rows) => rows.set([...rows.keys()][0]!, [...rows.values()][1]!),
        (rows) => {
          const [key, value] = [...rows].at(-1)!
          const other = value.slice()
          other[20]! ^= 1
          rows.set(key, other)
        },
      ]
      for (const [i, hurt] of damage.entries()) {
        const disk = yield* grown
        hurt(disk.maps.get("rows")!)
        expect(yield* refused(disk, openSet(disk.open())), `damage ${i}`).toMatchObject({ _tag: "SetCorrupt" })
      }
    }),
  )

  it.effect("a member that is not at the anchor", () =>
    Effect.gen(function* () {
      const old = yield* grown
      const disk = yield* grown
      const set = yield* openSet(disk.open())
      yield* advance(set)
      yield* set.flush
      const [key, value] = [...old.maps.get("meta")!].find(([k]) => k.charCodeAt(0) === 1)!
      disk.maps.get("meta")!.set(key, value)
      expect(yield* refused(disk, openSet(disk.open()))).toMatchObject({
        _tag: "SetCorrupt",
        row: "anchor",
        reason: expect.stringContaining("notes"),
      })
    }),
  )

  it.effect("F38 an unreadable or unknown plan", () =>
    Effect.gen(function* () {
      for (const plan of [[], [2], [255, 1], [1], [1, 5, 0], [0], [0, 1, 2, 3]]) {
        const disk = yield* grown
        disk.maps.get("root")!.set("\x02", Uint8Array.from(plan))
        for (const opening of [openSet(disk.open()), planOf(disk)]) {
          expect(yield* refused<unknown>(disk, opening), `${plan}`).toMatchObject({ _tag: "SyncPlanUnreadable" })
        }
      }
    }),
  )
})

describe("genesis", () => {
  it.effect("F37 a genesis that does not commit to empty databases is refused before anything is written", () =>
    Effect.gen(function* () {
      const disk = new Disk()
      const real = application()
      const initial = initialTargets(real.databases, nobleHasher)
      const wrong = { ...initial.notes, root: new Uint8Array(32).fill(1) }
      const opening = openDatabaseSet({
        application: { ...real, genesis: () => real.genesis({ ...initial, notes: wrong }) },
        chainId: CHAIN_ID,
        hasher: nobleHasher,
        storage: disk.open(),
        pendingAcksMax: 3,
      })
      expect(yield* refused(disk, opening)).toMatchObject({
        _tag: "GenesisTargetsMismatch",
        member: "notes",
        expected: initial.notes,
        actual: wrong,
      })
    }),
  )
})
