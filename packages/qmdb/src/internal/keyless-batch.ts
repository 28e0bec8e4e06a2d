/**
 * Open batches of keyless databases: values that are appended, in call order. A value's identity is its location. A compact
 * database has no more than `AppendBatch`.
 *
 * Invariant: a batch reads its own appends, then the state of its parent from its floor on, on every node alike, whatever
 * it has pruned.
 */
import { Location } from "@coppice/merkle"
import type { StorageError } from "@coppice/storage"
import type { KeylessFormat } from "@coppice/verify"
import type { Effect } from "effect"
import type { Branch } from "./branches.ts"
import { type BatchHome, FloorBatch, type Staged, type Stated, valueBytes } from "./open-batch.ts"
import { StagedValues } from "./staged-values.ts"

/** What a batch asks of its database. */
export interface AppendSource<V> {
  readonly home: BatchHome
  readonly format: KeylessFormat<V>
}

/** What a batch that reads asks of its database. */
export interface KeylessSource<V> extends AppendSource<V> {
  readonly decode: (bytes: Uint8Array) => V
  /** Encoded value or metadata at a location of a state, which is not below its floor. */
  readonly read: (location: number, parent: Branch<Stated>) => Uint8Array | undefined
  readonly prefetch: (locations: ReadonlyArray<number>) => Effect.Effect<void, StorageError>
}

/** Appends staged over a parent state. Every method throws `StaleBatch` once the branch has lost or the batch is closed. */
export class AppendBatch<V> extends FloorBatch<V> {
  /** @internal */
  readonly values = new StagedValues()
  private readonly appends: AppendSource<V>

  /** @internal */
  constructor(appends: AppendSource<V>, parent: Branch<Stated>) {
    super(appends.home, parent, appends.format.value)
    this.appends = appends
  }

  /** Stages an append and returns where it will stand. The value is copied. Errors: `ValueTooLong`, `BatchTooLarge`, `OutsideType`. */
  append(value: V): Location {
    this.requireOpen("append")
    const n = this.values.append(valueBytes(this.appends.format.value, value))
    return Location(this.parent.content!.state.size + n)
  }

  /** @internal */
  protected get staged(): Staged {
    return this.values
  }
}

/** Appends staged over a parent state, with reads of both. */
export class KeylessBatch<V> extends AppendBatch<V> {
  private readonly source: KeylessSource<V>

  /** @internal */
  constructor(source: KeylessSource<V>, parent: Branch<Stated>) {
    super(source, parent)
    this.source = source
  }

  /**
   * Value at a location: own appends, then the parent state; of a commit its metadata. Undefined where nothing stands, and
   * below the parent's floor. Errors: throws `LocationPruned`, which only a rewind to a floor that was pruned can bring about.
   */
  get(location: Location): V | undefined {
    this.requireOpen("get")
    const { size, floor } = this.parent.content!.state
    const own = location - size
    if (own >= this.values.count || location < floor) return undefined
    const bytes = own >= 0 ? this.values.value(own) : this.source.read(location, this.parent)
    return bytes === undefined ? undefined : this.source.decode(bytes)
  }

  /** Values at many locations, in input order. */
  getMany(locations: ReadonlyArray<Location>): ReadonlyArray<V | undefined> {
    return locations.map((location) => this.get(location))
  }

  /** Brings what `get` of these locations will read into memory, without blocking. Interruptible. */
  prefetch(locations: ReadonlyArray<Location>): Effect.Effect<void, StorageError> {
    this.requireOpen("prefetch")
    return this.source.prefetch(locations)
  }
}
