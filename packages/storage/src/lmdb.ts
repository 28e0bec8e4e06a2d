/**
 * Storage on LMDB.
 *
 *   write --> queue of one --> all puts in one event turn --> writer thread: commit, fdatasync --> visible --> settled
 *
 * Terms: a *handle* is an open environment; a failed write makes it *dead*.
 *
 * Invariant: one kind of write call (`batch`), one write at a time, and nothing can throw inside it: limits are checked
 * and all bytes exist before the first put, because lmdb-js commits the first half of a callback that throws. With
 * `overlappingSync: false` a commit is visible only once it is durable. No read transaction outlives its call.
 */
import { mkdirSync } from "node:fs"
import { statfs } from "node:fs/promises"
import { Effect, Layer, type Scope, Semaphore } from "effect"
import { type Database, open, type RootDatabase } from "lmdb"
import { checkBatch, requireMap } from "./checks.ts"
import {
  StorageDead,
  type StorageError,
  StorageLimitExceeded,
  StorageOpenFailed,
  StorageReadFailed,
  StorageWriteFailed,
} from "./errors.ts"
import { MAP_BYTES_START, MAPS_MAX } from "./limits.ts"
import { type Change, type Entry, type MapName, type ScanRange, Storage, type StorageShape } from "./storage.ts"

/** Where an environment is and what it holds. */
export interface LmdbOptions {
  /** Directory of its files, created when missing. */
  readonly directory: string
  readonly maps: ReadonlyArray<MapName>
  /** Address space reserved at first; it grows. */
  readonly mapBytes?: number
}

type Root = RootDatabase<Uint8Array, Uint8Array>
type Map_ = Database<Uint8Array, Uint8Array>

const BINARY = { encoding: "binary", keyEncoding: "binary" } as const

/** Volume free for a write below which a failed one counts as a full disk. */
const FREE_BYTES_MARGIN = 1 << 20

const DISK_FULL_CODES = new Set<unknown>([28, 122, "ENOSPC", "EDQUOT"])

/** The error behind lmdb-js's "Commit failed". Its own promise is settled here, so that it never counts as unhandled. */
const commitCause = async (error: unknown): Promise<unknown> => {
  const { commitError } = error as { readonly commitError?: Promise<unknown> }
  if (commitError === undefined) return error
  try {
    return (await commitError) ?? error
  } catch (cause) {
    return cause
  }
}

class Handle {
  readonly maps = new Map<MapName, Map_>()
  private dead: StorageDead | undefined
  private failed = false
  private readonly directory: string
  private readonly root: Root
  private readonly names: ReadonlySet<MapName>

  constructor(options: LmdbOptions) {
    const { directory, maps, mapBytes = MAP_BYTES_START } = options
    mkdirSync(directory, { recursive: true })
    this.directory = directory
    this.names = new Set(maps)
    this.root = open<Uint8Array, Uint8Array>({
      path: directory,
      noSubdir: false,
      ...BINARY,
      overlappingSync: false,
      maxDbs: MAPS_MAX,
      mapSize: mapBytes,
    })
    for (const name of maps) this.maps.set(name, this.root.openDB<Uint8Array, Uint8Array>({ name, ...BINARY }))
  }

  get death(): StorageDead | undefined {
    return this.dead
  }

  private die(cause: unknown): void {
    this.dead ??= new StorageDead({ environment: this.directory, cause })
  }

  private map(name: MapName): Map_ {
    if (this.dead !== undefined) throw this.dead
    requireMap(this.names, name)
    return this.maps.get(name)!
  }

  private read<A>(name: MapName, use: (map: Map_) => A): A {
    const map = this.map(name)
    try {
      return use(map)
    } catch (cause) {
      throw new StorageReadFailed({ environment: this.directory, cause })
    }
  }

  readonly get = (name: MapName, key: Uint8Array): Uint8Array | undefined =>
    this.read(name, (map) => map.getBinary(key))

  readonly scan = (name: MapName, range: ScanRange): ReadonlyArray<Entry> =>
    this.read(name, (map) => Array.from(map.getRange(rangeOptions(range)), ({ key, value }) => ({ key, value })))

  readonly prefetch = (name: MapName, keys: ReadonlyArray<Uint8Array>): Promise<void> =>
    this.map(name).prefetch([...keys])

  readonly check = (changes: ReadonlyArray<Change>): StorageLimitExceeded | undefined => checkBatch(this.names, changes)

  /** Settles when the batch is durable. Rejects with a typed error, and the handle is dead then. */
  readonly write = async (changes: ReadonlyArray<Change>): Promise<void> => {
    try {
      const done = this.root.batch(() => {
        for (const change of changes) {
          const map = this.maps.get(change.map)!
          if (change.tag === "put") map.put(change.key, change.value)
          else map.remove(change.key)
        }
      })
      await done
    } catch (error) {
      this.failed = true
      this.die(error)
      const cause = await commitCause(error)
      throw new StorageWriteFailed({ environment: this.directory, reason: await this.reason(cause), cause })
    }
  }

  private async reason(cause: unknown): Promise<"disk full" | "io"> {
    if (DISK_FULL_CODES.has((cause as { readonly code?: unknown } | undefined)?.code)) return "disk full"
    return (await this.freeBytes()) < FREE_BYTES_MARGIN ? "disk full" : "io"
  }

  private async freeBytes(): Promise<number> {
    try {
      const { bavail, bsize } = await statfs(this.directory)
      return bavail * bsize
    } catch {
      return Number.POSITIVE_INFINITY
    }
  }

  readonly backup = async (directory: string): Promise<void> => {
    mkdirSync(directory, { recursive: true })
    await this.root.backup(directory, false)
  }

  readonly bytesUsed = (): number => {
    const stats = this.root.getStats() as { readonly lastPageNumber?: number; readonly pageSize?: number }
    return ((stats.lastPageNumber ?? 0) + 1) * (stats.pageSize ?? 4096)
  }

  /** Closing after a failed write may never settle in lmdb-js, so it is not waited for then. */
  readonly close = async (): Promise<void> => {
    this.die("closed")
    const closed = this.root.close()
    if (this.failed) closed.catch(() => undefined)
    else await closed
  }
}

const rangeOptions = ({ start, end, reverse, limit }: ScanRange) => ({
  ...(start === undefined ? {} : { start }),
  ...(end === undefined ? {} : { end }),
  ...(reverse === undefined ? {} : { reverse }),
  ...(limit === undefined ? {} : { limit }),
})

/**
 * Opens an environment; the scope closes it, after writes and backups under way.
 *
 * Errors: `StorageOpenFailed`, `StorageLimitExceeded` for too many maps.
 */
export const openLmdb = (options: LmdbOptions): Effect.Effect<StorageShape, StorageError, Scope.Scope> =>
  Effect.gen(function* () {
    const { directory, maps } = options
    if (maps.length > MAPS_MAX) {
      return yield* new StorageLimitExceeded({ limit: "MAPS_MAX", actual: maps.length, allowed: MAPS_MAX })
    }
    const turn = yield* Semaphore.make(1)
    const handle = yield* Effect.acquireRelease(
      Effect.try({
        try: () => new Handle(options),
        catch: (cause) => new StorageOpenFailed({ environment: directory, cause }),
      }),
      (opened) => turn.withPermits(1)(Effect.promise(opened.close)),
    )
    return shapeOf(handle, turn, directory)
  })

const shapeOf = (handle: Handle, turn: Semaphore.Semaphore, directory: string): StorageShape => {
  const alive = Effect.suspend(() => (handle.death === undefined ? Effect.void : Effect.fail(handle.death)))
  return {
    get: handle.get,
    scan: handle.scan,
    prefetch: (map, keys) =>
      Effect.andThen(
        alive,
        Effect.tryPromise({
          try: () => handle.prefetch(map, keys),
          catch: (cause) => new StorageReadFailed({ environment: directory, cause }),
        }),
      ),
    write: (changes) =>
      Effect.suspend((): Effect.Effect<void, StorageError> => {
        const over = handle.check(changes)
        if (over !== undefined) return Effect.fail(over)
        const write = Effect.tryPromise({
          try: () => handle.write(changes),
          catch: (error) => error as StorageWriteFailed,
        })
        return Effect.uninterruptible(turn.withPermits(1)(Effect.andThen(alive, write)))
      }),
    backup: (target) =>
      Effect.uninterruptible(
        turn.withPermits(1)(
          Effect.andThen(
            alive,
            Effect.tryPromise({
              try: () => handle.backup(target),
              catch: (cause) => new StorageReadFailed({ environment: directory, cause }),
            }),
          ),
        ),
      ),
    info: () => ({ bytesUsed: handle.bytesUsed(), bytesFree: undefined }),
  }
}

/** The storage service on LMDB. */
export const layerLmdb = (options: LmdbOptions): Layer.Layer<Storage, StorageError> =>
  Layer.effect(Storage, openLmdb(options))
