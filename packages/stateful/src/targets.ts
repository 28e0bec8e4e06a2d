/**
 * The targets of a set: what a block says of each member's state.
 *
 *   target    root || varint(start) || varint(end)                        of most members
 *             root || varint(start) || varint(end) || canonical root      of those that are declared with one
 *
 * Terms: *declared order* is the order of an application's `databases`; it is the order of targets on the wire and the
 * number of a member in storage.
 *
 * Invariant: one encoding per target; a range is never empty. Whether there is a canonical root follows from how the
 * member is declared, never from the bytes. Member names cannot be reordered by the language.
 */
import { Bytes, bytesEqual, type Codec, DecodeError, Varint } from "@coppice/codec"
import { DIGEST_BYTES, type Digest, type Hasher } from "@coppice/crypto"
import { Location } from "@coppice/merkle"
import type { MemberSpec, SyncTarget } from "@coppice/qmdb"
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

const digest = Bytes(DIGEST_BYTES)

/** What of a member decides the encoding of its targets. */
export type TargetShape = Pick<MemberSpec<unknown, unknown>, "canonical">

/** What of a set's members decides the encoding of its targets, in declared order. */
export type TargetShapes<M extends Databases> = { readonly [K in keyof M]: TargetShape }

/** Encoding of the targets of one member. */
export const targetCodec = ({ canonical }: TargetShape): Codec<SyncTarget> => ({
  name: canonical ? "target with a canonical root" : "target",
  size: undefined,
  sizeMax: DIGEST_BYTES + 2 * Varint.sizeMax + (canonical ? DIGEST_BYTES : 0),
  write: (writer, target) => {
    if (target.start >= target.end) throw new RangeError(`target: empty range ${target.start}..${target.end}`)
    if ((target.canonical !== undefined) !== canonical) {
      throw new RangeError(`target: ${canonical ? "without" : "with"} a canonical root`)
    }
    digest.write(writer, target.root)
    writer.varint(target.start).varint(target.end)
    if (target.canonical !== undefined) digest.write(writer, target.canonical)
  },
  read: (reader) => {
    const at = reader.offset
    const target = {
      root: digest.read(reader),
      start: Location(reader.varintSafe()),
      end: Location(reader.varintSafe()),
    }
    if (target.start >= target.end) throw new DecodeError("empty target range", at)
    return canonical ? { ...target, canonical: digest.read(reader) } : target
  },
})

/** Encoding of the targets of a set: one after the other in declared order, without a count. */
export const targetsCodec = <M extends Databases>(shapes: TargetShapes<M>): Codec<Targets<M>> => {
  const codecs = Object.entries(shapes).map(([name, shape]) => [name, targetCodec(shape)] as const)
  return {
    name: `targets(${Object.keys(shapes).join(", ")})`,
    size: undefined,
    sizeMax: codecs.reduce((sum, [, { sizeMax }]) => sum + sizeMax, 0),
    write: (writer, targets) => {
      for (const [name, codec] of codecs) codec.write(writer, targets[name]!)
    },
    read: (reader) =>
      Object.fromEntries(codecs.map(([name, codec]) => [name, codec.read(reader)])) as { [K in keyof M]: SyncTarget },
  }
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
