/**
 * The integers of wire records, apart from the records that hold them.
 *
 * The format has 64-bit integers. Here they are numbers, so what does not fit 2^53 - 1 is refused where it is read. A
 * record that is written over `Integers` is the same record for whoever keeps them all, as the published encodings do.
 */
import { type Codec, U64Safe, VarintUpTo } from "@coppice/codec"
import type { Family } from "./family.ts"
import type { Location } from "./location.ts"

/** Codecs of the integers of a family's records. `L` stands for locations, `N` for other integers. */
export interface Integers<L, N> {
  /** A leaf, a leaf count or the end of a range. */
  readonly location: Codec<L>
  /** A varint; a narrow one is at most `max`. */
  readonly varint: (max: number) => Codec<N>
  /** Eight bytes, most significant first. */
  readonly be64: Codec<N>
}

/** Locations up to the leaf maximum of the family, and safe integers. */
export const safeIntegers = ({ leavesMax }: Family): Integers<Location, number> => {
  const location = VarintUpTo(leavesMax)
  return {
    location: { ...location, read: (reader) => location.read(reader) as Location },
    varint: VarintUpTo,
    be64: U64Safe,
  }
}
