/**
 * Chance for one case: every draw follows from seed and case number, so any case can be made again alone.
 */

const spread = (x: number): number => {
  let h = Math.imul(x ^ (x >>> 16), 0x85eb_ca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2_ae35)
  return (h ^ (h >>> 16)) >>> 0
}

/** A stream of draws. */
export class Random {
  #a: number
  #b: number
  #c = 0

  constructor(seed: number, index: number) {
    this.#a = spread(seed) ^ spread(Math.floor(seed / 2 ** 32) + 1)
    this.#b = spread(index) ^ spread(Math.floor(index / 2 ** 32) + 2)
    for (let i = 0; i < 4; i++) this.next()
  }

  /** An integer of 32 bits. */
  next(): number {
    this.#c = (this.#c + 0x9e37_79b9) >>> 0
    this.#a = spread(this.#a ^ this.#c)
    this.#b = spread((this.#b + this.#a) >>> 0)
    return this.#b
  }

  /** An integer below `count`. */
  below(count: number): number {
    return this.next() % count
  }

  /** One of the items. */
  of<T>(items: ReadonlyArray<T>): T {
    return items[this.below(items.length)]!
  }

  /** Bytes. */
  bytes(count: number): Uint8Array {
    return Uint8Array.from({ length: count }, () => this.next())
  }
}
