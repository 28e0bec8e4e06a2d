/**
 * What an execution of a block made of a state, operation by operation, and where two of them part.
 *
 *   execution   counts: d2 6131 ..  d2 6233 ..  d3 ..     names: 00 .. 01 ..        per member, from the parent's end on
 *
 * Terms: an *execution* is one run of a block over its parent's state, sealed. Its operations are those that sealing appended
 * to each member's log: the application's writes, what they moved, and the commit.
 *
 * Invariant: of each member there are as many operations, from the first on, as `DIVERGENCE_OPERATIONS_BYTES_MAX` allows; how
 * many there would be follows from its target.
 */
import { bytesEqual, DecodeError } from "@coppice/codec"
import type { SyncTarget } from "@coppice/qmdb"
import type { Targets } from "../application.ts"
import type { DatabaseSet, Databases, SealedSet } from "../database-set.ts"
import { DIVERGENCE_OPERATIONS_BYTES_MAX } from "../limits.ts"
import { memberNames, targetsEqual } from "../targets.ts"
import { type Json, toPlain } from "./plain-values.ts"

/** See the head of this file. */
export interface Execution<M extends Databases> {
  readonly targets: Targets<M>
  /** Encoded. */
  readonly operations: { readonly [K in keyof M]: ReadonlyArray<Uint8Array> }
}

/** The execution that a living state came from. Throws `StaleBatch`. */
export const executionOf = <M extends Databases>(set: DatabaseSet<M>, sealed: SealedSet<M>): Execution<M> => ({
  targets: sealed.targets,
  operations: set.appended(sealed, DIVERGENCE_OPERATIONS_BYTES_MAX),
})

/** Where two executions part on one member. */
export type OperationDifference = {
  readonly member: string
  /** Location of the first operation that is not known to be the same. */
  readonly location: number
} & (
  | {
      readonly tag: "operation"
      /** Decoded; null where that execution's log ends. */
      readonly one: Json
      readonly other: Json
    }
  /** The operations that are known are the same, and not all are. */
  | { readonly tag: "cut" }
  /** All operations are the same and the roots are not: what hashes them is at fault. */
  | { readonly tag: "root" }
)

/** Where executions stand on one member. */
export interface MemberExecution {
  readonly target: SyncTarget
  readonly operations: ReadonlyArray<Uint8Array>
}

/** A member's part of an execution. */
export const onMember = <M extends Databases>(execution: Execution<M>, member: keyof M): MemberExecution => ({
  target: execution.targets[member]!,
  operations: execution.operations[member]!,
})

const decoded = (databases: Databases, member: string, operation: Uint8Array | undefined): Json => {
  if (operation === undefined) return null
  try {
    return toPlain(databases[member]!.decodeOperation(operation))
  } catch (error) {
    if (error instanceof DecodeError || error instanceof TypeError) return toPlain(operation)
    throw error
  }
}

/** Where two executions over one state that ends at `start` part on a member; undefined when they do not. */
export const differenceOn = (
  databases: Databases,
  member: string,
  start: number,
  one: MemberExecution,
  other: MemberExecution,
): OperationDifference | undefined => {
  if (targetsEqual(one.target, other.target)) return undefined
  const known = Math.min(one.operations.length, other.operations.length)
  let same = 0
  while (same < known && bytesEqual(one.operations[same]!, other.operations[same]!)) same++
  const location = start + same
  const isCut = ({ target, operations }: MemberExecution) => operations.length === same && location < target.end
  if (isCut(one) || isCut(other)) return { member, location, tag: "cut" }
  const [left, right] = [one.operations[same], other.operations[same]]
  if (left === undefined && right === undefined) return { member, location, tag: "root" }
  return {
    member,
    location,
    tag: "operation",
    one: decoded(databases, member, left),
    other: decoded(databases, member, right),
  }
}

/** The same on every member, in declared order. */
export const executionDifferences = <M extends Databases>(
  databases: M,
  parent: Targets<M>,
  one: Execution<M>,
  other: Execution<M>,
): ReadonlyArray<OperationDifference> =>
  memberNames(databases).flatMap(
    (name) => differenceOn(databases, name, parent[name]!.end, onMember(one, name), onMember(other, name)) ?? [],
  )
