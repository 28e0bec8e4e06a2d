/**
 * From the operations of a batch to its root: the last step of every seal.
 *
 * Invariant: the state after it has the floor of its own commit, which lies between the floor before and the commit.
 * Source: spec qmdb §2, §3.2.
 */
import type { Hasher, HashJob } from "@coppice/crypto"
import { appendLeaves, inactivePeaks, Location, root as treeRoot } from "@coppice/merkle"
import type { OperationLayout } from "@coppice/verify"
import { commitOperation } from "@coppice/verify/log"
import { FloorBeyondSize } from "../errors.ts"
import { requireSealing } from "./base-member.ts"
import type { Branch } from "./branches.ts"
import { HeldPart, Kind, ownerOf } from "./log-part.ts"
import type { LogState } from "./log-state.ts"
import type { OperationBuffer } from "./operation-buffer.ts"

/** A state, and what it adds to the log of the one before. */
export interface Authenticated {
  readonly state: LogState
  readonly log: HeldPart
}

/** What the seal of a batch whose floor the caller sets needs of it. */
export interface FlooredBatch {
  readonly parent: Branch<{ readonly state: LogState }>
  readonly floor: number | undefined
  readonly metadata: Uint8Array | undefined
}

/** Ends the operations of a batch with its commit and hashes them. Throws `FloorBeyondSize`. */
export function* authenticateFloored<V>(
  hasher: Hasher,
  layout: OperationLayout<V>,
  { parent, floor, metadata }: FlooredBatch,
  branch: Branch<unknown>,
  buffer: OperationBuffer,
): Generator<HashJob, Authenticated, void> {
  const before = parent.content!.state
  const next = floor ?? before.floor
  const commit = before.size + buffer.count
  if (next > commit) throw new FloorBeyondSize(next, commit)
  buffer.push(commitOperation(layout, metadata, next), ownerOf(0, Kind.commit))
  return yield* authenticate(hasher, before, branch, buffer, next)
}

/** Hashes operations, the commit with its floor being the last, onto the state before. */
export function* authenticate(
  hasher: Hasher,
  before: LogState,
  branch: Branch<unknown>,
  buffer: OperationBuffer,
  floor: number,
): Generator<HashJob, Authenticated, void> {
  const { operations, offsets, owners } = buffer.finish()
  const { count } = buffer
  const appending = appendLeaves(before.frontier, { count, bytes: operations, offsets })
  let step = appending.next()
  while (step.done !== true) {
    yield step.value
    requireSealing(branch)
    step = appending.next()
  }
  const { frontier, nodes } = step.value
  const { family } = frontier
  const inactive = inactivePeaks(family, frontier.leaves, Location(floor))
  const root = treeRoot(hasher, frontier, inactive, "backward")
  const nodeStart = family.size(Location(before.size))
  return {
    state: { size: before.size + count, floor, root, frontier },
    log: new HeldPart({ start: before.size, operations, offsets, owners, nodeStart, nodes }),
  }
}
