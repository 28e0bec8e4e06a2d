/**
 * Storage in memory that loses what a disk would lose.
 *
 *   write --> visible --\
 *         \-> durable ---+--> settled            two orders, chosen by chance, each step a turn of its own
 *
 * Terms: a *disk* outlives the handles opened on it. *Crash* is power loss: every open handle is dead, and an environment
 * holds all that was durable and, of a write that was under way, everything or nothing.
 *
 * Invariant: a write that settled survives every crash. It runs on Effect's Clock and scheduler alone, so it can be part
 * of a deterministic simulation.
 */
import { Effect, type Scope, Semaphore } from "effect"
import { checkBatch, requireMap } from "./checks.ts"
import { StorageDead, type StorageError, StorageLimitExceeded, StorageWriteFailed } from "./errors.ts"
import { MAPS_MAX } from "./limits.ts"
import type { Change, Entry, MapName, ScanRange, StorageShape } from "./storage.ts"

/** How a disk behaves. */
export interface MemoryDiskOptions {
  /** Uniform in [0, 1); decides the order of *visible* and *durable*, and the fate of a write that a crash cuts. */
  readonly chance: () => number
  /** Virtual milliseconds before each of the three events of a write; none when not given. */
  readonly delayMs?: () => number
}

/** A disk of named environments. */
export interface MemoryDisk {
  /** Opens an environment, empty the first time. Several maps may be declared later than others. */
  readonly open: (
    environment: string,
    maps: ReadonlyArray<MapName>,
  ) => Effect.Effect<StorageShape, StorageError, Scope.Scope>
  /** Power loss, for every environment. */
  readonly crash: () => void
  /** Makes the n-th write from now (1 = the next) of an environment fail, with nothing of it kept. */
  readonly failWrite: (environment: string, n: number, reason: "disk full" | "io") => void
}

type Rows = Map<string, Uint8Array>

const keyText = (key: Uint8Array): string => Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString("latin1")

const keyBytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, "latin1"))

/** One ordered map. Its key order is made when a scan asks for it and holds until a key comes or goes. */
class Table {
  readonly rows: Rows = new Map()
  private order: ReadonlyArray<string> | undefined

  set(key: string, value: Uint8Array | undefined): Uint8Array | undefined {
    const before = this.rows.get(key)
    if (value === undefined) this.rows.delete(key)
    else this.rows.set(key, value)
    if ((before === undefined) !== (value === undefined)) this.order = undefined
    return before
  }

  scan({ start, end, reverse = false, limit = Number.POSITIVE_INFINITY }: ScanRange): Array<Entry> {
    this.order ??= [...this.rows.keys()].sort()
    const order = this.order
    const low = start === undefined ? undefined : keyText(start)
    const high = end === undefined ? undefined : keyText(end)
    const entries: Array<Entry> = []
    for (let i = reverse ? order.length - 1 : lowerBound(order, low); entries.length < limit; i += reverse ? -1 : 1) {
      const key = order[i]
      if (key === undefined) break
      if (reverse ? low !== undefined && key > low : false) continue
      if (high !== undefined && (reverse ? key <= high : key >= high)) break
      entries.push({ key: keyBytes(key), value: this.rows.get(key)!.slice() })
    }
    return entries
  }
}

const lowerBound = (order: ReadonlyArray<string>, key: string | undefined): number => {
  if (key === undefined) return 0
  let low = 0
  let high = order.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (order[middle]! < key) low = middle + 1
    else high = middle
  }
  return low
}

interface Frozen {
  readonly map: MapName
  readonly key: string
  readonly value: Uint8Array | undefined
}

/** A write under way. */
interface InFlight {
  readonly changes: ReadonlyArray<Frozen>
  undo: Array<Frozen> | undefined
  durable: boolean
}

/** What outlives handles. */
class Environment {
  readonly tables = new Map<MapName, Table>()
  inFlight: InFlight | undefined
  failure: { left: number; readonly reason: "disk full" | "io" } | undefined
  /** Handles of an earlier incarnation are dead. */
  incarnation = 0

  table(map: MapName): Table {
    const found = this.tables.get(map)
    if (found !== undefined) return found
    const made = new Table()
    this.tables.set(map, made)
    return made
  }

  show(write: InFlight): void {
    write.undo = write.changes.map(({ map, key, value }) => ({ map, key, value: this.table(map).set(key, value) }))
  }

  crash(survives: boolean): void {
    this.incarnation += 1
    const write = this.inFlight
    this.inFlight = undefined
    if (write === undefined) return
    const kept = write.durable || survives
    if (kept && write.undo === undefined) this.show(write)
    if (!kept) for (const { map, key, value } of (write.undo ?? []).toReversed()) this.table(map).set(key, value)
  }

  takeFailure(): "disk full" | "io" | undefined {
    if (this.failure === undefined) return undefined
    this.failure.left -= 1
    if (this.failure.left > 0) return undefined
    const { reason } = this.failure
    this.failure = undefined
    return reason
  }
}

const freeze = (changes: ReadonlyArray<Change>): ReadonlyArray<Frozen> =>
  changes.map((change) => ({
    map: change.map,
    key: keyText(change.key),
    value: change.tag === "put" ? change.value.slice() : undefined,
  }))

/** One open environment. */
class Handle {
  private dead: StorageDead | undefined
  private readonly name: string
  private readonly environment: Environment
  private readonly maps: ReadonlySet<MapName>
  private readonly options: MemoryDiskOptions
  private readonly incarnation: number

  constructor(name: string, environment: Environment, maps: ReadonlySet<MapName>, options: MemoryDiskOptions) {
    this.name = name
    this.environment = environment
    this.maps = maps
    this.options = options
    this.incarnation = environment.incarnation
  }

  private kill(cause: unknown): StorageDead {
    this.dead ??= new StorageDead({ environment: this.name, cause })
    return this.dead
  }

  private get alive(): StorageDead | undefined {
    if (this.dead === undefined && this.incarnation !== this.environment.incarnation) return this.kill("power loss")
    return this.dead
  }

  readonly table = (map: MapName): Table => {
    const { alive } = this
    if (alive !== undefined) throw alive
    requireMap(this.maps, map)
    return this.environment.table(map)
  }

  private readonly pause = Effect.suspend(() => {
    const { delayMs } = this.options
    return delayMs === undefined ? Effect.yieldNow : Effect.sleep(delayMs())
  })

  /** A step of a write, unless the power was lost meanwhile. */
  private step(run: () => void): Effect.Effect<void, StorageDead> {
    return Effect.andThen(
      this.pause,
      Effect.suspend(() => {
        const { alive } = this
        if (alive !== undefined) return Effect.fail(alive)
        run()
        return Effect.void
      }),
    )
  }

  readonly write = Effect.fnUntraced(
    { self: this as Handle },
    function* (this: Handle, changes: ReadonlyArray<Change>): Effect.fn.Return<void, StorageError> {
      const { alive, environment } = this
      if (alive !== undefined) return yield* alive
      const over = checkBatch(this.maps, changes)
      if (over !== undefined) return yield* over
      const reason = environment.takeFailure()
      if (reason !== undefined) {
        const failed = new StorageWriteFailed({ environment: this.name, reason, cause: "injected" })
        this.kill(failed)
        return yield* failed
      }
      const write: InFlight = { changes: freeze(changes), undo: undefined, durable: false }
      environment.inFlight = write
      const show = () => environment.show(write)
      const sync = () => {
        write.durable = true
      }
      const [first, second] = this.options.chance() < 0.5 ? [show, sync] : [sync, show]
      yield* this.step(first!)
      yield* this.step(second!)
      yield* this.step(() => {
        environment.inFlight = undefined
      })
    },
  )

  readonly close = (): void => {
    this.kill("closed")
  }
}

const shapeOf = (handle: Handle, environment: Environment, turn: Semaphore.Semaphore): StorageShape => ({
  get: (map, key) => handle.table(map).rows.get(keyText(key))?.slice(),
  scan: (map, range) => handle.table(map).scan(range),
  prefetch: (map) => Effect.sync(() => void handle.table(map)),
  write: (changes) => Effect.uninterruptible(turn.withPermits(1)(handle.write(changes))),
  backup: () => Effect.die("memory storage has no directory to copy to"),
  info: () => {
    let bytesUsed = 0
    for (const table of environment.tables.values()) {
      for (const [key, value] of table.rows) bytesUsed += key.length + value.length
    }
    return { bytesUsed, bytesFree: undefined }
  },
})

/** Makes an empty disk. Pure but for the chance it is given. */
export const makeMemoryDisk = (options: MemoryDiskOptions): MemoryDisk => {
  const environments = new Map<string, Environment>()
  const environmentOf = (name: string): Environment => {
    const found = environments.get(name)
    if (found !== undefined) return found
    const made = new Environment()
    environments.set(name, made)
    return made
  }
  return {
    open: (name, maps) =>
      Effect.gen(function* () {
        if (maps.length > MAPS_MAX) {
          return yield* new StorageLimitExceeded({ limit: "MAPS_MAX", actual: maps.length, allowed: MAPS_MAX })
        }
        const environment = environmentOf(name)
        const handle = new Handle(name, environment, new Set(maps), options)
        const turn = yield* Semaphore.make(1)
        const shape = shapeOf(handle, environment, turn)
        yield* Effect.addFinalizer(() => turn.withPermits(1)(Effect.sync(handle.close)))
        return shape
      }),
    crash: () => {
      for (const environment of environments.values()) environment.crash(options.chance() < 0.5)
    },
    failWrite: (name, n, reason) => {
      environmentOf(name).failure = { left: n, reason }
    },
  }
}
