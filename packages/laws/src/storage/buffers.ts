/** Laws of buffers: whose the bytes given to a write are, and where they may lie. */
import type { StorageShape } from "@coppice/storage"
import { Effect, Fiber } from "effect"
import { claim, law } from "../law.ts"
import { bytes, MAPS, put, type StorageLaw } from "./world.ts"

const borrowed: StorageLaw = law("once a write has settled its buffers are the caller's again", (world) =>
  Effect.gen(function* () {
    const sizes = [1, 300, 4080, 70_000]
    const keys = sizes.map((_, i) => bytes(i))
    const values = sizes.map((size) => new Uint8Array(size).fill(1))
    const batch = keys.map((key, i) => put("a", key, values[i]!))
    const check = (storage: StorageShape, when: string) => {
      for (const [i, size] of sizes.entries()) {
        const found = storage.get("a", bytes(i))
        claim(found?.length === size && found.every((byte) => byte === 1), `${when}: a value of ${size} bytes`)
      }
      claim(storage.scan("a", {}).length === sizes.length, `${when}: keys`)
    }
    yield* Effect.scoped(
      Effect.gen(function* () {
        const storage = yield* world.open(MAPS)
        yield* storage.write(batch)
        for (const buffer of [...keys, ...values]) buffer.fill(9)
        batch.length = 0
        check(storage, "after the write")
        yield* storage.write([put("b", bytes(1), bytes(1))])
        check(storage, "after the next write")
      }),
    )
    check(yield* world.open(MAPS), "after opening again")
  }),
)

const keysTaken: StorageLaw = law("keys and the list are the caller's again once the write has started", (world) =>
  Effect.gen(function* () {
    const storage = yield* world.open(MAPS)
    const [first, second] = [bytes(1), bytes(2)]
    const batch = [put("a", first, bytes(1)), put("a", second, bytes(2))]
    const waiting = yield* Effect.forkChild(storage.write([put("b", bytes(1), bytes(1))]), { startImmediately: true })
    const write = yield* Effect.forkChild(storage.write(batch), { startImmediately: true })
    first.fill(7)
    second.fill(7)
    batch.length = 1
    yield* Effect.forEach([waiting, write], Fiber.join)
    const found = storage.scan("a", {}).map(({ key }) => key.join())
    claim(found.join(" ") === "1 2", `keys: ${found.join(" ")}`)
  }),
)

const buffers: StorageLaw = law("values may lie in shared and in growable memory", (world) =>
  Effect.gen(function* () {
    const storage = yield* world.open(MAPS)
    const growable = new Uint8Array(new ArrayBuffer(2000, { maxByteLength: 4000 })).fill(1)
    const shared = new Uint8Array(new SharedArrayBuffer(2000)).fill(2)
    const middle = new Uint8Array(6000).fill(3).subarray(2000, 4000)
    const views = [growable, shared, middle]
    yield* storage.write(views.map((value, i) => put("a", bytes(i), value)))
    for (const i of views.keys()) {
      const found = storage.get("a", bytes(i))
      claim(found?.length === 2000 && found.every((byte) => byte === i + 1), `value ${i}`)
    }
  }),
)

/** Laws of buffers. */
export const bufferLaws: ReadonlyArray<StorageLaw> = [borrowed, keysTaken, buffers]
