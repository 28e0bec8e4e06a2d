/**
 * Range proofs. (Bodies follow; the signatures stand.)
 */
import type { Codec } from "@coppice/codec"
import type { Digest, Hasher } from "@coppice/crypto"
import type { Family } from "./family.ts"
import type { Location, Position } from "./location.ts"
import type { Bagging } from "./root.ts"

/** Proof that consecutive elements stand in a tree of `leaves` leaves. */
export interface RangeProof {
  readonly leaves: Location
  readonly inactivePeaks: number
  readonly digests: ReadonlyArray<Digest>
}

/** What fixes the root of a tree besides its peaks; an earlier tree is proven by giving its leaves (spec merkle §7). */
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

/** What a verifier supplies: the claim `elements` stand from `start` on in the tree of `proof`. */
export interface RangeClaim {
  readonly family: Family
  readonly bagging: Bagging
  readonly proof: RangeProof
  readonly start: Location
  readonly elements: ReadonlyArray<Uint8Array>
}

/** Why a proof is refused, with the evidence. */
export type ProofRejection =
  | { readonly _tag: "LeavesAboveMax"; readonly leaves: number; readonly max: number }
  | { readonly _tag: "RangeOutsideTree"; readonly start: number; readonly end: number; readonly leaves: number }
  | { readonly _tag: "InactivePeaksAbovePeaks"; readonly inactivePeaks: number; readonly peaks: number }
  | { readonly _tag: "DigestCount"; readonly expected: number; readonly actual: number }
  | { readonly _tag: "DigestLength"; readonly index: number; readonly length: number }
  | { readonly _tag: "RootMismatch"; readonly expected: Digest; readonly actual: Digest }
  | { readonly _tag: "PinCount"; readonly expected: number; readonly actual: number }
  | { readonly _tag: "PinMismatch"; readonly index: number }

/** The root that a proof leads to, or why it leads to none. */
export type Reconstruction = { readonly _tag: "Root"; readonly root: Digest } | ProofRejection

/** Positions of the nodes that `rangeProof` will ask for, in the order it does. */
export const rangeProofPositions: (family: Family, shape: TreeShape, range: LocationRange) => ReadonlyArray<Position> =
  () => {
    throw new Error("unbuilt")
  }

/** Builds a range proof. Throws `RangeError` for a range or an inactive count outside the tree. */
export const rangeProof: (
  hasher: Hasher,
  family: Family,
  shape: TreeShape,
  range: LocationRange,
  node: (position: Position) => Digest,
) => RangeProof = () => {
  throw new Error("unbuilt")
}

/** The root that a proof and its elements lead to. */
export const reconstructRoot: (hasher: Hasher, claim: RangeClaim) => Reconstruction = () => {
  throw new Error("unbuilt")
}

/** Why a claim does not hold against a trusted root; undefined when it holds. */
export const checkRangeProof: (hasher: Hasher, claim: RangeClaim, root: Digest) => ProofRejection | undefined = () => {
  throw new Error("unbuilt")
}

/** Whether a claim holds against a trusted root. */
export const verifyRangeProof: (hasher: Hasher, claim: RangeClaim, root: Digest) => boolean = () => {
  throw new Error("unbuilt")
}

/** Like `checkRangeProof`, and proves the pins at the start of the range too (spec merkle §8.1). */
export const checkRangeWithPins: (
  hasher: Hasher,
  claim: RangeClaim,
  pins: ReadonlyArray<Digest>,
  root: Digest,
) => ProofRejection | undefined = () => {
  throw new Error("unbuilt")
}

/** Whether a claim and the pins at its start hold against a trusted root (spec merkle §8.1). */
export const verifyRangeWithPins: (
  hasher: Hasher,
  claim: RangeClaim,
  pins: ReadonlyArray<Digest>,
  root: Digest,
) => boolean = () => {
  throw new Error("unbuilt")
}

/** Codec of a range proof of a family, with at most so many digests (spec merkle §6.4). */
export const rangeProofCodec: (family: Family, digestsMax: number) => Codec<RangeProof> = () => {
  throw new Error("unbuilt")
}
