/**
 * Multi-proofs: that elements stand at scattered locations of a tree.
 *
 * The record is that of a range proof. Its digests are those of all nodes that the one-leaf range proofs of the locations
 * mention, each once, by position:
 *
 *   location 1 -> { a, b, d }     location 4 -> { a, c }     digests  a b c d
 *
 * Nothing is folded, and nothing is left out that other elements would give.
 *
 * Invariant: a claim is accepted only when each element's own range proof, made of the digests, leads to the trusted root.
 * Source: spec merkle §9.
 */
import { DIGEST_BYTES, type Digest, type Hasher } from "@coppice/crypto"
import type { Family, TreeNode } from "./family.ts"
import { isUpTo } from "./internal/bounds.ts"
import { layoutOf } from "./internal/layout.ts"
import { MULTI_PROOF_ELEMENTS_MAX } from "./limits.ts"
import type { Location, Position } from "./location.ts"
import { type RangeProof, rangeProof, requireRange, type TreeShape } from "./range-proof.ts"
import type { Bagging } from "./root.ts"
import { checkRangeProof, type ProofRejection } from "./verify.ts"

/** An element and the location where it is said to stand. */
export interface LocatedElement {
  readonly location: Location
  readonly element: Uint8Array
}

/** That elements stand at their locations in the tree of `proof`. The bagging comes from the verifier. */
export interface MultiClaim {
  readonly family: Family
  readonly bagging: Bagging
  readonly proof: RangeProof
  readonly elements: ReadonlyArray<LocatedElement>
}

/** Why a multi-claim is refused, with the evidence. */
export type MultiProofRejection =
  | ProofRejection
  | { readonly _tag: "ElementsAboveMax"; readonly elements: number; readonly max: number }
  | { readonly _tag: "LocationOutsideTree"; readonly location: number; readonly leaves: number }

const rangeOf = (location: Location) => ({ start: location, end: (location + 1) as Location })

/** The nodes that a multi-proof of locations holds, in its order. The locations must lie in the tree. */
const nodesOf = (family: Family, shape: TreeShape, locations: ReadonlyArray<Location>): ReadonlyArray<TreeNode> => {
  const nodes = new Map<Position, TreeNode>()
  for (const location of new Set(locations)) {
    const { prefix, activePrefix, after, suffix, siblings } = layoutOf(family, shape, rangeOf(location))
    for (const group of [prefix, activePrefix, after, suffix, siblings]) {
      for (const node of group) nodes.set(node.position, node)
    }
  }
  return Array.from(nodes.values()).sort((a, b) => a.position - b.position)
}

/**
 * Builds a multi-proof from the nodes of a tree.
 *
 * Shape: `digestOf` gives the digest of a node that exists in a tree of `shape.leaves` leaves; a location may occur twice.
 * Errors: throws `RangeError` for no location, more than `MULTI_PROOF_ELEMENTS_MAX`, one outside the tree, or more
 * inactive peaks than there are peaks.
 * Cost: reads at most 102 nodes a location, and hashes nothing.
 */
export const multiProof = (
  family: Family,
  shape: TreeShape,
  locations: ReadonlyArray<Location>,
  digestOf: (node: TreeNode) => Digest,
): RangeProof => {
  const { length } = locations
  if (length < 1 || length > MULTI_PROOF_ELEMENTS_MAX) throw new RangeError(`cannot prove ${length} locations at once`)
  for (const location of locations) requireRange(family, shape, rangeOf(location))
  const { leaves, inactivePeaks } = shape
  return { leaves, inactivePeaks, digests: nodesOf(family, shape, locations).map(digestOf) }
}

/**
 * Why a multi-claim does not hold against a trusted root; undefined when it holds.
 *
 * Cost: for each element, that of checking its range proof, and of making it from the digests.
 */
export const checkMultiProof = (hasher: Hasher, claim: MultiClaim, root: Digest): MultiProofRejection | undefined => {
  const { family, bagging, proof, elements } = claim
  const { leaves, inactivePeaks, digests } = proof
  const max = MULTI_PROOF_ELEMENTS_MAX
  if (elements.length > max) return { _tag: "ElementsAboveMax", elements: elements.length, max }
  if (elements.length === 0 || !isUpTo(leaves, family.leavesMax)) {
    return checkRangeProof(hasher, { family, bagging, proof, start: 0 as Location, elements: [] }, root)
  }
  const outside = elements.find(({ location }) => !isUpTo(location, leaves - 1))
  if (outside !== undefined) return { _tag: "LocationOutsideTree", location: outside.location, leaves }
  const peaks = family.peaks(leaves).length
  if (!isUpTo(inactivePeaks, peaks)) return { _tag: "InactivePeaksAbovePeaks", inactivePeaks, peaks }

  const shape = { leaves, inactivePeaks, bagging }
  const nodes = nodesOf(
    family,
    shape,
    elements.map(({ location }) => location),
  )
  if (digests.length !== nodes.length) return { _tag: "DigestCount", expected: nodes.length, actual: digests.length }
  const index = digests.findIndex((digest) => digest.length !== DIGEST_BYTES)
  if (index >= 0) return { _tag: "DigestLength", index, length: digests[index]!.length }

  const known = new Map(nodes.map(({ position }, i) => [position, digests[i]!]))
  for (const { location, element } of elements) {
    const own = rangeProof(hasher, family, shape, rangeOf(location), ({ position }) => known.get(position)!)
    const single = { family, bagging, proof: own, start: location, elements: [element] }
    const rejection = checkRangeProof(hasher, single, root)
    if (rejection !== undefined) return rejection
  }
  return undefined
}
