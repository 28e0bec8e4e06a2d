/**
 * Goal: memory storage takes every liberty that the port leaves, one event at a time, and no other.
 * Method: a disk that its owner steps, so that each order of events and each cut between them is looked at; then what
 * chance leaves open, over seeds, each outcome at least once.
 */
import { chanceOf } from "@coppice/laws"
import { it } from "@effect/vitest"
import { Effect, Exit, Fiber } from "effect"
import { describe, expect } from "vitest"
import {
  faultAt,
  faultsByChance,
  layerMemory,
  type MemoryDisk,
  makeMemoryDisk,
  Storage,
  StorageDead,
  StorageReadFailed,
  type StorageShape,
  type WriteEvent,
} from "../src/index.ts"

const KEY = Uint8Array.of(1)
const OLD = Uint8Array.of(10)
const NEW = Uint8Array.of(20)

const put = (value: Uint8Array, key = KEY) => [{ tag: "put", map: "a", key, value } as const]

const open = (disk: MemoryDisk, environment = "main") => disk.open(environment, ["a"])

const stepped = (chance: () => number): MemoryDisk => makeMemoryDisk({ chance, drive: "owner" })

const writing = (storage: StorageShape, value: Uint8Array, key = KEY) =>
  Effect.forkChild(storage.write(put(value, key)), { startImmediately: true })

const seen = (storage: StorageShape): number | undefined => storage.get("a", KEY)?.[0]

/** Steps until a write has ended. */
const finish = (disk: MemoryDisk): ReadonlyArray<WriteEvent> => {
  const events: Array<WriteEvent> = []
  for (let event = disk.step("main"); event !== undefined; event = disk.step("main")) events.push(event)
  return events
}

describe("events", () => {
  it.effect("a write is visible and durable in the order that chance picks, and settles last", () =>
    Effect.gen(function* () {
      const orders = [0, 0.9].map((chance) => {
        const disk = stepped(() => chance)
        return Effect.gen(function* () {
          const storage = yield* open(disk)
          const write = yield* writing(storage, NEW)
          const events = []
          while (write.pollUnsafe() === undefined) {
            const event = disk.step("main")
            yield* Effect.yieldNow
            events.push([event, seen(storage), write.pollUnsafe() !== undefined])
          }
          return events
        })
      })
      expect(yield* Effect.all(orders)).toEqual([
        [
          ["visible", 20, false],
          ["durable", 20, false],
          ["settled", 20, true],
        ],
        [
          ["durable", undefined, false],
          ["visible", 20, false],
          ["settled", 20, true],
        ],
      ])
    }),
  )

  it.effect("a disk that its owner drives does nothing by itself", () =>
    Effect.gen(function* () {
      const disk = stepped(chanceOf(1))
      const storage = yield* open(disk)
      const write = yield* writing(storage, NEW)
      for (let i = 0; i < 50; i++) yield* Effect.yieldNow
      expect([write.pollUnsafe(), seen(storage)]).toEqual([undefined, undefined])
      expect(finish(disk)).toHaveLength(3)
      yield* Fiber.join(write)
      expect(disk.step("main")).toBeUndefined()
    }),
  )

  it.effect("values are the caller's until the first event, which copies them", () =>
    Effect.gen(function* () {
      const disk = stepped(() => 0.9)
      const storage = yield* open(disk)
      const value = Uint8Array.of(1)
      const write = yield* writing(storage, value)
      value[0] = 2
      disk.step("main")
      value[0] = 3
      finish(disk)
      yield* Fiber.join(write)
      expect(seen(storage)).toBe(2)
    }),
  )

  it.effect("handles of one environment take turns, and environments go their own ways", () =>
    Effect.gen(function* () {
      const disk = stepped(() => 0)
      const [first, second, other] = [yield* open(disk), yield* open(disk), yield* open(disk, "other")]
      const writes = [yield* writing(first, OLD), yield* writing(second, NEW), yield* writing(other, NEW)]
      expect(finish(disk)).toEqual(["visible", "durable", "settled", "visible", "durable", "settled"])
      expect([seen(first), seen(second), seen(other)]).toEqual([20, 20, undefined])
      for (let i = 0; i < 3; i++) disk.step("other")
      yield* Effect.forEach(writes, Fiber.join)
    }),
  )
})

describe("power loss", () => {
  /** Cuts a write over an older one after some events; what is there afterwards. */
  const cut = (order: number, events: number, fate: number) => {
    let chance = order
    const disk = stepped(() => chance)
    return Effect.gen(function* () {
      const before = yield* open(disk)
      const old = yield* writing(before, OLD)
      finish(disk)
      yield* Fiber.join(old)
      const write = yield* writing(before, NEW)
      for (let i = 0; i < events; i++) disk.step("main")
      chance = fate
      disk.crash()
      expect(Exit.isFailure(yield* Fiber.await(write))).toBe(events < 3)
      return seen(yield* open(disk))
    })
  }

  const [VISIBLE_FIRST, DURABLE_FIRST, KEPT, LOST] = [0, 0.9, 0, 0.9]

  it.effect("what was durable is there, and chance decides on what was not, whether or not it was visible", () =>
    Effect.gen(function* () {
      for (const [order, durableAfter] of [
        [VISIBLE_FIRST, 2],
        [DURABLE_FIRST, 1],
      ] as const) {
        for (let events = 0; events <= 3; events++) {
          const at = `order ${order}, after ${events} events`
          expect(yield* cut(order, events, LOST), at).toBe(events >= durableAfter ? 20 : 10)
          expect(yield* cut(order, events, KEPT), at).toBe(20)
        }
      }
    }),
  )

  it.effect("it ends every write of every environment, and every handle", () =>
    Effect.gen(function* () {
      const disk = stepped(chanceOf(3))
      const storages = [yield* open(disk, "one"), yield* open(disk, "two")]
      const writes = yield* Effect.forEach([...storages, ...storages], (storage) => writing(storage, NEW))
      disk.crash()
      for (const fiber of writes) {
        const error = yield* Effect.flip(Fiber.join(fiber))
        expect(error).toMatchObject({ _tag: "StorageDead", cause: "power loss" })
      }
      for (const storage of storages) expect(() => seen(storage)).toThrow(StorageDead)
      expect(disk.step("one")).toBeUndefined()
    }),
  )

  it.effect("a handle closed after power loss has nothing to wait for", () =>
    Effect.gen(function* () {
      const disk = stepped(chanceOf(4))
      yield* Effect.scoped(
        Effect.gen(function* () {
          const storage = yield* open(disk)
          yield* writing(storage, NEW)
          yield* writing(storage, NEW)
          disk.crash()
        }),
      )
    }),
  )
})

describe("failed writes", () => {
  const outcomes = Effect.fnUntraced(function* (reason: "io" | "disk full") {
    const found = new Set<string>()
    for (let seed = 0; seed < 60; seed++) {
      const disk = stepped(chanceOf(seed))
      const storage = yield* open(disk)
      disk.faults = faultAt(1, reason, { name: "write" })
      const write = yield* writing(storage, NEW)
      const events = finish(disk)
      expect(yield* Effect.flip(Fiber.join(write))).toMatchObject({ _tag: "StorageWriteFailed", reason })
      const left = seen(yield* open(disk))
      found.add(`${events.join(", ")}: ${left === undefined ? "gone" : "there"}`)
    }
    return [...found].sort()
  })

  it.effect("after an I/O error the write may have been seen, and may be there, in every combination", () =>
    Effect.gen(function* () {
      expect(yield* outcomes("io")).toEqual([
        "failed: gone",
        "failed: there",
        "visible, failed: gone",
        "visible, failed: there",
      ])
    }),
  )

  it.effect("what did not fit on a full disk was never there", () =>
    Effect.gen(function* () {
      expect(yield* outcomes("disk full")).toEqual(["failed: gone"])
    }),
  )

  it.effect("the n-th write from now fails, and those before it do not", () =>
    Effect.gen(function* () {
      const disk = makeMemoryDisk({ chance: chanceOf(1) })
      const storage = yield* open(disk)
      disk.faults = faultAt(3, "io", { name: "write" })
      const exits = yield* Effect.forEach([1, 2, 3, 4], () => Effect.exit(storage.write(put(NEW))))
      expect(exits.map(Exit.isSuccess)).toEqual([true, true, false, false])
    }),
  )
})

describe("faults", () => {
  it.effect("a script meets the n-th call that it describes, and no other", () =>
    Effect.gen(function* () {
      const disk = makeMemoryDisk({ chance: chanceOf(1) })
      const [storage, other] = [yield* open(disk), yield* open(disk, "other")]
      disk.faults = faultAt(2, "io", { environment: "main", name: "get" })
      seen(storage)
      for (let i = 0; i < 3; i++) {
        seen(other)
        storage.scan("a", {})
      }
      expect(() => seen(storage)).toThrow(StorageReadFailed)
      expect(seen(storage)).toBeUndefined()
    }),
  )

  it.effect("power lost in a call takes every environment with it", () =>
    Effect.gen(function* () {
      const disk = makeMemoryDisk({ chance: chanceOf(1) })
      const [storage, other] = [yield* open(disk), yield* open(disk, "other")]
      disk.faults = faultAt(1, "crash after")
      yield* storage.write(put(NEW))
      for (const handle of [storage, other]) expect(() => seen(handle)).toThrow(StorageDead)
      expect(seen(yield* open(disk))).toBe(20)
    }),
  )

  it.effect("a backup that fails leaves part of its rows", () =>
    Effect.gen(function* () {
      const disk = makeMemoryDisk({ chance: chanceOf(1) })
      const storage = yield* disk.open("main", ["a", "b"])
      yield* storage.write([...put(NEW), { tag: "put", map: "b", key: KEY, value: NEW }])
      disk.faults = faultAt(1, "disk full")
      expect(yield* Effect.flip(storage.backup("spare"))).toMatchObject({ _tag: "StorageBackupFailed" })
      const left = yield* disk.open("spare", ["a", "b"])
      expect([left.get("a", KEY), left.get("b", KEY)]).toEqual([NEW, undefined])
    }),
  )

  it("faults by chance come as often as their rates say, and the same from the same seed", () => {
    const drawn = (seed: number) => {
      const faults = faultsByChance(chanceOf(seed), { io: 0.2, "disk full": 0.1 })
      return Array.from({ length: 2000 }, () => faults({ environment: "main", name: "write" }))
    }
    const count = (fault: string | undefined) => drawn(7).filter((each) => each === fault).length
    expect([count("io") / 2000, count("disk full") / 2000].map((share) => share.toFixed(1))).toEqual(["0.2", "0.1"])
    expect(count(undefined) + count("io") + count("disk full")).toBe(2000)
    expect(drawn(7)).toEqual(drawn(7))
  })
})

it.effect(
  "what was written is read and is the reader's own, at every length around which values are held otherwise",
  () =>
    Effect.gen(function* () {
      const storage = yield* open(makeMemoryDisk({ chance: () => 0 }))
      const lengths = [0, 1, 63, 64, 65, 4_080, 16_383, 16_384, 16_385, 65, 9_000, 9_000]
      const written = lengths.map((length, i) => new Uint8Array(length).map((_, at) => i + at * 7))
      const given = written.map((value) => Buffer.concat([value]))
      yield* storage.write(given.map((value, i) => ({ tag: "put", map: "a", key: Uint8Array.of(i), value })))
      for (const value of given) value.fill(0xee)
      for (let look = 0; look < 2; look++) {
        const entries = storage.scan("a", {})
        for (const [i, value] of written.entries()) {
          const at = `length ${value.length}, look ${look}`
          const key = Uint8Array.of(i)
          const [got, whole, half] = [
            storage.get("a", key)!,
            new Uint8Array(value.length + 3),
            value.slice(value.length / 2),
          ]
          expect(storage.getInto("a", key, whole), at).toBe(value.length)
          expect(storage.getInto("a", key, half), at).toBe(value.length)
          expect([got, entries[i]!.value, whole.subarray(0, value.length)], at).toEqual([value, value, value])
          expect(half, at).toEqual(value.subarray(0, half.length))
          for (const bytes of [got, entries[i]!.value, whole, half]) bytes.fill(0xdd)
        }
      }
    }),
)

it.effect("the layer gives storage to a program that needs no disk", () =>
  Effect.gen(function* () {
    const storage = yield* Storage
    yield* storage.write(put(NEW))
    expect(seen(storage)).toBe(20)
  }).pipe(Effect.provide(layerMemory(["a"]))),
)

it.effect("scratch is empty when it opens, and nothing else of its disk goes with it", () =>
  Effect.gen(function* () {
    const disk = makeMemoryDisk({ chance: () => 0 })
    yield* (yield* open(disk)).write(put(NEW))
    for (let n = 0; n < 2; n++) {
      const scratch = yield* disk.open("scratch", ["a"], { scratch: true })
      expect(seen(scratch)).toBeUndefined()
      yield* scratch.write(put(OLD))
      expect(seen(scratch)).toBe(OLD[0])
    }
    expect(seen(yield* open(disk))).toBe(NEW[0])
  }),
)
