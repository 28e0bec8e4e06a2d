/**
 * Reads of a keyed database at its newest applied state, over the index of any keyed family.
 *
 * Invariant: the tip is asked for anew by every call, and none keeps it.
 */
import { Location } from "@coppice/merkle"
import type { StorageError } from "@coppice/storage"
import type { Effect } from "effect"
import type { KeyedReader } from "../keyed-reader.ts"
import type { Branch } from "./branches.ts"
import type { LogCore } from "./family.ts"
import type { WalkHome } from "./key-walk.ts"
import type { BatchSource } from "./keyed-batch.ts"
import type { IndexPart, KeyedContent, KeyedState } from "./keyed-state.ts"
import { LogProver } from "./log-proofs.ts"
import { keyIdentities } from "./open-batch.ts"
import { INACTIVE } from "./slot-index.ts"

/** What readers and batches read of a keyed index. */
export interface KeyedReads<K, V> extends BatchSource<K, V>, WalkHome {
  readonly core: LogCore<KeyedState, IndexPart>
  readonly read: (identity: Uint8Array, branch: Branch<KeyedContent>) => Uint8Array | undefined
  readonly locate: (identity: Uint8Array, branch: Branch<KeyedContent>) => number
}

/** See the head of this file. */
export class KeyedStateReader<K, V> extends LogProver implements KeyedReader<K, V> {
  protected readonly index: KeyedReads<K, V>

  constructor(index: KeyedReads<K, V>) {
    super(index.core)
    this.index = index
  }

  protected get tip(): Branch<KeyedContent> {
    return this.index.core.branches.tip
  }

  get active(): number {
    return this.tip.content!.state.active
  }

  readonly get = (key: K): V | undefined => {
    const bytes = this.index.read(this.index.identity(key), this.tip)
    return bytes === undefined ? undefined : this.index.decode(bytes)
  }

  readonly getMany = (keys: ReadonlyArray<K>): ReadonlyArray<V | undefined> => keys.map(this.get)

  readonly locate = (key: K): Location | undefined => {
    const location = this.index.locate(this.index.identity(key), this.tip)
    return location === INACTIVE ? undefined : Location(location)
  }

  readonly prefetch = (keys: ReadonlyArray<K>): Effect.Effect<void, StorageError> => {
    return this.index.prefetch(keyIdentities(this.index.format.key, keys), this.tip)
  }
}
