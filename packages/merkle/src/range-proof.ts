/**
 * Range proofs: that consecutive elements stand at `[start, end)` of a tree.
 *
 * The proof of an earlier tree is built by giving its leaf count and its inactive count: every node that it asks for
 * still stands at the same position of the grown tree (spec merkle §7).
 *
 * Invariant: a proof is `{leaves, inactivePeaks, digests}` and nothing else; range, elements and bagging come from
 * the verifier, and a proof made for another bagging leads to another root.
 */
import { Bytes, type Codec, List, Struct } from "@coppice/codec"
import { DIGEST_BYTES, type Digest, type Hasher } from "@coppice/crypto"
import type { Family, TreeNode } from "./family.ts"
import { requireLeaves } from "./frontier.ts"
import { type Integers, safeIntegers } from "./integers.ts"
import { isUpTo, requireInactivePeaks } from "./internal/bounds.ts"
import { foldBackward, foldForward } from "./internal/digests.ts"
import { layoutOf } from "./internal/layout.ts"
import { PEAKS_MAX, RANGE_PROOF_DIGESTS_MAX } from "./limits.ts"
import type { Location, Position } from "./location.ts"
import type { Bagging } from "./root.ts"

/** The record of a proof, over integers of any width. */
export interface ProofRecord<L, N> {
  readonly leaves: L
  readonly inactivePeaks: N
  readonly digests: ReadonlyArray<Digest>
}

/** Proof that consecutive elements stand in a tree of `leaves` leaves. */
export type RangeProof = ProofRecord<Location, number>

/** What fixes the root of a tree besides its peaks. */
export interface TreeShape {
  readonly leaves: Location
  readonly inactivePeaks: number
  readonly bagging: Bagging
}

/** Leaves from `start` to `end`, end exclusive. */
export interface LocationRange {
  readonly start: Location
  readonly end: Location
}

/** Throws `RangeError` unless a tree of this shape can be, and the range lies in it. */
export const requireRange = (
  family: Family,
  { leaves, inactivePeaks }: TreeShape,
  { start, end }: LocationRange,
): void => {
  const peaks = family.peaks(requireLeaves(family, leaves))
  if (!(isUpTo(start, leaves) && isUpTo(end, leaves) && start < end))
    throw new RangeError(`cannot prove [${start}, ${end}) of ${leaves} leaves`)
  requireInactivePeaks(inactivePeaks, peaks.length)
}

/** Positions of the nodes that `rangeProof` reads, each once: what to prefetch. Throws `RangeError` as it does. */
export const rangeProofPositions = (
  family: Family,
  shape: TreeShape,
  range: LocationRange,
): ReadonlyArray<Position> => {
  requireRange(family, shape, range)
  const { prefix, activePrefix, after, suffix, siblings } = layoutOf(family, shape, range)
  return [...prefix, ...activePrefix, ...after, ...suffix, ...siblings].map((node) => node.position)
}

/**
 * Builds a range proof from the nodes of a tree.
 *
 * Shape: `digestOf` gives the digest of a node that exists in a tree of `shape.leaves` leaves.
 * Errors: throws `RangeError` for an empty range, one outside the tree, or more inactive peaks than there are peaks.
 * Cost: reads at most `RANGE_PROOF_DIGESTS_MAX` nodes whatever the range; hashes only to fold peaks.
 */
export const rangeProof = (
  hasher: Hasher,
  family: Family,
  shape: TreeShape,
  range: LocationRange,
  digestOf: (node: TreeNode) => Digest,
): RangeProof => {
  requireRange(family, shape, range)
  const { prefix, activePrefix, after, suffix, siblings } = layoutOf(family, shape, range)
  return {
    leaves: shape.leaves,
    inactivePeaks: shape.inactivePeaks,
    digests: [
      ...(prefix.length === 0 ? [] : [foldForward(hasher, prefix.map(digestOf))]),
      ...activePrefix.map(digestOf),
      ...after.map(digestOf),
      ...(suffix.length === 0 ? [] : [foldBackward(hasher, suffix.map(digestOf))]),
      ...siblings.map(digestOf),
    ],
  }
}

/**
 * Codec of proofs over given integers: `varint(leaves) varint(inactivePeaks) varint(count) digest*`.
 *
 * Bounds: inactive peaks up to `PEAKS_MAX`, digests up to `digestsMax`. Source: spec merkle §6.4.
 */
export const proofRecord = <L, N>(integers: Integers<L, N>, digestsMax: number): Codec<ProofRecord<L, N>> =>
  Struct({
    leaves: integers.location,
    inactivePeaks: integers.varint(PEAKS_MAX),
    digests: List(Bytes(DIGEST_BYTES), digestsMax),
  })

/** Codec of the proofs of a family. Bounds: leaves up to the family's maximum, digests up to `digestsMax`. */
export const rangeProofCodec = (family: Family, digestsMax: number = RANGE_PROOF_DIGESTS_MAX): Codec<RangeProof> =>
  proofRecord(safeIntegers(family), digestsMax)
