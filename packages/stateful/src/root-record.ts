/**
 * What a set's environment says of itself.
 *
 *   map `root`   0 identity   format version || chain id || genesis digest || application || members
 *                1 anchor     height || round || digest          the block whose state is durable; absent before creation
 *                2 plan       see sync-plan.ts
 *   map `rows`   height (8 bytes) -> round || digest || targets  one per finalized height of the rewind window
 *
 * Terms: the *identity* never changes once written; the *root record* is the three rows together. They are apart so
 * that a flush and a plan transition, which run side by side, never write the same row.
 *
 * Invariant: an environment whose identity is not exactly the expected one is refused before anything is written to it.
 * The format version comes first and is all that may be read of an unknown one.
 */
import {
  Bool,
  ByteReader,
  Bytes,
  ByteWriter,
  bytesEqual,
  type Codec,
  DecodeError,
  decode,
  encode,
  List,
  Struct,
  Text,
  U32,
} from "@coppice/codec"
import { type Anchor, Height, roundCodec } from "@coppice/consensus"
import { DIGEST_BYTES, type Digest } from "@coppice/crypto"
import { MEMBER_MAPS } from "@coppice/qmdb"
import type { Change, StorageShape } from "@coppice/storage"
import { type TargetShape, type TargetShapes, targetsCodec } from "@coppice/verify/certificate"
import type { Targets } from "./application.ts"
import type { AnchorRow, Databases } from "./database-set.ts"
import { ForeignSet, SetCorrupt } from "./errors.ts"
import { CHAIN_ID_BYTES_MAX, FORMAT_BYTES_MAX, MEMBERS_MAX, NAME_BYTES_MAX, REWIND_HEIGHTS_MAX } from "./limits.ts"

const ROOT_MAP = "root"
const ROWS_MAP = "rows"

/** Storage maps that a set's environment must be opened with. */
export const SET_MAPS: ReadonlyArray<string> = [...MEMBER_MAPS, ROOT_MAP, ROWS_MAP]

/** Version of everything in a set's environment that its members do not version themselves. */
export const SET_FORMAT_VERSION = 2

/** What an environment belongs to and how its members are stored. */
export interface SetIdentity {
  readonly chainId: string
  readonly genesis: Digest
  readonly application: string
  readonly members: ReadonlyArray<MemberIdentity>
}

/** What a set says of one member: enough to read its targets without the application. */
export interface MemberIdentity extends TargetShape {
  readonly name: string
  readonly format: string
  readonly incarnation: number
}

const KEY_IDENTITY = Uint8Array.of(0)
const KEY_ANCHOR = Uint8Array.of(1)
const KEY_PLAN = Uint8Array.of(2)

const identityCodec: Codec<SetIdentity> = Struct({
  chainId: Text(CHAIN_ID_BYTES_MAX),
  genesis: Bytes(DIGEST_BYTES),
  application: Text(NAME_BYTES_MAX),
  members: List(
    Struct({ name: Text(NAME_BYTES_MAX), format: Text(FORMAT_BYTES_MAX), canonical: Bool, incarnation: U32 }),
    MEMBERS_MAX,
  ),
})

const digestCodec = Bytes(DIGEST_BYTES)

const anchorCodec: Codec<Anchor> = {
  name: "anchor",
  size: undefined,
  sizeMax: 8 + roundCodec.sizeMax + DIGEST_BYTES,
  write: (writer, anchor) => {
    writer.be64(anchor.height)
    roundCodec.write(writer, anchor.round)
    digestCodec.write(writer, anchor.digest)
  },
  read: (reader) => ({
    height: Height(reader.be64Safe()),
    round: roundCodec.read(reader),
    digest: digestCodec.read(reader),
  }),
}

/** Encoding of an anchor row. */
export const rowCodec = <M extends Databases>(shapes: TargetShapes<M>): Codec<AnchorRow<M>> => {
  const targets = targetsCodec<Targets<M>>(shapes)
  return {
    name: "anchor row",
    size: undefined,
    sizeMax: anchorCodec.sizeMax + targets.sizeMax,
    write: (writer, row) => {
      anchorCodec.write(writer, row)
      targets.write(writer, row.targets)
    },
    read: (reader) => ({ ...anchorCodec.read(reader), targets: targets.read(reader) }),
  }
}

const heightKey = (height: number): Uint8Array => new ByteWriter(8).be64(height).finish()

/** The change that writes an identity. */
export const putIdentity = (identity: SetIdentity): Change => ({
  tag: "put",
  map: ROOT_MAP,
  key: KEY_IDENTITY,
  value: new ByteWriter().be32(SET_FORMAT_VERSION).raw(encode(identityCodec, identity)).finish(),
})

/** The change that moves the durable anchor. */
export const putAnchor = ({ height, round, digest }: Anchor): Change => ({
  tag: "put",
  map: ROOT_MAP,
  key: KEY_ANCHOR,
  value: encode(anchorCodec, { height, round, digest }),
})

/** The change that writes the plan's row. */
export const putPlan = (value: Uint8Array): Change => ({ tag: "put", map: ROOT_MAP, key: KEY_PLAN, value })

/** The change that writes the row of a height. */
export const putRow = <M extends Databases>(codec: Codec<AnchorRow<M>>, row: AnchorRow<M>): Change => ({
  tag: "put",
  map: ROWS_MAP,
  key: heightKey(row.height),
  value: encode(codec, row),
})

/** The change that removes the row of a height. */
export const removeRow = (height: number): Change => ({ tag: "remove", map: ROWS_MAP, key: heightKey(height) })

/** Bytes of the plan's row; undefined: none was ever written. */
export const readPlan = (storage: StorageShape): Uint8Array | undefined => storage.get(ROOT_MAP, KEY_PLAN)

const decodeRow = <T>(row: string, read: () => T): T => {
  try {
    return read()
  } catch (error) {
    if (error instanceof DecodeError) throw new SetCorrupt({ row, reason: error.message })
    throw error
  }
}

const hex = (bytes: Uint8Array): string => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")

const membersText = (identity: SetIdentity): string =>
  identity.members.map(({ name, format }) => `${name}: ${format}`).join("; ")

const sameMembers = (a: SetIdentity, b: SetIdentity): boolean =>
  a.members.length === b.members.length &&
  a.members.every(({ name, format, canonical }, i) => {
    const other = b.members[i]!
    return name === other.name && format === other.format && canonical === other.canonical
  })

const refuseUnless = (same: boolean, field: ForeignSet["field"], expected: string, actual: string): void => {
  if (!same) throw new ForeignSet({ field, expected, actual })
}

const requireEmpty = (storage: StorageShape): void => {
  for (const map of SET_MAPS) {
    if (storage.scan(map, { limit: 1 }).length > 0) {
      throw new SetCorrupt({ row: "identity", reason: `absent, while map ${map} holds entries` })
    }
  }
}

const decodeIdentity = (bytes: Uint8Array): SetIdentity => {
  const version = new ByteReader(bytes).be32()
  refuseUnless(version === SET_FORMAT_VERSION, "format", String(SET_FORMAT_VERSION), String(version))
  return decode(identityCodec, bytes.subarray(4))
}

/**
 * The stored identity, or undefined in an empty environment. Reads only.
 *
 * `expected.members` give the incarnations of a new set; the stored ones are returned.
 * Errors: throws `ForeignSet`, `SetCorrupt`, or a storage error.
 */
export const readIdentity = (storage: StorageShape, expected: SetIdentity): SetIdentity | undefined => {
  const bytes = storage.get(ROOT_MAP, KEY_IDENTITY)
  if (bytes === undefined) {
    requireEmpty(storage)
    return undefined
  }
  return decodeRow("identity", () => {
    const actual = decodeIdentity(bytes)
    refuseUnless(actual.chainId === expected.chainId, "chain", expected.chainId, actual.chainId)
    refuseUnless(actual.application === expected.application, "application", expected.application, actual.application)
    refuseUnless(sameMembers(actual, expected), "members", membersText(expected), membersText(actual))
    refuseUnless(bytesEqual(actual.genesis, expected.genesis), "genesis", hex(expected.genesis), hex(actual.genesis))
    return actual
  })
}

/** The stored identity, whatever it belongs to; undefined in an empty environment. Otherwise as `readIdentity`. */
export const readAnyIdentity = (storage: StorageShape): SetIdentity | undefined => {
  const bytes = storage.get(ROOT_MAP, KEY_IDENTITY)
  return bytes === undefined ? undefined : decodeRow("identity", () => decodeIdentity(bytes))
}

/** The durable anchor; undefined: the set was not created yet. Errors: throws `SetCorrupt` or a storage error. */
export const readAnchor = (storage: StorageShape): Anchor | undefined => {
  const bytes = storage.get(ROOT_MAP, KEY_ANCHOR)
  return bytes === undefined ? undefined : decodeRow("anchor", () => decode(anchorCodec, bytes))
}

/**
 * All rows, oldest first. They end at the anchor and have no hole.
 *
 * Errors: throws `SetCorrupt` or a storage error.
 */
export const readRows = <M extends Databases>(
  storage: StorageShape,
  codec: Codec<AnchorRow<M>>,
  anchor: Anchor,
): ReadonlyArray<AnchorRow<M>> => {
  const entries = storage.scan(ROWS_MAP, { limit: REWIND_HEIGHTS_MAX + 1 })
  const rows = entries.map(({ value }, i) => decodeRow(`row ${i}`, () => decode(codec, value)))
  const first = anchor.height - rows.length + 1
  const last = rows.at(-1)
  const whole = entries.every(({ key }, i) => rows[i]!.height === first + i && bytesEqual(key, heightKey(first + i)))
  if (last === undefined || !whole || !bytesEqual(last.digest, anchor.digest)) {
    throw new SetCorrupt({
      row: "rows",
      reason: `they do not end at the anchor, height ${anchor.height}, without a hole`,
    })
  }
  return rows
}
