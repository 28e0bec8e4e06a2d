/**
 * A small storage for tests: durable state in maps, and a script of faults.
 *
 * Terms: a write that is *lost* fails and leaves nothing; one that is *kept* fails and is there whole after the crash, as
 * the port allows. A *torn* write is what the port forbids; canaries use it.
 *
 * Invariant: after a failed write the handle is dead; `open` gives a fresh one over what is durable.
 */
import { bytesKey, compareBytes, keyBytes } from "@coppice/codec"
import { type Change, StorageDead, type StorageShape, StorageWriteFailed } from "@coppice/storage"
import { Effect } from "effect"

export type Fault = "lost" | "kept" | "torn"

export class Disk {
  readonly maps = new Map<string, Map<string, Uint8Array>>()
  /** Writes submitted so far, failed ones included. */
  writes = 0
  /** Decides the fate of a write by its number, from 0. */
  fault: (write: number, changes: ReadonlyArray<Change>) => Fault | undefined = () => undefined
  /** Runs before each write takes effect. */
  before: Effect.Effect<void> = Effect.void

  #apply(changes: ReadonlyArray<Change>): void {
    for (const change of changes) {
      const map = this.maps.get(change.map) ?? new Map<string, Uint8Array>()
      this.maps.set(change.map, map)
      if (change.tag === "put") map.set(bytesKey(change.key), change.value.slice())
      else map.delete(bytesKey(change.key))
    }
  }

  /** Everything durable, as text that is equal iff the contents are. */
  image(): string {
    const rows = [...this.maps].flatMap(([map, entries]) =>
      [...entries].map(([key, value]) => `${map}\n${Buffer.from(key, "latin1").toString("hex")}\n${bytesKey(value)}`),
    )
    return JSON.stringify(rows.sort())
  }

  open(): StorageShape {
    let dead: unknown
    const alive = (): void => {
      if (dead !== undefined) throw new StorageDead({ environment: "disk", cause: dead })
    }
    return {
      get: (map, key) => {
        alive()
        return this.maps.get(map)?.get(bytesKey(key))?.slice()
      },
      getInto: (map, key, target) => {
        alive()
        const value = this.maps.get(map)?.get(bytesKey(key))
        if (value !== undefined) target.set(value.subarray(0, target.length))
        return value?.length ?? -1
      },
      scan: (map, { start, end, reverse, limit }) => {
        alive()
        // For a reverse scan start is the upper bound, inclusive, and end the lower one, exclusive.
        const sign = reverse === true ? -1 : 1
        const entries = [...(this.maps.get(map) ?? [])]
          .map(([key, value]) => ({ key: keyBytes(key), value: value.slice() }))
          .filter(
            ({ key }) =>
              (start === undefined || sign * compareBytes(key, start) >= 0) &&
              (end === undefined || sign * compareBytes(key, end) < 0),
          )
          .sort((a, b) => sign * compareBytes(a.key, b.key))
        return entries.slice(0, limit)
      },
      prefetch: () => Effect.void,
      write: (changes) =>
        Effect.suspend(() => {
          alive()
          const fault = this.fault(this.writes++, changes)
          return Effect.andThen(
            this.before,
            Effect.suspend(() => {
              if (fault === undefined || fault === "kept") this.#apply(changes)
              if (fault === "torn") this.#apply(changes.slice(changes.length / 2))
              if (fault === undefined) return Effect.void
              dead = fault
              return Effect.fail(new StorageWriteFailed({ environment: "disk", reason: "io", cause: fault }))
            }),
          )
        }).pipe(Effect.uninterruptible),
      backup: () => Effect.die(new Error("backup is not built here")),
      info: () => ({ bytesUsed: 0, bytesFree: undefined }),
    }
  }
}
