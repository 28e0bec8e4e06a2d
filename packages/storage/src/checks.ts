/** Checks that every implementation makes before anything of a batch is written. */
import { StorageLimitExceeded } from "./errors.ts"
import { BATCH_CHANGES_MAX, KEY_BYTES_MAX, VALUE_BYTES_MAX } from "./limits.ts"
import type { Change, MapName } from "./storage.ts"

/** The limit a batch is over, if any. Throws `RangeError` on a map that was not declared: a programmer's error. */
export const checkBatch = (
  maps: ReadonlySet<MapName>,
  changes: ReadonlyArray<Change>,
): StorageLimitExceeded | undefined => {
  const over = (limit: StorageLimitExceeded["limit"], actual: number, allowed: number) =>
    new StorageLimitExceeded({ limit, actual, allowed })
  if (changes.length > BATCH_CHANGES_MAX) return over("BATCH_CHANGES_MAX", changes.length, BATCH_CHANGES_MAX)
  for (const change of changes) {
    requireMap(maps, change.map)
    const { length } = change.key
    if (length === 0 || length > KEY_BYTES_MAX) return over("KEY_BYTES_MAX", length, KEY_BYTES_MAX)
    if (change.tag === "put" && change.value.length > VALUE_BYTES_MAX) {
      return over("VALUE_BYTES_MAX", change.value.length, VALUE_BYTES_MAX)
    }
  }
  return undefined
}

/** Throws `RangeError` on a map that was not declared when the environment was opened. */
export const requireMap = (maps: ReadonlySet<MapName>, map: MapName): void => {
  if (!maps.has(map)) throw new RangeError(`map ${map} was not declared`)
}
