/**
 * Which slot names a key: created keys by branch, unswept changes, then storage.
 *
 *   created (layer, slot) --flush--> unswept: slot or deleted --sweep--> storage rows key -> slot
 *
 * Terms: *unswept* changes are flushed in the log but not yet in the stored map; a *sweep* writes a part of them, in key
 * order, with each flush. Only creates and deletes of keys ever come here: updates and moves change no row.
 *
 * Invariant: asking created keys (nearest ancestor first), then unswept changes, then storage gives the slot of every
 * key. An unswept change leaves memory only once the write that carries it is visible.
 */
import { bytesKey, keyBytes } from "@coppice/codec"
import type { Change } from "@coppice/storage"
import type { KeyText } from "@coppice/verify/log"
import type { Branch } from "./branches.ts"
import { orderByBytes } from "./order.ts"
import type { Space } from "./space.ts"

const MAP = "keys"

const NUMBER_BYTES_MAX = 8

const WORD = 2 ** 32

/** Stands for the slot of a key that has none, and for the unswept change of a deleted key. */
export const NO_SLOT = -1

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

  /** Rows hold numbers below 2^32, or of twice the length where locations are numbers. */
  constructor(space: Space, numberBytes: 4 | 8) {
    this.space = space
    this.numberBytes = numberBytes
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
      const key = bytesKey(bytes.subarray(from, to))
      for (let c = this.created.get(key); c !== undefined; c = c.older) {
        if (branch.sees(c.layer, c.depth)) return c.slot
      }
      const unswept = this.unswept.get(key)
      if (unswept !== undefined) return unswept
    }
    return this.stored(bytes, from, to)
  }

  private stored(bytes: Uint8Array, from: number, to: number): number {
    const length = this.space.storage.getInto(MAP, this.space.lookupKey(bytes, from, to), this.row)
    if (length < 0) return NO_SLOT
    if (length !== this.numberBytes) throw this.space.corrupt(`${MAP}: a row has ${length} bytes`)
    const low = this.view.getUint32(0, true)
    return length === 4 ? low : this.view.getUint32(4, true) * WORD + low
  }

  /** Slot of a key in the flushed state. */
  textSlot(key: KeyText): number {
    const unswept = this.unswept.get(key)
    return unswept ?? this.stored(keyBytes(key), 0, key.length)
  }

  /** Names a key in a layer that is being sealed. */
  create(key: KeyText, branch: Branch<unknown>, slot: number): void {
    this.created.set(key, { layer: branch.id, depth: branch.depth, slot, older: this.created.get(key) })
  }

  /** Forgets what a closed layer created. */
  forget(key: KeyText, branch: Branch<unknown>): void {
    this.unlink(key, branch)
  }

  /** Moves a flushed layer's create among the unswept changes. */
  mergeCreate(key: KeyText, branch: Branch<unknown>): void {
    const created = this.unlink(key, branch)
    if (created !== undefined) this.unswept.set(key, created.slot)
  }

  /** Records a flushed layer's delete. */
  mergeDelete(key: KeyText): void {
    this.unswept.set(key, NO_SLOT)
  }

  /** Records a flushed create while the log is replayed. */
  replayCreate(key: KeyText, slot: number): void {
    this.unswept.set(key, slot)
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
  }
}
