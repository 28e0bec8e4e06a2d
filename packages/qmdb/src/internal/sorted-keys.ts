/**
 * A set of keys in order that grows and shrinks one key at a time.
 *
 *   blocks   [ a b c | d e f g | h i ]        each sorted, none empty, at most `BLOCK_KEYS_MAX` keys
 *
 * Invariant: keys ascend within and across blocks. Keys are latin1 text, one character a byte, so that the engine's own
 * comparison is the order of their bytes.
 */
import type { KeyText } from "@coppice/verify/log"

/** Shifting so many keys for one that comes or goes costs less than finding its place does. */
const BLOCK_KEYS_MAX = 256

/** First index at which `from(index)` is not below `key`. */
const lowerBound = (count: number, key: KeyText, from: (index: number) => KeyText): number => {
  let low = 0
  let high = count
  while (low < high) {
    const middle = (low + high) >>> 1
    if (from(middle) < key) low = middle + 1
    else high = middle
  }
  return low
}

/** See the head of this file. */
export class SortedKeys {
  private readonly blocks: Array<Array<KeyText>> = []
  /** Where `seek` has left off: a block and a place in it. */
  private block = 0
  private place = 0

  /** Finds the block that holds a key or would, and the key's place in it. */
  private seek(key: KeyText): void {
    const { blocks } = this
    this.block = lowerBound(blocks.length, key, (i) => blocks[i]!.at(-1)!)
    const block = blocks[this.block]
    this.place = block === undefined ? 0 : lowerBound(block.length, key, (i) => block[i]!)
  }

  /** Adds a key; adding it again changes nothing. */
  add(key: KeyText): void {
    const { blocks } = this
    this.seek(key)
    if (this.block === blocks.length) {
      // Above all others: keys that come in order fill the last block.
      if (blocks.length === 0 || blocks.at(-1)!.length >= BLOCK_KEYS_MAX) blocks.push([])
      blocks.at(-1)!.push(key)
      return
    }
    const block = blocks[this.block]!
    if (block[this.place] === key) return
    block.splice(this.place, 0, key)
    if (block.length > BLOCK_KEYS_MAX) blocks.splice(this.block + 1, 0, block.splice(BLOCK_KEYS_MAX / 2))
  }

  /** Removes a key; removing one that is not there changes nothing. */
  remove(key: KeyText): void {
    this.seek(key)
    const block = this.blocks[this.block]
    if (block === undefined || block[this.place] !== key) return
    block.splice(this.place, 1)
    if (block.length === 0) this.blocks.splice(this.block, 1)
  }

  /** The first key that is not below `key`, or undefined. */
  atOrAfter(key: KeyText): KeyText | undefined {
    this.seek(key)
    return this.blocks[this.block]?.[this.place]
  }

  /** The last key below `key`, of all when it is undefined; or undefined. */
  before(key: KeyText | undefined): KeyText | undefined {
    if (key === undefined) return this.blocks.at(-1)?.at(-1)
    this.seek(key)
    return this.place > 0 ? this.blocks[this.block]![this.place - 1] : this.blocks[this.block - 1]?.at(-1)
  }
}
