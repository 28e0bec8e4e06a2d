/**
 * Pending tips: the states of speculative blocks, by block digest.
 *
 *   tip --> a --> b        finalize(a): keep b, drop c and d; a itself becomes the tip
 *      \--> c --> d
 *
 * Terms: an *entry* is the sealed state of one block above the tip. Its *origin* says how it came about: by this node's
 * proposal, by the application's verdict, or by *replay*, which is no verdict. A *leaf* is an entry without children. An
 * entry is *spilled* when most of its state lies in scratch, else *held*.
 *
 * Invariant: the parent of every entry is another entry or the tip (INV-2), with the preceding height and an earlier round
 * (INV-3); parents enter before their children and leave after them, so the un-applied ancestors of an entry are here as
 * long as it is (INV-37), and iteration meets parents first. Nothing here touches disk; after a restart it is empty.
 */
import { type Anchor, compareRounds } from "@coppice/consensus"
import type { State } from "./protocol.ts"

/** Key of a block: its digest, as `bytesKey` gives it. */
export type Key = string

/** How an entry came about. Only the first two answer a verification (INV-15). */
export type Origin = "proposed" | "verified" | "replayed"

/** A speculative block's state. */
export interface Entry<S extends State> {
  readonly key: Key
  readonly anchor: Anchor
  readonly parent: Key
  readonly state: S
  origin: Origin
  /** Bytes of memory, and of scratch. */
  bytes: number
  scratchBytes: number
  /** Entries whose parent is this one. */
  children: number
  /** When it was last forked or confirmed, in a count of uses. */
  used: number
}

/** What a new entry is made of. */
export type NewEntry<S extends State> = Pick<Entry<S>, "key" | "anchor" | "parent" | "state" | "origin">

const olderUse = <S extends State>(a: Entry<S> | undefined, b: Entry<S>): Entry<S> =>
  a === undefined || b.used < a.used ? b : a

/** The entries of one executor. */
export class PendingTips<S extends State> {
  readonly #entries = new Map<Key, Entry<S>>()
  readonly #held = new Map<Key, Entry<S>>()
  #bytes = 0
  #scratchBytes = 0
  #uses = 0
  /** Entries whose parent is the tip. */
  #roots = 0

  get size(): number {
    return this.#entries.size
  }

  /** Entries whose whole state is in memory. */
  get heldSize(): number {
    return this.#held.size
  }

  /** Bytes of memory that all entries take. */
  get bytes(): number {
    return this.#bytes
  }

  /** Bytes of the spilled entries that are not in memory. */
  get scratchBytes(): number {
    return this.#scratchBytes
  }

  /** Held entries, parents before their children. */
  held(): IterableIterator<Entry<S>> {
    return this.#held.values()
  }

  get(key: Key): Entry<S> | undefined {
    return this.#entries.get(key)
  }

  /** Entries, parents before their children. */
  values(): IterableIterator<Entry<S>> {
    return this.#entries.values()
  }

  /** Marks an entry as used now. */
  touch(key: Key): void {
    const entry = this.#entries.get(key)
    if (entry !== undefined) entry.used = ++this.#uses
  }

  /** Adds an entry. The caller has checked that its key is new and its parent is an entry or the tip. */
  insert(entry: NewEntry<S>): void {
    const { bytes } = entry.state
    const added = { ...entry, bytes, scratchBytes: 0, children: 0, used: ++this.#uses }
    this.#entries.set(entry.key, added)
    this.#held.set(entry.key, added)
    this.#bytes += bytes
    const parent = this.#entries.get(entry.parent)
    if (parent === undefined) this.#roots++
    else parent.children++
  }

  /**
   * Tells which keys stay when the block `winner` is finalized: its descendants, all of later rounds, and `winner` itself.
   * Cost: one pass, but none where nothing stands beside the winner: so a long chain is finalized in linear time.
   */
  survivors(winner: Key): (key: Key) => boolean {
    if (this.#roots === 1) return (key) => this.#entries.has(key)
    const keys = new Set([winner])
    for (const { key, parent } of this.#entries.values()) if (keys.has(parent)) keys.add(key)
    return (key) => keys.has(key)
  }

  /** Drops the winner, and every entry that does not survive it. Returns how many others went. Cost: that of `survivors`. */
  finalize(winner: Key, survives: (key: Key) => boolean): number {
    const entry = this.#entries.get(winner)!
    const before = this.#entries.size
    if (this.#roots > 1) {
      for (const other of this.#entries.values()) if (!survives(other.key)) this.#remove(other)
    }
    const pruned = before - this.#entries.size
    this.#remove(entry)
    this.#roots = entry.children
    return pruned
  }

  /**
   * The least recently used leaf that is not `kept`; the entry of the newest round, where the chain most likely goes on,
   * only when no other is left. Cost: one pass.
   */
  evictable(kept: (key: Key) => boolean): Entry<S> | undefined {
    let newest: Entry<S> | undefined
    let oldest: Entry<S> | undefined
    for (const entry of this.#entries.values()) {
      if (entry.children > 0 || kept(entry.key)) continue
      if (newest === undefined) newest = entry
      else if (compareRounds(entry.anchor.round, newest.anchor.round) > 0) {
        oldest = olderUse(oldest, newest)
        newest = entry
      } else oldest = olderUse(oldest, entry)
    }
    return oldest ?? newest
  }

  /** Removes a leaf. */
  evict(leaf: Entry<S>): void {
    this.#remove(leaf)
    const parent = this.#entries.get(leaf.parent)
    if (parent === undefined) this.#roots--
    else parent.children--
  }

  /** Takes note that a state of an entry takes so many bytes of memory now. Returns whether it is spilled by that. */
  spilled(key: Key, state: S, bytes: number): boolean {
    const entry = this.#held.get(key)
    if (entry === undefined || entry.state !== state || bytes >= entry.bytes) return false
    const moved = entry.bytes - bytes
    this.#held.delete(key)
    this.#scratchBytes += moved
    this.#bytes -= moved
    entry.scratchBytes = moved
    entry.bytes = bytes
    return true
  }

  #remove(entry: Entry<S>): void {
    this.#entries.delete(entry.key)
    this.#bytes -= entry.bytes
    this.#scratchBytes -= entry.scratchBytes
    this.#held.delete(entry.key)
  }
}
