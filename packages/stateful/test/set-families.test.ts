/**
 * Goal: members of every family form one set: flushed in one write, reopened at one block, taken back and pruned together.
 * Method: six databases of different families in one set over a memory disk that can lose power at any write; a chain of
 * blocks that write to all of them; what is read after each step is compared with what the blocks wrote.
 */
import { Bytes, Struct, Text, U32, U64 } from "@coppice/codec"
import { type Anchor, Height, Round } from "@coppice/consensus"
import { nobleHasher } from "@coppice/crypto"
import { Location, Qmdb, SCRATCH_MAPS } from "@coppice/qmdb"
import { makeMemoryDisk, type StorageShape } from "@coppice/storage"
import { it } from "@effect/vitest"
import { Effect, Exit } from "effect"
import { describe, expect } from "vitest"
import {
  Application,
  type DatabaseSet,
  HeightNotRetained,
  openDatabaseSet,
  SET_MAPS,
  type SealedSet,
} from "../src/index.ts"
import { SCRATCH_BYTES_FREE_MIN } from "../src/limits.ts"
import { Disk } from "./support/disk.ts"

const REWIND_HEIGHTS = 8

const databases = {
  balances: Qmdb.any({ key: Bytes(4), value: U64 }),
  accounts: Qmdb.current({ key: Text(16), value: U64, family: "mmr" }),
  names: Qmdb.any({ key: Text(16), value: U32, ordered: true }),
  transfers: Qmdb.immutable({ key: Bytes(4), value: Text(16) }),
  receipts: Qmdb.keyless({ value: U64, family: "mmr" }),
  digests: Qmdb.compactKeyless({ value: U64 }),
  seen: Qmdb.compactImmutable({ key: Bytes(4), value: U32 }),
}

const application = Application.make({
  name: "families",
  databases,
  transaction: Struct({ n: U32 }),
  execute: () => undefined,
})

type Families = typeof databases

const open = (disk: Disk, scratch?: StorageShape): Effect.Effect<DatabaseSet<Families>, unknown> =>
  openDatabaseSet({
    scratch,
    application,
    chainId: "families",
    hasher: nobleHasher,
    storage: disk.open(),
    pendingAcksMax: 3,
    rewindHeights: REWIND_HEIGHTS,
  })

const anchorAt = (height: number): Anchor => ({
  height: Height(height),
  round: Round(0, height),
  digest: new Uint8Array(32).fill(height),
})

const key = (n: number): Uint8Array => Uint8Array.of(0, 0, n >> 8, n)

/** Seals the block of a height over a state. */
const child = Effect.fnUntraced(function* (set: DatabaseSet<Families>, parent: SealedSet<Families>, height: number) {
  const batches = set.openBatches(parent)
  const { balances, accounts, names, transfers, receipts, digests, seen } = batches
  for (let n = 0; n < 12; n++) {
    balances.put(key(n), BigInt(height))
    accounts.put(`account ${n}`, BigInt(height * n))
    if ((n + height) % 5 === 0) names.remove(`name ${n}`)
    else names.put(`name ${n}`, height)
  }
  transfers.set(key(1000 + height), `transfer ${height}`)
  const at = receipts.append(BigInt(height))
  receipts.withFloor(Location(Math.max(0, at - 20)))
  transfers.withFloor(Location(Math.max(0, parent.targets.transfers.end - 20)))
  digests.append(BigInt(height))
  digests.withFloor(Location(parent.targets.digests.end - 1))
  seen.set(key(height), height)
  return yield* set.seal(batches)
})

/** Seals and applies the block of a height over the tip. */
const advance = Effect.fnUntraced(function* (set: DatabaseSet<Families>) {
  const height = set.anchor.height + 1
  set.apply(yield* child(set, set.tip, height), anchorAt(height))
})

const grown = Effect.fnUntraced(function* (disk: Disk, heights: number, flushEvery = 1) {
  const set = yield* open(disk)
  while (set.anchor.height < heights) {
    yield* advance(set)
    if (set.anchor.height % flushEvery === 0) yield* set.flush
  }
  yield* set.flush
  return set
})

/** Everything that readers say of the newest state. */
const observe = (set: DatabaseSet<Families>) =>
  set.use("read", ({ balances, accounts, names, transfers, receipts, digests, seen }, { height }) => ({
    height,
    balances: Array.from({ length: 12 }, (_, n) => balances.get(key(n))),
    accounts: accounts.getMany(Array.from({ length: 12 }, (_, n) => `account ${n}`)),
    names: names.entries(),
    transfers: Array.from({ length: height }, (_, n) => transfers.get(key(1001 + n))),
    receipt: receipts.get(Location(Math.max(0, receipts.target.end - 2))),
    targets: [balances, accounts, names, transfers, receipts, digests, seen].map(({ target }) => target),
  }))

describe("members of every family in one set", () => {
  it.effect("are flushed in one write, whatever was applied meanwhile, and reopen at one block", () =>
    Effect.gen(function* () {
      const each = new Disk()
      const set = yield* grown(each, 12)
      expect(each.writes).toBe(13)
      const rarely = yield* grown(new Disk(), 12, 5)
      expect(observe(rarely)).toEqual(observe(set))
      expect(observe(yield* open(each))).toEqual(observe(set))
      expect(observe(set).names.length).toBeGreaterThan(0)
    }),
  )

  it.effect("stand at one block after a write that is lost, or kept and not acknowledged", () =>
    Effect.gen(function* () {
      for (const fault of ["lost", "kept"] as const) {
        for (let faulted = 1; faulted <= 8; faulted++) {
          const disk = new Disk()
          disk.fault = (write) => (write === faulted ? fault : undefined)
          const exit = yield* Effect.exit(grown(disk, 9))
          expect(Exit.isFailure(exit), `${fault} ${faulted}`).toBe(true)
          disk.fault = () => undefined
          const reopened = yield* open(disk)
          const height = fault === "kept" ? faulted : faulted - 1
          expect(reopened.anchor.height, `${fault} ${faulted}`).toBe(height)
          expect(observe(reopened)).toEqual(observe(yield* grown(new Disk(), height)))
        }
      }
    }),
  )

  it.effect("go back together, in one write, to every height of the window, and go on", () =>
    Effect.gen(function* () {
      for (let back = 1; back < REWIND_HEIGHTS; back++) {
        const disk = new Disk()
        const set = yield* grown(disk, 14)
        const writes = disk.writes
        const pending = set.openBatches(set.tip)
        expect(yield* set.rewind(Height(14 - back))).toEqual(anchorAt(14 - back))
        expect(disk.writes).toBe(writes + 1)
        expect(() => pending.balances.get(key(1))).toThrow()
        const straight = yield* grown(new Disk(), 14 - back)
        for (const again of [set, yield* open(disk)]) {
          expect(observe(again), `${back} back`).toEqual(observe(straight))
          expect(again.durable).toEqual(anchorAt(14 - back))
          expect(again.row(Height(14 - back + 1))).toBe(undefined)
        }
        yield* advance(set)
        yield* set.flush
        yield* advance(straight)
        expect(observe(set)).toEqual(observe(straight))
        expect(observe(yield* open(disk))).toEqual(observe(straight))
      }
    }),
  )

  it.effect(
    "C19 a rewind that is lost leaves the state before it, one that is kept the state after it; both can be made again",
    () =>
      Effect.gen(function* () {
        for (const fault of ["lost", "kept"] as const) {
          const disk = new Disk()
          const set = yield* grown(disk, 10)
          disk.fault = () => fault
          expect(Exit.isFailure(yield* Effect.exit(set.rewind(Height(7))))).toBe(true)
          disk.fault = () => undefined
          const reopened = yield* open(disk)
          expect(reopened.anchor.height).toBe(fault === "kept" ? 7 : 10)
          expect(observe(reopened)).toEqual(observe(yield* grown(new Disk(), reopened.anchor.height)))
          for (let times = 1; times <= 2; times++) {
            expect(yield* reopened.rewind(Height(7)), `${fault}, ${times} times more`).toEqual(anchorAt(7))
            for (const again of [reopened, yield* open(disk)])
              expect(observe(again)).toEqual(observe(yield* grown(new Disk(), 7)))
          }
        }
      }),
  )

  it.effect("F33 forget together what a height does not need, and no height below it can be gone back to", () =>
    Effect.gen(function* () {
      const disk = new Disk()
      const set = yield* grown(disk, 14)
      const before = observe(set)
      yield* set.prune(Height(12))
      expect(observe(set)).toEqual(before)
      const { targets } = set.row(Height(12))!
      for (const again of [set, yield* open(disk)]) {
        again.use("read", ({ balances, transfers, receipts }) => {
          expect(balances.pruned).toBe(targets.balances.start)
          expect(transfers.pruned).toBe(targets.transfers.start)
          expect(receipts.pruned).toBe(targets.receipts.start)
          expect(receipts.pruned).toBeGreaterThan(0)
        })
      }
      for (const height of [11, 5, 0, 15]) {
        const exit = yield* Effect.exit(set.rewind(Height(height)))
        expect(exit, `height ${height}`).toEqual(Exit.fail(expect.any(HeightNotRetained)))
        expect(yield* Effect.exit(set.prune(Height(height)))).toEqual(Exit.fail(expect.any(HeightNotRetained)))
      }
      expect(yield* set.rewind(Height(12))).toEqual(anchorAt(12))
      expect(observe(set)).toEqual(observe(yield* grown(new Disk(), 12)))
    }),
  )

  it.effect(
    "INV-36 spilled states answer, are built on, flushed and closed as those in memory, and leave nothing in scratch",
    () =>
      Effect.gen(function* () {
        const scratchDisk = new Disk()
        const rows = () => [...scratchDisk.maps.values()].reduce((sum, map) => sum + map.size, 0)
        const disk = new Disk()
        const set = yield* open(disk, scratchDisk.open())
        yield* advance(set)
        yield* set.flush
        const states = [set.tip]
        for (let height = 2; height <= 9; height++) {
          const state = yield* child(set, states.at(-1)!, height)
          const { bytes } = state
          expect(yield* set.spill([state]), `height ${height}`).toEqual([state.bytes])
          expect(state.bytes).toBeLessThan(bytes)
          states.push(state)
        }
        const losing = yield* child(set, states[2]!, 5)
        yield* set.spill([losing])
        const full = rows()
        expect(full).toBeGreaterThan(8)
        for (const state of states.slice(1)) {
          set.apply(state, anchorAt(set.anchor.height + 1))
          expect(observe(set)).toEqual(observe(yield* grown(new Disk(), set.anchor.height)))
          if (set.anchor.height % 3 === 0) yield* set.flush
        }
        expect(set.bytes).toBe(0)
        expect(rows()).toBe(0)
        expect(observe(yield* open(disk))).toEqual(observe(yield* grown(new Disk(), 9)))
      }),
  )

  it.effect("a power loss takes scratch with it: the set stands at its anchor, and nothing of it is missed", () =>
    Effect.gen(function* () {
      const disk = makeMemoryDisk({ chance: () => 0.9 })
      const opened = Effect.fnUntraced(function* () {
        const storage = yield* disk.open("set", SET_MAPS)
        const scratch = yield* disk.open("scratch", SCRATCH_MAPS, { scratch: true })
        expect(SCRATCH_MAPS.flatMap((map) => scratch.scan(map, {}))).toEqual([])
        const options = { application, chainId: "families", hasher: nobleHasher, storage, scratch, pendingAcksMax: 3 }
        return { scratch, set: yield* openDatabaseSet(options) }
      })
      const before = yield* opened()
      yield* advance(before.set)
      yield* before.set.flush
      const state = yield* child(before.set, before.set.tip, 2)
      yield* before.set.spill([state])
      expect(before.scratch.scan("log", {}).length).toBeGreaterThan(0)
      before.set.apply(state, anchorAt(2))
      disk.crash()
      const after = yield* opened()
      expect(observe(after.set)).toEqual(observe(yield* grown(new Disk(), 1)))
      yield* advance(after.set)
      yield* after.set.flush
      expect(observe(after.set)).toEqual(observe(yield* grown(new Disk(), 2)))
    }),
  )

  it.effect("nothing is moved where the volume of scratch has hardly room, or there is no scratch", () =>
    Effect.gen(function* () {
      let bytesFree = SCRATCH_BYTES_FREE_MIN - 1
      const scratch = { ...new Disk().open(), info: () => ({ bytesUsed: 0, bytesFree }) }
      for (const set of [yield* open(new Disk(), scratch), yield* open(new Disk())]) {
        const state = yield* child(set, set.tip, 1)
        const { bytes } = state
        expect(yield* set.spill([state])).toEqual([bytes])
      }
      bytesFree += 1
      const set = yield* open(new Disk(), scratch)
      const state = yield* child(set, set.tip, 1)
      const { bytes } = state
      expect((yield* set.spill([state]))[0]).toBeLessThan(bytes)
    }),
  )

  it.effect("forget while they are flushed: one write at a time, nothing lost", () =>
    Effect.gen(function* () {
      const disk = new Disk()
      const set = yield* grown(disk, 9)
      yield* advance(set)
      yield* Effect.all([set.prune(Height(8)), set.flush], { concurrency: "unbounded" })
      expect(set.durable.height).toBe(10)
      expect(observe(yield* open(disk))).toEqual(observe(yield* grown(new Disk(), 10)))
    }),
  )
})
