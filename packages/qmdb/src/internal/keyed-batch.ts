/**
 * An open batch: writes staged over a parent layer.
 *
 * Invariant: a batch reads its own writes first, then the state of its parent, and nothing of any other branch. The last
 * write of a key wins; the order of writes is not observable. A call that throws has changed nothing.
 */
import type { StorageError } from "@coppice/storage"
import type { KeyedFormat } from "@coppice/verify"
import type { Effect } from "effect"
import type { Branch } from "./branches.ts"
import type { KeyedContent } from "./keyed-state.ts"
import { LookedUp } from "./looked-up.ts"
import { type BatchHome, boundedIdentity, keyIdentities, OpenBatch, type Staged, valueBytes } from "./open-batch.ts"
import { REMOVED, Writes } from "./writes.ts"

/** What a batch asks of its database. */
export interface BatchSource<K, V> {
  readonly home: BatchHome
  readonly format: KeyedFormat<K, V>
  /** Identity of a key; may be the key itself, else it holds until the next one. */
  readonly identity: (key: K) => Uint8Array
  readonly decode: (bytes: Uint8Array) => V
  /** A value in the parent state; keeps where it was found. */
  readonly readThrough: (found: LookedUp, identity: Uint8Array, parent: Branch<KeyedContent>) => Uint8Array | undefined
  readonly prefetch: (
    keys: ReadonlyArray<Uint8Array>,
    parent: Branch<KeyedContent>,
  ) => Effect.Effect<void, StorageError>
}

/** Writes staged over a parent state. Every method throws `StaleBatch` once the branch has lost or the batch is closed. */
export class KeyedBatch<K, V> extends OpenBatch<V, KeyedContent> {
  /** @internal */
  readonly writes = new Writes()
  /** @internal */
  readonly found = new LookedUp()
  private readonly source: BatchSource<K, V>

  /** @internal */
  constructor(source: BatchSource<K, V>, parent: Branch<KeyedContent>) {
    super(source.home, parent, source.format.value)
    this.source = source
  }

  /** Value of a key: own writes, then the parent state. Undefined when the key is not active. */
  get(key: K): V | undefined {
    this.requireOpen("get")
    return this.read(this.source.identity(key))
  }

  /** Values of many keys, in input order. */
  getMany(keys: ReadonlyArray<K>): ReadonlyArray<V | undefined> {
    this.requireOpen("getMany")
    return keys.map((key) => this.read(this.source.identity(key)))
  }

  /**
   * Stages a write. Key and value are copied.
   *
   * Errors: `KeyTooLong`, `ValueTooLong`, `BatchTooLarge`, `OutsideType`.
   */
  put(key: K, value: V): void {
    this.requireOpen("put")
    const { format } = this.source
    this.writes.put(boundedIdentity(format.key, key), valueBytes(format.value, value))
  }

  /** Stages a delete. Deleting a key that is not active changes nothing. Errors as `put`. */
  remove(key: K): void {
    this.requireOpen("remove")
    this.writes.remove(boundedIdentity(this.source.format.key, key))
  }

  /** Brings what `get` of these keys will read into memory, without blocking. Interruptible. */
  prefetch(keys: ReadonlyArray<K>): Effect.Effect<void, StorageError> {
    this.requireOpen("prefetch")
    const identities = keyIdentities(this.source.format.key, keys)
    return this.source.prefetch(
      identities.filter((key) => this.writes.find(key) === undefined),
      this.parent,
    )
  }

  /** @internal */
  protected get staged(): Staged {
    return this.writes
  }

  private read(identity: Uint8Array): V | undefined {
    const own = this.writes.find(identity)
    if (own === REMOVED) return undefined
    const bytes =
      own === undefined ? this.source.readThrough(this.found, identity, this.parent) : this.writes.value(own)
    return bytes === undefined ? undefined : this.source.decode(bytes)
  }
}
