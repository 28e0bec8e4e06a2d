/**
 * An open batch of an ordered database: a keyed batch that knows its keys in order.
 *
 * Invariant: neighbours and ranges are those of the state that sealing the batch as it stands would give.
 */
import type { KeyText } from "@coppice/verify/log"
import type { EntriesOptions, OrderedReads } from "../ordered-reader.ts"
import type { Branch } from "./branches.ts"
import { type BatchSource, KeyedBatch } from "./keyed-batch.ts"
import type { KeyedContent } from "./keyed-state.ts"
import { MergedWalk, type Walk, WrittenKeys } from "./merged-walk.ts"
import { entriesOf, neighbourOf, type Range } from "./ranges.ts"

/** Writes staged over a parent state whose keys are in order. */
export class OrderedBatch<K, V> extends KeyedBatch<K, V> implements OrderedReads<K, V> {
  private readonly written = new WrittenKeys()
  private readonly range: Range<K, V>

  /** @internal */
  constructor(source: BatchSource<K, V>, parent: Branch<KeyedContent>, parentRange: Range<K, V>) {
    super(source, parent)
    const { boundOf, decode, keyOf } = parentRange
    const walk = (bound: KeyText | undefined, reverse: boolean): Walk => {
      this.written.update(this.writes.keys)
      return new MergedWalk(parentRange.walk(bound, reverse), this.writes, this.written.sorted, bound, reverse)
    }
    this.range = { boundOf, decode, keyOf, walk }
  }

  /** The next active key after a key, which need not be active itself; undefined after the last. Errors: `KeyTooLong`. */
  next(key: K): K | undefined {
    this.requireOpen("next")
    return neighbourOf(this.range, key, false)
  }

  /** The active key before a key, which need not be active itself; undefined before the first. Errors: `KeyTooLong`. */
  previous(key: K): K | undefined {
    this.requireOpen("previous")
    return neighbourOf(this.range, key, true)
  }

  /** A page of entries in key order, own writes included. See `OrderedReads`. */
  entries(options?: EntriesOptions<K>): ReadonlyArray<readonly [K, V]> {
    this.requireOpen("entries")
    return entriesOf(this.range, options)
  }

  override revert(mark: number): void {
    super.revert(mark)
    this.written.truncate(this.writes.keys.count)
  }
}
