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
import { bytesKey, keyBytes } from "@coppice/codec"
import { Duration, Effect, Layer, type Scope } from "effect"
import {
  StorageBackupFailed,
  StorageDead,
  type StorageError,
  StorageLimitExceeded,
  StorageReadFailed,
} from "./errors.ts"
import type { Fault, Faults, StorageCall } from "./faults.ts"
import { copyInto, copyOf, Environment, type Owner, Write, type WriteEvent } from "./internal/disk.ts"
import type { OrderedMap, Value } from "./internal/ordered-map.ts"
import { firstOver, planOf, rangeOf, requireKey, requireMap } from "./internal/plan.ts"
import { MAPS_MAX, WRITES_PENDING_MAX } from "./limits.ts"
import { type Change, type Entry, type MapName, type ScanRange, Storage, type StorageShape } from "./storage.ts"

export type { WriteEvent } from "./internal/disk.ts"

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
  /** Opens an environment, empty the first time, and each time when it is scratch. Several maps may be declared later than others. */
  readonly open: (
    environment: string,
    maps: ReadonlyArray<MapName>,
    options?: { readonly scratch?: boolean },
  ) => Effect.Effect<StorageShape, StorageError, Scope.Scope>
  /** Lets the next event of the write under way happen; undefined when none is. For disks driven by their owner. */
  readonly step: (environment: string) => WriteEvent | undefined
  /** Power loss, for every environment. */
  readonly crash: () => void
  /**
   * What befalls calls from now on: `faultAt`, `faultsByChance`, or a function of your own. Nothing at first.
   *
   * Of a write that failed nothing is kept when the disk is full; after an I/O error all of it or nothing, by chance, and
   * it may have been visible before.
   */
  faults: Faults
}

/** What a handle needs of its disk. */
interface HandleHome {
  readonly options: MemoryDiskOptions
  readonly faults: Faults
  readonly crash: () => void
  readonly environment: (name: string) => Environment
}

/** One open environment. */
class Handle implements Owner {
  private dead: StorageDead | undefined
  private pending = 0
  private idle: (() => void) | undefined
  private readonly disk: HandleHome
  private readonly environment: Environment
  private readonly maps: ReadonlySet<MapName>
  private readonly incarnation: number

  constructor(disk: HandleHome, name: string, maps: ReadonlySet<MapName>) {
    this.disk = disk
    this.environment = disk.environment(name)
    this.maps = maps
    this.incarnation = this.environment.incarnation
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

  /** Begins a call: the fault that befalls it, or why it cannot be made. */
  private begin(name: StorageCall["name"]): Fault | StorageDead | undefined {
    const { death } = this
    if (death !== undefined) return death
    const fault = this.disk.faults({ environment: this.environment.name, name })
    if (fault === undefined) return undefined
    const isBefore =
      fault === "crash before" || (name !== "write" && (fault === "crash visible" || fault === "crash durable"))
    if (!isBefore) return fault
    this.disk.crash()
    return this.death
  }

  private readFailed(): StorageReadFailed {
    return new StorageReadFailed({ environment: this.environment.name, cause: "injected" })
  }

  /** Begins a call that reads at once: the fault that befalls it and lets it read. */
  private beginRead(name: StorageCall["name"]): Fault | undefined {
    const fault = this.begin(name)
    if (fault instanceof StorageDead) throw fault
    if (fault === "io") throw this.readFailed()
    return fault
  }

  /** Ends it. */
  private found<A>(fault: Fault | undefined, found: A): A {
    if (fault === "crash after") this.disk.crash()
    return found
  }

  /** A call that ends in a later turn. */
  private later(
    name: StorageCall["name"],
    use: (fault: Fault | undefined) => Effect.Effect<void, StorageError>,
  ): Effect.Effect<void, StorageError> {
    return Effect.suspend(() => {
      const fault = this.begin(name)
      if (fault instanceof StorageDead) return Effect.fail(fault)
      const ended = use(fault)
      // A write loses power among its own events, also when it is not its caller who drives them.
      return fault === "crash after" && name !== "write" ? Effect.tap(ended, () => Effect.sync(this.disk.crash)) : ended
    })
  }

  private table(map: MapName): OrderedMap {
    requireMap(this.maps, map)
    return this.environment.table(map)
  }

  readonly get = (map: MapName, key: Uint8Array): Uint8Array | undefined => {
    const fault = this.beginRead("get")
    const value = this.valueOf(map, key)
    return this.found(fault, value === undefined ? undefined : copyOf(value))
  }

  readonly getInto = (map: MapName, key: Uint8Array, target: Uint8Array): number => {
    const fault = this.beginRead("getInto")
    const value = this.valueOf(map, key)
    if (value === undefined) return this.found(fault, -1)
    copyInto(value, target)
    return this.found(fault, value.length)
  }

  /** The value of a key itself, not a copy. */
  private valueOf(map: MapName, key: Uint8Array): Value | undefined {
    const table = this.table(map)
    requireKey(key)
    return table.get(bytesKey(key))
  }

  readonly scan = (map: MapName, wanted: ScanRange): ReadonlyArray<Entry> => {
    const fault = this.beginRead("scan")
    const table = this.table(map)
    const range = rangeOf(wanted)
    if (range === undefined) return this.found(fault, [])
    const { reverse, limit = Number.POSITIVE_INFINITY } = range
    const [start, end] = [range.start && bytesKey(range.start), range.end && bytesKey(range.end)]
    const entries: Array<Entry> = []
    for (const [key, value] of reverse ? table.descending(start, end) : table.ascending(start, end)) {
      if (entries.push({ key: keyBytes(key), value: copyOf(value) }) >= limit) break
    }
    return this.found(fault, entries)
  }

  readonly info = () => {
    const fault = this.beginRead("info")
    return this.found(fault, { bytesUsed: this.environment.bytes, bytesFree: undefined })
  }

  private readonly pause = Effect.clockWith((clock) => {
    const { delayMs } = this.disk.options
    return delayMs === undefined ? Effect.yieldNow : clock.sleep(Duration.millis(delayMs()))
  })

  readonly prefetch = (map: MapName, keys: ReadonlyArray<Uint8Array>): Effect.Effect<void, StorageError> =>
    this.later("prefetch", (fault) => {
      requireMap(this.maps, map)
      const over = firstOver(keys)
      if (over !== undefined) return Effect.fail(over)
      return fault === "io" ? Effect.andThen(this.pause, Effect.fail(this.readFailed())) : this.pause
    })

  readonly write = (changes: ReadonlyArray<Change>): Effect.Effect<void, StorageError> =>
    this.later("write", (fault) => {
      if (this.pending > WRITES_PENDING_MAX) {
        const [limit, allowed] = ["WRITES_PENDING_MAX" as const, WRITES_PENDING_MAX]
        return Effect.fail(new StorageLimitExceeded({ limit, actual: this.pending, allowed }))
      }
      const plan = planOf(this.maps, changes)
      if (plan instanceof StorageLimitExceeded) return Effect.fail(plan)
      const write = new Write(this, plan, fault)
      this.pending += 1
      this.environment.submit(write)
      // Looked at in a step of its own: a write whose caller lost power in this call has ended by then, and waits for nothing.
      return Effect.suspend(() => this.ended(write))
    }).pipe(Effect.uninterruptible)

  private isDriven(write: Write): boolean {
    return this.disk.options.drive !== "owner" && this.environment.head === write
  }

  /** Waits until a write has ended or is to be driven. Looks when it begins: its fiber may have given way before. */
  private woken(write: Write): Effect.Effect<void> {
    return Effect.callback<void>((resume) => {
      write.wake = () => resume(Effect.void)
      if (write.outcome !== undefined || this.isDriven(write)) resume(Effect.void)
    })
  }

  /** What is left of a write: its events where its writer drives them, and then how it has ended. */
  private ended(write: Write): Effect.Effect<void, StorageError> {
    if (write.outcome !== undefined) return write.outcome
    const isDriven = this.isDriven(write)
    return Effect.flatMap(isDriven ? this.pause : this.woken(write), () => {
      if (isDriven && write.outcome === undefined) this.environment.step()
      return this.ended(write)
    })
  }

  readonly backup = (directory: string): Effect.Effect<void, StorageError> =>
    this.later("backup", (fault) => {
      const { environment } = this
      const failed = (cause: unknown) =>
        Effect.fail(new StorageBackupFailed({ environment: environment.name, directory, cause }))
      const isFailing = fault === "io" || fault === "disk full"
      const copied = this.disk.environment(directory).copyFrom(environment, isFailing)
      if (!copied) return failed(new Error("the directory is not empty"))
      return isFailing ? Effect.andThen(this.pause, failed(fault)) : this.pause
    }).pipe(Effect.uninterruptible)

  readonly close = Effect.suspend(() => {
    this.die("closed")
    return Effect.callback<void>((resume) => {
      if (this.pending === 0) return resume(Effect.void)
      this.idle = () => resume(Effect.void)
    })
  })
}

class Disk implements MemoryDisk, HandleHome {
  readonly options: MemoryDiskOptions
  faults: Faults = () => undefined
  private readonly environments = new Map<string, Environment>()

  constructor(options: MemoryDiskOptions) {
    this.options = options
  }

  readonly environment = (name: string): Environment => {
    const found = this.environments.get(name)
    if (found !== undefined) return found
    const made = new Environment(name, this.options.chance, this.crash)
    this.environments.set(name, made)
    return made
  }

  readonly open = Effect.fnUntraced(
    { self: this as Disk },
    function* (
      this: Disk,
      name: string,
      maps: ReadonlyArray<MapName>,
      { scratch = false } = {},
    ): Effect.fn.Return<StorageShape, StorageError, Scope.Scope> {
      if (maps.length > MAPS_MAX) {
        return yield* new StorageLimitExceeded({ limit: "MAPS_MAX", actual: maps.length, allowed: MAPS_MAX })
      }
      if (scratch) this.environments.delete(name)
      const { get, getInto, scan, prefetch, write, backup, info } = yield* Effect.acquireRelease(
        Effect.sync(() => new Handle(this, name, new Set(maps))),
        ({ close }) => close,
      )
      return { get, getInto, scan, prefetch, write, backup, info }
    },
  )

  readonly step = (name: string): WriteEvent | undefined => this.environment(name).step()

  readonly crash = (): void => {
    for (const environment of this.environments.values()) environment.crash()
  }
}

/** Makes an empty disk. Pure but for the chance it is given. */
export const makeMemoryDisk = (options: MemoryDiskOptions): MemoryDisk => new Disk(options)

/** The storage service in memory, on a disk of its own whose writes settle at once and in one order. */
export const layerMemory = (maps: ReadonlyArray<MapName>): Layer.Layer<Storage, StorageError> =>
  Layer.effect(
    Storage,
    Effect.suspend(() => makeMemoryDisk({ chance: () => 0 }).open("memory", maps)),
  )
