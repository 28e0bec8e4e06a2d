/**
 * What storage laws stand on: the world of one environment, and histories of writes with known states.
 *
 * Terms: a *history* is a sequence of batches; *prefix p* is the state after the first p of them. All prefixes differ, so
 * that what an environment holds tells how many of the batches it has, or that it holds none of the prefixes: it is torn.
 */
import { bytesKey } from "@coppice/codec"
import type { Change, Entry, Fault, MapName, StorageError, StorageShape } from "@coppice/storage"
import { Effect, Exit, type Scope } from "effect"
import { claim, type Law, type Subject } from "../law.ts"

/** What a world of storage may be able to do: lose power at once, or let a fault befall the next call. */
export type StoragePower = "power loss" | Fault

/** One environment, empty at first, that outlives its handles. */
export interface StorageWorld {
  readonly open: (maps: ReadonlyArray<MapName>) => Effect.Effect<StorageShape, StorageError, Scope.Scope>
  /** An empty directory for a backup, and how to open what is there. */
  readonly spare: string
  readonly openSpare: (maps: ReadonlyArray<MapName>) => Effect.Effect<StorageShape, StorageError, Scope.Scope>
  /** Lets other fibers, native work and, where it is virtual, time go on a little. */
  readonly turn: Effect.Effect<void>
  /** Makes what it names happen, at once or to the next call. Has the powers that its subject lists. */
  readonly use: (power: StoragePower) => void
}

/** A law of the storage port. */
export type StorageLaw = Law<StorageWorld, StoragePower>

/** An implementation of the storage port, as its laws take it. */
export type StorageSubject = Subject<StorageWorld, StoragePower>

/** The maps that laws declare. */
export const MAPS: ReadonlyArray<MapName> = ["a", "b"]

/** A byte string from numbers. */
export const bytes = (...values: ReadonlyArray<number>): Uint8Array => Uint8Array.from(values)

/** A put. */
export const put = (map: MapName, key: Uint8Array, value: Uint8Array): Change => ({ tag: "put", map, key, value })

/** A remove. */
export const remove = (map: MapName, key: Uint8Array): Change => ({ tag: "remove", map, key })

/** Entries as text: equal iff keys, values and their order are. */
export const shown = (entries: ReadonlyArray<Entry>): string =>
  entries.map(({ key, value }) => `${hex(key)}=${hex(value)}`).join(" ")

const hex = (array: Uint8Array): string => Array.from(array, (byte) => byte.toString(16).padStart(2, "0")).join("")

/** All entries of the laws' maps, as text. */
export const contents = (storage: StorageShape): string => MAPS.map((map) => shown(storage.scan(map, {}))).join(" | ")

/** The error that a synchronous call throws, or undefined. */
export const thrown = (call: () => unknown): unknown => {
  try {
    call()
    return undefined
  } catch (error) {
    return error
  }
}

const tagOf = (error: unknown): string =>
  typeof error === "object" && error !== null && "_tag" in error ? String(error._tag) : String(error)

/** Claims that an error is of a kind. */
export const claimTag = (error: unknown, tag: StorageError["_tag"], what: string): void =>
  claim(tagOf(error) === tag, `${what}: expected ${tag}, got ${tagOf(error)}`)

/** Claims that an effect fails with a typed error of a kind, and returns the error. */
export const claimFails = Effect.fnUntraced(function* (
  effect: Effect.Effect<unknown, StorageError>,
  tag: StorageError["_tag"],
  what: string,
) {
  const exit = yield* Effect.exit(effect)
  claim(Exit.isFailure(exit), `${what}: expected ${tag}, but it succeeded`)
  const failure = exit.cause.reasons.find((reason) => reason._tag === "Fail")
  claim(failure !== undefined, `${what}: expected ${tag}, but it died: ${exit.cause}`)
  claimTag(failure.error, tag, what)
  return failure.error
})

/** Claims that every call on a handle says that it is dead. */
export const claimDead = Effect.fnUntraced(function* (storage: StorageShape, spare: string, when: string) {
  claimTag(
    thrown(() => storage.get("a", bytes(1))),
    "StorageDead",
    `get ${when}`,
  )
  claimTag(
    thrown(() => storage.getInto("a", bytes(1), bytes(1))),
    "StorageDead",
    `getInto ${when}`,
  )
  claimTag(
    thrown(() => storage.scan("a", {})),
    "StorageDead",
    `scan ${when}`,
  )
  claimTag(
    thrown(() => storage.info()),
    "StorageDead",
    `info ${when}`,
  )
  yield* claimFails(storage.write([put("a", bytes(1), bytes(1))]), "StorageDead", `write ${when}`)
  yield* claimFails(storage.prefetch("a", [bytes(1)]), "StorageDead", `prefetch ${when}`)
  yield* claimFails(storage.backup(spare), "StorageDead", `backup ${when}`)
})

/** Several turns of a world. */
export const turns = ({ turn }: StorageWorld, count: number): Effect.Effect<void> =>
  Effect.forEach(Array.from({ length: count }), () => turn, { discard: true })

/** Batches whose prefixes are known. */
export class History {
  readonly batches: ReadonlyArray<ReadonlyArray<Change>>
  private readonly prefixes: ReadonlyMap<string, number>

  constructor(batches: ReadonlyArray<ReadonlyArray<Change>>) {
    this.batches = batches
    const state = new Model()
    const prefixes = new Map([[state.contents(), 0]])
    for (const [i, batch] of batches.entries()) {
      state.write(batch)
      prefixes.set(state.contents(), i + 1)
    }
    claim(prefixes.size === batches.length + 1, "two prefixes of a history are equal: the law shows nothing")
    this.prefixes = prefixes
  }

  /** How many batches the storage holds. Breaks the law when it holds no prefix. */
  in(storage: StorageShape, when: string): number {
    const found = contents(storage)
    const prefix = this.prefixes.get(found)
    claim(prefix !== undefined, `${when}: not a prefix of whole batches: ${found}`)
    return prefix
  }
}

/** A history over both maps in which batches overwrite and remove what earlier ones wrote. */
export const historyOf = (count: number, rows = 3): History =>
  new History(
    Array.from({ length: count }, (_, i) => [
      put("a", bytes(i % 4), bytes(1 + i)),
      ...Array.from({ length: rows }, (_, row) => put("b", bytes(i, row), bytes(i))),
      ...(i < 2 ? [] : [remove("b", bytes(i - 2, 0))]),
      put("a", bytes(255), bytes(i)),
    ]),
  )

/** What storage should hold, in plain maps. */
export class Model {
  private readonly maps = new Map(MAPS.map((map) => [map, new Map<string, Entry>()]))

  write(changes: ReadonlyArray<Change>): void {
    for (const change of changes) {
      const rows = this.maps.get(change.map)!
      if (change.tag === "remove") rows.delete(bytesKey(change.key))
      else rows.set(bytesKey(change.key), { key: change.key.slice(), value: change.value.slice() })
    }
  }

  /** Entries of a map in order. */
  entries(map: MapName): ReadonlyArray<Entry> {
    const rows = [...this.maps.get(map)!].sort(([a], [b]) => (a < b ? -1 : 1))
    return rows.map(([, entry]) => entry)
  }

  contents(): string {
    return MAPS.map((map) => shown(this.entries(map))).join(" | ")
  }
}
