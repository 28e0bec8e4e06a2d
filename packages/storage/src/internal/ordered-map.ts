/**
 * An ordered map of byte strings in memory.
 *
 *   blocks:  [ a c d ]  [ f g ]  [ k p q z ]        each sorted, all of one before all of the next
 *
 * Terms: a *block* is a sorted run of at most `BLOCK_ENTRIES_MAX` entries; it splits in two when full and goes when empty.
 *
 * Invariant: keys are unique and in byte order across blocks; no block is empty. The map keeps the arrays it is given
 * and gives out its own: whoever calls it copies.
 */
import { compareBytes } from "@coppice/codec"

const BLOCK_ENTRIES_MAX = 256

interface Block {
  readonly keys: Array<Uint8Array>
  readonly values: Array<Uint8Array>
}

/** First index for which `before` is false; `before` is true, then false. */
const partition = (length: number, before: (index: number) => boolean): number => {
  let low = 0
  let high = length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (before(middle)) low = middle + 1
    else high = middle
  }
  return low
}

/** Sorted blocks of keys and values. Cost: O(log n) to find, and one block moved to insert or remove. */
export class OrderedMap {
  private readonly blocks: Array<Block> = []
  /** Bytes of all keys and values. */
  bytes = 0

  /** Index of the block that holds or would hold a key. */
  private blockOf(key: Uint8Array): number {
    const after = partition(this.blocks.length, (i) => compareBytes(this.blocks[i]!.keys[0]!, key) <= 0)
    return Math.max(0, after - 1)
  }

  /** The value of a key itself, not a copy. */
  get(key: Uint8Array): Uint8Array | undefined {
    const block = this.blocks[this.blockOf(key)]
    if (block === undefined) return undefined
    const at = placeIn(block, key)
    return isAt(block, at, key) ? block.values[at] : undefined
  }

  /** Sets or, with undefined, removes a key; returns the value before. */
  set(key: Uint8Array, value: Uint8Array | undefined): Uint8Array | undefined {
    const index = this.blockOf(key)
    const block = this.blocks[index]
    if (block === undefined) {
      if (value !== undefined) this.blocks.push({ keys: [key], values: [value] })
      this.bytes += value === undefined ? 0 : key.length + value.length
      return undefined
    }
    const at = placeIn(block, key)
    const before = isAt(block, at, key) ? block.values[at]! : undefined
    if (before !== undefined) this.bytes -= key.length + before.length
    if (value !== undefined) this.bytes += key.length + value.length
    if (value === undefined) this.remove(index, at, before)
    else if (before !== undefined) block.values[at] = value
    else this.insert(index, at, key, value)
    return before
  }

  private insert(index: number, at: number, key: Uint8Array, value: Uint8Array): void {
    const block = this.blocks[index]!
    block.keys.splice(at, 0, key)
    block.values.splice(at, 0, value)
    if (block.keys.length <= BLOCK_ENTRIES_MAX) return
    const half = block.keys.length >>> 1
    this.blocks.splice(index + 1, 0, { keys: block.keys.splice(half), values: block.values.splice(half) })
  }

  private remove(index: number, at: number, before: Uint8Array | undefined): void {
    if (before === undefined) return
    const block = this.blocks[index]!
    block.keys.splice(at, 1)
    block.values.splice(at, 1)
    if (block.keys.length === 0) this.blocks.splice(index, 1)
  }

  /** Entries from `start` inclusive to `end` exclusive, in order; the map's own arrays. */
  *ascending(start: Uint8Array | undefined, end: Uint8Array | undefined): Generator<readonly [Uint8Array, Uint8Array]> {
    const first = start === undefined ? 0 : this.blockOf(start)
    for (let i = first; i < this.blocks.length; i++) {
      const block = this.blocks[i]!
      for (let at = i === first && start !== undefined ? placeIn(block, start) : 0; at < block.keys.length; at++) {
        if (end !== undefined && compareBytes(block.keys[at]!, end) >= 0) return
        yield [block.keys[at]!, block.values[at]!]
      }
    }
  }

  /** Entries from `start` inclusive down to `end` exclusive; the map's own arrays. */
  *descending(
    start: Uint8Array | undefined,
    end: Uint8Array | undefined,
  ): Generator<readonly [Uint8Array, Uint8Array]> {
    const last = start === undefined ? this.blocks.length - 1 : this.blockOf(start)
    for (let i = last; i >= 0; i--) {
      const block = this.blocks[i]
      if (block === undefined) return
      const above = i === last && start !== undefined
      let at = above ? partition(block.keys.length, (k) => compareBytes(block.keys[k]!, start) <= 0) : block.keys.length
      while (--at >= 0) {
        if (end !== undefined && compareBytes(block.keys[at]!, end) <= 0) return
        yield [block.keys[at]!, block.values[at]!]
      }
    }
  }
}

const placeIn = (block: Block, key: Uint8Array): number =>
  partition(block.keys.length, (i) => compareBytes(block.keys[i]!, key) < 0)

const isAt = (block: Block, at: number, key: Uint8Array): boolean => {
  const found = block.keys[at]
  return found !== undefined && compareBytes(found, key) === 0
}
