/**
 * Where every key lives now: slot -> location, for every branch at once.
 *
 *   pages    location of each slot in the newest flushed state                     one float64 a slot
 *   heads    newest pending change of each slot, or none                           allocated where needed
 *   entries  (layer, depth, location, next older entry)                            a pool of typed arrays
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

/** Entries whose memory an idle index keeps: 20 bytes each. */
const POOL_ENTRIES_KEPT = 1 << 17

/** The location that means "not active". */
export const INACTIVE = 0

/** The slot table of one member. */
export class SlotIndex {
  private readonly pages: Array<Float64Array> = []
  private readonly heads: Array<Int32Array | undefined> = []
  private readonly dirty = new Set<number>()
  private entryLayer = new Uint32Array(0)
  private entryDepth = new Uint32Array(0)
  private entryLocation = new Float64Array(0)
  private entryNext = new Int32Array(0)
  private entriesUsed = 0
  private freeEntry = NO_ENTRY
  /** Slots that flushed deletes have freed, as a queue with absolute positions: `freed[i]` stands at `freedFrom + i`. */
  private freed: Array<number> = []
  private freedFrom = 0

  /** Location of a slot as a layer sees it; `INACTIVE` when its key is not active. */
  locate(slot: number, branch: Branch<unknown>): number {
    const page = Math.floor(slot / SLOTS_PER_PAGE)
    const head = this.heads[page]
    const at = slot - page * SLOTS_PER_PAGE
    if (head !== undefined) {
      for (let e = head[at]!; e !== NO_ENTRY; e = this.entryNext[e]!) {
        if (branch.sees(this.entryLayer[e]!, this.entryDepth[e]!)) return this.entryLocation[e]!
      }
    }
    return this.pages[page]?.[at] ?? INACTIVE
  }

  /** Gives a slot a location in a layer that is being sealed. Returns true the first time that layer touches the slot. */
  set(slot: number, branch: Branch<unknown>, location: number): boolean {
    const page = Math.floor(slot / SLOTS_PER_PAGE)
    const at = slot - page * SLOTS_PER_PAGE
    let head = this.heads[page]
    if (head === undefined) {
      head = new Int32Array(SLOTS_PER_PAGE).fill(NO_ENTRY)
      this.heads[page] = head
    }
    for (let e = head[at]!; e !== NO_ENTRY; e = this.entryNext[e]!) {
      if (this.entryLayer[e] === branch.id) {
        this.entryLocation[e] = location
        return false
      }
    }
    const e = this.allocate()
    this.entryLayer[e] = branch.id
    this.entryDepth[e] = branch.depth
    this.entryLocation[e] = location
    this.entryNext[e] = head[at]!
    head[at] = e
    return true
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
    this.dirty.add(page)
  }

  private page(page: number): Float64Array {
    let slots = this.pages[page]
    if (slots === undefined) {
      slots = new Float64Array(SLOTS_PER_PAGE)
      while (this.pages.length < page) this.pages.push(new Float64Array(SLOTS_PER_PAGE))
      this.pages[page] = slots
    }
    return slots
  }

  private unlink(slot: number, branch: Branch<unknown>): number | undefined {
    const page = Math.floor(slot / SLOTS_PER_PAGE)
    const head = this.heads[page]
    if (head === undefined) return undefined
    const at = slot - page * SLOTS_PER_PAGE
    let before = NO_ENTRY
    for (let e = head[at]!; e !== NO_ENTRY; e = this.entryNext[e]!) {
      if (this.entryLayer[e] === branch.id) {
        if (before === NO_ENTRY) head[at] = this.entryNext[e]!
        else this.entryNext[before] = this.entryNext[e]!
        this.entryNext[e] = this.freeEntry
        this.freeEntry = e
        return this.entryLocation[e]!
      }
      before = e
    }
    return undefined
  }

  private allocate(): number {
    if (this.freeEntry !== NO_ENTRY) {
      const e = this.freeEntry
      this.freeEntry = this.entryNext[e]!
      return e
    }
    if (this.entriesUsed === this.entryLayer.length) this.grow()
    return this.entriesUsed++
  }

  private grow(): void {
    const capacity = Math.max(1024, this.entryLayer.length * 2)
    const copy = <A extends { set(from: A): void }>(to: A, from: A): A => {
      to.set(from)
      return to
    }
    this.entryLayer = copy(new Uint32Array(capacity), this.entryLayer)
    this.entryDepth = copy(new Uint32Array(capacity), this.entryDepth)
    this.entryLocation = copy(new Float64Array(capacity), this.entryLocation)
    this.entryNext = copy(new Int32Array(capacity), this.entryNext)
  }

  /** Gives a large pool back. Call only when no layer is un-flushed. */
  shrink(): void {
    if (this.entryLayer.length <= POOL_ENTRIES_KEPT) return
    this.entryLayer = new Uint32Array(0)
    this.entryDepth = new Uint32Array(0)
    this.entryLocation = new Float64Array(0)
    this.entryNext = new Int32Array(0)
    this.entriesUsed = 0
    this.freeEntry = NO_ENTRY
  }

  /** Slot at an absolute position of the queue of freed slots, or undefined past its end. */
  freedAt(position: number): number | undefined {
    return this.freed[position - this.freedFrom]
  }

  /** Drops the freed slots before an absolute position: a flushed layer has used them. */
  consumeFreed(position: number): void {
    if (position <= this.freedFrom) return
    this.freed = this.freed.slice(position - this.freedFrom)
    this.freedFrom = position
  }

  /** Rebuilds the queue of freed slots: every slot below `slots` that is not active. Returns how many are. */
  rebuildFreed(slots: number): number {
    this.freed = []
    this.freedFrom = 0
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
    return [...this.dirty].sort((a, b) => a - b)
  }

  /** A copy of a page as a row; the page counts as written. */
  writePage(page: number): Uint8Array {
    this.dirty.delete(page)
    return new Uint8Array(this.page(page).slice().buffer)
  }
}
