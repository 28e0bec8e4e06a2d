/**
 * Reading an ordered database: neighbours, ranges, and the spans that prove a key absent.
 *
 *   keys     b     f     m          span of b: [b, f)   of f: [f, m)   of m: from m on, and below b
 *
 * Terms: the *span* of an active key is what lies from it up to its next key; the last one's goes round to the first.
 */
import type { Location } from "@coppice/merkle"
import type { KeyedReader } from "./keyed-reader.ts"

/** Which entries, in which direction. */
export interface EntriesOptions<K> {
  /** Lowest key, itself included; the first when not given. */
  readonly start?: K | undefined
  /** Upper bound, itself excluded; none when not given. */
  readonly end?: K | undefined
  /** From the highest key down, within the same bounds. */
  readonly reverse?: boolean | undefined
  readonly limit?: number | undefined
}

/** Reads that need keys in order. A key that is asked about need not be active. */
export interface OrderedReads<K, V> {
  /** The next active key after a key; undefined after the last: iteration ends, only spans go round. */
  readonly next: (key: K) => K | undefined
  /** The active key before a key; undefined before the first. */
  readonly previous: (key: K) => K | undefined
  /**
   * A page of active entries in key order.
   *
   * Bounds: at most `limit` and `ENTRIES_MAX` entries, and `ENTRIES_BYTES_MAX` bytes of them unless a single one is longer.
   * A page that is not empty may not be the last: the one after it starts at `next` of its last key, or ends at its last
   * key when it is reversed. Errors: `OutsideType`, `KeyTooLong` for a bound. Cost: a read of the log for each entry.
   */
  readonly entries: (options?: EntriesOptions<K>) => ReadonlyArray<readonly [K, V]>
}

/** An active key with its span. */
export interface Span<K, V> {
  readonly key: K
  readonly value: V
  /** Where the span ends: the next active key, or the first one for the last. */
  readonly nextKey: K
  /** Location of the operation that says so. */
  readonly location: Location
}

/** Reads of the newest applied state of an ordered database. */
export interface OrderedReader<K, V> extends KeyedReader<K, V>, OrderedReads<K, V> {
  /** The active key whose span contains a key: itself when it is active. Undefined when no key is active. */
  readonly span: (key: K) => Span<K, V> | undefined
}
