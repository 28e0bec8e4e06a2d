/**
 * Descriptions of databases with a log: how one is created in an empty place, and opened.
 *
 *   copy (pins, operations from `start` on) --hash--> nodes, root --> rows of log, owners, nodes; head row at `start` pruned
 *
 * A database that was just created is not empty: it holds one commit without metadata, floor 0, at location 0. To create one
 * is to restore that state.
 * Source: spec qmdb §2.
 */
import { DIGEST_BYTES, type Digest, type Hasher } from "@coppice/crypto"
import {
  appendLeaves,
  frontierFromPins,
  inactivePeaks,
  Location,
  type Position,
  pinPositions,
  runJobs,
  root as treeRoot,
} from "@coppice/merkle"
import type { Change } from "@coppice/storage"
import type { MemberHome, MemberSpec, StateCopy } from "../member.ts"
import type { NodeReader } from "./activity.ts"
import type { Family, Restored } from "./family.ts"
import { LogMember } from "./log-member.ts"
import { headChange, type LogState, MEMBER_VERSION, pinsChange } from "./log-state.ts"
import type { BatchHandle } from "./open-batch.ts"
import { OWNER_BYTES, PackedRecords, PackedVariable, Space, type VariableRecords } from "./space.ts"
import { synchronous } from "./synchronous.ts"

const packed = (operations: ReadonlyArray<Uint8Array>): VariableRecords => {
  const offsets = new Uint32Array(operations.length + 1)
  for (const [i, { length }] of operations.entries()) offsets[i + 1] = offsets[i]! + length
  return { count: operations.length, bytes: Buffer.concat(operations), offsets }
}

/** A copied state whole: what it is, and all that it is made of. */
interface RestoredLog<S> extends Restored<S> {
  readonly operations: VariableRecords
  readonly nodes: Uint8Array
}

const restoreLog = <B, R, S extends LogState, D>(
  family: Family<B, R, S, D>,
  hasher: Hasher,
  copy: StateCopy,
): RestoredLog<S> => {
  const { start, pins } = copy
  const { merkle } = family
  const operations = packed(copy.operations)
  const before = frontierFromPins(merkle, start, pins)
  const { frontier, nodes } = runJobs(synchronous(hasher), appendLeaves(before, operations))
  const size = Location(start + operations.count)
  const last = copy.operations.at(-1)
  const floor = last && family.commitFloor(last)
  if (floor === undefined) throw new RangeError("a state ends with a commit")
  if (floor < start || floor >= size) throw new RangeError(`floor ${floor} is not in ${start} .. ${size - 1}`)
  const root = treeRoot(hasher, frontier, inactivePeaks(merkle, size, Location(floor)), "backward")
  const nodeStart = merkle.size(start)
  const pinned = new Map<Position, Digest>(pinPositions(merkle, start).map((position, i) => [position, pins[i]!]))
  const node: NodeReader = (position) => {
    const at = (position - nodeStart) * DIGEST_BYTES
    if (at >= 0) return nodes.slice(at, at + DIGEST_BYTES)
    const pin = pinned.get(position)
    if (pin === undefined) throw new RangeError(`node ${position} lies before the copy`)
    return pin
  }
  return { ...family.restored({ size, floor, root, frontier }, copy, hasher, node), operations, nodes }
}

/** Changes that put records at `first` of a sequence whose earlier records nobody reads: its row begins with zeros. */
const appendFrom = (sequence: PackedRecords, first: number, records: Uint8Array, changes: Array<Change>): void => {
  const before = first % sequence.recordsPerRow
  sequence.append(first - before, [new Uint8Array(before * sequence.recordBytes), records], changes)
}

const appendVariable = (
  sequence: PackedVariable,
  first: number,
  records: VariableRecords,
  changes: Array<Change>,
): void => {
  const before = first % sequence.recordsPerRow
  const empty = { count: before, bytes: new Uint8Array(0), offsets: new Uint32Array(before + 1) }
  Array.from(sequence.append(first - before, [empty, records], changes))
}

const restoreRows = <B, R, S extends LogState, D>(
  family: Family<B, R, S, D>,
  home: MemberHome,
  copy: StateCopy,
): ReadonlyArray<Change> => {
  const space = new Space(home)
  const { merkle, operationBytes, owned } = family
  const { start, pins } = copy
  const { state, operations, owners, nodes } = restoreLog(family, home.hasher, copy)
  const changes: Array<Change> = []
  if (operationBytes === undefined) appendVariable(new PackedVariable(space, "log"), start, operations, changes)
  else appendFrom(new PackedRecords(space, "log", operationBytes), start, operations.bytes, changes)
  if (owned) {
    appendFrom(new PackedRecords(space, "owners", OWNER_BYTES), start, new Uint8Array(owners.buffer), changes)
  }
  appendFrom(new PackedRecords(space, "nodes", DIGEST_BYTES), merkle.size(start), nodes, changes)
  if (pins.length > 0) {
    changes.push(pinsChange(space, new Map(pinPositions(merkle, start).map((position, i) => [position, pins[i]!]))))
  }
  const { size, floor, root } = state
  // The index is left to be replayed from the operations at open.
  const checkpoint = Math.max(1, start)
  const index = family.record(state)
  const head = { version: MEMBER_VERSION, size, floor, root, index, checkpoint, commits: [] }
  changes.push(headChange(space, { ...head, pruned: start, trimmed: start }))
  return changes
}

/** The description of a family under the name of its format. */
export const logSpec = <B extends BatchHandle, R, S extends LogState, D>(
  format: string,
  family: Family<B, R, S, D>,
): MemberSpec<B, R> => {
  const genesis: StateCopy = { start: Location(0), pins: [], operations: [family.genesisCommit] }
  return {
    format,
    canonical: family.canonical,
    initialTarget: (hasher) => family.targetOf(restoreLog(family, hasher, genesis).state),
    create: (home) => restoreRows(family, home, genesis),
    restore: (home, copy) => restoreRows(family, home, copy),
    decodeOperation: family.decodeOperation,
    open: (home) => new LogMember(family, home),
  }
}
