/**
 * Which slot names a key: created keys by branch, unswept changes, then storage.
 *
 *   created (layer, slot) --flush--> unswept: slot or deleted --sweep--> storage rows key -> slot
 *
 * Terms: *unswept* changes are flushed in the log but not yet in the stored map; a *sweep* writes a part of them, in key
 * order, with each flush. Only creates and deletes of keys ever come here: updates and moves change no row. *Recent* keys
 * are those that memory names by a slot; in an ordered database they are kept in order too.
 *
 * Invariant: asking created keys (nearest ancestor first), then unswept changes, then storage gives the slot of every
 * key. An unswept change leaves memory only once the write that carries it is visible.
 */
import { bytesKey, keyBytes } from "@coppice/codec"
import type { Change, Entry } from "@coppice/storage"
import { KEY_BYTES_MAX } from "@coppice/verify"
import type { KeyText } from "@coppice/verify/log"
import type { MemberCorrupt } from "../errors.ts"
import type { Branch } from "./branches.ts"
import { orderByBytes } from "./order.ts"
import { SortedKeys } from "./sorted-keys.ts"
import type { Space } from "./space.ts"

const MAP = "keys"

const NUMBER_BYTES_MAX = 8

const WORD = 2 ** 32

/** Stands for the slot of a key that has none, and for the unswept change of a deleted key. */
export const NO_SLOT = -1

/** Comes after every key. */
const ABOVE_ALL: KeyText = "\xff".repeat(KEY_BYTES_MAX + 1)

interface Created {
  readonly layer: number
  readonly depth: number
  readonly slot: number
  readonly older: Created | undefined
}

/** The key table of one member. */
export class KeyIndex {
  private readonly space: Space
  private readonly created = new Map<KeyText, Created>()
  private readonly unswept = new Map<KeyText, number>()
  /** The number of a row, little-endian; what a row lacks in bytes stays zero. */
  private readonly row = new Uint8Array(NUMBER_BYTES_MAX)
  private readonly view = new DataView(this.row.buffer)
  private readonly numberBytes: number
  /** Recent keys in order; undefined in an unordered database. */
  readonly recent: SortedKeys | undefined

  /** Rows hold numbers below 2^32, or of twice the length where locations are numbers. */
  constructor(space: Space, numberBytes: 4 | 8, ordered = false) {
    this.space = space
    this.numberBytes = numberBytes
    this.recent = ordered ? new SortedKeys() : undefined
  }

  /** Creates and deletes not yet in the stored map. */
  get unsweptCount(): number {
    return this.unswept.size
  }

  /**
   * Slot of the key whose identity is `bytes[from .. to)` as a layer sees it; the key may still be inactive there.
   * `NO_SLOT` when it has none.
   */
  slotOf(bytes: Uint8Array, from: number, to: number, branch: Branch<unknown>): number {
    if (this.created.size + this.unswept.size > 0) {
      const key = bytesKey(from === 0 && to === bytes.length ? bytes : bytes.subarray(from, to))
      const slot = this.slotInMemory(key, branch)
      if (slot !== undefined) return slot
    }
    return this.stored(bytes, from, to)
  }

  /** The same for a key whose stored row is known; undefined when it has none. */
  slotIn(key: KeyText, row: Uint8Array | undefined, branch: Branch<unknown>): number {
    const slot = this.slotInMemory(key, branch)
    if (slot !== undefined || row === undefined) return slot ?? NO_SLOT
    this.row.set(row.subarray(0, NUMBER_BYTES_MAX))
    return this.rowNumber(row.length)
  }

  private slotInMemory(key: KeyText, branch: Branch<unknown>): number | undefined {
    for (let c = this.created.get(key); c !== undefined; c = c.older) {
      if (branch.sees(c.layer, c.depth)) return c.slot
    }
    return this.unswept.get(key)
  }

  private stored(bytes: Uint8Array, from: number, to: number): number {
    const length = this.space.storage.getInto(MAP, this.space.lookupKey(bytes, from, to), this.row)
    return length < 0 ? NO_SLOT : this.rowNumber(length)
  }

  private rowNumber(length: number): number {
    if (length !== this.numberBytes) throw this.corrupt(`a row has ${length} bytes`)
    const low = this.view.getUint32(0, true)
    return length === 4 ? low : this.view.getUint32(4, true) * WORD + low
  }

  /** Up to `most` stored rows from a key on, or down from it, itself among them; from the end when it is undefined. */
  rowsFrom(key: KeyText | undefined, reverse: boolean, most: number): ReadonlyArray<Entry> {
    const start = this.space.textKey(key ?? (reverse ? ABOVE_ALL : ""))
    return this.space.storage.scan(MAP, { start, reverse, limit: most })
  }

  /** The error of an index that contradicts itself. */
  corrupt(detail: string): MemberCorrupt {
    return this.space.corrupt(`${MAP}: ${detail}`)
  }

  /** Key of a stored row, or undefined when the row is another member's. */
  textOf(row: Entry): KeyText | undefined {
    return this.space.textOf(row.key)
  }

  /** Slot of a key in the flushed state. */
  textSlot(key: KeyText): number {
    const unswept = this.unswept.get(key)
    return unswept ?? this.stored(keyBytes(key), 0, key.length)
  }

  /** Names a key in a layer that is being sealed. */
  create(key: KeyText, branch: Branch<unknown>, slot: number): void {
    this.created.set(key, { layer: branch.id, depth: branch.depth, slot, older: this.created.get(key) })
    this.recent?.add(key)
  }

  /** Forgets what a closed layer created. */
  forget(key: KeyText, branch: Branch<unknown>): void {
    this.unlink(key, branch)
    this.keepOrder(key)
  }

  /** Moves a flushed layer's create among the unswept changes. */
  mergeCreate(key: KeyText, branch: Branch<unknown>): void {
    const created = this.unlink(key, branch)
    if (created !== undefined) this.unswept.set(key, created.slot)
  }

  /** Records a flushed layer's delete. */
  mergeDelete(key: KeyText): void {
    this.unswept.set(key, NO_SLOT)
    this.keepOrder(key)
  }

  /** Records a flushed create while the log is replayed. */
  replayCreate(key: KeyText, slot: number): void {
    this.unswept.set(key, slot)
    this.recent?.add(key)
  }

  /** Drops a key that no slot in memory names any more. */
  private keepOrder(key: KeyText): void {
    if (this.recent === undefined || this.created.has(key)) return
    if ((this.unswept.get(key) ?? NO_SLOT) === NO_SLOT) this.recent.remove(key)
  }

  private unlink(key: KeyText, branch: Branch<unknown>): Created | undefined {
    let found: Created | undefined
    const rebuilt = (c: Created | undefined): Created | undefined => {
      if (c === undefined) return undefined
      if (c.layer === branch.id) {
        found = c
        return c.older
      }
      const older = rebuilt(c.older)
      return older === c.older ? c : { ...c, older }
    }
    const head = rebuilt(this.created.get(key))
    if (found === undefined) return undefined
    if (head === undefined) this.created.delete(key)
    else this.created.set(key, head)
    return found
  }

  /** The unswept keys in key order, for one round of sweeping. */
  unsweptKeys(): Array<KeyText> {
    const keys = [...this.unswept.keys()]
    const starts = new Uint32Array(keys.length + 1)
    keys.forEach((key, i) => {
      starts[i + 1] = starts[i]! + key.length
    })
    const bytes = Buffer.from(keys.join(""), "latin1")
    return Array.from(orderByBytes({ bytes, starts, count: keys.length }), (i) => keys[i]!)
  }

  /** Adds the change that brings the stored row of a key up to date; false when nothing is unswept for it. */
  sweep(key: KeyText, changes: Array<Change>): boolean {
    const slot = this.unswept.get(key)
    if (slot === undefined) return false
    this.putRow(key, slot, changes)
    return true
  }

  /** Adds the change that gives the stored row of a key a slot, or none. */
  putRow(key: KeyText, slot: number, changes: Array<Change>): void {
    const row = this.space.textKey(key)
    if (slot === NO_SLOT) changes.push({ tag: "remove", map: MAP, key: row })
    else {
      const value = Buffer.alloc(this.numberBytes)
      value.writeUIntLE(slot, 0, Math.min(6, this.numberBytes))
      changes.push({ tag: "put", map: MAP, key: row, value })
    }
  }

  /** The write that carried a swept change is visible: it leaves memory. Nothing was merged since. */
  swept(key: KeyText): void {
    this.unswept.delete(key)
    this.keepOrder(key)
  }
}
