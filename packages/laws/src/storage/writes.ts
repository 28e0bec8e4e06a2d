/** Laws of writing: whole batches, in call order, out of the caller's hands, within limits. */
import {
  BATCH_CHANGES_MAX,
  type Change,
  KEY_BYTES_MAX,
  type StorageLimitExceeded,
  type StorageShape,
  VALUE_BYTES_MAX,
  WRITES_PENDING_MAX,
} from "@coppice/storage"
import { Effect, Exit, Fiber } from "effect"
import { chanceOf, claim, law, seededLaw } from "../law.ts"
import {
  bytes,
  claimFails,
  claimTag,
  contents,
  historyOf,
  MAPS,
  put,
  remove,
  type StorageLaw,
  type StorageWorld,
  thrown,
  turns,
} from "./world.ts"

const order: StorageLaw = law("changes of a batch take effect in their order", (world) =>
  Effect.gen(function* () {
    const storage = yield* world.open(MAPS)
    const [kept, gone] = [bytes(1), bytes(2)]
    yield* storage.write([
      put("a", kept, bytes(1)),
      put("a", gone, bytes(1)),
      remove("a", kept),
      put("a", kept, bytes(2)),
      remove("a", gone),
      put("b", gone, bytes(3)),
    ])
    claim(storage.get("a", kept)?.join() === "2", "an earlier change of a key won")
    claim(storage.get("a", gone) === undefined, "a key is there that the batch removed last")
    claim(storage.get("b", gone)?.join() === "3", "a change of one map undid that of another")
    yield* storage.write([])
  }),
)

/** Starts every write of a history at once, in order, and looks at each turn until all have ended. */
const observed = Effect.fnUntraced(function* (
  { turn }: StorageWorld,
  storage: StorageShape,
  batches: ReadonlyArray<ReadonlyArray<Change>>,
  look: (settled: number) => void,
) {
  let settled = 0
  const writes = batches.map((batch, i) =>
    Effect.tap(storage.write(batch), () =>
      Effect.sync(() => {
        claim(settled === i, `write ${i} settled when ${settled} had`)
        settled += 1
      }),
    ),
  )
  const fibers = yield* Effect.forEach(writes, (write) => Effect.forkChild(write, { startImmediately: true }))
  while (fibers.some((fiber) => fiber.pollUnsafe() === undefined)) {
    look(settled)
    yield* turn
  }
  yield* Effect.forEach(fibers, Fiber.join)
  look(settled)
})

const callOrder: StorageLaw = seededLaw(
  "batches become visible whole and in call order, and before they succeed",
  () => ({
    body: (world, seed) =>
      Effect.gen(function* () {
        const storage = yield* world.open(MAPS)
        const history = historyOf(10)
        let seen = 0
        yield* observed(world, storage, history.batches, (settled) => {
          const visible = history.in(storage, `seed ${seed}`)
          claim(visible >= seen, `seed ${seed}: a read went back from batch ${seen} to ${visible}`)
          claim(visible >= settled, `seed ${seed}: ${settled} writes succeeded and ${visible} are visible`)
          seen = visible
        })
        claim(seen === history.batches.length, `seed ${seed}: ${seen} batches are visible in the end`)
      }),
  }),
)

const large: StorageLaw = law("a batch of many changes is never seen in part", (world) =>
  Effect.gen(function* () {
    const storage = yield* world.open(MAPS)
    const key = (i: number) => bytes(i >> 8, i & 255)
    const batch = (value: number) =>
      Array.from({ length: 3000 }, (_, i) => put(i % 2 === 0 ? "a" : "b", key(i), bytes(value)))
    yield* storage.write(batch(0))
    yield* observed(world, storage, [batch(1), batch(2)], () => {
      const [first] = storage.get("a", key(0))!
      const [last] = storage.get("b", key(2999))!
      const [middle] = storage.get("a", key(1500))!
      claim(first === last && first === middle, `values of three batches at once: ${first}, ${middle}, ${last}`)
    })
  }),
)

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

const interrupted: StorageLaw = seededLaw("a write that is interrupted is made to its end", () => ({
  body: (world, seed) =>
    Effect.gen(function* () {
      const chance = chanceOf(seed)
      const storage = yield* world.open(MAPS)
      const history = historyOf(3)
      const fibers = yield* Effect.forEach(history.batches, (batch) =>
        Effect.forkChild(storage.write(batch), { startImmediately: true }),
      )
      yield* turns(world, Math.floor(chance() * 5))
      yield* Effect.forEach(fibers, Fiber.interrupt)
      const found = history.in(storage, `seed ${seed}`)
      claim(found === history.batches.length, `seed ${seed}: ${found} of ${history.batches.length} writes were made`)
    }),
}))

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

/** Laws of writing. */
export const writeLaws: ReadonlyArray<StorageLaw> = [
  order,
  callOrder,
  large,
  poisoned,
  limits,
  undeclared,
  queue,
  interrupted,
  borrowed,
  keysTaken,
  buffers,
]
