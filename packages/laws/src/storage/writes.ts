/** Laws of writing: whole batches, in call order, to their end. */
import type { Change, StorageShape } from "@coppice/storage"
import { Effect, Fiber } from "effect"
import { chanceOf, claim, law, seededLaw } from "../law.ts"
import { bytes, historyOf, MAPS, put, remove, type StorageLaw, type StorageWorld, turns } from "./world.ts"

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

/** Laws of writing. */
export const writeLaws: ReadonlyArray<StorageLaw> = [order, callOrder, large, interrupted]
