/**
 * Goal: whatever befalls any storage call of a database's life, what is opened afterwards is the state before the write
 * under way or the state after it, whole, and its chain goes on.
 * Method: the crash sweep of `@coppice/laws` over every family, with rows and slices so small that every boundary is
 * crossed; every write meets every fault, and a share of the reads does. Canaries: storage that breaks one promise between
 * the database and the disk, each of which the same sweep must find.
 */
import { CRASH_FAMILIES, type SweepOptions, type Wrap } from "@coppice/laws/crash"
import type { StorageError, StorageShape } from "@coppice/storage"
import { Effect, type Exit } from "effect"
import { describe, expect, it, vi } from "vitest"

vi.mock("../src/internal/layout.ts", () => ({
  ROW_BYTES: 96,
  PACKED_OPERATIONS: 3,
  SLICE_ITEMS: 16,
  ROUND_FLUSHES: 2,
  PAGE_BYTES: 256,
}))

vi.mock("../src/limits.ts", async (original) => ({ ...(await original()), TRIM_OPERATIONS_MAX: 8 }))

const OPTIONS: SweepOptions = { seed: 1, rounds: 2, readsEvery: 300 }

describe("every fault at every write, and at a share of the reads", () => {
  const purposes = new Set<string>()

  for (const { name, sweep } of CRASH_FAMILIES) {
    it(`${name}: no wrong state`, async () => {
      const { wrong, calls, runs, kept, lost, writes } = await Effect.runPromise(sweep(OPTIONS))
      expect(wrong).toEqual([])
      expect(calls).toBeGreaterThan(20)
      expect(runs).toBeGreaterThan(60)
      expect(Math.min(kept, lost), "writes under way were kept, and were lost").toBeGreaterThan(0)
      for (const purpose of Object.keys(writes)) purposes.add(purpose)
    })
  }

  it("writes of every purpose were met", () => {
    expect([...purposes].sort()).toEqual(["create", "flush", "prune", "rewind", "trim"])
  })
})

describe("canaries: the sweep finds", () => {
  const [family] = CRASH_FAMILIES

  /** The wrong states of a sweep over storage that breaks a promise. */
  const found = async (wrap: Wrap): Promise<ReadonlyArray<string>> => {
    const { wrong } = await Effect.runPromise(family!.sweep({ ...OPTIONS, wrap }))
    return wrong.map(({ what }) => what)
  }

  const writing =
    (
      write: (
        storage: StorageShape,
        changes: Parameters<StorageShape["write"]>[0],
      ) => ReturnType<StorageShape["write"]>,
    ): Wrap =>
    (storage) => ({ ...storage, write: (changes) => write(storage, changes) })

  /** A write that is split tells of no success in between: only states that no write leads to count. */
  const isTorn = (what: string): boolean => !what.includes("it stands at")

  it("a write whose last change is a write of its own", async () => {
    const split = writing((storage, changes) =>
      Effect.andThen(storage.write(changes.slice(0, -1)), storage.write(changes.slice(-1))),
    )
    expect((await found(split)).filter(isTorn)).not.toEqual([])
  })

  it("a write whose second half goes first", async () => {
    const split = writing((storage, changes) => {
      const middle = Math.floor(changes.length / 2)
      return Effect.andThen(storage.write(changes.slice(middle)), storage.write(changes.slice(0, middle)))
    })
    expect((await found(split)).filter(isTorn)).not.toEqual([])
  })

  it("a write that is told to be durable once it is visible", async () => {
    const shown = (storage: StorageShape) => JSON.stringify(storage.scan("meta", {}).map(({ value }) => [...value]))
    const hasty = writing((storage, changes) =>
      Effect.gen(function* () {
        const before = shown(storage)
        const exits: Array<Exit.Exit<void, StorageError>> = []
        yield* Effect.forkDetach(
          Effect.map(Effect.exit(storage.write(changes)), (exit) => exits.push(exit)),
          { startImmediately: true },
        )
        while (exits.length === 0 && shown(storage) === before) yield* Effect.yieldNow
        const [exit] = exits
        if (exit !== undefined) yield* exit
      }).pipe(Effect.uninterruptible),
    )
    expect((await found(hasty)).filter((what) => what.includes("it stands at"))).not.toEqual([])
  })
})
