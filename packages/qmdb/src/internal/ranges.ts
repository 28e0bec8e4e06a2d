/**
 * Neighbours and ranges over whatever can be walked in key order.
 *
 * Invariant: a call reads one state whole and returns at most a page, so no walk outlives it.
 */
import type { KeyText } from "@coppice/verify/log"
import { ENTRIES_BYTES_MAX, ENTRIES_MAX } from "../limits.ts"
import type { EntriesOptions } from "../ordered-reader.ts"
import type { Walk } from "./merged-walk.ts"

/** A state whose keys are in order. */
export interface Range<K, V> {
  /** Text of a key. Throws `KeyTooLong`, `OutsideType`. */
  readonly boundOf: (key: K) => KeyText
  readonly keyOf: (key: KeyText) => K
  readonly decode: (value: Uint8Array) => V
  readonly walk: (bound: KeyText | undefined, reverse: boolean) => Walk
}

/** The active key after a key, or before it; undefined when there is none. */
export const neighbourOf = <K, V>(range: Range<K, V>, key: K, reverse: boolean): K | undefined => {
  const bound = range.boundOf(key)
  const found = range.walk(reverse ? bound : `${bound}\0`, reverse).next()
  return found === undefined ? undefined : range.keyOf(found)
}

/** A page of entries. */
export const entriesOf = <K, V>(
  range: Range<K, V>,
  { start, end, reverse = false, limit = ENTRIES_MAX }: EntriesOptions<K> = {},
): ReadonlyArray<readonly [K, V]> => {
  const low = start === undefined ? undefined : range.boundOf(start)
  const high = end === undefined ? undefined : range.boundOf(end)
  const walk = range.walk(reverse ? high : low, reverse)
  const page: Array<readonly [K, V]> = []
  const most = Math.min(limit, ENTRIES_MAX)
  let bytes = 0
  while (page.length < most) {
    const key = walk.next()
    if (key === undefined) break
    if (reverse ? low !== undefined && key < low : high !== undefined && key >= high) break
    const value = walk.value()
    bytes += key.length + value.length
    if (page.length > 0 && bytes > ENTRIES_BYTES_MAX) break
    page.push([range.keyOf(key), range.decode(value)])
  }
  return page
}
