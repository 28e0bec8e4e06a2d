/**
 * Where every key lives now: slot -> location, for every branch at once.
 *
 *   slabs    per slot its location in the newest flushed state, or, while un-flushed layers touch it, a negative number:
 *            the newest entry of its list                                          one float64 a slot
 *   entries  (layer, depth, next older entry, location), the oldest with the flushed location      a pool
 *
 * Terms: a *slot* is a small integer that names a key for as long as the key is active; location 0 is the genesis commit
 * and therefore means "not active". An *entry* is the location that one un-flushed layer gives to a slot. The *base* of a
 * slot is its flushed location.
 *
 * Invariant: for a layer, the first entry in a slot's list whose layer it sees is the nearest ancestor's, because a layer
 * is sealed after its ancestors; with no such entry the base holds the answer. So a lookup costs the same through 64
 * pending layers as through one, and one memory access where nothing is pending: slots are met in no order.
 */
import type { Branch } from "./branches.ts"
import { ROW_BYTES } from "./layout.ts"

/** Slots of one page, which is also one stored row. */
export const SLOTS_PER_PAGE = ROW_BYTES / 8

/**
 * Slots of one piece of memory, whole pages. Slots are met in no order: through few large pieces each costs one miss of the
 * cache, where an array for each page would cost two more, and would keep what is free between them resident.
 */
const SLOTS_PER_SLAB = 128 * SLOTS_PER_PAGE

// A slot has 30 bits, so that integers do for both.
const pageOf = (slot: number): number => (slot / SLOTS_PER_PAGE) | 0
const slabOf = (slot: number): number => (slot / SLOTS_PER_SLAB) | 0

const NO_ENTRY = -1

/** Words of an entry: layer, depth, next, and the low and high halves of its location and of the base. */
const LAYER = 0
const DEPTH = 1
const NEXT = 2
const LOCATION = 3
const BASE = 5
const ENTRY_WORDS = 7

const WORD = 2 ** 32

/** Entries whose memory an idle index keeps. */
const POOL_ENTRIES_KEPT = 1 << 17

/** The location that means "not active". */
export const INACTIVE = 0

/** The slot table of one member. */
export class SlotIndex {
  private readonly slabs: Array<Float64Array> = []
  /** Pages changed since they were last written: 1. */
  private dirty = new Uint8Array(0)
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
    const held = this.held(slot)
    return held >= 0 ? held : this.locateIn(-held - 1, branch)
  }

  private held(slot: number): number {
    const slab = slabOf(slot)
    return slab < this.slabs.length ? this.slabs[slab]![slot - slab * SLOTS_PER_SLAB]! : INACTIVE
  }

  /** The same by the newest entry of the slot's list. */
  private locateIn(newest: number, branch: Branch<unknown>): number {
    const { entries } = this
    for (let e = newest; ; e = entries[e + NEXT]!) {
      if (branch.sees(entries[e + LAYER]!, entries[e + DEPTH]!)) return this.number(e + LOCATION)
      if (entries[e + NEXT] === NO_ENTRY) return this.number(e + BASE)
    }
  }

  private number(at: number): number {
    return this.entries[at + 1]! * WORD + (this.entries[at]! >>> 0)
  }

  private setNumber(at: number, value: number): void {
    // Storing keeps the low 32 bits; a remainder of doubles is a call.
    this.entries[at] = value
    this.entries[at + 1] = Math.floor(value / WORD)
  }

  /** Gives a slot a location in a layer that is being sealed. Returns true the first time that layer touches the slot. */
  set(slot: number, branch: Branch<unknown>, location: number): boolean {
    const number = slabOf(slot)
    const slab = this.slab(number)
    const at = slot - number * SLOTS_PER_SLAB
    const held = slab[at]!
    const newest = held >= 0 ? NO_ENTRY : -held - 1
    for (let e = newest; e !== NO_ENTRY; e = this.entries[e + NEXT]!) {
      if (this.entries[e + LAYER] !== branch.id) continue
      this.setNumber(e + LOCATION, location)
      return false
    }
    const e = this.allocate()
    this.entries[e + LAYER] = branch.id
    this.entries[e + DEPTH] = branch.depth
    this.entries[e + NEXT] = newest
    this.setNumber(e + LOCATION, location)
    if (newest === NO_ENTRY) this.setNumber(e + BASE, held)
    slab[at] = -e - 1
    return true
  }

  /** Forgets a closed layer's entry of a slot. */
  forget(slot: number, branch: Branch<unknown>): void {
    this.unlink(slot, branch, false)
  }

  /** Makes a flushed layer's entry of a slot its base. The layer is the oldest of the list. */
  merge(slot: number, branch: Branch<unknown>): void {
    const location = this.unlink(slot, branch, true)
    if (location === undefined) return
    this.dirty[pageOf(slot)] = 1
    if (location === INACTIVE) this.freed.push(slot)
  }

  /** Sets the flushed location of a slot that no layer touches, and marks its page as changed. */
  store(slot: number, location: number): void {
    const slab = slabOf(slot)
    this.slab(slab)[slot - slab * SLOTS_PER_SLAB] = location
    this.dirty[pageOf(slot)] = 1
  }

  private slab(number: number): Float64Array {
    while (this.slabs.length <= number) {
      this.slabs.push(new Float64Array(SLOTS_PER_SLAB))
      const dirty = new Uint8Array((this.slabs.length * SLOTS_PER_SLAB) / SLOTS_PER_PAGE)
      dirty.set(this.dirty)
      this.dirty = dirty
    }
    return this.slabs[number]!
  }

  private page(page: number): Float64Array {
    const slot = page * SLOTS_PER_PAGE
    const number = slabOf(slot)
    const at = slot - number * SLOTS_PER_SLAB
    return this.slab(number).subarray(at, at + SLOTS_PER_PAGE)
  }

  /**
   * Takes a layer's entry out of a slot's list and returns its location. When it was the oldest, the base goes to the entry
   * that is the oldest then, or to the page: the base as it was, or the entry's location when that is flushed.
   */
  private unlink(slot: number, branch: Branch<unknown>, flushed: boolean): number | undefined {
    const number = slabOf(slot)
    const slab = this.slab(number)
    const at = slot - number * SLOTS_PER_SLAB
    const { entries } = this
    if (slab[at]! >= 0) return undefined
    let newer = NO_ENTRY
    let e = -slab[at]! - 1
    while (entries[e + LAYER] !== branch.id) {
      newer = e
      e = entries[e + NEXT]!
      if (e === NO_ENTRY) return undefined
    }
    const older = entries[e + NEXT]!
    const location = this.number(e + LOCATION)
    if (older !== NO_ENTRY) {
      if (flushed) throw new Error(`slot ${slot}: layer ${branch.id} is flushed before an older one`)
      if (newer === NO_ENTRY) slab[at] = -older - 1
      else entries[newer + NEXT] = older
    } else {
      const base = flushed ? location : this.number(e + BASE)
      if (newer === NO_ENTRY) slab[at] = base
      else {
        entries[newer + NEXT] = NO_ENTRY
        this.setNumber(newer + BASE, base)
      }
    }
    entries[e + NEXT] = this.freeEntry
    this.freeEntry = e
    return location
  }

  private oldest(entry: number): number {
    let e = entry
    while (this.entries[e + NEXT] !== NO_ENTRY) e = this.entries[e + NEXT]!
    return e
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
      if (this.held(slot) === INACTIVE) this.freed.push(slot)
    }
    return slots - this.freed.length
  }

  /** Sets slots back to earlier flushed locations, and the queue to what was free then of `slots`. No layer is un-flushed. */
  setBack(slots: number, locations: ReadonlyMap<number, number>): void {
    const freed = this.freed.slice(this.freedSkip).filter((slot) => slot < slots && !locations.has(slot))
    for (const [slot, location] of locations) {
      this.store(slot, location)
      if (location === INACTIVE && slot < slots) freed.push(slot)
    }
    this.freed = freed
    this.freedFrom = 0
    this.freedSkip = 0
  }

  /** The memory of a page, to be filled from its stored row before anything else is done with it. */
  rowOf(page: number): Uint8Array {
    const { buffer, byteOffset, byteLength } = this.page(page)
    return new Uint8Array(buffer, byteOffset, byteLength)
  }

  /** Locations of the `active` slots that are active. No layer may touch any. */
  locations(active: number): Float64Array {
    const locations = new Float64Array(active)
    let count = 0
    for (const slab of this.slabs) {
      for (let at = 0; at < slab.length; at++) if (slab[at]! > INACTIVE) locations[count++] = slab[at]!
    }
    return locations
  }

  /** Pages changed since they were last written, in order. */
  dirtyPages(): Array<number> {
    const pages: Array<number> = []
    for (let page = 0; page < this.dirty.length; page++) if (this.dirty[page] === 1) pages.push(page)
    return pages
  }

  /** Puts the flushed locations of a page into `row`; the page counts as written. */
  writePage(page: number, row: Float64Array): void {
    this.dirty[page] = 0
    row.set(this.page(page))
    for (let at = 0; at < row.length; at++) {
      if (row[at]! < 0) row[at] = this.number(this.oldest(-row[at]! - 1) + BASE)
    }
  }
}
