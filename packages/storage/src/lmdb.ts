/**
 * Storage on LMDB.
 *
 *   write --> plan --> queue --> one batch --> writer thread: commit, fdatasync --> visible --> settled --> next
 *                                                      \-> failed: handle dead, whatever waits fails
 *
 * Terms: a *handle* is an open environment; a failed write makes it *dead*.
 *
 * Invariant: one kind of write call (`batch`), one at a time, and nothing inside it can throw: lmdb-js commits the first
 * half of a callback that does. All puts of a batch are in the writer's hands before the writer starts. With
 * `overlappingSync: false` a commit is visible only once it is durable (docs/adr/0003-lmdb-durability.md).
 */
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statfsSync,
  statSync,
} from "node:fs"
import { constants } from "node:os"
import { dirname, join } from "node:path"
import { Effect, Layer, type Scope } from "effect"
import { type Database, open, type RootDatabase } from "lmdb"
import {
  StorageBackupFailed,
  StorageDead,
  type StorageError,
  StorageLimitExceeded,
  StorageOpenFailed,
  StorageReadFailed,
  StorageWriteFailed,
} from "./errors.ts"
import { arenaOf } from "./internal/arena.ts"
import { DATA_FILE, requireLmdbFiles } from "./internal/lmdb-files.ts"
import { firstOver, type Plan, planOf, rangeOf, requireKey, requireMap, withOwnKeys } from "./internal/plan.ts"
import { CLOSE_MS_MAX, MAP_BYTES_START, MAPS_MAX, PREFETCH_KEYS_PER_JOB, WRITES_PENDING_MAX } from "./limits.ts"
import {
  type Change,
  type Entry,
  type MapName,
  type ScanRange,
  Storage,
  type StorageInfo,
  type StorageShape,
} from "./storage.ts"

/** Where an environment is and what it holds. */
export interface LmdbOptions {
  /** Directory of its files, created when missing. */
  readonly directory: string
  readonly maps: ReadonlyArray<MapName>
  /** Address space reserved at first; it grows. */
  readonly mapBytes?: number
  /**
   * Whether it is scratch: the directory, and all that is in it, is removed before it is opened and after it is closed, and
   * what is written counts as durable without reaching the disk. For what a restart does not miss.
   */
  readonly scratch?: boolean
}

type Root = RootDatabase<Uint8Array, Uint8Array>
type Table = Database<Uint8Array, Uint8Array>
type Resume = (result: Effect.Effect<void, StorageError>) => void

const BINARY = { encoding: "binary", keyEncoding: "binary" } as const

// With these two lmdb-js hands a batch to the writer when its callback has returned, and neither sooner nor together with
// another. Its default starts the writer at a thousand puts, and blocks the event loop above 300,000.
const WHOLE_BATCHES = { eventTurnBatching: false, batchStartThreshold: Number.MAX_SAFE_INTEGER }

const { ENOSPC, EDQUOT, EFBIG } = constants.errno
const DISK_FULL_CODES = new Set<unknown>([ENOSPC, EDQUOT, EFBIG])

/** Room beside the bytes of a batch below which a failed write counts as a full disk: pages that LMDB copies. */
const ROOM_BYTES_MARGIN = 1 << 20

/** Most bytes that a file of this process may have, where the system tells. */
const fileBytesMax = (): number => {
  try {
    const soft = /^Max file size\s+(\S+)/m.exec(readFileSync("/proc/self/limits", "utf8"))?.[1]
    return soft === undefined || soft === "unlimited" ? Number.POSITIVE_INFINITY : Number(soft)
  } catch {
    return Number.POSITIVE_INFINITY
  }
}

/**
 * The error behind lmdb-js's "Commit failed". Handling its own promise here keeps it from counting as unhandled. That
 * promise is rejected in the same turn as the commit's, or never: it is not waited for beyond the turn.
 */
const commitCause = (error: unknown): Promise<unknown> => {
  const { commitError } = error as { readonly commitError?: Promise<unknown> }
  if (commitError === undefined) return Promise.resolve(error)
  return Promise.race([commitError.catch((cause: unknown) => cause), Promise.resolve().then(() => error)])
}

/** Makes the entries of a directory durable. Systems that cannot open a directory need no telling. */
const syncDirectory = (directory: string): void => {
  if (process.platform === "win32") return
  const file = openSync(directory, "r")
  try {
    fsyncSync(file)
  } finally {
    closeSync(file)
  }
}

const syncFile = (path: string): void => {
  const file = openSync(path, "r+")
  try {
    fsyncSync(file)
  } finally {
    closeSync(file)
  }
}

/** An array of the caller's own, and a plain one: `slice` of a Buffer would be a view. */
const plain = (bytes: Uint8Array): Uint8Array => new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length)

const openTables = (root: Root, maps: ReadonlyArray<MapName>): ReadonlyMap<MapName, Table> => {
  try {
    return new Map(maps.map((name) => [name, root.openDB<Uint8Array, Uint8Array>({ name, ...BINARY })]))
  } catch (cause) {
    root.close().catch(() => undefined)
    throw cause
  }
}

class Handle {
  private readonly directory: string
  private readonly root: Root
  private readonly tables: ReadonlyMap<MapName, Table>
  private readonly names: ReadonlySet<MapName>
  private readonly waiting: Array<{ readonly plan: Plan; readonly resume: Resume }> = []
  private writing = false
  private failed = false
  private dead: StorageDead | undefined
  /** Native work under way: the write, prefetches, backups. Closing before it ends can kill the process. */
  private active = 0
  private idle: (() => void) | undefined
  /** The buffer that lmdb-js reads into, as a plain array. */
  private window = new Uint8Array(0)

  constructor({ directory, maps, mapBytes = MAP_BYTES_START, scratch = false }: LmdbOptions) {
    if (scratch) rmSync(directory, { recursive: true, force: true })
    mkdirSync(directory, { recursive: true })
    requireLmdbFiles(directory)
    this.directory = directory
    this.names = new Set(maps)
    this.root = open<Uint8Array, Uint8Array>({
      path: directory,
      noSubdir: false,
      ...BINARY,
      ...WHOLE_BATCHES,
      overlappingSync: false,
      noSync: scratch,
      maxDbs: MAPS_MAX,
      mapSize: mapBytes,
    })
    this.tables = openTables(this.root, maps)
    syncDirectory(directory)
    syncDirectory(dirname(directory))
  }

  private die(cause: unknown): StorageDead {
    this.dead ??= new StorageDead({ environment: this.directory, cause })
    return this.dead
  }

  private enter(): void {
    this.active += 1
  }

  private leave(): void {
    this.active -= 1
    if (this.active === 0) this.idle?.()
  }

  private table(name: MapName): Table {
    if (this.dead !== undefined) throw this.dead
    const table = this.tables.get(name)
    if (table === undefined) requireMap(this.names, name)
    return table!
  }

  private read<A>(use: () => A): A {
    try {
      return use()
    } catch (cause) {
      throw new StorageReadFailed({ environment: this.directory, cause })
    }
  }

  readonly get = (name: MapName, key: Uint8Array): Uint8Array | undefined => {
    const table = this.table(name)
    requireKey(key)
    // lmdb-js copies into one buffer of 16 MiB whose `length` it sets. Slicing a plain view of that buffer is as fast as
    // its own `getBinary` (4.0 us for 4,080 bytes, half of it the new array), and gives a plain array.
    const bytes = this.read(() => table.getBinaryFast(key))
    if (bytes === undefined) return undefined
    const { buffer, byteOffset, byteLength } = bytes
    const { window } = this
    if (window.buffer !== buffer || window.byteOffset !== byteOffset || window.byteLength !== byteLength) {
      this.window = new Uint8Array(buffer as ArrayBuffer, byteOffset, byteLength)
    }
    return this.window.slice(0, bytes.length)
  }

  readonly getInto = (name: MapName, key: Uint8Array, target: Uint8Array): number => {
    const table = this.table(name)
    requireKey(key)
    try {
      const bytes = table.getBinaryFast(key)
      if (bytes === undefined) return -1
      const { length } = bytes
      // A native copy costs more than the few bytes of an index entry do.
      if (length <= 16 && length <= target.length) for (let i = 0; i < length; i++) target[i] = bytes[i]!
      else bytes.copy(target, 0, 0, Math.min(length, target.length))
      return length
    } catch (cause) {
      throw new StorageReadFailed({ environment: this.directory, cause })
    }
  }

  readonly scan = (name: MapName, wanted: ScanRange): ReadonlyArray<Entry> => {
    const table = this.table(name)
    const range = rangeOf(wanted)
    if (range === undefined) return []
    // Without its own `end` lmdb-js ends a reverse range before the key 00.
    const bounds = { start: undefined, end: undefined, ...range } as ScanRange
    return this.read(() =>
      Array.from(table.getRange(bounds), ({ key, value }) => ({ key: plain(key), value: plain(value) })),
    )
  }

  /** The plan of a batch, or why it cannot be written now. */
  readonly plan = (changes: ReadonlyArray<Change>): Plan | StorageError => {
    if (this.dead !== undefined) return this.dead
    if (this.waiting.length >= WRITES_PENDING_MAX) {
      const [limit, actual, allowed] = ["WRITES_PENDING_MAX" as const, this.waiting.length + 1, WRITES_PENDING_MAX]
      return new StorageLimitExceeded({ limit, actual, allowed })
    }
    return planOf(this.names, changes)
  }

  readonly submit = (plan: Plan, resume: Resume): void => {
    if (this.dead !== undefined) {
      resume(Effect.fail(this.dead))
      return
    }
    // lmdb-js copies keys when it is given them, at once where no other write is under way.
    this.waiting.push({ plan: this.writing ? withOwnKeys(plan) : plan, resume })
    if (!this.writing) this.next()
  }

  private next(): void {
    const job = this.waiting.shift()
    this.writing = job !== undefined
    if (job === undefined) return
    this.enter()
    this.commit(job.plan).then(
      () => {
        job.resume(Effect.void)
        this.next()
        this.leave()
      },
      async (error: unknown) => {
        this.failed = true
        const dead = this.die(error)
        const cause = await commitCause(error)
        const reason = this.reasonOf(cause, job.plan.bytes)
        job.resume(Effect.fail(new StorageWriteFailed({ environment: this.directory, reason, cause })))
        for (const { resume } of this.waiting.splice(0)) resume(Effect.fail(dead))
        this.leave()
      },
    )
  }

  /** Gives a batch to the writer thread in one go: everything was checked, so that no put can throw. */
  private async commit({ maps, keys, values }: Plan): Promise<void> {
    const stores = maps.map((name) => this.tables.get(name)!)
    const bytes = arenaOf(values)
    await this.root.batch(() => {
      for (let i = 0; i < stores.length; i++) {
        const value = bytes[i]
        if (value === undefined) stores[i]!.remove(keys[i]!)
        else stores[i]!.put(keys[i]!, value)
      }
    })
  }

  /** LMDB reports a short write as an I/O error, so the room that is left decides. */
  private reasonOf(cause: unknown, bytes: number): "disk full" | "io" {
    if (DISK_FULL_CODES.has((cause as { readonly code?: unknown } | undefined)?.code)) return "disk full"
    try {
      const { bytesUsed, bytesFree } = this.measure()
      const needed = bytes + ROOM_BYTES_MARGIN
      return bytesFree < needed || bytesUsed + needed > fileBytesMax() ? "disk full" : "io"
    } catch {
      return "io"
    }
  }

  private measure(): { readonly bytesUsed: number; readonly bytesFree: number } {
    const { bavail, bsize } = statfsSync(this.directory)
    return { bytesUsed: statSync(join(this.directory, DATA_FILE)).size, bytesFree: bavail * bsize }
  }

  readonly info = (): StorageInfo => {
    if (this.dead !== undefined) throw this.dead
    return this.read(() => this.measure())
  }

  /** Work beside the writes, counted so that closing waits for it. */
  readonly beside = (
    work: () => Promise<void>,
    failure: (cause: unknown) => StorageError,
  ): Effect.Effect<void, StorageError> => {
    if (this.dead !== undefined) return Effect.fail(this.dead)
    const counted = async (): Promise<void> => {
      this.enter()
      try {
        await work()
      } finally {
        this.leave()
      }
    }
    return Effect.tryPromise({ try: counted, catch: failure })
  }

  readonly prefetch = async (name: MapName, keys: ReadonlyArray<Uint8Array>): Promise<void> => {
    const table = this.tables.get(name)!
    for (let at = 0; at < keys.length && this.dead === undefined; at += PREFETCH_KEYS_PER_JOB) {
      await table.prefetch(keys.slice(at, at + PREFETCH_KEYS_PER_JOB))
    }
  }

  readonly checkPrefetch = (name: MapName, keys: ReadonlyArray<Uint8Array>): StorageLimitExceeded | undefined => {
    requireMap(this.names, name)
    return firstOver(keys)
  }

  readonly backup = async (directory: string): Promise<void> => {
    const [found] = readdirSync(directory)
    if (found !== undefined) throw new Error(`the directory is not empty: it holds ${found}`)
    await this.root.backup(directory, false)
    syncFile(join(directory, DATA_FILE))
    syncDirectory(directory)
  }

  /** From now on every call fails; resumes when what was under way or queued has ended. */
  readonly stop = (resume: (result: Effect.Effect<void>) => void): void => {
    this.die("closed")
    if (this.active === 0) resume(Effect.void)
    else this.idle = () => resume(Effect.void)
  }

  /** Closes the environment. After a failed write lmdb-js gives no promise that this ends, so it is waited for a while. */
  get close(): Effect.Effect<void> {
    const closed = Effect.promise(() => this.root.close())
    if (!this.failed) return closed
    return Effect.asVoid(Effect.timeoutOption(Effect.interruptible(closed), CLOSE_MS_MAX))
  }
}

const shapeOf = (handle: Handle, directory: string): StorageShape => ({
  get: handle.get,
  getInto: handle.getInto,
  scan: handle.scan,
  info: handle.info,
  prefetch: (map, keys) =>
    Effect.suspend(() => {
      const over = handle.checkPrefetch(map, keys)
      if (over !== undefined) return Effect.fail(over)
      const failure = (cause: unknown) => new StorageReadFailed({ environment: directory, cause })
      return handle.beside(() => handle.prefetch(map, keys), failure)
    }),
  write: (changes) =>
    Effect.suspend((): Effect.Effect<void, StorageError> => {
      const plan = handle.plan(changes)
      if (plan instanceof Error) return Effect.fail(plan)
      return Effect.callback<void, StorageError>((resume) => handle.submit(plan, resume))
    }).pipe(Effect.uninterruptible),
  backup: (target) =>
    Effect.suspend(() => {
      const failure = (cause: unknown) => new StorageBackupFailed({ environment: directory, directory: target, cause })
      return handle.beside(() => handle.backup(target), failure)
    }).pipe(Effect.uninterruptible),
})

/**
 * Opens an environment; the scope closes it, after the writes, prefetches and backups that were asked for before.
 *
 * Errors: `StorageOpenFailed`, `StorageLimitExceeded` for too many maps.
 */
export const openLmdb = (options: LmdbOptions): Effect.Effect<StorageShape, StorageError, Scope.Scope> =>
  Effect.gen(function* () {
    const { directory, maps, scratch = false } = options
    const remove = Effect.sync(() => rmSync(directory, { recursive: true, force: true }))
    if (maps.length > MAPS_MAX) {
      return yield* new StorageLimitExceeded({ limit: "MAPS_MAX", actual: maps.length, allowed: MAPS_MAX })
    }
    const handle = yield* Effect.acquireRelease(
      Effect.try({
        try: () => new Handle(options),
        catch: (cause) => new StorageOpenFailed({ environment: directory, cause }),
      }),
      (opened) =>
        Effect.andThen(
          Effect.callback<void>(opened.stop),
          Effect.andThen(
            Effect.suspend(() => opened.close),
            scratch ? remove : Effect.void,
          ),
        ),
    )
    return shapeOf(handle, directory)
  })

/** The storage service on LMDB. */
export const layerLmdb = (options: LmdbOptions): Layer.Layer<Storage, StorageError> =>
  Layer.effect(Storage, openLmdb(options))
