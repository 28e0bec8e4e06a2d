/**
 * An ordered map of byte strings in memory.
 *
 *   values:  key -> value
 *   blocks:  [ a c d ]  [ f g ]  [ k p q z ]        keys alone, each block sorted, all of one before all of the next
 *
 * Terms: a *key* is a byte string as text, see `bytesKey`: its order is that of the bytes. A *block* is a sorted run of at
 * most `BLOCK_KEYS_MAX` keys; it splits in two when full and goes when empty. A short *value* is text as well: what a key
 * leads to lies anywhere in memory, and an array is three places to look at where a string is one.
 *
 * Invariant: blocks hold the keys of `values`, each once and in order across blocks; no block is empty. So to read or
 * replace a value takes one look into a table, and only a key that comes or goes moves others. The map keeps the values it
 * is given and gives out its own: whoever calls it copies.
 */

const BLOCK_KEYS_MAX = 256

/** A byte string as text: see `bytesKey`. */
export type Key = string

/** A byte string that never changes; text when it is short. */
export type Value = Uint8Array | string

/** First index of a sorted run whose key is not below `key`; with `isAfter`, the first above it. */
const placeIn = (keys: ReadonlyArray<Key>, key: Key, isAfter = false): number => {
  let low = 0
  let high = keys.length
  while (low < high) {
    const middle = (low + high) >>> 1
    const at = keys[middle]!
    if (at < key || (isAfter && at === key)) low = middle + 1
    else high = middle
  }
  return low
}

/** Cost: O(1) to read or replace; O(log n) and one block moved to insert or remove. */
export class OrderedMap {
  private readonly values = new Map<Key, Value>()
  private readonly blocks: Array<Array<Key>> = []
  /** Bytes of all keys and values. */
  bytes = 0

  /** Index of the block that holds or would hold a key. */
  private blockOf(key: Key): number {
    let low = 0
    let high = this.blocks.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.blocks[middle]![0]! <= key) low = middle + 1
      else high = middle
    }
    return Math.max(0, low - 1)
  }

  /** The value of a key itself, not a copy. */
  get(key: Key): Value | undefined {
    return this.values.get(key)
  }

  /** Sets or, with undefined, removes a key; returns the value before. */
  set(key: Key, value: Value | undefined): Value | undefined {
    const before = this.values.get(key)
    if (before !== undefined) this.bytes -= key.length + before.length
    if (value === undefined) {
      if (before !== undefined) this.remove(key)
      return before
    }
    this.bytes += key.length + value.length
    this.values.set(key, value)
    if (before === undefined) this.insert(key)
    return before
  }

  private insert(key: Key): void {
    const index = this.blockOf(key)
    const block = this.blocks[index]
    if (block === undefined) {
      this.blocks.push([key])
      return
    }
    if (block.at(-1)! < key) block.push(key)
    else block.splice(placeIn(block, key), 0, key)
    if (block.length > BLOCK_KEYS_MAX) this.blocks.splice(index + 1, 0, block.splice(block.length >>> 1))
  }

  private remove(key: Key): void {
    this.values.delete(key)
    const index = this.blockOf(key)
    const block = this.blocks[index]!
    block.splice(placeIn(block, key), 1)
    if (block.length === 0) this.blocks.splice(index, 1)
  }

  /** Entries from `start` inclusive to `end` exclusive, in order; the map's own values. */
  *ascending(start: Key | undefined, end: Key | undefined): Generator<readonly [Key, Value]> {
    const first = start === undefined ? 0 : this.blockOf(start)
    for (let i = first; i < this.blocks.length; i++) {
      const block = this.blocks[i]!
      for (let at = i === first && start !== undefined ? placeIn(block, start) : 0; at < block.length; at++) {
        const key = block[at]!
        if (end !== undefined && key >= end) return
        yield [key, this.values.get(key)!]
      }
    }
  }

  /** Entries from `start` inclusive down to `end` exclusive; the map's own values. */
  *descending(start: Key | undefined, end: Key | undefined): Generator<readonly [Key, Value]> {
    const last = start === undefined ? this.blocks.length - 1 : this.blockOf(start)
    for (let i = last; i >= 0; i--) {
      const block = this.blocks[i]
      if (block === undefined) return
      let at = i === last && start !== undefined ? placeIn(block, start, true) : block.length
      while (--at >= 0) {
        const key = block[at]!
        if (end !== undefined && key <= end) return
        yield [key, this.values.get(key)!]
      }
    }
  }
}
