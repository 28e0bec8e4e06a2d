/**
 * Goal: members, anchor and rows of a set are one thing: durable together, applied together, refused together.
 * Method: a set of one QMDB database and one notebook over a small disk with scripted faults; after each fault the durable
 * image is opened again and compared with a model of the chain. Canaries: a disk that tears writes, a storage that splits
 * one write in two, a member that captures its flush late.
 */
import { nobleHasher } from "@coppice/crypto"
import { StaleBatch } from "@coppice/qmdb"
import type { StorageShape } from "@coppice/storage"
import { it } from "@effect/vitest"
import { Effect, Exit, Fiber } from "effect"
import { describe, expect } from "vitest"
import { bindSet, initialTargets, SET_MAPS } from "../src/index.ts"
import {
  account,
  advance,
  anchorAt,
  application,
  CHAIN_ID,
  child,
  databases,
  expected,
  observe,
  openSet,
  write,
} from "./support/chain.ts"
import { Disk, type Fault } from "./support/disk.ts"

const failureOf = <A, E>(exit: Exit.Exit<A, E>): unknown =>
  Exit.isFailure(exit) ? exit.cause.reasons.find((reason) => reason._tag === "Fail")?.error : undefined

describe("creation", () => {
  it.effect("a new set stands at genesis, durable in one write", () =>
    Effect.gen(function* () {
      const disk = new Disk()
      const set = yield* openSet(disk.open())
      expect(disk.writes).toBe(1)
      expect(set.anchor.height).toBe(0)
      expect(set.durable).toEqual(set.anchor)
      expect(set.layers).toBe(0)
      const reopened = yield* openSet(disk.open())
      expect(disk.writes).toBe(1)
      expect(reopened.anchor).toEqual(set.anchor)
      expect(reopened.tip.targets).toEqual(set.tip.targets)
    }),
  )

  it.effect("a creation that fails leaves nothing, or a set at genesis", () =>
    Effect.gen(function* () {
      for (const fault of ["lost", "kept"] as const) {
        const disk = new Disk()
        disk.fault = () => fault
        expect(failureOf(yield* Effect.exit(openSet(disk.open()))), fault).toMatchObject({ _tag: "StorageWriteFailed" })
        disk.fault = () => undefined
        const set = yield* openSet(disk.open())
        expect(observe(set), fault).toEqual(expected(0))
        expect(disk.writes, fault).toBe(fault === "lost" ? 2 : 1)
      }
    }),
  )

  it.effect("INV-39 genesis commits to the targets of fresh databases", () =>
    Effect.gen(function* () {
      const { genesis } = bindSet({ application: application(), chainId: CHAIN_ID, hasher: nobleHasher })
      const set = yield* openSet(new Disk().open())
      expect(genesis.targets).toEqual(initialTargets(databases(), nobleHasher))
      expect(set.tip.targets).toEqual(genesis.targets)
      expect(set.matches(set.tip, genesis.targets)).toBe(true)
    }),
  )

  it("the set's maps are the members' and its own, each once", () => {
    expect(new Set(SET_MAPS).size).toBe(SET_MAPS.length)
    expect(SET_MAPS).toEqual(expect.arrayContaining(["log", "keys", "meta", "root", "rows"]))
  })
})

describe("one durable transaction", () => {
  it.effect("a flush writes members, anchor and rows in one write and reopens there", () =>
    Effect.gen(function* () {
      const disk = new Disk()
      const set = yield* openSet(disk.open())
      for (let i = 0; i < 5; i++) yield* advance(set)
      expect(set.durable.height).toBe(0)
      const before = disk.writes
      expect(yield* set.flush).toEqual(anchorAt(5))
      expect(disk.writes).toBe(before + 1)
      expect(set.durable).toEqual(anchorAt(5))
      expect([set.layers, set.bytes]).toEqual([0, 0])
      const reopened = yield* openSet(disk.open())
      expect(observe(reopened)).toEqual(expected(5))
      expect(reopened.tip.targets).toEqual(set.tip.targets)
      expect(reopened.row(anchorAt(4).height)).toEqual(set.row(anchorAt(4).height))
    }),
  )

  it.effect("a flush of nothing writes nothing", () =>
    Effect.gen(function* () {
      const disk = new Disk()
      const set = yield* openSet(disk.open())
      yield* set.flush
      expect(disk.writes).toBe(1)
    }),
  )

  it.effect("what is applied while a flush is under way is covered by the next", () =>
    Effect.gen(function* () {
      const disk = new Disk()
      const set = yield* openSet(disk.open())
      yield* advance(set)
      disk.before = Effect.orDie(Effect.asVoid(advance(set)))
      expect(yield* set.flush).toEqual(anchorAt(1))
      disk.before = Effect.void
      expect(set.anchor).toEqual(anchorAt(2))
      expect(observe(yield* openSet(disk.open()))).toEqual(expected(1))
      expect(yield* set.flush).toEqual(anchorAt(2))
      expect(observe(yield* openSet(disk.open()))).toEqual(expected(2))
    }),
  )

  /** Runs a chain of six blocks, flushing after the given heights, with one write faulted; returns what reopens. */
  const crashed = Effect.fnUntraced(function* (
    flushAfter: ReadonlySet<number>,
    faulted: number,
    fault: Fault,
    wrap: (storage: StorageShape) => StorageShape = (storage) => storage,
  ) {
    const disk = new Disk()
    disk.fault = (write) => (write === faulted ? fault : undefined)
    const acknowledged = yield* Effect.gen(function* () {
      let durable = -1
      const set = yield* openSet(wrap(disk.open()))
      durable = 0
      for (let height = 1; height <= 6; height++) {
        yield* advance(set)
        if (!flushAfter.has(height)) continue
        const exit = yield* Effect.exit(set.flush)
        if (Exit.isFailure(exit)) break
        durable = exit.value.height
      }
      return durable
    }).pipe(Effect.catch(() => Effect.succeed(-1)))
    disk.fault = () => undefined
    const writes = disk.writes
    const set = yield* openSet(disk.open())
    return { acknowledged, reopened: observe(set), row: set.row(set.anchor.height), anchor: set.anchor, writes }
  })

  it.effect(
    "INV-9 after a crash at any write, anchor and every member stand at one block, nothing acknowledged is lost",
    () =>
      Effect.gen(function* () {
        for (const flushes of [[1, 2, 3, 4, 5, 6], [3, 6], [6], [2, 5]]) {
          for (let faulted = 0; faulted <= flushes.length; faulted++) {
            for (const fault of ["lost", "kept"] as const) {
              const { acknowledged, reopened, row, anchor } = yield* crashed(new Set(flushes), faulted, fault)
              const at = `${flushes} ${faulted} ${fault}`
              expect(reopened, at).toEqual(expected(reopened.height))
              expect(row, at).toMatchObject(anchor)
              expect(reopened.height, at).toBeGreaterThanOrEqual(acknowledged)
              expect([...flushes, 0], at).toContain(reopened.height)
            }
          }
        }
      }),
  )

  it.effect("canary: a storage that tears a write is caught", () =>
    Effect.gen(function* () {
      const exit = yield* Effect.exit(crashed(new Set([3, 6]), 1, "torn"))
      const same = Exit.isSuccess(exit) && exit.value.reopened.newest === expected(exit.value.reopened.height).newest
      expect(same).toBe(false)
    }),
  )

  it.effect("canary: anchor and members in two writes are caught", () =>
    Effect.gen(function* () {
      const split = (storage: StorageShape): StorageShape => ({
        ...storage,
        write: (changes) =>
          Effect.andThen(
            storage.write(changes.filter(({ map }) => map === "root" || map === "rows")),
            storage.write(changes.filter(({ map }) => map !== "root" && map !== "rows")),
          ),
      })
      const exit = yield* Effect.exit(crashed(new Set([3, 6]), 3, "lost", split))
      expect(failureOf(exit)).toMatchObject({ _tag: "SetCorrupt", row: "anchor" })
    }),
  )

  it.effect("canary: a member that captures its flush late is caught before anything is written", () =>
    Effect.gen(function* () {
      const disk = new Disk()
      const set = yield* openSet(disk.open(), { notebook: { steps: 1000, brokenFlush: true } })
      yield* advance(set)
      const image = disk.image()
      const batches = set.openBatches(set.tip)
      write(batches, 2)
      const next = yield* set.seal(batches)
      const flushing = yield* Effect.forkChild(Effect.exit(set.flush), { startImmediately: true })
      set.apply(next, anchorAt(2))
      expect(Exit.isFailure(yield* Fiber.join(flushing))).toBe(true)
      expect(disk.image()).toBe(image)
      expect(() => set.openBatches(set.tip)).toThrow(expect.objectContaining({ _tag: "StorageDead" }))
    }),
  )

  it.effect("after a failed flush the set is dead", () =>
    Effect.gen(function* () {
      const disk = new Disk()
      const set = yield* openSet(disk.open())
      yield* advance(set)
      const batches = set.openBatches(set.tip)
      disk.fault = () => "lost"
      expect(failureOf(yield* Effect.exit(set.flush))).toMatchObject({ _tag: "StorageWriteFailed" })
      const dead = expect.objectContaining({ _tag: "StorageDead" })
      expect(failureOf(yield* Effect.exit(set.flush))).toEqual(dead)
      expect(failureOf(yield* Effect.exit(set.seal(batches)))).toEqual(dead)
      expect(() => set.openBatches(set.tip)).toThrow(dead)
      expect(() => set.apply(set.tip, anchorAt(2))).toThrow(dead)
      expect(() => set.use("read", () => 0)).toThrow(dead)
    }),
  )

  it.effect("after an apply that only some members made the set is dead, and nothing of it is written", () =>
    Effect.gen(function* () {
      const disk = new Disk()
      const set = yield* openSet(disk.open(), { notebook: { brokenApply: true } })
      const batches = set.openBatches(set.tip)
      write(batches, 1)
      const sealed = yield* set.seal(batches)
      const image = disk.image()
      expect(() => set.apply(sealed, anchorAt(1))).toThrow("broken apply")
      const dead = expect.objectContaining({ _tag: "StorageDead" })
      expect(failureOf(yield* Effect.exit(set.flush))).toEqual(dead)
      expect(() => set.openBatches(set.tip)).toThrow(dead)
      expect(() => set.use("read", () => 0)).toThrow(dead)
      expect(disk.image()).toBe(image)
    }),
  )

  it.effect("two flushes at once are a programmer error", () =>
    Effect.gen(function* () {
      const disk = new Disk()
      const set = yield* openSet(disk.open())
      yield* advance(set)
      let second: unknown
      disk.before = Effect.map(Effect.exit(set.flush), (exit) => {
        second = Exit.isFailure(exit) ? exit.cause.reasons[0]!._tag : "succeeded"
      })
      yield* set.flush
      expect(second).toBe("Die")
    }),
  )
})

describe("rows of the rewind window", () => {
  it.effect("INV-12 the rows are those of the last heights, whatever the rhythm of flushes", () =>
    Effect.gen(function* () {
      for (const rhythm of [1, 2, 3, 7, 20]) {
        const disk = new Disk()
        const set = yield* openSet(disk.open(), { rewindHeights: 5 })
        for (let height = 1; height <= 20; height++) {
          yield* advance(set)
          if (height % rhythm === 0) yield* set.flush
        }
        yield* set.flush
        const reopened = yield* openSet(disk.open(), { rewindHeights: 5 })
        for (const at of [set, reopened]) {
          const held = Array.from({ length: 22 }, (_, h) => at.row(anchorAt(h).height)?.height).filter(
            (h) => h !== undefined,
          )
          expect(held, `flush every ${rhythm}`).toEqual([16, 17, 18, 19, 20])
        }
        expect(reopened.row(anchorAt(17).height)).toMatchObject(anchorAt(17))
      }
    }),
  )

  it.effect("a row holds the targets of its block, durable or not", () =>
    Effect.gen(function* () {
      const set = yield* openSet(new Disk().open())
      const first = yield* advance(set)
      const second = yield* advance(set)
      expect(set.row(anchorAt(1).height)).toEqual({ ...anchorAt(1), targets: first.targets })
      yield* set.flush
      expect(set.row(anchorAt(2).height)).toEqual({ ...anchorAt(2), targets: second.targets })
      expect(set.row(anchorAt(3).height)).toBeUndefined()
    }),
  )

  it.effect("a window that changes between starts is followed", () =>
    Effect.gen(function* () {
      const disk = new Disk()
      const wide = yield* openSet(disk.open(), { rewindHeights: 10 })
      for (let i = 0; i < 9; i++) yield* advance(wide)
      yield* wide.flush
      const narrow = yield* openSet(disk.open(), { rewindHeights: 4 })
      yield* advance(narrow)
      yield* narrow.flush
      const again = yield* openSet(disk.open(), { rewindHeights: 10 })
      expect([6, 7, 10].map((h) => again.row(anchorAt(h).height) !== undefined)).toEqual([false, true, true])
    }),
  )

  it.effect("F32 a window smaller than the acknowledgements is refused at construction", () =>
    Effect.gen(function* () {
      for (const [pendingAcksMax, rewindHeights] of [
        [3, 3],
        [0, 5],
        [3, 5000],
      ] as const) {
        const exit = yield* Effect.exit(openSet(new Disk().open(), { pendingAcksMax, rewindHeights }))
        expect(Exit.isFailure(exit) && exit.cause.reasons[0]).toMatchObject({ _tag: "Die" })
      }
    }),
  )
})

describe("branches", () => {
  it.effect("INV-36 a batch reads its own branch alone, in every member", () =>
    Effect.gen(function* () {
      const set = yield* openSet(new Disk().open())
      const left = yield* child(set, set.tip, 1, 1)
      const right = yield* child(set, set.tip, 1, 2)
      const deeper = yield* child(set, left, 2, 1)
      const reads = [left, right, deeper, set.tip].map((parent) => {
        const batches = set.openBatches(parent)
        const seen = [batches.balances.get(account(0)), batches.notes.get("newest")]
        set.closeBatches(batches)
        return seen
      })
      expect(reads).toEqual([
        [1001n, "1/1"],
        [1002n, "1/2"],
        [2001n, "2/1"],
        [undefined, undefined],
      ])
    }),
  )

  it.effect("INV-37 a descendant keeps its un-applied ancestors reachable", () =>
    Effect.gen(function* () {
      const set = yield* openSet(new Disk().open())
      let top = yield* child(set, set.tip, 1)
      for (let height = 2; height <= 20; height++) top = yield* child(set, top, height)
      const batches = set.openBatches(top)
      for (let height = 1; height <= 20; height++) {
        expect(batches.balances.get(account(height)), `height ${height}`).toBe(0n)
        expect(batches.notes.get(`block ${height}`), `height ${height}`).toBe("0")
      }
      expect(set.layers).toBe(20)
    }),
  )

  it.effect("a layer and its children outlive the flush of their ancestors", () =>
    Effect.gen(function* () {
      const set = yield* openSet(new Disk().open())
      const one = yield* child(set, set.tip, 1)
      const two = yield* child(set, one, 2)
      set.apply(one, anchorAt(1))
      yield* set.flush
      expect(set.layers).toBe(1)
      const three = yield* child(set, two, 3)
      set.apply(two, anchorAt(2))
      set.apply(three, anchorAt(3))
      expect(observe(set)).toEqual(expected(3))
    }),
  )

  it.effect("F62 whatever lost is stale: sealed sets, their children, open batches; equal sizes are no excuse", () =>
    Effect.gen(function* () {
      const set = yield* openSet(new Disk().open())
      const winner = yield* child(set, set.tip, 1, 1)
      const loser = yield* child(set, set.tip, 1, 2)
      const overLoser = yield* child(set, loser, 2, 2)
      const overWinner = yield* child(set, winner, 2, 1)
      const onLoser = set.openBatches(loser)
      const onTip = set.openBatches(set.tip)
      set.apply(winner, anchorAt(1, 1))
      expect(loser.targets.balances.end).toBe(winner.targets.balances.end)
      for (const stale of [loser, overLoser]) {
        expect(() => set.openBatches(stale)).toThrow(StaleBatch)
        expect(() => set.apply(stale, anchorAt(2, 2))).toThrow(StaleBatch)
        set.close(stale)
      }
      for (const batches of [onLoser, onTip]) {
        expect(() => batches.balances.put(account(9), 1n)).toThrow(StaleBatch)
        expect(failureOf(yield* Effect.exit(set.seal(batches)))).toBeInstanceOf(StaleBatch)
        set.closeBatches(batches)
      }
      expect(set.anchor).toEqual(anchorAt(1, 1))
      expect(set.layers).toBe(2)
      set.apply(overWinner, anchorAt(2, 1))
      expect(set.tip).toBe(overWinner)
    }),
  )

  it.effect("applying out of order is a programmer error and changes nothing", () =>
    Effect.gen(function* () {
      const set = yield* openSet(new Disk().open())
      const one = yield* child(set, set.tip, 1)
      const two = yield* child(set, one, 2)
      expect(() => set.apply(two, anchorAt(1))).toThrow("child of the tip")
      expect(() => set.apply(one, anchorAt(2))).toThrow("height 2")
      expect([set.anchor.height, set.layers]).toEqual([0, 2])
      set.apply(one, anchorAt(1))
      expect(() => set.close(one)).toThrow("never closed")
      expect(() => set.close(set.tip)).toThrow("never closed")
    }),
  )

  it.effect("close takes the descendants with it and leaves the others", () =>
    Effect.gen(function* () {
      const set = yield* openSet(new Disk().open())
      const a = yield* child(set, set.tip, 1, 1)
      const b = yield* child(set, set.tip, 1, 2)
      const overA = yield* child(set, a, 2, 1)
      yield* child(set, overA, 3, 1)
      set.close(a)
      set.close(a)
      expect(set.layers).toBe(1)
      expect(() => set.openBatches(overA)).toThrow(StaleBatch)
      expect(() => set.openBatches(b)).not.toThrow()
    }),
  )

  it.effect("batches are sealed once and never mixed", () =>
    Effect.gen(function* () {
      const set = yield* openSet(new Disk().open())
      const [one, two] = [set.openBatches(set.tip), set.openBatches(set.tip)]
      yield* set.seal(one)
      set.closeBatches(one)
      const again = yield* Effect.exit(set.seal(one))
      expect(Exit.isFailure(again) && again.cause.reasons[0]!._tag).toBe("Die")
      expect(() => set.closeBatches({ balances: two.balances, notes: one.notes })).toThrow("did not open together")
      expect(set.layers).toBe(1)
    }),
  )
})
