/** Laws of faults: what a failed call and power loss may leave behind. */
import { type StorageError, type StorageShape, type StorageWriteFailed, VALUE_BYTES_MAX } from "@coppice/storage"
import { Effect, Exit, Fiber } from "effect"
import { chanceOf, claim, law, seededLaw } from "../law.ts"
import {
  bytes,
  claimDead,
  claimFails,
  contents,
  historyOf,
  MAPS,
  put,
  type StorageLaw,
  type StoragePower,
  type StorageWorld,
  shown,
  turns,
} from "./world.ts"

/** Bytes that the failing write of the disk-full law asks for: a world that fills up for real has less room than this. */
export const DISK_FULL_BYTES = 2 * VALUE_BYTES_MAX

/** A write of two values fails, others wait behind it: what they end with, and what is there afterwards. */
const failedWrite = Effect.fnUntraced(function* (
  world: StorageWorld,
  reason: StorageWriteFailed["reason"],
  bytesEach: number,
  at: string,
) {
  const history = historyOf(3)
  const survivors = yield* Effect.scoped(
    Effect.gen(function* () {
      const storage = yield* world.open(MAPS)
      for (const batch of history.batches) yield* storage.write(batch)
      world.use(reason)
      const fill = [1, 2].map((n) => put("a", bytes(100, n), new Uint8Array(bytesEach).fill(n)))
      const failing = yield* Effect.forkChild(storage.write(fill), { startImmediately: true })
      const behind = yield* Effect.forEach([1, 2], (n) =>
        Effect.forkChild(storage.write([put("b", bytes(100, n), bytes(n))]), { startImmediately: true }),
      )
      const error = yield* claimFails(Fiber.join(failing), "StorageWriteFailed", `${at}: the write`)
      const found = (error as StorageWriteFailed).reason
      claim(found === reason, `${at}: the write failed by ${found}`)
      for (const fiber of behind) yield* claimFails(Fiber.join(fiber), "StorageDead", `${at}: a write behind it`)
      yield* claimDead(storage, world.spare, `${at}, after the failed write`)
      return fill
    }),
  )
  const storage = yield* world.open(MAPS)
  const left = survivors.filter(({ key }) => storage.get("a", key) !== undefined).length
  claim(left === 0 || left === survivors.length, `${at}: the failed write left ${left} of its rows`)
  claim(storage.scan("b", { start: bytes(100) }).length === 0, `${at}: a write that was never made is there`)
  yield* storage.write(survivors.map(({ map, key }) => ({ tag: "remove" as const, map, key })))
  claim(history.in(storage, at) === history.batches.length, `${at}: a write that succeeded is missing`)
  return left > 0
})

const io: StorageLaw = seededLaw<StorageWorld, StoragePower>(
  "an I/O error fails its write, kills the handle and loses nothing that had succeeded",
  () => ({ body: (world, seed) => failedWrite(world, "io", 1_000, `seed ${seed}`) }),
  ["io"],
)

const diskFull: StorageLaw = law<StorageWorld, StoragePower>(
  "a full disk fails its write, kills the handle and loses nothing that had succeeded",
  (world) =>
    Effect.map(failedWrite(world, "disk full", DISK_FULL_BYTES / 2, "disk full"), (kept) =>
      claim(!kept, "a write that did not fit is there"),
    ),
  ["disk full"],
)

const powerLoss: StorageLaw = seededLaw<
  StorageWorld,
  StoragePower
>("power loss keeps every write that succeeded, and leaves a prefix of whole batches", () => {
  const seen = { ahead: 0, cut: 0 }
  return {
    body: (world, seed) =>
      Effect.gen(function* () {
        const chance = chanceOf(seed)
        const history = historyOf(8)
        let settled = 0
        const storage = yield* world.open(MAPS)
        const writing = yield* Effect.forkChild(
          Effect.forEach(history.batches, (batch) =>
            Effect.tap(storage.write(batch), () => Effect.sync(() => settled++)),
          ),
          { startImmediately: true },
        )
        yield* turns(world, Math.floor(chance() * 40))
        const acknowledged = settled
        world.use("power loss")
        yield* claimDead(storage, world.spare, `seed ${seed}, after power loss`)
        yield* Fiber.await(writing)
        claim(settled === acknowledged, `seed ${seed}: a write succeeded after power loss`)
        const found = history.in(yield* world.open(MAPS), `seed ${seed}, after power loss`)
        claim(found >= acknowledged, `seed ${seed}: ${acknowledged} writes had succeeded, ${found} are there`)
        claim(found <= acknowledged + 1, `seed ${seed}: ${found} are there, ${acknowledged + 1} were started`)
        if (found > acknowledged) seen.ahead += 1
        else if (acknowledged < history.batches.length) seen.cut += 1
      }),
    ended: () => {
      claim(seen.ahead > 0, "no power loss kept a write that had not succeeded: the law shows half")
      claim(seen.cut > 0, "no power loss cut a write: the law shows half")
    },
  }
}, ["power loss"])

const powerLossOfReaders: StorageLaw = seededLaw<StorageWorld, StoragePower>(
  "after power loss reads show what survived, and writing goes on from there",
  () => ({
    body: (world, seed) =>
      Effect.gen(function* () {
        const chance = chanceOf(seed)
        const history = historyOf(12)
        let done = 0
        for (let life = 0; done < history.batches.length; life++) {
          const at = `seed ${seed}, life ${life}`
          const storage = yield* world.open(MAPS)
          done = history.in(storage, at)
          const [first, second] = history.batches.slice(done)
          if (first === undefined) break
          const writes = yield* Effect.forEach(second === undefined ? [first] : [first, second], (batch) =>
            Effect.forkChild(storage.write(batch), { startImmediately: true }),
          )
          yield* turns(world, Math.floor(chance() * 12))
          world.use("power loss")
          for (const exit of yield* Effect.forEach(writes, Fiber.await)) if (Exit.isSuccess(exit)) done += 1
          const again = yield* world.open(MAPS)
          const found = history.in(again, at)
          claim(found >= done, `${at}: ${done} had succeeded, ${found} are there`)
        }
      }),
  }),
  ["power loss"],
)

/** Power is lost at one moment of a write: what the write may answer, and whether it must, may or must not be there. */
const MOMENTS = [
  { fault: "crash before", answers: false, kept: [false] },
  { fault: "crash visible", answers: false, kept: [false, true] },
  { fault: "crash durable", answers: false, kept: [true] },
  { fault: "crash after", answers: true, kept: [true] },
] as const

const powerLossInWrite: StorageLaw = seededLaw<
  StorageWorld,
  StoragePower
>("a write that power is lost in is there whole or not at all, and is there once it was durable", () => {
  const seen = new Set<string>()
  return {
    body: (world, seed) =>
      Effect.gen(function* () {
        const { fault, answers, kept } = MOMENTS[seed % MOMENTS.length]!
        const at = `seed ${seed}, ${fault}`
        const history = historyOf(4)
        const last = history.batches.length - 1
        const storage = yield* world.open(MAPS)
        for (const batch of history.batches.slice(0, last)) yield* storage.write(batch)
        world.use(fault)
        const exit = yield* Effect.exit(storage.write(history.batches[last]!))
        claim(Exit.isSuccess(exit) === answers, `${at}: the write ${answers ? "failed" : "succeeded"}`)
        yield* claimDead(storage, world.spare, at)
        const found = history.in(yield* world.open(MAPS), at) > last
        claim((kept as ReadonlyArray<boolean>).includes(found), `${at}: the write is ${found ? "there" : "gone"}`)
        seen.add(`${fault}: ${found}`)
      }),
    ended: () => claim(seen.size === 5, `of five outcomes only these were seen: ${[...seen].join(", ")}`),
  }
}, ["crash before", "crash visible", "crash durable", "crash after"])

/** The calls that read: each fails when it returns something else than what was written. */
const readsOf = (storage: StorageShape): Readonly<Record<string, Effect.Effect<void, StorageError>>> => {
  const [key, target] = [bytes(1), bytes(0)]
  const sync = (name: string, isRight: () => boolean) =>
    Effect.try({ try: () => claim(isRight(), `${name} gives something else`), catch: (error) => error as StorageError })
  return {
    get: sync("get", () => storage.get("a", key)?.join() === "7"),
    getInto: sync("getInto", () => storage.getInto("a", key, target) === 1 && target[0] === 7),
    scan: sync("scan", () => shown(storage.scan("a", {})) === "01=07"),
    info: sync("info", () => storage.info().bytesUsed > 0),
    prefetch: storage.prefetch("a", [key]),
  }
}

const failedRead: StorageLaw = law<StorageWorld, StoragePower>(
  "a read that fails says so, and the handle lives on",
  (world) =>
    Effect.gen(function* () {
      const storage = yield* world.open(MAPS)
      yield* storage.write([put("a", bytes(1), bytes(7))])
      for (const [name, read] of Object.entries(readsOf(storage))) {
        world.use("io")
        yield* claimFails(read, "StorageReadFailed", name)
        for (const [other, again] of Object.entries(readsOf(storage))) {
          claim(Exit.isSuccess(yield* Effect.exit(again)), `${other} fails after a ${name} that failed`)
        }
        yield* storage.write([put("b", bytes(1), bytes(1))])
      }
    }),
  ["io"],
)

const powerLossInRead: StorageLaw = law<StorageWorld, StoragePower>(
  "a read that power is lost in says that the handle is dead, and what was written is there",
  (world) =>
    Effect.gen(function* () {
      for (const name of ["get", "getInto", "scan", "info", "prefetch"]) {
        for (const fault of ["crash before", "crash after"] as const) {
          const storage = yield* world.open(MAPS)
          yield* storage.write([put("a", bytes(1), bytes(7))])
          const read = readsOf(storage)[name]!
          world.use(fault)
          if (fault === "crash before") yield* claimFails(read, "StorageDead", `${name}, ${fault}`)
          else claim(Exit.isSuccess(yield* Effect.exit(read)), `${name} fails although power was lost after it`)
          yield* claimDead(storage, world.spare, `after ${name}, ${fault}`)
        }
      }
    }),
  ["crash before", "crash after"],
)

const failedBackup: StorageLaw = law<StorageWorld, StoragePower>(
  "a backup that fails says so, and the environment goes on",
  (world) =>
    Effect.gen(function* () {
      const history = historyOf(4)
      const storage = yield* world.open(MAPS)
      for (const batch of history.batches.slice(1)) yield* storage.write(batch)
      const before = contents(storage)
      world.use("io")
      yield* claimFails(storage.backup(world.spare), "StorageBackupFailed", "the backup")
      claim(contents(storage) === before, "a backup that failed changed the environment")
      yield* storage.write([put("a", bytes(77), bytes(1))])
      claim(storage.get("a", bytes(77)) !== undefined, "a write after it is not there")
    }),
  ["io"],
)

/** Laws of faults. */
export const faultLaws: ReadonlyArray<StorageLaw> = [
  io,
  diskFull,
  failedRead,
  failedBackup,
  powerLoss,
  powerLossInWrite,
  powerLossInRead,
  powerLossOfReaders,
]
