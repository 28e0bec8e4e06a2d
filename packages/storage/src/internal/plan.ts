/**
 * A batch read once, checked, and out of its caller's hands.
 *
 *   changes --planOf--> maps[], keys[], values[]          anything that throws, throws here
 *                              \-withOwnKeys--> a plan that may wait
 *
 * Terms: a *plan* is a batch as parallel arrays. Its arrays are its own, its byte strings still the caller's.
 *
 * Invariant: every property of a change is read exactly once, and before the first byte is written. So a batch whose
 * elements throw, or change between two looks, can neither tear a write nor slip past a limit.
 */
import { StorageLimitExceeded } from "../errors.ts"
import { BATCH_CHANGES_MAX, KEY_BYTES_MAX, KEY_BYTES_MIN, VALUE_BYTES_MAX } from "../limits.ts"
import type { Change, MapName, ScanRange } from "../storage.ts"

/** A checked batch. A value that is undefined removes its key. */
export interface Plan {
  readonly maps: ReadonlyArray<MapName>
  readonly keys: ReadonlyArray<Uint8Array>
  readonly values: ReadonlyArray<Uint8Array | undefined>
  /** Keys together. */
  readonly keyBytes: number
  /** Keys and values together. */
  readonly bytes: number
}

type Limit = StorageLimitExceeded["limit"]

const over = (limit: Limit, actual: number, allowed: number): StorageLimitExceeded =>
  new StorageLimitExceeded({ limit, actual, allowed })

const requireBytes = (bytes: unknown, what: string): void => {
  if (!(bytes instanceof Uint8Array)) throw new TypeError(`${what} must be a Uint8Array`)
}

const keyOver = (length: number): StorageLimitExceeded | undefined => {
  if (length < KEY_BYTES_MIN) return over("KEY_BYTES_MIN", length, KEY_BYTES_MIN)
  return length > KEY_BYTES_MAX ? over("KEY_BYTES_MAX", length, KEY_BYTES_MAX) : undefined
}

/** Reads and checks a batch: the plan, or the limit it is over. Throws on what only a programmer's error explains. */
export const planOf = (maps: ReadonlySet<MapName>, changes: ReadonlyArray<Change>): Plan | StorageLimitExceeded => {
  const { length } = changes
  if (length > BATCH_CHANGES_MAX) return over("BATCH_CHANGES_MAX", length, BATCH_CHANGES_MAX)
  const names: Array<MapName> = []
  const keys: Array<Uint8Array> = []
  const values: Array<Uint8Array | undefined> = []
  let keyBytes = 0
  let valueBytes = 0
  for (let i = 0; i < length; i++) {
    const change = changes[i]!
    const { tag, map, key } = change
    requireMap(maps, map)
    requireBytes(key, "a key")
    const limit = keyOver(key.length)
    if (limit !== undefined) return limit
    const value = tag === "put" ? (change as { readonly value: Uint8Array }).value : undefined
    if (tag === "put") requireBytes(value, "a value")
    else if (tag !== "remove") throw new TypeError(`a change is a put or a remove, not ${String(tag)}`)
    const { length: size } = value ?? NOTHING
    if (size > VALUE_BYTES_MAX) return over("VALUE_BYTES_MAX", size, VALUE_BYTES_MAX)
    keyBytes += key.length
    valueBytes += size
    names.push(map)
    keys.push(key)
    values.push(value)
  }
  return { maps: names, keys, values, keyBytes, bytes: keyBytes + valueBytes }
}

const NOTHING = new Uint8Array(0)

/** The plan with its keys copied, side by side, into memory of its own. Costs as much again as making the plan. */
export const withOwnKeys = (plan: Plan): Plan => {
  const buffer = new Uint8Array(plan.keyBytes)
  let at = 0
  const keys = plan.keys.map((key) => {
    buffer.set(key, at)
    at += key.length
    return buffer.subarray(at - key.length, at)
  })
  return { ...plan, keys }
}

/** Throws `RangeError` on a map that was not declared when the environment was opened. */
export const requireMap = (maps: ReadonlySet<MapName>, map: MapName): void => {
  if (!maps.has(map)) throw new RangeError(`map ${map} was not declared`)
}

/** The limit that the first key no map can hold is over, if there is one. */
export const firstOver = (keys: ReadonlyArray<Uint8Array>): StorageLimitExceeded | undefined => {
  for (const key of keys) {
    const limit = keyOver(key.length)
    if (limit !== undefined) return limit
  }
  return undefined
}

/** Throws `StorageLimitExceeded` on a key that no map can hold. */
export const requireKey = (key: Uint8Array): void => {
  const limit = keyOver(key.length)
  if (limit !== undefined) throw limit
}

/**
 * A range that an implementation can take as it is: no empty bound, no limit of zero; undefined when it holds nothing.
 *
 * Throws `StorageLimitExceeded` on a bound above `KEY_BYTES_MAX`, `RangeError` on a limit that is no count.
 */
export const rangeOf = ({ start, end, reverse = false, limit }: ScanRange): ScanRange | undefined => {
  if (limit !== undefined && !(Number.isSafeInteger(limit) && limit >= 0)) {
    throw new RangeError(`a limit is a count, not ${limit}`)
  }
  for (const bound of [start, end]) if ((bound?.length ?? 0) > KEY_BYTES_MAX) requireKey(bound!)
  const [low, high] = reverse ? [end, start] : [start, end]
  if (limit === 0 || high?.length === 0) return undefined
  const bounds = reverse ? { start: high, end: low } : { start: low, end: high }
  return {
    ...(bounds.start === undefined || bounds.start.length === 0 ? {} : { start: bounds.start }),
    ...(bounds.end === undefined || bounds.end.length === 0 ? {} : { end: bounds.end }),
    ...(limit === undefined ? {} : { limit }),
    reverse,
  }
}
