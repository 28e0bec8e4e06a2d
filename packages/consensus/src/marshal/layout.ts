/**
 * The layout of a marshal's environment: rows as bytes in the maps of one storage environment.
 *
 *   map            key                          value
 *   meta           "format"|"chain"|"genesis"   version be4 | UTF-8 | digest
 *   meta           "progress" | "retained"      height be8
 *   meta           "round floor"                epoch be8 || view be8
 *   meta           "floor"                      height be8 || epoch be8 || view be8
 *   meta           "pending floor"              finalization
 *   finalized      height be8                   block
 *   heights        digest                       height be8
 *   finalizations  height be8                   finalization
 *   verified       epoch be8 || view be8        digest || block
 *   notarized      epoch be8 || view be8        digest || block
 *   digests        digest || kind || round      01             finds cached blocks
 *   awaited        epoch be8 || view be8        finalization
 *
 * Invariant: a row is written by one function, and a turn's rows are one atomic write. Keys are big-endian, so that scans
 * go by height and by round.
 */
import { type ByteReader, type ByteWriter, encode, U64Safe } from "@coppice/codec"
import { DIGEST_BYTES } from "@coppice/crypto"
import type { Change } from "@coppice/storage"
import { Epoch, type Finalization, finalizationCodec, Height, type Round, View } from "@coppice/verify/certificate"
import { type Block, type BlockCodec, encodeBlock } from "../block.ts"
import type { CachedRef, Row } from "./rows.ts"
import type { Floor } from "./state.ts"

/** The maps that a marshal's environment must be opened with. */
export const MARSHAL_MAPS = [
  "meta",
  "finalized",
  "heights",
  "finalizations",
  "verified",
  "notarized",
  "digests",
  "awaited",
] as const

/** One of `MARSHAL_MAPS`. */
export type MarshalMap = (typeof MARSHAL_MAPS)[number]

/** Version of the layout above. */
export const MARSHAL_FORMAT = 1

const ONE = new Uint8Array([1])
const text = new TextEncoder()
/** Keys of the rows that say whose environment it is and how far the acknowledgements came. */
export const META = {
  format: text.encode("format"),
  chain: text.encode("chain"),
  genesis: text.encode("genesis"),
  progress: text.encode("progress"),
  roundFloor: text.encode("round floor"),
  floor: text.encode("floor"),
  pendingFloor: text.encode("pending floor"),
  retained: text.encode("retained"),
}
const KIND_TAG = { verified: 0, notarized: 1 } as const
/** Kinds of cached blocks, each at the place of its tag. */
export const KINDS = ["verified", "notarized"] as const

const roundCodec = {
  write: (writer: ByteWriter, { epoch, view }: Round): void => void writer.be64(epoch).be64(view),
}
const digestIndexCodec = {
  write: (writer: ByteWriter, { digest, kind, round }: CachedRef): void =>
    roundCodec.write(writer.raw(digest).u8(KIND_TAG[kind]), round),
}
const floorCodec = {
  write: (writer: ByteWriter, { height, round }: Floor): void => roundCodec.write(writer.be64(height), round),
}

/** Key of a height. */
export const heightBytes = (height: Height): Uint8Array => encode(U64Safe, height)
/** Key of a round. */
export const roundBytes = (round: Round): Uint8Array => encode(roundCodec, round)

/** Reads a certificate. Errors: throws `DecodeError`, like its neighbours. */
export const readFinalization = (reader: ByteReader): Finalization => finalizationCodec.read(reader)
/** Reads a height. */
export const readHeight = (reader: ByteReader): Height => Height(reader.be64Safe())
/** Reads a round. */
export const readRound = (reader: ByteReader): Round => ({
  epoch: Epoch(reader.be64Safe()),
  view: View(reader.be64Safe()),
})

const encodeCached = <B extends Block>(codec: BlockCodec<B>, block: B): Uint8Array =>
  encodeBlock(
    {
      bytesMax: DIGEST_BYTES + codec.bytesMax,
      write: (writer, cached) => codec.write(writer.raw(cached.digest), cached),
    },
    block,
  )

/** What a row changes in the environment. Errors: RangeError when a block is longer than its codec allows. */
export const encodeRow = <B extends Block>(codec: BlockCodec<B>, row: Row<B>): ReadonlyArray<Change> => {
  const put = (map: MarshalMap, key: Uint8Array, value: Uint8Array): Change => ({ tag: "put", map, key, value })
  const remove = (map: MarshalMap, key: Uint8Array): Change => ({ tag: "remove", map, key })
  switch (row.tag) {
    case "finalized": {
      const key = heightBytes(row.block.height)
      return [put("finalized", key, encodeBlock(codec, row.block)), put("heights", row.block.digest, key)]
    }
    case "finalization":
      return [put("finalizations", heightBytes(row.height), encode(finalizationCodec, row.finalization))]
    case "cached": {
      const ref = { kind: row.kind, round: row.round, digest: row.block.digest }
      return [
        put(row.kind, roundBytes(row.round), encodeCached(codec, row.block)),
        put("digests", encode(digestIndexCodec, ref), ONE),
      ]
    }
    case "expired":
      return [remove(row.ref.kind, roundBytes(row.ref.round)), remove("digests", encode(digestIndexCodec, row.ref))]
    case "awaited":
      return [put("awaited", roundBytes(row.finalization.proposal.round), encode(finalizationCodec, row.finalization))]
    case "settled":
      return [remove("awaited", roundBytes(row.round))]
    case "progress":
      return [put("meta", META.progress, heightBytes(row.height))]
    case "roundFloor":
      return [put("meta", META.roundFloor, roundBytes(row.round))]
    case "floor":
      return [put("meta", META.floor, encode(floorCodec, row.floor))]
    case "pendingFloor":
      return row.finalization === undefined
        ? [remove("meta", META.pendingFloor)]
        : [put("meta", META.pendingFloor, encode(finalizationCodec, row.finalization))]
    case "retained":
      return [put("meta", META.retained, heightBytes(row.from))]
    case "pruned": {
      const key = heightBytes(row.ref.height)
      return [remove("finalized", key), remove("heights", row.ref.digest), remove("finalizations", key)]
    }
  }
}
