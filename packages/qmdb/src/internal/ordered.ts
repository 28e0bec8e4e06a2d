/**
 * Databases whose keys are in order: the ring in their log, walks over their keys, neighbours, ranges and spans.
 *
 * Invariant: what a batch or reader says of the order of keys holds in one state of one branch.
 */
import { bytesKey, decode } from "@coppice/codec"
import { Location } from "@coppice/merkle"
import { type KeyText, nextKeyExtent, operationValue, writeKeyHead } from "@coppice/verify/log"
import type { EntriesOptions, OrderedReader, Span } from "../ordered-reader.ts"
import type { Branch } from "./branches.ts"
import { KeyWalk } from "./key-walk.ts"
import type { KeyedKind } from "./keyed-family.ts"
import type { KeyedContent } from "./keyed-state.ts"
import { type KeyedReads, KeyedStateReader } from "./keyed-state-reader.ts"
import type { Walk } from "./merged-walk.ts"
import { boundedIdentity } from "./open-batch.ts"
import { OrderedBatch } from "./ordered-batch.ts"
import { entriesOf, neighbourOf, type Range } from "./ranges.ts"
import { sealOrdered } from "./seal-ordered.ts"

const PREFIX_BYTES_MAX = 5

/** A state that can be walked. */
class StateRange<K, V> implements Range<K, V> {
  private readonly index: KeyedReads<K, V>
  private readonly state: () => Branch<KeyedContent>

  constructor(index: KeyedReads<K, V>, state: () => Branch<KeyedContent>) {
    this.index = index
    this.state = state
  }

  readonly boundOf = (key: K): KeyText => bytesKey(boundedIdentity(this.index.format.key, key))

  readonly decode = (value: Uint8Array): V => this.index.decode(value)

  readonly keyOf = (key: KeyText): K => {
    const { format } = this.index
    const encoded = Buffer.allocUnsafe(PREFIX_BYTES_MAX + key.length)
    const at = writeKeyHead(format, encoded, 0, key.length)
    encoded.write(key, at, "latin1")
    return this.index.core.space.own(() =>
      decode(format.key.codec, new Uint8Array(encoded.subarray(0, at + key.length))),
    )
  }

  readonly walk = (bound: KeyText | undefined, reverse: boolean): Walk => {
    const { index } = this
    const branch = this.state()
    const walk = new KeyWalk(index, branch, bound, reverse)
    const value = (): Uint8Array =>
      index.core.space.own(() => operationValue(index.format, index.core.log.operation(walk.location, branch)))
    return { next: () => walk.next(), value }
  }
}

/** Reads of an ordered database at its newest applied state. */
class OrderedStateReader<K, V> extends KeyedStateReader<K, V> implements OrderedReader<K, V> {
  private readonly range = new StateRange(this.index, () => this.tip)

  readonly next = (key: K): K | undefined => neighbourOf(this.range, key, false)

  readonly previous = (key: K): K | undefined => neighbourOf(this.range, key, true)

  readonly entries = (options?: EntriesOptions<K>): ReadonlyArray<readonly [K, V]> => entriesOf(this.range, options)

  readonly span = (key: K): Span<K, V> | undefined => {
    const { index, tip, range } = this
    const { format } = index
    const nearest = new KeyWalk(index, tip, `${range.boundOf(key)}\0`, true)
    const walk = nearest.next() === undefined ? new KeyWalk(index, tip, undefined, true) : nearest
    const owner = walk.key ?? walk.next()
    if (owner === undefined) return undefined
    const operation = new Uint8Array(index.core.log.operation(walk.location, tip))
    const { start, end } = index.core.space.own(() => nextKeyExtent(format, operation))
    return {
      key: range.keyOf(owner),
      value: range.decode(index.core.space.own(() => operationValue(format, operation))),
      nextKey: range.keyOf(bytesKey(operation.subarray(start, end))),
      location: Location(walk.location),
    }
  }
}

/** See the head of this file. */
export const ordered = <K, V>(): KeyedKind<K, V, OrderedBatch<K, V>, OrderedReader<K, V>> => ({
  seal: sealOrdered,
  batchOver: (index, parent) => new OrderedBatch(index, parent, new StateRange(index, () => parent)),
  readerOf: (index) => new OrderedStateReader(index),
})
