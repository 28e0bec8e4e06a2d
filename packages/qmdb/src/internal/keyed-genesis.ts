/**
 * A keyed database that was just created: one commit without metadata, floor 0, at location 0.
 *
 * Source: spec qmdb §2.
 */
import type { Hasher } from "@coppice/crypto"
import {
  appendLeaves,
  emptyFrontier,
  type FamilyName,
  family as familyOf,
  runJobs,
  root as treeRoot,
} from "@coppice/merkle"
import type { Change } from "@coppice/storage"
import type { KeyedFormat } from "@coppice/verify"
import { commitOperation } from "@coppice/verify/log"
import type { MemberHome } from "../member.ts"
import { headChange, headOf, type KeyedState } from "./keyed-state.ts"
import { Kind, ownerOf } from "./operation-log.ts"
import { PackedRecords, PackedVariable, Space } from "./space.ts"

/** The first operation with its Merkle nodes, and the state after it. */
export const genesis = <K, V>(format: KeyedFormat<K, V>, name: FamilyName, hasher: Hasher) => {
  const operation = commitOperation(format, undefined, 0)
  const source = { count: 1, bytes: operation, offsets: Uint32Array.of(0, operation.length) }
  const { frontier, nodes } = runJobs(syncOnly(hasher), appendLeaves(emptyFrontier(familyOf(name)), source))
  const root = treeRoot(hasher, frontier, 0, "backward")
  const state: KeyedState = { size: 1, floor: 0, root, frontier, slots: 0, freedUsed: 0, active: 0 }
  return { operation, nodes, state }
}

const syncOnly = (hasher: Hasher): Hasher => ({
  ...hasher,
  run: (job) => {
    for (let i = 0; i < job.count; i++) {
      const preimage = job.input.subarray(job.inputOffsets[i]!, job.inputOffsets[i + 1]!)
      job.output.set(hasher.hash(preimage), job.outputOffsets[i]!)
    }
  },
})

/** The changes that create the database in an empty place. */
export const createRows = <K, V>(
  format: KeyedFormat<K, V>,
  family: FamilyName,
  home: MemberHome,
): ReadonlyArray<Change> => {
  const space = new Space(home)
  const { operation, nodes, state } = genesis(format, family, home.hasher)
  const changes: Array<Change> = []
  const { length } = operation
  if (format.operationBytes === undefined) {
    const records = [{ count: 1, bytes: operation, offsets: Uint32Array.of(0, length) }]
    Array.from(new PackedVariable(space, "log").append(0, records, changes))
  } else new PackedRecords(space, "log", format.operationBytes).append(0, [operation], changes)
  const owner = new Uint8Array(Uint32Array.of(ownerOf(0, Kind.commit)).buffer)
  new PackedRecords(space, "owners", 4).append(0, [owner], changes)
  new PackedRecords(space, "nodes", 32).append(0, [nodes], changes)
  changes.push(headChange(space, headOf(state, 1, [])))
  return changes
}
