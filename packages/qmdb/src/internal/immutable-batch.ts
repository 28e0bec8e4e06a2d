/**
 * Open batches of immutable databases: keys that are set, once and for all. A compact database has no more than `SetBatch`.
 *
 * Invariant: a batch reads its own sets first, then the state of its parent. Keys below the parent's floor count as never
 * set, on every node alike, whatever it has pruned.
 */
import type { StorageError } from "@coppice/storage"
import type { ImmutableFormat } from "@coppice/verify"
import type { Effect } from "effect"
import { KeyAlreadySet } from "../errors.ts"
import type { Branch } from "./branches.ts"
import {
  type BatchHome,
  boundedIdentity,
  FloorBatch,
  keyIdentities,
  keyIdentity,
  type Staged,
  type Stated,
  valueBytes,
} from "./open-batch.ts"
import { Writes } from "./writes.ts"

/** What a batch asks of its database. */
export interface SetSource<K, V> {
  readonly home: BatchHome
  readonly format: ImmutableFormat<K, V>
  /** Newest location of a key as far as a state knows, below its floor too; 0 when there is none. */
  readonly locate: (identity: Uint8Array, parent: Branch<Stated>) => number
}

/** What a batch that reads asks of its database. */
export interface ImmutableSource<K, V> extends SetSource<K, V> {
  readonly decode: (bytes: Uint8Array) => V
  readonly read: (identity: Uint8Array, parent: Branch<Stated>) => Uint8Array | undefined
  readonly prefetch: (keys: ReadonlyArray<Uint8Array>, parent: Branch<Stated>) => Effect.Effect<void, StorageError>
}

/** Sets staged over a parent state. Every method throws `StaleBatch` once the branch has lost or the batch is closed. */
export class SetBatch<K, V> extends FloorBatch<V> {
  /** @internal */
  readonly writes = new Writes()
  /** Whether a key may be set here that was set before, below the floor. @internal */
  replaces = false
  private readonly sets: SetSource<K, V>

  /** @internal */
  constructor(sets: SetSource<K, V>, parent: Branch<Stated>) {
    super(sets.home, parent, sets.format.value)
    this.sets = sets
  }

  /**
   * Stages a set. Key and value are copied.
   *
   * Errors: `KeyAlreadySet`, `KeyTooLong`, `ValueTooLong`, `BatchTooLarge`, `OutsideType`. A compact database knows only
   * the keys of this batch.
   */
  set(key: K, value: V): void {
    this.requireOpen("set")
    const { format } = this.sets
    const identity = boundedIdentity(format.key, key)
    const bytes = valueBytes(format.value, value)
    if (this.writes.find(identity) !== undefined) throw new KeyAlreadySet(Uint8Array.from(identity), undefined)
    const location = this.sets.locate(identity, this.parent)
    const live = location !== 0 && location >= this.parent.content!.state.floor
    if (live) throw new KeyAlreadySet(Uint8Array.from(identity), location)
    if (location !== 0) this.replaces = true
    this.writes.put(identity, bytes)
  }

  /** @internal */
  protected get staged(): Staged {
    return this.writes
  }
}

/** Sets staged over a parent state, with reads of both. */
export class ImmutableBatch<K, V> extends SetBatch<K, V> {
  private readonly source: ImmutableSource<K, V>

  /** @internal */
  constructor(source: ImmutableSource<K, V>, parent: Branch<Stated>) {
    super(source, parent)
    this.source = source
  }

  /** Value of a key: own sets, then the parent state. Undefined when it is not set. */
  get(key: K): V | undefined {
    this.requireOpen("get")
    return this.read(key)
  }

  /** Values of many keys, in input order. */
  getMany(keys: ReadonlyArray<K>): ReadonlyArray<V | undefined> {
    this.requireOpen("getMany")
    return keys.map((key) => this.read(key))
  }

  private read(key: K): V | undefined {
    const identity = keyIdentity(this.source.format.key, key)
    const own = this.writes.find(identity)
    const bytes = own === undefined ? this.source.read(identity, this.parent) : this.writes.value(own)
    return bytes === undefined ? undefined : this.source.decode(bytes)
  }

  /** Brings what `get` and `set` of these keys will read into memory, without blocking. Interruptible. */
  prefetch(keys: ReadonlyArray<K>): Effect.Effect<void, StorageError> {
    this.requireOpen("prefetch")
    const identities = keyIdentities(this.source.format.key, keys)
    return this.source.prefetch(
      identities.filter((key) => this.writes.find(key) === undefined),
      this.parent,
    )
  }
}
