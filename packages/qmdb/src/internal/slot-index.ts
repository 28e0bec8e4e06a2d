/**
 * Where every key lives now: slot -> location, for every branch at once.
 *
 *   pages    location of each slot in the newest flushed state                     one float64 a slot
 *   heads    newest pending change of each slot, or none                           allocated where needed
 *   entries  (layer, depth, next older entry, location in two words)               a pool, one cache line an entry
 *
 * Terms: a *slot* is a small integer that names a key for as long as the key is active; location 0 is the genesis commit
 * and therefore means "not active". An *entry* is the location that one un-flushed layer gives to a slot.
 *
 * Invariant: for a layer, the first entry in a slot's list whose layer it sees is the nearest ancestor's, because a layer
 * is sealed after its ancestors; with no such entry the page holds the answer. So a lookup costs the same through 64
 * pending layers as through one.
 */
import type { Branch } from "./branches.ts"
import { ROW_BYTES } from "./layout.ts"

/** Slots of one page, which is also one stored row. */
export const SLOTS_PER_PAGE = ROW_BYTES / 8

const NO_ENTRY = -1

/** Words of an entry: layer, depth, next, low and high half of the location. */
const LAYER = 0
const DEPTH = 1
const NEXT = 2
const LOW = 3
const HIGH = 4
const ENTRY_WORDS = 5

const WORD = 2 ** 32

/** Entries whose memory an idle index keeps. */
const POOL_ENTRIES_KEPT = 1 << 17

/** The location that means "not active". */
export const INACTIVE = 0

/** The slot table of one member. */
export class SlotIndex {
  private readonly pages: Array<Float64Array> = []
  private readonly heads: Array<Int32Array | undefined> = []
  /** Pages changed since they were last written: 1. */
  private dirty = new Uint8Array(64)
  private entries = new Int32Array(0)
  private entriesUsed = 0
  private freeEntry = NO_ENTRY
  /** Slots that flushed deletes have freed, as a queue with absolute positions: `freed[i]` stands at `freedFrom + i`. */
  private freed: Array<number> = []
  private freedFrom = 0
  /** Slots at the front of `freed` that have been used. */
  private freedSkip = 0

  /** Location of a slot as a layer sees it; `INACTIVE` when its key is not active. */
  locate(slot: number, branch: Branch<unknown>): number {
    const page = Math.floor(slot / SLOTS_PER_PAGE)
    const at = slot - page * SLOTS_PER_PAGE
    const head = this.heads[page]
    if (head !== undefined) {
      const { entries } = this
      for (let e = head[at]!; e !== NO_ENTRY; e = entries[e + NEXT]!) {
        if (branch.sees(entries[e + LAYER]!, entries[e + DEPTH]!)) return this.locationOf(e)
      }
    }
    return this.pages[page]?.[at] ?? INACTIVE
  }

  private locationOf(entry: number): number {
    return this.entries[entry + HIGH]! * WORD + (this.entries[entry + LOW]! >>> 0)
  }

  /** Gives a slot a location in a layer that is being sealed. Returns true the first time that layer touches the slot. */
  set(slot: number, branch: Branch<unknown>, location: number): boolean {
    const page = Math.floor(slot / SLOTS_PER_PAGE)
    const at = slot - page * SLOTS_PER_PAGE
    const head = this.headsOf(page)
    // A layer that is being sealed has no descendants, so no layer that sees it has an entry before its own.
    for (let e = head[at]!; e !== NO_ENTRY; e = this.entries[e + NEXT]!) {
      if (this.entries[e + LAYER] === branch.id) {
        this.putLocation(e, location)
        return false
      }
    }
    const e = this.allocate()
    this.entries[e + LAYER] = branch.id
    this.entries[e + DEPTH] = branch.depth
    this.entries[e + NEXT] = head[at]!
    this.putLocation(e, location)
    head[at] = e
    return true
  }

  private putLocation(entry: number, location: number): void {
    this.entries[entry + LOW] = location % WORD
    this.entries[entry + HIGH] = Math.floor(location / WORD)
  }

  private headsOf(page: number): Int32Array {
    this.page(page)
    let head = this.heads[page]
    if (head === undefined) {
      head = new Int32Array(SLOTS_PER_PAGE).fill(NO_ENTRY)
      this.heads[page] = head
    }
    return head
  }

  /** Forgets a closed layer's entry of a slot. */
  forget(slot: number, branch: Branch<unknown>): void {
    this.unlink(slot, branch)
  }

  /** Moves a flushed layer's entry of a slot into the page. */
  merge(slot: number, branch: Branch<unknown>): void {
    const location = this.unlink(slot, branch)
    if (location === undefined) return
    this.store(slot, location)
    if (location === INACTIVE) this.freed.push(slot)
  }

  /** Sets the flushed location of a slot and marks its page as changed. */
  store(slot: number, location: number): void {
    const page = Math.floor(slot / SLOTS_PER_PAGE)
    this.page(page)[slot - page * SLOTS_PER_PAGE] = location
    this.dirty[page] = 1
  }

  private page(page: number): Float64Array {
    while (this.pages.length <= page) {
      this.pages.push(new Float64Array(SLOTS_PER_PAGE))
      this.heads.push(undefined)
    }
    if (this.dirty.length < this.pages.length) {
      const dirty = new Uint8Array(this.pages.length * 2)
      dirty.set(this.dirty)
      this.dirty = dirty
    }
    return this.pages[page]!
  }

  private unlink(slot: number, branch: Branch<unknown>): number | undefined {
    const page = Math.floor(slot / SLOTS_PER_PAGE)
    const head = this.heads[page]
    if (head === undefined) return undefined
    const { entries } = this
    const at = slot - page * SLOTS_PER_PAGE
    let before = NO_ENTRY
    for (let e = head[at]!; e !== NO_ENTRY; e = entries[e + NEXT]!) {
      if (entries[e + LAYER] === branch.id) {
        if (before === NO_ENTRY) head[at] = entries[e + NEXT]!
        else entries[before + NEXT] = entries[e + NEXT]!
        entries[e + NEXT] = this.freeEntry
        this.freeEntry = e
        return this.locationOf(e)
      }
      before = e
    }
    return undefined
  }

  private allocate(): number {
    if (this.freeEntry !== NO_ENTRY) {
      const e = this.freeEntry
      this.freeEntry = this.entries[e + NEXT]!
      return e
    }
    if (this.entriesUsed === this.entries.length) {
      const entries = new Int32Array(Math.max(1024 * ENTRY_WORDS, this.entries.length * 2))
      entries.set(this.entries)
      this.entries = entries
    }
    const e = this.entriesUsed
    this.entriesUsed += ENTRY_WORDS
    return e
  }

  /** Gives a large pool back. Call only when no layer is un-flushed. */
  shrink(): void {
    if (this.entries.length <= POOL_ENTRIES_KEPT * ENTRY_WORDS) return
    this.entries = new Int32Array(0)
    this.entriesUsed = 0
    this.freeEntry = NO_ENTRY
  }

  /** Slot at an absolute position of the queue of freed slots, or undefined past its end. */
  freedAt(position: number): number | undefined {
    return this.freed[position - this.freedFrom + this.freedSkip]
  }

  /** Drops the freed slots before an absolute position: a flushed layer has used them. */
  consumeFreed(position: number): void {
    if (position <= this.freedFrom) return
    this.freedSkip += position - this.freedFrom
    this.freedFrom = position
    // Cutting the front off copies the rest: done once as much has been used as is left.
    if (this.freedSkip * 2 < this.freed.length) return
    this.freed = this.freed.slice(this.freedSkip)
    this.freedSkip = 0
  }

  /** Rebuilds the queue of freed slots: every slot below `slots` that is not active. Returns how many are. */
  rebuildFreed(slots: number): number {
    this.freed = []
    this.freedFrom = 0
    this.freedSkip = 0
    for (let slot = 0; slot < slots; slot++) {
      const page = Math.floor(slot / SLOTS_PER_PAGE)
      if ((this.pages[page]?.[slot - page * SLOTS_PER_PAGE] ?? INACTIVE) === INACTIVE) this.freed.push(slot)
    }
    return slots - this.freed.length
  }

  /** Loads a stored row of `SLOTS_PER_PAGE * 8` bytes as a page. */
  load(page: number, row: Uint8Array): void {
    new Uint8Array(this.page(page).buffer).set(row)
  }

  /** Pages changed since they were last written, in order. */
  dirtyPages(): Array<number> {
    const pages: Array<number> = []
    for (let page = 0; page < this.pages.length; page++) if (this.dirty[page] === 1) pages.push(page)
    return pages
  }

  /** A copy of a page as a row; the page counts as written. */
  writePage(page: number): Uint8Array {
    this.dirty[page] = 0
    return new Uint8Array(this.page(page).slice().buffer)
  }
}
