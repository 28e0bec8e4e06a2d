/**
 * Proofs of a `current` database against its canonical root: of ranges, of active operations, of keys.
 *
 *   operations tree with grafted digests --> range proof, and beside it ops root, pending and partial digests
 *
 * Invariant: all parts of a proof are of one state, the newest applied one at the moment of the call.
 * Source: spec qmdb §10.
 */
import { DecodeError } from "@coppice/codec"
import type { Hasher } from "@coppice/crypto"
import { Location, rangeProof } from "@coppice/merkle"
import {
  type CurrentFormat,
  type CurrentRangeProof,
  decodeOperation,
  type ExclusionProof,
  type KeyedOperation,
  type KeyValueProof,
  type OperationProof,
  type OpsRootWitness,
} from "@coppice/verify"
import { alignedInactivePeaks } from "@coppice/verify/grafting"
import type { CurrentOperationsProof, CurrentProofs } from "../current-reader.ts"
import type { KeyedReader } from "../keyed-reader.ts"
import type { OrderedReader } from "../ordered-reader.ts"
import { type CurrentState, graftedDigest, isActive, readChunk } from "./activity.ts"
import type { KeyedState } from "./keyed-state.ts"
import { type LogView, operationsFrom, requireStart } from "./log-proofs.ts"
import type { OperationLog } from "./operation-log.ts"
import type { Space } from "./space.ts"

/** What proofs are made from. */
interface ProverCore {
  readonly space: Space
  readonly log: OperationLog
  readonly hasher: Hasher
  readonly view: LogView
}

/** Proves the newest applied state of one member. */
export class CurrentProver<K, V> implements CurrentProofs<K> {
  private readonly core: ProverCore
  private readonly format: CurrentFormat<K, V>
  private readonly reader: KeyedReader<K, V>

  constructor(core: ProverCore, format: CurrentFormat<K, V>, reader: KeyedReader<K, V>) {
    this.core = core
    this.format = format
    this.reader = reader
  }

  private get state(): KeyedState & { readonly current: CurrentState } {
    return this.core.view.state as KeyedState & { readonly current: CurrentState }
  }

  readonly proveRange = (start: Location, max: number): CurrentOperationsProof => {
    const { log, view } = this.core
    const { activity } = this.state.current
    const { leaves, grafting } = activity
    requireStart(view.pruned, start, leaves)
    const operations = operationsFrom(log, view.tip, start, max, leaves)
    const end = start + operations.length
    const chunks: Array<Uint8Array> = []
    for (let chunk = Math.floor(start / grafting.span); chunk * grafting.span < end; chunk++) {
      chunks.push(readChunk(activity, chunk))
    }
    return { start, operations, chunks, proof: this.range(start, end) }
  }

  /** Proof of a range of the newest state. */
  private range(start: number, end: number): CurrentRangeProof {
    const { hasher, log, view } = this.core
    const { root, current } = this.state
    const { activity, canonical } = current
    const { grafting, leaves, floor } = activity
    const inactivePeaks = alignedInactivePeaks(grafting, leaves, floor)
    const shape = { leaves, inactivePeaks, bagging: "backward" as const }
    const range = { start: Location(start), end: Location(end) }
    const proof = rangeProof(hasher, grafting.family, shape, range, (node) =>
      graftedDigest(activity, node.start, node.height, (position) => log.node(position, view.tip)),
    )
    return { proof, pending: canonical.pending, partial: canonical.partial?.digest, opsRoot: root }
  }

  readonly proveOperation = (location: Location): OperationProof | undefined => {
    const { activity } = this.state.current
    requireStart(this.core.view.pruned, location, activity.leaves)
    if (!isActive(activity, location)) return undefined
    const chunk = readChunk(activity, Math.floor(location / activity.grafting.span))
    return { location, chunk, range: this.range(location, location + 1) }
  }

  readonly proveKey = (key: K): KeyValueProof<K> | undefined => {
    const location = this.reader.locate(key)
    if (location === undefined) return undefined
    const operation = this.decoded(location)
    const nextKey = operation.tag === "update" ? operation.nextKey : undefined
    return { operation: this.proveOperation(location)!, nextKey }
  }

  /** That a key of an ordered database is not active; undefined when it is. */
  readonly proveAbsence = (key: K, reader: OrderedReader<K, V>): ExclusionProof<K, V> | undefined => {
    if (reader.locate(key) !== undefined) return undefined
    const owner = reader.span(key)
    if (owner !== undefined) {
      const { location, value, nextKey } = owner
      return { tag: "owner", operation: this.proveOperation(location)!, update: { key: owner.key, value, nextKey } }
    }
    const location = Location(this.state.size - 1)
    const commit = this.decoded(location)
    const metadata = commit.tag === "commit" ? commit.metadata : undefined
    return { tag: "empty", operation: this.proveOperation(location)!, metadata }
  }

  private decoded(location: Location): KeyedOperation<K, V> {
    const { space, log, view } = this.core
    try {
      return decodeOperation(this.format, log.operation(location, view.tip))
    } catch (error) {
      if (error instanceof DecodeError) throw space.corrupt(`an operation does not decode: ${error.message}`)
      throw error
    }
  }

  readonly witness = (): OpsRootWitness => {
    const { graftedRoot, pending, partial } = this.state.current.canonical
    return { graftedRoot, pending, partial }
  }
}
