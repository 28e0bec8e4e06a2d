/**
 * Walking the active keys of one branch in key order.
 *
 *   stored rows, a chunk at a time   k1    k3 k4      k7
 *   recent keys, in memory              k2       k5 k6         merged, those that are not active in the branch passed over
 *
 * Terms: a *candidate* is a key that some branch may see: it has a row, or was created lately.
 *
 * Invariant: a walk visits exactly the active keys of its branch between its bounds, each once. It is used up before
 * anything is flushed: no cursor of storage outlives a call.
 */
import type { Entry } from "@coppice/storage"
import type { KeyText } from "@coppice/verify/log"
import type { Branch } from "./branches.ts"
import { type KeyIndex, NO_SLOT } from "./key-index.ts"
import { INACTIVE, type SlotIndex } from "./slot-index.ts"

/** Rows of the first chunk: a single neighbour needs no more where keys are not deleted all the time. */
const CHUNK_ROWS_FIRST = 2
const CHUNK_ROWS_MAX = 256

/** The key that a walk in this direction comes to first; undefined stands for none. */
export const nearer = (a: KeyText | undefined, b: KeyText | undefined, reverse: boolean): KeyText | undefined => {
  if (a === undefined || b === undefined) return a ?? b
  return a < b === reverse ? b : a
}

/** What a walk reads. */
export interface WalkHome {
  readonly keys: KeyIndex
  readonly slots: SlotIndex
}

/** See the head of this file. */
export class KeyWalk {
  /** The key it stands at; undefined before the first step and after the last. */
  key: KeyText | undefined
  slot = NO_SLOT
  location = INACTIVE
  private readonly home: WalkHome
  private readonly branch: Branch<unknown>
  private readonly reverse: boolean
  private rows: ReadonlyArray<Entry> = []
  private row = 0
  private rowsMax = CHUNK_ROWS_FIRST
  /** Where the next chunk begins; undefined at the first row, or at the last for a walk down. */
  private bound: KeyText | undefined
  private exhausted = false
  private stored: KeyText | undefined
  private recent: KeyText | undefined

  /** Walks up from `bound` itself, or down from the key before it; from the first or last key when it is undefined. */
  constructor(home: WalkHome, branch: Branch<unknown>, bound: KeyText | undefined, reverse: boolean) {
    this.home = home
    this.branch = branch
    this.bound = bound
    this.reverse = reverse
    this.recent = reverse ? home.keys.recent!.before(bound) : home.keys.recent!.atOrAfter(bound ?? "")
    this.loadRow()
  }

  /** Steps to the next active key; its text, or undefined past the last. */
  next(): KeyText | undefined {
    while (!this.pass(CHUNK_ROWS_MAX)) {}
    return this.key
  }

  /** The same, giving up after `most` candidates that are not active: false when it must be called again. */
  pass(most: number): boolean {
    const { keys, slots } = this.home
    for (let i = 0; i < most; i++) {
      const { stored, recent } = this
      const key = nearer(stored, recent, this.reverse)
      this.key = key
      if (key === undefined) return true
      const row = key === stored ? this.rows[this.row]!.value : undefined
      const slot = keys.slotIn(key, row, this.branch)
      if (key === stored) this.nextRow()
      if (key === recent) this.recent = this.reverse ? keys.recent!.before(key) : keys.recent!.atOrAfter(`${key}\0`)
      if (slot === NO_SLOT) continue
      const location = slots.locate(slot, this.branch)
      if (location === INACTIVE) continue
      this.slot = slot
      this.location = location
      return true
    }
    return false
  }

  private nextRow(): void {
    this.bound = this.reverse ? this.stored : `${this.stored}\0`
    this.row += 1
    this.loadRow()
  }

  private loadRow(): void {
    if (this.row === this.rows.length && !this.exhausted) {
      this.rows = this.home.keys.rowsFrom(this.bound, this.reverse, this.rowsMax)
      this.row = 0
      this.exhausted = this.rows.length < this.rowsMax
      this.rowsMax = Math.min(CHUNK_ROWS_MAX, this.rowsMax * 4)
    }
    const row = this.rows[this.row]
    const key = row === undefined ? undefined : this.home.keys.textOf(row)
    this.stored = key
    // The upper bound of a scan down is part of it, the bound of a walk is not.
    if (this.reverse && key !== undefined && key === this.bound) this.nextRow()
    else if (key === undefined) this.exhausted = true
  }
}
