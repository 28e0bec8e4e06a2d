/** Laws of what is refused: batches that cannot be read, what is over a limit, maps nobody declared. Nothing of it is written. */
import {
  BATCH_CHANGES_MAX,
  type Change,
  KEY_BYTES_MAX,
  type StorageLimitExceeded,
  VALUE_BYTES_MAX,
  WRITES_PENDING_MAX,
} from "@coppice/storage"
import { Effect, Exit, Fiber } from "effect"
import { claim, law } from "../law.ts"
import { bytes, claimFails, claimTag, contents, MAPS, put, remove, type StorageLaw, thrown, turns } from "./world.ts"

const boom = (): never => {
  throw new Error("poisoned")
}

/** Batches that throw, or change, while they are read. The rows before the poison are sound. */
const poisons = (sound: ReadonlyArray<Change>): Readonly<Record<string, ReadonlyArray<Change>>> => {
  const last = { tag: "put", map: "a", key: bytes(200), value: bytes(1) } as const
  const getter = (property: keyof typeof last) =>
    Object.defineProperty({ ...last }, property, { get: boom, enumerable: true })
  const secondLook = (property: "key" | "value" | "map", then: unknown) => {
    let looks = 0
    const get = () => (looks++ === 0 ? last[property] : then)
    return Object.defineProperty({ ...last }, property, { get, enumerable: true })
  }
  const after = (change: unknown) => [...sound, change as Change]
  return {
    "a value that throws": after(getter("value")),
    "a key that throws": after(getter("key")),
    "a map that throws": after(getter("map")),
    "a tag that throws": after(getter("tag")),
    "an element that is nothing": after(undefined),
    "a value that is no array of bytes": after({ ...last, value: "text" }),
    "a key that is no array of bytes": after({ ...last, key: 7 }),
    "a tag that does not exist": after({ ...last, tag: "append" }),
    "a list that throws": new Proxy(after(last), {
      get: (target, property) => (property === String(sound.length) ? boom() : Reflect.get(target, property)),
    }),
    "a key that grows": after(secondLook("key", new Uint8Array(KEY_BYTES_MAX + 1))),
    "a value that vanishes": after(secondLook("value", undefined)),
    "a map that is renamed": after(secondLook("map", "undeclared")),
  }
}

const poisoned: StorageLaw = law(
  "a batch that throws while it is read writes nothing, and the handle lives on",
  (world) =>
    Effect.gen(function* () {
      const sound = Array.from({ length: 30 }, (_, i) => put(i % 2 === 0 ? "a" : "b", bytes(i), bytes(i)))
      const storage = yield* world.open(MAPS)
      yield* storage.write([put("a", bytes(255), bytes(0))])
      for (const [what, batch] of Object.entries(poisons(sound))) {
        const before = contents(storage)
        const exit = yield* Effect.exit(storage.write(batch))
        yield* turns(world, 3)
        if (Exit.isFailure(exit)) claim(contents(storage) === before, `${what}: part of the batch was written`)
        else claim(storage.get("a", bytes(200))?.join() === "1", `${what}: it succeeded and is not there`)
        const undo = [...sound.map(({ map, key }) => remove(map, key)), remove("a", bytes(200))]
        yield* storage.write(undo)
        claim(contents(storage) === before, `${what}: the write after it`)
      }
    }),
)

const limits: StorageLaw = law("what is over a limit is refused with its figures, and nothing is written", (world) =>
  Effect.gen(function* () {
    const storage = yield* world.open(MAPS)
    yield* storage.write([put("a", bytes(9), bytes(9))])
    const before = contents(storage)
    const sound = put("a", bytes(1), bytes(1))
    const long = new Uint8Array(KEY_BYTES_MAX + 1)
    const cases: ReadonlyArray<readonly [StorageLimitExceeded["limit"], number, ReadonlyArray<Change>]> = [
      ["KEY_BYTES_MIN", 0, [sound, put("a", bytes(), bytes(1))]],
      ["KEY_BYTES_MIN", 0, [sound, remove("a", bytes())]],
      ["KEY_BYTES_MAX", long.length, [sound, put("a", long, bytes(1))]],
      ["KEY_BYTES_MAX", long.length, [sound, remove("b", long)]],
      ["VALUE_BYTES_MAX", VALUE_BYTES_MAX + 1, [sound, put("a", bytes(2), new Uint8Array(VALUE_BYTES_MAX + 1))]],
      ["BATCH_CHANGES_MAX", BATCH_CHANGES_MAX + 1, new Array<Change>(BATCH_CHANGES_MAX + 1).fill(sound)],
    ]
    for (const [limit, actual, batch] of cases) {
      const error = yield* claimFails(storage.write(batch), "StorageLimitExceeded", limit)
      const found = error as StorageLimitExceeded
      claim(found.limit === limit && found.actual === actual, `${limit}: ${found.limit} with ${found.actual}`)
      claim(contents(storage) === before, `${limit}: part of the batch was written`)
    }
    for (const key of [bytes(), long]) {
      claimTag(
        thrown(() => storage.get("a", key)),
        "StorageLimitExceeded",
        `get of ${key.length} bytes`,
      )
      claimTag(
        thrown(() => storage.getInto("a", key, bytes(1))),
        "StorageLimitExceeded",
        `getInto of ${key.length} bytes`,
      )
      yield* claimFails(storage.prefetch("a", [key]), "StorageLimitExceeded", `prefetch of ${key.length} bytes`)
    }
    claimTag(
      thrown(() => storage.scan("a", { end: long })),
      "StorageLimitExceeded",
      "scan to a long key",
    )
    const longest = new Uint8Array(VALUE_BYTES_MAX).fill(5)
    yield* storage.write([put("a", bytes(3), longest)])
    claim(storage.get("a", bytes(3))?.length === VALUE_BYTES_MAX, "a value at its limit")
  }),
)

const undeclared: StorageLaw = law(
  "a map that was not declared is a programmer's error, and nothing is written",
  (world) =>
    Effect.gen(function* () {
      const storage = yield* world.open(MAPS)
      const exit = yield* Effect.exit(storage.write([put("a", bytes(1), bytes(1)), put("c", bytes(1), bytes(1))]))
      claim(Exit.isFailure(exit), "a write to a map that was not declared succeeded")
      claim(
        exit.cause.reasons.every((reason) => reason._tag === "Die"),
        "a map that was not declared is an error one can recover from",
      )
      claim(thrown(() => storage.get("c", bytes(1))) instanceof RangeError, "get from a map that was not declared")
      claim(thrown(() => storage.getInto("c", bytes(1), bytes(1))) instanceof RangeError, "getInto from such a map")
      claim(thrown(() => storage.scan("c", {})) instanceof RangeError, "scan of a map that was not declared")
      claim(contents(storage) === " | ", "part of the batch was written")
    }),
)

const queue: StorageLaw = law("the queue of writes is bounded, and refuses without harm", (world) =>
  Effect.gen(function* () {
    const storage = yield* world.open(MAPS)
    const writes = Array.from({ length: WRITES_PENDING_MAX + 3 }, (_, i) =>
      storage.write([put("a", bytes(i >> 8, i & 255), bytes(1))]),
    )
    const fibers = yield* Effect.forEach(writes, (write) => Effect.forkChild(write, { startImmediately: true }))
    const exits = yield* Effect.forEach(fibers, Fiber.await)
    const refused = exits.filter(Exit.isFailure)
    claim(refused.length > 0, `${writes.length} writes were accepted at once`)
    for (const { cause } of refused) {
      const [reason] = cause.reasons
      const error = reason?._tag === "Fail" ? (reason.error as StorageLimitExceeded) : undefined
      claim(error?.limit === "WRITES_PENDING_MAX", `a write was refused with ${cause}`)
    }
    const found = storage.scan("a", {}).length
    claim(found === exits.length - refused.length, `${found} rows of ${exits.length - refused.length} writes`)
  }),
)

/** Laws of refusals. */
export const refusalLaws: ReadonlyArray<StorageLaw> = [poisoned, limits, undeclared, queue]
