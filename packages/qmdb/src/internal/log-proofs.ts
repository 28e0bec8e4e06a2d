/**
 * Proofs of a log against its operations root, now and at every earlier commit that is not pruned.
 *
 * Invariant: nodes never change, so the proof of an earlier state is made from the nodes of the newest one.
 * Source: spec qmdb §7, spec merkle §7.
 */
import type { Digest, Hasher } from "@coppice/crypto"
import { inactivePeaks, Location, rangeProof } from "@coppice/merkle"
import { ProofUnavailable } from "../errors.ts"
import { PROOF_BYTES_MAX, PROOF_OPS_MAX } from "../limits.ts"
import type { LogReader, OperationsProof } from "../log-reader.ts"
import type { SyncTarget } from "../member.ts"
import type { Branch } from "./branches.ts"
import type { LogState } from "./log-state.ts"
import type { OperationLog } from "./operation-log.ts"

/** What a reader of a log asks of its member, at each call anew. */
export interface LogView {
  readonly target: SyncTarget
  readonly pruned: number
  readonly retained: ReadonlyArray<Location>
  readonly tip: Branch<unknown>
  readonly state: LogState
  /** Floor of the commit at a location, undefined when none stands there. */
  readonly floorAt: (location: number) => number | undefined
}

/** Throws `ProofUnavailable` when nothing can be proven from `start` on in a log of `leaves` operations. */
export const requireStart = (pruned: number, start: Location, leaves: Location): void => {
  if (start >= leaves) throw new ProofUnavailable("start beyond size", start, leaves)
  if (start < pruned) throw new ProofUnavailable("pruned", start, leaves)
}

/** Copies of `max` operations from `start` on, below `leaves`: at least one, then what the limits of a proof allow. */
export const operationsFrom = (
  log: OperationLog,
  branch: Branch<unknown>,
  start: Location,
  max: number,
  leaves: Location,
): ReadonlyArray<Uint8Array> => {
  const end = Math.min(leaves, start + Math.max(1, Math.min(max, PROOF_OPS_MAX)))
  const operations: Array<Uint8Array> = []
  let bytes = 0
  for (let location: number = start; location < end; location++) {
    const operation = log.operation(location, branch)
    bytes += operation.length
    if (operations.length > 0 && bytes > PROOF_BYTES_MAX) break
    operations.push(new Uint8Array(operation))
  }
  return operations
}

/** Proves the log of one member. The reader of every family with a log is one. */
export class LogProver implements LogReader {
  private readonly log: OperationLog
  private readonly hasher: Hasher
  private readonly view: LogView

  constructor({ log, hasher, view }: { readonly log: OperationLog; readonly hasher: Hasher; readonly view: LogView }) {
    this.log = log
    this.hasher = hasher
    this.view = view
  }

  get target(): SyncTarget {
    return this.view.target
  }

  get pruned(): Location {
    return Location(this.view.pruned)
  }

  get retained(): ReadonlyArray<Location> {
    return this.view.retained
  }

  readonly prove = (start: Location, max: number, size?: Location): OperationsProof => {
    const { tip, state } = this.view
    const leaves = size ?? Location(state.size)
    const floor = this.requireCommit(start, leaves)
    const { family } = state.frontier
    const inactive = inactivePeaks(family, leaves, Location(floor))
    const shape = { leaves, inactivePeaks: inactive, bagging: "backward" as const }
    const operations = operationsFrom(this.log, tip, start, max, leaves)
    const range = { start, end: Location(start + operations.length) }
    const proof = rangeProof(this.hasher, family, shape, range, ({ position }) => this.log.node(position, tip))
    return { start, operations, proof }
  }

  /** Floor of the commit that ends a log of `leaves` operations, from which `start` can be proven. */
  private requireCommit(start: Location, leaves: Location): number {
    const { state, pruned, floorAt } = this.view
    if (leaves > state.size) throw new ProofUnavailable("size beyond log", start, leaves)
    if (leaves < 1) throw new ProofUnavailable("not a commit boundary", start, leaves)
    requireStart(pruned, start, leaves)
    const floor = floorAt(leaves - 1)
    if (floor === undefined) throw new ProofUnavailable("not a commit boundary", start, leaves)
    return floor
  }

  readonly pins = (location: Location): ReadonlyArray<Digest> => {
    const { tip, state, pruned } = this.view
    if (location > state.size) throw new ProofUnavailable("size beyond log", location, state.size)
    if (location < pruned) throw new ProofUnavailable("pruned", location, state.size)
    return state.frontier.family.peaks(location).map(({ position }) => this.log.node(position, tip))
  }
}
