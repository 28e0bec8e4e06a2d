/**
 * Worlds for testing the laws themselves: a sound one in memory, and canaries made from it.
 *
 * Terms: a *canary* is a world that breaks one promise of the port in a way that somebody could write by mistake.
 */
import {
  type Change,
  FAULTS,
  faultAt,
  makeMemoryDisk,
  type StorageError,
  type StorageShape,
  StorageWriteFailed,
} from "@coppice/storage"
import { Effect } from "effect"
import { chanceOf, type StorageSubject, type StorageWorld } from "../../src/index.ts"

/** One environment on a memory disk, and a second one for its backup. */
const soundWorld = (seed: number): StorageWorld => {
  const disk = makeMemoryDisk({ chance: chanceOf(seed) })
  return {
    open: (maps) => disk.open("main", maps),
    spare: "spare",
    openSpare: (maps) => disk.open("spare", maps),
    turn: Effect.yieldNow,
    use: (power) => {
      if (power === "power loss") disk.crash()
      else disk.faults = faultAt(1, power)
    },
  }
}

const subject = (make: (seed: number) => StorageWorld): StorageSubject => ({
  make: (seed) => Effect.sync(() => make(seed)),
  powers: ["power loss", ...FAULTS],
  seeds: 40,
})

/** Storage that keeps every law. */
export const sound = subject(soundWorld)

type Break = (storage: StorageShape, world: StorageWorld) => Partial<StorageShape>

/** The sound world with some calls of its handles replaced. */
export const handles = (broken: Break): StorageSubject =>
  subject((seed) => {
    const world = soundWorld(seed)
    return {
      ...world,
      open: (maps) => Effect.map(world.open(maps), (storage) => ({ ...storage, ...broken(storage, world) })),
    }
  })

/** The sound world with parts of it replaced. */
export const worlds = (broken: (world: StorageWorld) => Partial<StorageWorld>): StorageSubject =>
  subject((seed) => {
    const world = soundWorld(seed)
    return { ...world, ...broken(world) }
  })

/** Handles whose batches are passed on changed. */
export const rewriting = (change: (changes: ReadonlyArray<Change>) => ReadonlyArray<Change>): StorageSubject =>
  handles((storage) => ({ write: (changes) => Effect.suspend(() => storage.write(change(changes))) }))

/** A failed write that does to the disk what `left` says, and does not kill the handle. */
export const surviving = (left: (changes: ReadonlyArray<Change>) => ReadonlyArray<Change>): StorageSubject => {
  return subject((seed) => {
    const world = soundWorld(seed)
    let failure: "io" | "disk full" | undefined
    const write =
      (storage: StorageShape): StorageShape["write"] =>
      (changes) =>
        Effect.suspend((): Effect.Effect<void, StorageError> => {
          const reason = failure
          failure = undefined
          if (reason === undefined) return storage.write(changes)
          const error = new StorageWriteFailed({ environment: "canary", reason, cause: "canary" })
          return Effect.andThen(storage.write(left(changes)), Effect.fail(error))
        })
    return {
      ...world,
      open: (maps) => Effect.map(world.open(maps), (storage) => ({ ...storage, write: write(storage) })),
      use: (power) => {
        if (power === "io" || power === "disk full") failure = power
        else world.use(power)
      },
    }
  })
}
