/**
 * Storage in memory that loses what a disk would lose.
 *
 *   write --> visible --\
 *         \-> durable ---+--> settled            two orders, chosen by chance, each event a turn of its own
 *
 * Terms: a *disk* outlives the handles opened on it. *Crash* is power loss: every open handle is dead, and an environment
 * holds all that was durable and, of a write that was under way, everything or nothing.
 *
 * Invariant: a write that settled survives every crash. It runs on Effect's Clock and scheduler alone, so it can be part
 * of a deterministic simulation. It takes every liberty that the port leaves: values are copied at the last moment, and a
 * write that failed may have been seen, and may be there afterwards.
 */
import { Effect, Layer, type Scope } from "effect"
import { StorageBackupFailed, StorageDead, type StorageError, StorageLimitExceeded } from "./errors.ts"
import { Environment, type Owner, Write, type WriteEvent, type WriteFault } from "./internal/disk.ts"
import type { OrderedMap } from "./internal/ordered-map.ts"
import { firstOver, planOf, rangeOf, requireKey, requireMap, withOwnKeys } from "./internal/plan.ts"
import { MAPS_MAX, WRITES_PENDING_MAX } from "./limits.ts"
import { type Change, type Entry, type MapName, type ScanRange, Storage, type StorageShape } from "./storage.ts"

export type { WriteEvent, WriteFault } from "./internal/disk.ts"

/** How a disk behaves. */
export interface MemoryDiskOptions {
  /** Uniform in [0, 1); decides the order of *visible* and *durable*, and the fate of a write that a crash cuts. */
  readonly chance: () => number
  /** Virtual milliseconds before each of the events of a write; none when not given. */
  readonly delayMs?: () => number
  /** Who lets a write's events happen: the fiber that writes (default), or the disk's owner by `step`. */
  readonly drive?: "writer" | "owner"
}

/** A disk of named environments. */
export interface MemoryDisk {
  /** Opens an environment, empty the first time. Several maps may be declared later than others. */
  readonly open: (
    environment: string,
    maps: ReadonlyArray<MapName>,
  ) => Effect.Effect<StorageShape, StorageError, Scope.Scope>
  /** Lets the next event of the write under way happen; undefined when none is. For disks driven by their owner. */
  readonly step: (environment: string) => WriteEvent | undefined
  /** Power loss, for every environment. */
  readonly crash: () => void
  /**
   * Makes the n-th write from now (1 = the next) of an environment fail. Nothing of it is kept when the disk is full;
   * after an I/O error all of it or nothing, by chance, and it may have been visible before.
   */
  readonly failWrite: (environment: string, n: number, reason: WriteFault) => void
}

const wait = (write: Write, isReady: () => boolean): Effect.Effect<void> =>
  Effect.callback<void>((resume) => {
    if (isReady()) return resume(Effect.void)
    write.wake = () => {
      if (isReady()) resume(Effect.void)
    }
  })

/** One open environment. */
class Handle implements Owner {
  private dead: StorageDead | undefined
  private pending = 0
  private idle: (() => void) | undefined
  private readonly environment: Environment
  private readonly maps: ReadonlySet<MapName>
  private readonly options: MemoryDiskOptions
  private readonly incarnation: number

  constructor(environment: Environment, maps: ReadonlySet<MapName>, options: MemoryDiskOptions) {
    this.environment = environment
    this.maps = maps
    this.options = options
    this.incarnation = environment.incarnation
  }

  readonly die = (cause: unknown): StorageDead => {
    this.dead ??= new StorageDead({ environment: this.environment.name, cause })
    return this.dead
  }

  readonly done = (): void => {
    this.pending -= 1
    if (this.pending === 0) this.idle?.()
  }

  get death(): StorageDead | undefined {
    if (this.dead === undefined && this.incarnation !== this.environment.incarnation) return this.die("power loss")
    return this.dead
  }

  private readonly table = (map: MapName): OrderedMap => {
    const { death } = this
    if (death !== undefined) throw death
    requireMap(this.maps, map)
    return this.environment.table(map)
  }

  readonly get = (map: MapName, key: Uint8Array): Uint8Array | undefined => {
    const table = this.table(map)
    requireKey(key)
    return table.get(key)?.slice()
  }

  readonly getInto = (map: MapName, key: Uint8Array, target: Uint8Array): number => {
    const table = this.table(map)
    requireKey(key)
    const value = table.get(key)
    if (value === undefined) return -1
    target.set(value.length > target.length ? value.subarray(0, target.length) : value)
    return value.length
  }

  readonly scan = (map: MapName, wanted: ScanRange): ReadonlyArray<Entry> => {
    const table = this.table(map)
    const range = rangeOf(wanted)
    if (range === undefined) return []
    const { start, end, reverse, limit = Number.POSITIVE_INFINITY } = range
    const entries: Array<Entry> = []
    for (const [key, value] of reverse ? table.descending(start, end) : table.ascending(start, end)) {
      if (entries.push({ key: key.slice(), value: value.slice() }) >= limit) break
    }
    return entries
  }

  readonly info = () => {
    const { death } = this
    if (death !== undefined) throw death
    return { bytesUsed: this.environment.bytes, bytesFree: undefined }
  }

  private readonly pause = Effect.suspend(() => {
    const { delayMs } = this.options
    return delayMs === undefined ? Effect.yieldNow : Effect.sleep(delayMs())
  })

  readonly prefetch = (map: MapName, keys: ReadonlyArray<Uint8Array>): Effect.Effect<void, StorageError> =>
    Effect.suspend((): Effect.Effect<void, StorageError> => {
      const { death } = this
      if (death !== undefined) return Effect.fail(death)
      requireMap(this.maps, map)
      const over = firstOver(keys)
      return over === undefined ? this.pause : Effect.fail(over)
    })

  readonly write = (changes: ReadonlyArray<Change>): Effect.Effect<void, StorageError> =>
    Effect.suspend((): Effect.Effect<void, StorageError> => {
      const { death } = this
      if (death !== undefined) return Effect.fail(death)
      if (this.pending > WRITES_PENDING_MAX) {
        const [limit, allowed] = ["WRITES_PENDING_MAX" as const, WRITES_PENDING_MAX]
        return Effect.fail(new StorageLimitExceeded({ limit, actual: this.pending, allowed }))
      }
      const plan = planOf(this.maps, changes)
      if (plan instanceof StorageLimitExceeded) return Effect.fail(plan)
      const write = new Write(this, withOwnKeys(plan))
      this.pending += 1
      this.environment.submit(write)
      return this.ended(write)
    }).pipe(Effect.uninterruptible)

  private readonly ended = Effect.fnUntraced(
    { self: this as Handle },
    function* (this: Handle, write: Write): Effect.fn.Return<void, StorageError> {
      const { drive = "writer" } = this.options
      const isHead = () => drive === "writer" && this.environment.head === write
      yield* wait(write, () => write.outcome !== undefined || isHead())
      while (write.outcome === undefined) {
        yield* this.pause
        if (write.outcome === undefined) this.environment.step()
      }
      yield* write.outcome
    },
  )

  readonly backup = (disk: (name: string) => Environment, directory: string): Effect.Effect<void, StorageError> =>
    Effect.suspend((): Effect.Effect<void, StorageError> => {
      const { death, environment } = this
      if (death !== undefined) return Effect.fail(death)
      if (disk(directory).copyFrom(environment)) return this.pause
      const cause = new Error("the directory is not empty")
      return Effect.fail(new StorageBackupFailed({ environment: environment.name, directory, cause }))
    }).pipe(Effect.uninterruptible)

  readonly close = Effect.suspend(() => {
    this.die("closed")
    return Effect.callback<void>((resume) => {
      if (this.pending === 0) return resume(Effect.void)
      this.idle = () => resume(Effect.void)
    })
  })
}

/** Makes an empty disk. Pure but for the chance it is given. */
export const makeMemoryDisk = (options: MemoryDiskOptions): MemoryDisk => {
  const environments = new Map<string, Environment>()
  const environmentOf = (name: string): Environment => {
    const found = environments.get(name)
    if (found !== undefined) return found
    const made = new Environment(name, options.chance)
    environments.set(name, made)
    return made
  }
  const open = (name: string, maps: ReadonlyArray<MapName>) =>
    Effect.gen(function* () {
      if (maps.length > MAPS_MAX) {
        return yield* new StorageLimitExceeded({ limit: "MAPS_MAX", actual: maps.length, allowed: MAPS_MAX })
      }
      const handle = yield* Effect.acquireRelease(
        Effect.sync(() => new Handle(environmentOf(name), new Set(maps), options)),
        ({ close }) => close,
      )
      const { get, getInto, scan, prefetch, write, info } = handle
      const backup = (directory: string) => handle.backup(environmentOf, directory)
      return { get, getInto, scan, prefetch, write, backup, info }
    })
  return {
    open,
    step: (name) => environmentOf(name).step(),
    crash: () => {
      for (const environment of environments.values()) environment.crash()
    },
    failWrite: (name, n, reason) => environmentOf(name).planFault(n, reason),
  }
}

/** The storage service in memory, on a disk of its own whose writes settle at once and in one order. */
export const layerMemory = (maps: ReadonlyArray<MapName>): Layer.Layer<Storage, StorageError> =>
  Layer.effect(
    Storage,
    Effect.suspend(() => makeMemoryDisk({ chance: () => 0 }).open("memory", maps)),
  )
