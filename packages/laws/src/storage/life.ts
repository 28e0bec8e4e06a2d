/** Laws of a handle's life: opening again, closing, backup, and figures. */
import type { Change, StorageShape } from "@coppice/storage"
import { Effect, Exit, Fiber, Scope } from "effect"
import { claim, law } from "../law.ts"
import {
  bytes,
  claimDead,
  claimFails,
  contents,
  historyOf,
  MAPS,
  put,
  type StorageLaw,
  type StorageWorld,
  turns,
} from "./world.ts"

/** A handle with a scope that the law closes itself. */
const openIn = Effect.fnUntraced(function* (world: StorageWorld) {
  const scope = yield* Scope.make()
  const storage = yield* Scope.provide(world.open(MAPS), scope)
  return { storage, close: Scope.close(scope, Exit.void) }
})

const reopened: StorageLaw = law("what was written is there when the environment is opened again", (world) =>
  Effect.gen(function* () {
    const history = historyOf(5)
    for (const [i, batch] of history.batches.entries()) {
      const { storage, close } = yield* openIn(world)
      claim(history.in(storage, `opening ${i}`) === i, `opening ${i}: batches are missing`)
      yield* storage.write(batch)
      yield* close
    }
    const storage = yield* world.open([...MAPS, "c"])
    claim(history.in(storage, "in the end") === history.batches.length, "batches are missing in the end")
    claim(storage.scan("c", {}).length === 0, "a map that is declared later has entries")
  }),
)

const closed: StorageLaw = law("after closing every call says that the handle is dead", (world) =>
  Effect.gen(function* () {
    const { storage, close } = yield* openIn(world)
    yield* storage.write([put("a", bytes(1), bytes(1))])
    claim(storage.get("a", bytes(1)) !== undefined, "the write is not there")
    yield* close
    yield* claimDead(storage, world.spare, "after closing")
  }),
)

const forkWrites = (storage: StorageShape, batches: ReadonlyArray<ReadonlyArray<Change>>) =>
  Effect.forEach(batches, (batch) => Effect.forkChild(storage.write(batch), { startImmediately: true }))

const closing: StorageLaw = law(
  "closing waits for what was asked for before it, and refuses what comes after",
  (world) =>
    Effect.gen(function* () {
      const history = historyOf(6)
      const { storage, close } = yield* openIn(world)
      const writes = yield* forkWrites(storage, history.batches)
      const backup = yield* Effect.forkChild(storage.backup(world.spare), { startImmediately: true })
      const prefetch = yield* Effect.forkChild(storage.prefetch("a", [bytes(1)]), { startImmediately: true })
      const ending = yield* Effect.forkChild(close, { startImmediately: true })
      yield* claimDead(storage, world.spare, "while closing")
      yield* Fiber.join(ending)
      const again = yield* world.open(MAPS)
      claim(history.in(again, "opened again") === history.batches.length, "closing ended before a write had")
      for (const [i, fiber] of [...writes, backup].entries()) {
        claim(Exit.isSuccess(yield* Fiber.await(fiber)), `call ${i}, made before closing, failed`)
      }
      yield* Fiber.await(prefetch)
      history.in(yield* world.openSpare(MAPS), "the backup")
    }),
)

const backup: StorageLaw = law("a backup is a consistent copy of its own, into an empty directory only", (world) =>
  Effect.gen(function* () {
    const history = historyOf(12)
    const { storage, close } = yield* openIn(world)
    const [before, during] = [history.batches.slice(0, 6), history.batches.slice(6)]
    for (const batch of before) yield* storage.write(batch)
    const writes = yield* forkWrites(storage, during)
    yield* turns(world, 2)
    yield* storage.backup(world.spare)
    yield* Effect.forEach(writes, Fiber.join)
    const copied = yield* Effect.scoped(Effect.map(world.openSpare(MAPS), (copy) => history.in(copy, "the backup")))
    claim(copied >= before.length, `the backup has ${copied} batches of ${before.length}`)
    yield* claimFails(storage.backup(world.spare), "StorageBackupFailed", "a second backup")
    claim(history.in(storage, "after backups") === history.batches.length, "a backup changed the environment")
    yield* storage.write([put("a", bytes(77), bytes(1))])
    yield* close
    const copy = yield* world.openSpare(MAPS)
    claim(history.in(copy, "the backup, later") === copied, "the backup changed with its original")
  }),
)

const figures: StorageLaw = law("info tells sizes, and prefetch changes nothing", (world) =>
  Effect.gen(function* () {
    const storage = yield* world.open(MAPS)
    const rows = Array.from({ length: 300 }, (_, i) => put("a", bytes(i >> 8, i & 255), new Uint8Array(4000).fill(i)))
    yield* storage.write(rows)
    const { bytesUsed, bytesFree } = storage.info()
    claim(bytesUsed >= 300 * 4000, `${bytesUsed} bytes used`)
    claim(bytesFree === undefined || bytesFree >= 0, `${bytesFree} bytes free`)
    const before = contents(storage)
    const absent = Array.from({ length: 10_000 }, (_, i) => bytes(9, i >> 8, i & 255))
    yield* storage.prefetch("a", [])
    yield* storage.prefetch("a", [...rows.map(({ key }) => key), ...absent])
    yield* storage.prefetch("b", [bytes(1)])
    const unwanted = yield* Effect.forkChild(storage.prefetch("a", absent), { startImmediately: true })
    yield* Fiber.interrupt(unwanted)
    claim(contents(storage) === before, "a prefetch changed the environment")
  }),
)

/** Laws of a handle's life. */
export const lifeLaws: ReadonlyArray<StorageLaw> = [reopened, closed, closing, backup, figures]
