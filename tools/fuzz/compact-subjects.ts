/**
 * Claims about compact states: records, answers of sources, and, as near misses, records of states that no database has.
 */
import { Struct } from "@coppice/codec"
import { opensslHasher as hasher } from "@coppice/crypto/node"
import {
  appendLeaves,
  frontierFromPins,
  inactivePeaks,
  Location,
  rangeProofCodec,
  runJobs,
  safeIntegers,
  root as treeRoot,
} from "@coppice/merkle"
import {
  type CommitOperation,
  type CompactRecord,
  checkCompactAnswer,
  checkCompactRecord,
  compactRecordCodec,
  decodeOperation,
  encodeOperation,
  type KeylessFormat,
} from "@coppice/verify"
import type { Tree } from "./prover.ts"
import { type State, unhex } from "./published.ts"
import { digests, made, type Subject } from "./subject.ts"

/** Claims about the last commit of a keyless log. */
export const compactSubjects = (
  format: KeylessFormat<Uint8Array>,
  state: State,
  tree: Tree,
): ReadonlyArray<Subject> => {
  const name = `compact/${format.family.name}`
  const { leaves, log } = tree
  const { family } = format
  const target = { root: unhex(state.ops_root), size: leaves }
  const last = Location(leaves - 1)
  const commit = log.operations[last]!
  const pins = tree.pins(last)
  const codec = compactRecordCodec(format)
  const record = (claim: CompactRecord, shown: typeof target, nearMiss?: string): Subject =>
    made({
      kind: `${name}/record`,
      claim,
      codec,
      check: (changed) => checkCompactRecord(hasher, format, changed, shown),
      ...(nearMiss === undefined ? {} : { nearMiss }),
    })
  /** The root that a record would have if its commit were legal. */
  const rootOf = (operation: Uint8Array, floor: Location): Uint8Array => {
    const source = { count: 1, bytes: operation, offsets: Uint32Array.of(0, operation.length) }
    const { frontier } = runJobs(hasher, appendLeaves(frontierFromPins(family, last, pins), source))
    return treeRoot(hasher, frontier, inactivePeaks(family, leaves, floor), "backward")
  }
  const beyond = encodeOperation(format, { tag: "commit", metadata: undefined, floor: leaves })
  const append = encodeOperation(format, { tag: "append", value: new Uint8Array(8) })
  const answerCodec = Struct({
    size: safeIntegers(family).location,
    peaks: digests,
    commit: format.operation,
    proof: rangeProofCodec(family),
  })
  const decoded = decodeOperation(format, commit)
  return [
    record({ commit, size: leaves, pins }, target),
    record({ commit: beyond, size: leaves, pins }, { ...target, root: rootOf(beyond, leaves) }, "FloorAboveCommit"),
    record({ commit: append, size: leaves, pins }, { ...target, root: rootOf(append, Location(0)) }, "NotACommit"),
    made({
      kind: `${name}/answer`,
      claim: { size: leaves, peaks: tree.pins(leaves), commit: decoded, proof: tree.prove(last, leaves) },
      codec: answerCodec,
      check: (claim) =>
        checkCompactAnswer(hasher, format, { ...claim, commit: claim.commit as CommitOperation<Uint8Array> }, target),
    }),
  ]
}
