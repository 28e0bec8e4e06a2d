/**
 * The targets of a set: what a block says of each member's state.
 *
 * Terms: *declared order* is the order of an application's `databases`; it is the order of targets on the wire and the
 * number of a member in storage.
 *
 * Invariant: one encoding per target; a range is never empty. Member names cannot be reordered by the language.
 */
import { Bytes, bytesEqual, type Codec, DecodeError, Varint } from "@coppice/codec"
import { DIGEST_BYTES, type Hasher } from "@coppice/crypto"
import { Location } from "@coppice/merkle"
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

const root = Bytes(DIGEST_BYTES)

/** Encoding of one target: root, start varint, end varint. */
export const targetCodec: Codec<SyncTarget> = {
  name: "target",
  size: undefined,
  sizeMax: DIGEST_BYTES + 2 * Varint.sizeMax,
  write: (writer, target) => {
    if (target.start >= target.end) throw new RangeError(`target: empty range ${target.start}..${target.end}`)
    root.write(writer, target.root)
    writer.varint(target.start).varint(target.end)
  },
  read: (reader) => {
    const at = reader.offset
    const target = {
      root: root.read(reader),
      start: Location(reader.varintSafe()),
      end: Location(reader.varintSafe()),
    }
    if (target.start >= target.end) throw new DecodeError("empty target range", at)
    return target
  },
}

/** Encoding of the targets of a set: one after the other in declared order, without a count. */
export const targetsCodec = <M extends Databases>(names: ReadonlyArray<keyof M & string>): Codec<Targets<M>> => ({
  name: `targets(${names.join(", ")})`,
  size: undefined,
  sizeMax: names.length * targetCodec.sizeMax,
  write: (writer, targets) => {
    for (const name of names) targetCodec.write(writer, targets[name])
  },
  read: (reader) =>
    Object.fromEntries(names.map((name) => [name, targetCodec.read(reader)])) as { [K in keyof M]: SyncTarget },
})

/** Whether two targets are the same, byte for byte. */
export const targetsEqual = (a: SyncTarget, b: SyncTarget): boolean =>
  a.start === b.start && a.end === b.end && bytesEqual(a.root, b.root)

/** Targets of a freshly created set: what genesis commits to (INV-39). */
export const initialTargets = <M extends Databases>(databases: M, hasher: Hasher): Targets<M> =>
  Object.fromEntries(memberNames(databases).map((name) => [name, databases[name]!.initialTarget(hasher)])) as {
    [K in keyof M]: SyncTarget
  }
