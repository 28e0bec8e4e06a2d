/**
 * An open batch: writes staged over a parent layer.
 *
 * Invariant: a batch reads its own writes first, then the state of its parent, and nothing of any other branch. The last
 * write of a key wins; the order of writes is not observable.
 */
import type { StorageError } from "@coppice/storage"
import type { Effect } from "effect"
import { BatchTooLarge, KeyTooLong, StaleBatch, ValueTooLong } from "../errors.ts"
import { BATCH_WRITES_MAX, KEY_BYTES_MAX, VALUE_BYTES_MAX } from "../limits.ts"
import type { Branch } from "./branches.ts"
import type { KeyText } from "./key-shape.ts"
import type { KeyedContent } from "./keyed-state.ts"

/** The write number that stands for a delete. */
export const REMOVED = -1

/**
 * Staged writes: key -> number of its value, or `REMOVED`.
 *
 * The values lie in one growing buffer, because an object per value costs more to make and to collect than hashing does.
 */
export class Writes {
  readonly byKey = new Map<KeyText, number>()
  private bytes = Buffer.allocUnsafe(1024)
  private ends = new Uint32Array(32)
  private count = 0

  /** Keeps a copy of a value and returns its number. */
  add(value: Uint8Array): number {
    const start = this.start(this.count)
    const end = start + value.length
    if (end > this.bytes.length) {
      const bytes = Buffer.allocUnsafe(Math.max(end, this.bytes.length * 2))
      bytes.set(this.bytes.subarray(0, start))
      this.bytes = bytes
    }
    if (this.count === this.ends.length) {
      const ends = new Uint32Array(this.count * 2)
      ends.set(this.ends)
      this.ends = ends
    }
    this.bytes.set(value, start)
    this.ends[this.count] = end
    return this.count++
  }

  /** Length of a value. */
  length(value: number): number {
    return this.ends[value]! - this.start(value)
  }

  /** A value, as a view that holds until the next `add`. */
  value(value: number): Uint8Array {
    return this.bytes.subarray(this.start(value), this.ends[value]!)
  }

  /** Copies a value into `target` at `at`. */
  copyTo(value: number, target: Buffer, at: number): void {
    this.bytes.copy(target, at, this.start(value), this.ends[value]!)
  }

  private start(value: number): number {
    return value === 0 ? 0 : this.ends[value - 1]!
  }
}

/** What a batch asks of its database. */
export interface BatchSource<K, V> {
  readonly keyText: (key: K) => KeyText
  /** Encoded value; may be the value itself, so it is copied before anything else happens. */
  readonly encode: (value: V) => Uint8Array
  readonly decode: (bytes: Uint8Array) => V
  readonly read: (key: KeyText, parent: Branch<KeyedContent>) => Uint8Array | undefined
  readonly requireUsable: (operation: string, parent: Branch<KeyedContent>) => void
  readonly prefetch: (keys: ReadonlyArray<KeyText>, parent: Branch<KeyedContent>) => Effect.Effect<void, StorageError>
}

/** Writes staged over a parent state. Every method throws `StaleBatch` once the branch has lost or the batch is closed. */
export class KeyedBatch<K, V> {
  /** @internal */
  readonly parent: Branch<KeyedContent>
  /** @internal */
  readonly writes = new Writes()
  /** @internal */
  metadata: Uint8Array | undefined
  /** @internal */
  open = true
  private readonly source: BatchSource<K, V>
  private journal: Array<readonly [KeyText, number | undefined]> | undefined

  /** @internal */
  constructor(source: BatchSource<K, V>, parent: Branch<KeyedContent>) {
    this.source = source
    this.parent = parent
  }

  /** Value of a key: own writes, then the parent state. Undefined when the key is not active. */
  get(key: K): V | undefined {
    this.requireOpen("get")
    return this.read(this.source.keyText(key))
  }

  /** Values of many keys, in input order. */
  getMany(keys: ReadonlyArray<K>): ReadonlyArray<V | undefined> {
    this.requireOpen("getMany")
    return keys.map((key) => this.read(this.source.keyText(key)))
  }

  /**
   * Stages a write.
   *
   * Errors: `KeyTooLong`, `ValueTooLong`, `BatchTooLarge`; `RangeError` for a key or value outside its type. The batch is
   * unchanged then.
   */
  put(key: K, value: V): void {
    this.stage("put", key, this.source.encode(value))
  }

  /** Stages a delete. Deleting a key that is not active changes nothing. Errors as `put`. */
  remove(key: K): void {
    this.stage("remove", key, null)
  }

  /** Puts a value into this batch's commit operation, in place of none. */
  withMetadata(value: V | undefined): void {
    this.requireOpen("withMetadata")
    this.metadata = value === undefined ? undefined : this.source.encode(value)
  }

  /** Brings what `get` of these keys will read into memory, without blocking. Interruptible. */
  prefetch(keys: ReadonlyArray<K>): Effect.Effect<void, StorageError> {
    this.requireOpen("prefetch")
    const own = keys.map((key) => this.source.keyText(key)).filter((key) => !this.writes.byKey.has(key))
    return this.source.prefetch(own, this.parent)
  }

  /** A point to which `revert` can return. Marks nest; a revert voids the marks after it. */
  mark(): number {
    this.requireOpen("mark")
    this.journal ??= []
    return this.journal.length
  }

  /** Undoes every write since a mark. Throws `RangeError` on a mark that is not one of this batch. */
  revert(mark: number): void {
    this.requireOpen("revert")
    const journal = this.journal
    if (journal === undefined || mark > journal.length) throw new RangeError(`no mark ${mark} in this batch`)
    while (journal.length > mark) {
      const [key, before] = journal.pop()!
      if (before === undefined) this.writes.byKey.delete(key)
      else this.writes.byKey.set(key, before)
    }
  }

  /** @internal */
  requireOpen(operation: string): void {
    if (!this.open) throw new StaleBatch(operation, this.parent.id)
    this.source.requireUsable(operation, this.parent)
  }

  private read(key: KeyText): V | undefined {
    const own = this.writes.byKey.get(key)
    if (own === REMOVED) return undefined
    const bytes = own === undefined ? this.source.read(key, this.parent) : this.writes.value(own)
    return bytes === undefined ? undefined : this.source.decode(bytes)
  }

  private stage(operation: string, key: K, value: Uint8Array | null): void {
    this.requireOpen(operation)
    const text = this.source.keyText(key)
    if (text.length > KEY_BYTES_MAX) throw new KeyTooLong(text.length, KEY_BYTES_MAX)
    if (value !== null && value.length > VALUE_BYTES_MAX) throw new ValueTooLong(value.length, VALUE_BYTES_MAX)
    const { byKey } = this.writes
    this.journal?.push([text, byKey.get(text)])
    byKey.set(text, value === null ? REMOVED : this.writes.add(value))
    if (byKey.size > BATCH_WRITES_MAX) {
      byKey.delete(text)
      this.journal?.pop()
      throw new BatchTooLarge(BATCH_WRITES_MAX)
    }
  }
}
