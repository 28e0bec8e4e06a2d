/** A disk in maps: each write becomes durable after a while; power loss drops what was not. */
import { bytesKey, keyBytes } from "@coppice/codec"
import {
  type Change,
  type Entry,
  type ScanRange,
  StorageDead,
  type StorageShape,
  StorageWriteFailed,
} from "@coppice/storage"
import { Effect, Random, Semaphore } from "effect"
import type { NodeDisk } from "../src/cluster.ts"

type Maps = Map<string, Map<string, Uint8Array>>

/** Writes so far and what to do about them: tests count and break them here. */
export interface DiskProbe {
  writes: number
  /** The write of this number fails, and kills its handle. */
  failsAt: number
  /** The failing write reaches the disk all the same: the promise is lost, not the bytes. */
  lands?: boolean
}

/** A disk whose contents can be looked at and changed from outside. */
export interface MapDisk extends NodeDisk {
  readonly maps: (environment: string) => Maps
}

const scan = (entries: Map<string, Uint8Array>, range: ScanRange): ReadonlyArray<Entry> => {
  const start = range.start === undefined ? undefined : bytesKey(range.start)
  const end = range.end === undefined ? undefined : bytesKey(range.end)
  const keys = [...entries.keys()].sort((a, b) => (a < b ? -1 : 1))
  const inside = range.reverse
    ? keys.reverse().filter((key) => (start === undefined || key <= start) && (end === undefined || key > end))
    : keys.filter((key) => (start === undefined || key >= start) && (end === undefined || key < end))
  return inside.slice(0, range.limit).map((key) => ({ key: keyBytes(key), value: entries.get(key)!.slice() }))
}

const apply = (maps: Maps, changes: ReadonlyArray<Change>): void => {
  for (const change of changes) {
    const entries = maps.get(change.map)!
    if (change.tag === "put") entries.set(bytesKey(change.key), change.value.slice())
    else entries.delete(bytesKey(change.key))
  }
}

export const makeMapDisk = (name: string, probe: DiskProbe, writeMsMax = 4): MapDisk => {
  const environments = new Map<string, Maps>()
  let power = 0
  return {
    crash: () => void power++,
    maps: (environment) => environments.get(environment) ?? new Map(),
    open: (environment, names) =>
      Effect.sync(() => {
        const maps: Maps = environments.get(environment) ?? new Map()
        environments.set(environment, maps)
        for (const map of names) if (!maps.has(map)) maps.set(map, new Map())
        const opened = power
        const queue = Semaphore.makeUnsafe(1)
        let isDead = false
        const dead = () => new StorageDead({ environment: `${name}/${environment}`, cause: "power loss" })
        const read = <A>(f: () => A): A => {
          if (isDead || opened !== power) throw dead()
          return f()
        }
        const write = Effect.fnUntraced(function* (changes: ReadonlyArray<Change>) {
          yield* Effect.sleep(yield* Random.nextBetween(0, writeMsMax))
          if (isDead || opened !== power) return yield* dead()
          if (++probe.writes === probe.failsAt) {
            isDead = true
            if (probe.lands) apply(maps, changes)
            return yield* new StorageWriteFailed({
              environment: `${name}/${environment}`,
              reason: "io",
              cause: "broken",
            })
          }
          apply(maps, changes)
        })
        const storage: StorageShape = {
          get: (map, key) => read(() => maps.get(map)!.get(bytesKey(key))?.slice()),
          scan: (map, range) => read(() => scan(maps.get(map)!, range)),
          prefetch: () => Effect.void,
          write: (changes) => Effect.uninterruptible(queue.withPermit(write(changes))),
          backup: () => Effect.die("not here"),
          info: () => ({ bytesUsed: 0, bytesFree: undefined }),
        }
        return storage
      }),
  }
}
