/**
 * A set of byte strings, numbered in the order in which they came.
 *
 *   bytes    key 0 | key 1 | key 2 ...          starts   where each begins
 *   table    hash -> number, open addressing    hashes   of each key
 *
 * Terms: the *number* of a key is how many came before it. *Crowded* means that keys were chosen so that their hashes fall
 * together: the table then hands over to a map of the engine, whose hash nobody outside can know.
 *
 * Invariant: numbers are dense, and `truncate(n)` leaves exactly the first `n` keys. A key takes no object: a string and a
 * map entry for each cost a block more than hashing its operations does.
 */
import { bytesKey } from "@coppice/codec"
import { ByteStore } from "./byte-store.ts"
import { hashBytes } from "./key-hash.ts"
import { grown, Room } from "./room.ts"

const EMPTY = -1
const TABLE_START = 256

/** Steps that finding a place may take before the table counts as crowded; by chance it takes fewer at half load. */
const PROBES_MAX = 256

/** The keys of one batch. */
export class KeyTable {
  /** Keys back to back. */
  readonly store = new ByteStore(1024)
  /** Key `n` is `bytes[starts[n] .. starts[n + 1])`. Replaced as it grows. */
  starts: Uint32Array
  private hashes: Int32Array
  private table: Int32Array
  private size = 0
  private crowded: Map<string, number> | undefined
  private foundHash = 0
  private foundPlace = 0

  constructor() {
    const room = new Room(8 * TABLE_START + 4)
    this.starts = room.uint32s(TABLE_START / 2 + 1)
    this.hashes = room.int32s(TABLE_START / 2)
    this.table = room.int32s(TABLE_START).fill(EMPTY)
  }

  /** Keys held. */
  get count(): number {
    return this.size
  }

  /** Keys back to back, as of now. */
  get bytes(): Buffer {
    return this.store.bytes
  }

  /** Bytes of all keys. */
  get byteCount(): number {
    return this.starts[this.size]!
  }

  /** Length of a key. */
  length(number: number): number {
    return this.starts[number + 1]! - this.starts[number]!
  }

  /** Number of the key `key[from .. to)`, or -1. */
  find(key: Uint8Array, from = 0, to = key.length): number {
    if (this.crowded !== undefined) return this.crowded.get(bytesKey(key.subarray(from, to))) ?? EMPTY
    const { table, hashes } = this
    const mask = table.length - 1
    const hash = hashBytes(key, from, to)
    let place = hash & mask
    for (let number = table[place]!; number !== EMPTY; number = table[place]!) {
      if (hashes[number] === hash && this.equals(number, key, from, to)) return number
      place = (place + 1) & mask
    }
    this.foundHash = hash
    this.foundPlace = place
    return EMPTY
  }

  private equals(number: number, key: Uint8Array, from: number, to: number): boolean {
    const { bytes } = this
    const start = this.starts[number]!
    const length = to - from
    if (this.starts[number + 1]! - start !== length) return false
    for (let i = 0; i < length; i++) if (bytes[start + i] !== key[from + i]) return false
    return true
  }

  /** Adds a copy of a key that `find`, called just before, did not find. Returns its number. */
  add(key: Uint8Array): number {
    const number = this.size
    this.grow(key.length)
    const start = this.starts[number]!
    this.store.write(key, start)
    this.starts[number + 1] = start + key.length
    this.size = number + 1
    if (this.crowded !== undefined) this.crowded.set(bytesKey(key), number)
    else this.place(number)
    return number
  }

  private grow(length: number): void {
    const number = this.size
    const used = this.starts[number]!
    this.store.reserve(used + length, used)
    if (number < this.hashes.length) return
    const [starts, hashes] = grown(number, this.starts, this.hashes)
    this.starts = starts
    this.hashes = hashes
  }

  private place(number: number): void {
    const home = this.foundHash & (this.table.length - 1)
    const probes = this.foundPlace - home
    this.hashes[number] = this.foundHash
    this.table[this.foundPlace] = number
    if ((probes < 0 ? probes + this.table.length : probes) > PROBES_MAX) this.crowd()
    else if (this.size * 2 > this.table.length) this.rebuild(this.table.length * 2)
  }

  private rebuild(length: number): void {
    const table = new Int32Array(length).fill(EMPTY)
    const mask = length - 1
    for (let number = 0; number < this.size; number++) {
      let place = this.hashes[number]! & mask
      while (table[place] !== EMPTY) place = (place + 1) & mask
      table[place] = number
    }
    this.table = table
  }

  private crowd(): void {
    this.crowded = new Map()
    for (let number = 0; number < this.size; number++) this.crowded.set(this.text(number), number)
  }

  /** A key as text: see `bytesKey`. */
  text(number: number): string {
    return this.bytes.toString("latin1", this.starts[number]!, this.starts[number + 1]!)
  }

  /** Drops the keys from number `count` on. */
  truncate(count: number): void {
    while (this.size > count) {
      const number = this.size - 1
      if (this.crowded !== undefined) this.crowded.delete(this.text(number))
      else {
        // No key that came earlier was placed past this one's place, so clearing it breaks no path.
        const mask = this.table.length - 1
        let place = this.hashes[number]! & mask
        while (this.table[place] !== number) place = (place + 1) & mask
        this.table[place] = EMPTY
      }
      this.size = number
    }
  }
}
