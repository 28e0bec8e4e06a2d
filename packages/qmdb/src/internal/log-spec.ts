/**
 * Descriptions of databases with a log: how one is created in an empty place, and opened.
 *
 * A database that was just created is not empty: it holds one commit without metadata, floor 0, at location 0.
 * Source: spec qmdb §2.
 */
import type { Hasher } from "@coppice/crypto"
import { appendLeaves, emptyFrontier, runJobs, root as treeRoot } from "@coppice/merkle"
import type { Change } from "@coppice/storage"
import type { MemberHome, MemberSpec } from "../member.ts"
import type { Family } from "./family.ts"
import { LogMember } from "./log-member.ts"
import { headChange, type LogState, MEMBER_VERSION } from "./log-state.ts"
import type { BatchHandle } from "./open-batch.ts"
import { Kind, ownerOf } from "./operation-log.ts"
import { PackedRecords, PackedVariable, Space } from "./space.ts"
import { synchronous } from "./synchronous.ts"

/** The first operation's Merkle nodes, and the state after it. */
const genesis = <B, R, S extends LogState, D>(family: Family<B, R, S, D>, hasher: Hasher) => {
  const bytes = family.genesisCommit
  const source = { count: 1, bytes, offsets: Uint32Array.of(0, bytes.length) }
  const { frontier, nodes } = runJobs(synchronous(hasher), appendLeaves(emptyFrontier(family.merkle), source))
  const root = treeRoot(hasher, frontier, 0, "backward")
  return { nodes, state: family.initial({ size: 1, floor: 0, root, frontier }, hasher) }
}

const createRows = <B, R, S extends LogState, D>(
  family: Family<B, R, S, D>,
  home: MemberHome,
): ReadonlyArray<Change> => {
  const space = new Space(home)
  const { nodes, state } = genesis(family, home.hasher)
  const { genesisCommit: operation, operationBytes } = family
  const changes: Array<Change> = []
  if (operationBytes === undefined) {
    const records = [{ count: 1, bytes: operation, offsets: Uint32Array.of(0, operation.length) }]
    Array.from(new PackedVariable(space, "log").append(0, records, changes))
  } else new PackedRecords(space, "log", operationBytes).append(0, [operation], changes)
  if (family.owned) {
    const owner = new Uint8Array(Uint32Array.of(ownerOf(0, Kind.commit)).buffer)
    new PackedRecords(space, "owners", 4).append(0, [owner], changes)
  }
  new PackedRecords(space, "nodes", 32).append(0, [nodes], changes)
  const { size, floor, root } = state
  const index = family.record(state)
  const head = { version: MEMBER_VERSION, size, floor, root, pruned: 0, trimmed: 0, checkpoint: 1, index, commits: [] }
  changes.push(headChange(space, head))
  return changes
}

/** The description of a family under the name of its format. */
export const logSpec = <B extends BatchHandle, R, S extends LogState, D>(
  format: string,
  family: Family<B, R, S, D>,
): MemberSpec<B, R> => ({
  format,
  canonical: family.canonical,
  initialTarget: (hasher) => family.targetOf(genesis(family, hasher).state),
  create: (home) => createRows(family, home),
  open: (home) => new LogMember(family, home),
})
