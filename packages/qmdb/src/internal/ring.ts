/**
 * The part of the ring of active keys that a batch changes: who follows whom, before it and after it.
 *
 *   before   .. p ----------> d ----> n ..        p, n survive; d is deleted, c and e are created
 *   after    .. p -> c -> e --------> n ..        p is written again with its new next key
 *
 * Terms: an *entry* is a write that has an effect, numbered in key order: an update or a delete of an active key, or a
 * create. A *neighbour* is an active key that is not written and stands before one that comes or goes. A *node* is either:
 * entries first, then neighbours. The *gap* of a node that was active are the keys between it and its next key before the
 * batch; the last node's goes round to the first key.
 *
 * Invariant: a key is looked up in the parent state only where the gap it lies in is not known yet, so walks never pass the
 * same key twice. Only bytes of the parent's newest operations and of the batch are compared.
 * Source: spec qmdb §3.1, §5.
 */
import type { KeyText } from "@coppice/verify/log"
import { ByteStore } from "./byte-store.ts"
import type { KeyTable } from "./key-table.ts"
import { Kind } from "./log-part.ts"

/** Neither an entry nor a neighbour. */
const NONE = -1

/** Bytes of some store. */
export interface Slice {
  store: ByteStore
  start: number
  end: number
}

const compareSlices = (a: Slice, b: Slice): number => {
  const aBytes = a.store.bytes
  const bBytes = b.store.bytes
  let i = a.start
  let j = b.start
  for (; i < a.end && j < b.end; i++, j++) if (aBytes[i] !== bBytes[j]) return aBytes[i]! - bBytes[j]!
  return a.end - i - (b.end - j)
}

/** See the head of this file. */
export class Ring {
  /** Entries, once all are added. */
  count = 0
  /** How many entries are of each kind. */
  readonly counts = [0, 0, 0, 0]
  /** Key numbers and kinds of entries, as operations have them. */
  readonly keys: Uint32Array
  readonly kinds: Uint8Array
  /** Slots and locations of nodes that were active. */
  readonly slots: Uint32Array
  readonly locations: Float64Array
  /** Next keys before the batch, and keys of neighbours. */
  readonly store = new ByteStore(1024)
  /** Neighbours to be written again, once `rewrite` has been told of every entry. */
  readonly rewrites: Array<number> = []
  private stored = 0
  private readonly nextStarts: Uint32Array
  private readonly nextEnds: Uint32Array
  private readonly table: KeyTable
  private neighbours = 0
  private readonly keyStarts: Uint32Array
  private readonly keyEnds: Uint32Array
  private readonly rewritten: Uint8Array
  /** Of neighbours: the first entry after them. */
  private readonly first: Int32Array
  /** Of creates and deletes: the node in whose gap they lie, or whose next key they are. */
  private readonly before: Int32Array
  /** Next keys after the batch: that of an entry, or, as `-1 - node`, the one that a node had before. */
  private readonly targets: Int32Array
  /** The last entry that was active, and the node that was found before the first key. */
  private lastActive = NONE
  private wrapped = NONE
  /** The node whose gap is known where `seek` stands. */
  private gap = NONE
  /** Creates below the first key: they lie in the gap of the last one, before its other part in key order. */
  private lows = 0
  private low = false
  private readonly slice: ReadonlyArray<Slice>

  constructor(table: KeyTable) {
    const { count } = table
    this.table = table
    this.keys = new Uint32Array(count)
    this.kinds = new Uint8Array(count)
    this.slots = new Uint32Array(2 * count)
    this.locations = new Float64Array(2 * count)
    this.nextStarts = new Uint32Array(2 * count)
    this.nextEnds = new Uint32Array(2 * count)
    this.keyStarts = new Uint32Array(count)
    this.keyEnds = new Uint32Array(count)
    this.rewritten = new Uint8Array(count)
    this.first = new Int32Array(count)
    this.before = new Int32Array(count).fill(NONE)
    this.targets = new Int32Array(count)
    this.slice = Array.from({ length: 3 }, () => ({ store: this.store, start: 0, end: 0 }))
  }

  /** Adds the next entry in key order; a create has no slot yet and no location. */
  add(key: number, kind: number, slot: number, location: number): void {
    const entry = this.count++
    this.keys[entry] = key
    this.kinds[entry] = kind
    this.slots[entry] = slot
    this.locations[entry] = location
    this.counts[kind]! += 1
    if (kind !== Kind.create) this.lastActive = entry
  }

  private reserve(length: number): number {
    const at = this.stored
    this.stored = at + length
    this.store.reserve(this.stored, at)
    return at
  }

  /** Room in `store` for the next key that a node had; the caller writes it there. */
  reserveNext(node: number, length: number): number {
    const at = this.reserve(length)
    this.nextStarts[node] = at
    this.nextEnds[node] = at + length
    return at
  }

  private keyOf(node: number, into: Slice): Slice {
    const { count, table } = this
    const entry = node < count
    into.store = entry ? table.store : this.store
    into.start = entry ? table.starts[this.keys[node]!]! : this.keyStarts[node - count]!
    into.end = entry ? table.starts[this.keys[node]! + 1]! : this.keyEnds[node - count]!
    return into
  }

  private nextOf(node: number, into: Slice): Slice {
    into.store = this.store
    into.start = this.nextStarts[node]!
    into.end = this.nextEnds[node]!
    return into
  }

  /** Whether a key that was not active lies in the gap that is known. */
  private isInGap(entry: number): boolean {
    const key = this.keyOf(entry, this.slice[0]!)
    const to = this.nextOf(this.gap, this.slice[2]!)
    if (compareSlices(key, to) < 0) return true
    return !this.low && compareSlices(to, this.keyOf(this.gap, this.slice[1]!)) <= 0
  }

  /** Whether a key was the next one of a node. */
  private isNext(entry: number, node: number): boolean {
    return compareSlices(this.keyOf(entry, this.slice[0]!), this.nextOf(node, this.slice[1]!)) === 0
  }

  /** Places the entries `from .. to` among the nodes known so far; the first that it cannot place, or `to`. */
  seek(from: number, to: number): number {
    const { kinds } = this
    for (let entry = from; entry < to; entry++) {
      const kind = kinds[entry]!
      if (kind !== Kind.update) {
        const { gap } = this
        const known = gap !== NONE && (kind === Kind.create ? this.isInGap(entry) : this.isNext(entry, gap))
        if (!known) return entry
        this.stand(entry, gap, this.low)
      } else this.stand(entry, NONE, false)
    }
    return to
  }

  private stand(entry: number, before: number, low: boolean): void {
    const created = this.kinds[entry] === Kind.create
    this.before[entry] = before
    this.gap = created ? before : entry
    this.low = created && low
    if (this.low) this.lows = entry + 1
  }

  /**
   * Places an entry after the active key that was looked up. Returns the number of the neighbour, whose next key the caller
   * must give, where it was not known; else undefined. `wraps` when that key is the last of all.
   */
  place(entry: number, key: KeyText, slot: number, location: number, wraps: boolean): number | undefined {
    let node = wraps && this.lastActive !== NONE && this.slots[this.lastActive] === slot ? this.lastActive : NONE
    if (node === NONE && this.wrapped !== NONE && this.slots[this.wrapped] === slot) node = this.wrapped
    const known = node !== NONE
    if (!known) {
      node = this.count + this.neighbours++
      this.slots[node] = slot
      this.locations[node] = location
      const at = this.reserve(key.length)
      this.store.bytes.write(key, at, "latin1")
      this.keyStarts[node - this.count] = at
      this.keyEnds[node - this.count] = at + key.length
    }
    if (wraps) this.wrapped = node
    if (node >= this.count) this.first[node - this.count] = entry
    this.stand(entry, node, wraps)
    return known ? undefined : node
  }

  /** Whether what follows the last entry is the first one, which lies in the same gap. */
  private wrapsToFirst(node: number): boolean {
    if (this.kinds[0] === Kind.delete) return true
    const next = this.nextOf(node, this.slice[0]!)
    const around = compareSlices(next, this.keyOf(this.count - 1, this.slice[1]!)) <= 0
    return around && compareSlices(this.keyOf(0, this.slice[1]!), next) < 0
  }

  /** The entry after `entry` when no surviving key stands between the two, else `NONE`. */
  private adjacent(entry: number): number {
    const { count, kinds, before } = this
    const after = entry + 1 === count ? 0 : entry + 1
    const node = kinds[entry] === Kind.create ? before[entry]! : entry
    if (kinds[after] === Kind.update || before[after] !== node) return NONE
    // Nothing was active: every key that comes is followed by the next one.
    if (node === NONE) return after
    if (after === 0) return this.wrapsToFirst(node) ? after : NONE
    // Between the two parts of the last key's gap stand all keys that were active.
    return after === this.lows && kinds[after] === Kind.create ? NONE : after
  }

  /** An entry whose next key does not depend on those after it; the ring after the batch is not empty. */
  linkStart(): number {
    for (let entry = this.count - 1; ; entry--) {
      const after = this.adjacent(entry)
      if (after === NONE || this.kinds[after] === Kind.create) return entry
    }
  }

  /** Finds the next keys of the entries that stand `from .. to` before `start`, counted round. */
  link(start: number, from: number, to: number): void {
    const { count, kinds, before, targets } = this
    for (let i = from; i < to; i++) {
      const entry = start >= i ? start - i : start - i + count
      const after = this.adjacent(entry)
      if (after !== NONE) targets[entry] = kinds[after] === Kind.create ? after : targets[after]!
      else targets[entry] = -1 - (kinds[entry] === Kind.create ? before[entry]! : entry)
    }
  }

  /** Notes the surviving key before a create or delete for writing again, once. Some key survives. */
  rewrite(entry: number): void {
    const { count, before } = this
    let node = before[entry]!
    while (this.isDeleted(node)) node = before[node]!
    // What is found once is found at once from then on: chains of deletes are walked a single time.
    for (let at = entry; before[at] !== node; ) {
      const next = before[at]!
      before[at] = node
      at = next
    }
    if (node < count || this.rewritten[node - count] === 1) return
    this.rewritten[node - count] = 1
    this.rewrites.push(node)
  }

  private isDeleted(node: number): boolean {
    return node < this.count && this.kinds[node] === Kind.delete
  }

  /** The next key of an entry or neighbour after the batch. */
  nextAfter(node: number, into: Slice): void {
    const { count } = this
    let target = node
    if (node < count) target = this.targets[node]!
    else {
      const entry = this.first[node - count]!
      target = this.kinds[entry] === Kind.create ? entry : this.targets[entry]!
    }
    if (target >= 0) this.keyOf(target, into)
    else this.nextOf(-1 - target, into)
  }
}
