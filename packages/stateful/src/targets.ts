/**
 * The targets of a set: what a block says of each member's state.
 *
 * Terms: *declared order* is the order of an application's `databases`; it is the order of targets on the wire and the
 * number of a member in storage.
 *
 * Invariant: member names cannot be reordered by the language.
 */
import { bytesEqual } from "@coppice/codec"
import type { Digest, Hasher } from "@coppice/crypto"
import type { SyncTarget } from "@coppice/qmdb"
import type { Targets } from "./application.ts"
import type { Databases } from "./database-set.ts"
import { MEMBERS_MAX } from "./limits.ts"

const MEMBER_NAME = /^[a-z][A-Za-z0-9_-]{0,63}$/

/** Names of the members in declared order. Throws RangeError unless there are one to eight, named `[a-z][A-Za-z0-9_-]*`. */
export const memberNames = <M extends Databases>(databases: M): ReadonlyArray<keyof M & string> => {
  const names = Object.keys(databases)
  if (names.length < 1 || names.length > MEMBERS_MAX) {
    throw new RangeError(`a set has 1 to ${MEMBERS_MAX} members, got ${names.length}`)
  }
  const misnamed = names.find((name) => !MEMBER_NAME.test(name))
  if (misnamed !== undefined)
    throw new RangeError(`member name ${JSON.stringify(misnamed)} does not match ${MEMBER_NAME}`)
  return names
}

const digestsEqual = (a: Digest | undefined, b: Digest | undefined): boolean =>
  a === undefined || b === undefined ? a === b : bytesEqual(a, b)

/** Whether two targets are the same, byte for byte, the canonical root of each included. */
export const targetsEqual = (a: SyncTarget, b: SyncTarget): boolean =>
  a.start === b.start && a.end === b.end && bytesEqual(a.root, b.root) && digestsEqual(a.canonical, b.canonical)

/** Targets of a freshly created set: what genesis commits to (INV-39). */
export const initialTargets = <M extends Databases>(databases: M, hasher: Hasher): Targets<M> =>
  Object.fromEntries(memberNames(databases).map((name) => [name, databases[name]!.initialTarget(hasher)])) as {
    [K in keyof M]: SyncTarget
  }
