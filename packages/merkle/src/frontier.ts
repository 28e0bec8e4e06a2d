/**
 * A frontier: what is left of a tree when every node but the peaks is forgotten.
 *
 * It is enough to compute roots and to append. The peaks of the tree with `p` leaves are also the *pins* that pruning
 * to location `p` keeps; their number and order follow from `p` alone, so only digests are stored or sent.
 *
 * Invariant: a frontier has exactly the peaks of its leaf count, oldest first, each of 32 bytes.
 */
import { DIGEST_BYTES, type Digest } from "@coppice/crypto"
import type { Family } from "./family.ts"
import { Location, type Position } from "./location.ts"

/** The peaks of a tree. Immutable: the digests belong to it. */
export interface Frontier {
  readonly family: Family
  readonly leaves: Location
  readonly peaks: ReadonlyArray<Digest>
}

/** The frontier of the tree without leaves. */
export const emptyFrontier = (family: Family): Frontier => ({ family, leaves: Location(0), peaks: [] })

/** A leaf count that the family allows. Throws `RangeError` on any other number. */
export const requireLeaves = (family: Family, leaves: number): Location => {
  if (!(leaves <= family.leavesMax)) throw new RangeError(`${family.name}: ${leaves} leaves exceed ${family.leavesMax}`)
  return Location(leaves)
}

/** Positions of the pins that pruning to a location keeps, oldest first. */
export const pinPositions = (family: Family, location: Location): ReadonlyArray<Position> =>
  family.peaks(requireLeaves(family, location)).map((peak) => peak.position)

/** The frontier that pins stand for. Throws `RangeError` on a wrong count or a pin that is not a digest. */
export const frontierFromPins = (family: Family, location: Location, pins: ReadonlyArray<Digest>): Frontier => {
  const expected = pinPositions(family, location).length
  if (pins.length !== expected) throw new RangeError(`${location} leaves have ${expected} pins, got ${pins.length}`)
  if (pins.some((pin) => pin.length !== DIGEST_BYTES)) throw new RangeError(`a pin is ${DIGEST_BYTES} bytes`)
  return { family, leaves: location, peaks: pins }
}
