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
import { type ByteReader, ByteWriter, encode } from "@coppice/codec"
import { DIGEST_BYTES } from "@coppice/crypto"
import type { Change } from "@coppice/storage"
import { Epoch, type Finalization, finalizationCodec, Height, type Round, View } from "@coppice/verify/certificate"
import { type Block, type BlockCodec, encodeBlock } from "../block.ts"
import type { CachedRef, Row } from "./rows.ts"

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
const ROUND_BYTES = 16
const KIND_TAG = { verified: 0, notarized: 1 } as const
/** Kinds of cached blocks, each at the place of its tag. */
export const KINDS = ["verified", "notarized"] as const

/** Key of a height. */
export const heightBytes = (height: Height): Uint8Array => new ByteWriter(8).be64(height).finish()
/** Key of a round. */
export const roundBytes = (round: Round): Uint8Array =>
  new ByteWriter(ROUND_BYTES).be64(round.epoch).be64(round.view).finish()
const digestIndexKey = (ref: CachedRef): Uint8Array =>
  new ByteWriter(DIGEST_BYTES + 1 + ROUND_BYTES)
    .raw(ref.digest)
    .u8(KIND_TAG[ref.kind])
    .raw(roundBytes(ref.round))
    .finish()

/** Reads a certificate. Errors: throws `DecodeError`, like its neighbours. */
export const readFinalization = (reader: ByteReader): Finalization => finalizationCodec.read(reader)
/** Reads a height. */
export const readHeight = (reader: ByteReader): Height => Height(reader.be64Safe())
/** Reads a round. */
export const readRound = (reader: ByteReader): Round => ({
  epoch: Epoch(reader.be64Safe()),
  view: View(reader.be64Safe()),
})

const encodeCached = <B extends Block>(codec: BlockCodec<B>, block: B): Uint8Array => {
  const encoded = encodeBlock(codec, block)
  return new ByteWriter(DIGEST_BYTES + encoded.length).raw(block.digest).raw(encoded).finish()
}

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
        put("digests", digestIndexKey(ref), ONE),
      ]
    }
    case "expired":
      return [remove(row.ref.kind, roundBytes(row.ref.round)), remove("digests", digestIndexKey(row.ref))]
    case "awaited":
      return [put("awaited", roundBytes(row.finalization.proposal.round), encode(finalizationCodec, row.finalization))]
    case "settled":
      return [remove("awaited", roundBytes(row.round))]
    case "progress":
      return [put("meta", META.progress, heightBytes(row.height))]
    case "roundFloor":
      return [put("meta", META.roundFloor, roundBytes(row.round))]
    case "floor": {
      const { height, round } = row.floor
      return [put("meta", META.floor, new ByteWriter(8 + ROUND_BYTES).be64(height).raw(roundBytes(round)).finish())]
    }
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
