/**
 * Proofs of a `current` database against its canonical root: of ranges, of active operations, of keys.
 *
 *   operations tree with grafted digests --> range proof, and beside it ops root, pending and partial digests
 *
 * Invariant: all parts of a proof are of one state, the newest applied one at the moment of the call.
 * Source: spec qmdb §10.
 */
import type { Hasher } from "@coppice/crypto"
import { Location, rangeProof } from "@coppice/merkle"
import type { CurrentRangeProof, OperationProof, OpsRootWitness } from "@coppice/verify"
import { alignedInactivePeaks } from "@coppice/verify/grafting"
import type { CurrentOperationsProof } from "../current-reader.ts"
import { type CurrentState, graftedDigest, isActive, readChunk } from "./activity.ts"
import type { KeyedState } from "./keyed-state.ts"
import { type LogView, operationsFrom, requireStart } from "./log-proofs.ts"
import type { OperationLog } from "./operation-log.ts"

/** What proofs are made from. */
interface ProverCore {
  readonly log: OperationLog
  readonly hasher: Hasher
  readonly view: LogView
}

/** Proves the newest applied state of one member. */
export class CurrentProver {
  private readonly log: OperationLog
  private readonly hasher: Hasher
  private readonly view: LogView

  constructor({ log, hasher, view }: ProverCore) {
    this.log = log
    this.hasher = hasher
    this.view = view
  }

  private get state(): KeyedState & { readonly current: CurrentState } {
    return this.view.state as KeyedState & { readonly current: CurrentState }
  }

  readonly proveRange = (start: Location, max: number): CurrentOperationsProof => {
    const { tip, pruned } = this.view
    const { activity } = this.state.current
    const { leaves, grafting } = activity
    requireStart(pruned, start, leaves)
    const operations = operationsFrom(this.log, tip, start, max, leaves)
    const end = start + operations.length
    const chunks: Array<Uint8Array> = []
    for (let chunk = Math.floor(start / grafting.span); chunk * grafting.span < end; chunk++) {
      chunks.push(readChunk(activity, chunk))
    }
    return { start, operations, chunks, proof: this.range(start, end) }
  }

  /** Proof of a range of the newest state. */
  private range(start: number, end: number): CurrentRangeProof {
    const { tip } = this.view
    const { root, current } = this.state
    const { activity, canonical } = current
    const { grafting, leaves, floor } = activity
    const inactivePeaks = alignedInactivePeaks(grafting, leaves, floor)
    const shape = { leaves, inactivePeaks, bagging: "backward" as const }
    const range = { start: Location(start), end: Location(end) }
    const proof = rangeProof(this.hasher, grafting.family, shape, range, (node) =>
      graftedDigest(activity, node.start, node.height, (position) => this.log.node(position, tip)),
    )
    return { proof, pending: canonical.pending, partial: canonical.partial?.digest, opsRoot: root }
  }

  readonly proveOperation = (location: Location): OperationProof | undefined => {
    const { activity } = this.state.current
    requireStart(this.view.pruned, location, activity.leaves)
    if (!isActive(activity, location)) return undefined
    const chunk = readChunk(activity, Math.floor(location / activity.grafting.span))
    return { location, chunk, range: this.range(location, location + 1) }
  }

  readonly witness = (): OpsRootWitness => {
    const { graftedRoot, pending, partial } = this.state.current.canonical
    return { graftedRoot, pending, partial }
  }
}
