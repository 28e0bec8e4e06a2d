/** Worlds of the storage implementations, for the laws of the port. */
import { mkdirSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { chanceOf, type StorageSubject, type StorageWorld } from "@coppice/laws"
import { Effect, type Scope } from "effect"
import { type Fault, faultAt, type MemoryDiskOptions, makeMemoryDisk } from "../../src/index.ts"
import { openLmdb } from "../../src/lmdb.ts"

/** A temporary directory that is gone when its scope closes. */
export const temporaryDirectory: Effect.Effect<string, never, Scope.Scope> = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "coppice-storage-"))),
  (directory) => Effect.sync(() => rmSync(directory, { recursive: true, force: true })),
)

/** One environment on a memory disk, and a second one for its backup. */
export const memoryWorld = (seed: number, options: Partial<MemoryDiskOptions> = {}): StorageWorld => {
  const disk = makeMemoryDisk({ chance: chanceOf(seed), ...options })
  return {
    open: (maps) => disk.open("main", maps),
    spare: "spare",
    openSpare: (maps) => disk.open("spare", maps),
    turn: options.delayMs === undefined ? Effect.yieldNow : Effect.sleep(1),
    use: (power) => {
      if (power === "power loss") disk.crash()
      else disk.faults = faultAt(1, power)
    },
  }
}

/** Memory storage as the laws take it: without faults, or faulty. */
export const memorySubject = (
  faults: ReadonlyArray<Fault>,
  options: (seed: number) => Partial<MemoryDiskOptions> = () => ({}),
): StorageSubject => ({
  make: (seed) => Effect.sync(() => memoryWorld(seed, options(seed))),
  powers: ["power loss", ...faults],
  seeds: 60,
})

/** An environment of LMDB in a temporary directory. */
export const lmdbWorld = (options: { readonly mapBytes?: number } = {}) =>
  Effect.map(temporaryDirectory, (directory): StorageWorld => {
    const spare = join(directory, "spare")
    mkdirSync(spare)
    return {
      open: (maps) => openLmdb({ directory: join(directory, "main"), maps, ...options }),
      spare,
      openSpare: (maps) => openLmdb({ directory: spare, maps }),
      turn: Effect.yieldNow,
      use: (power) => {
        throw new Error(`LMDB cannot make this happen: ${power}`)
      },
    }
  })
