/**
 * Verification of range proofs and pins, against a root that the caller trusts.
 *
 * The verifier brings range start, elements, bagging and root; the peer brings the proof, and pins where asked. Nothing
 * of the peer's is believed: counts are checked before anything is hashed, work is bounded by the elements and the
 * height of the tree, and every digest and every pin must be used.
 *
 * Invariant: a claim is accepted only when the reconstructed root equals the trusted one.
 */
import { bytesEqual } from "@coppice/codec"
import { DIGEST_BYTES, type Digest, type Hasher } from "@coppice/crypto"
import type { Family, Peak, TreeNode } from "./family.ts"
import { isUpTo } from "./internal/bounds.ts"
import { foldForward, leafDigest, parentDigest, rootDigest } from "./internal/digests.ts"
import { childrenOf, digestCount, isBefore, isOutside, type Layout, layoutOf } from "./internal/layout.ts"
import type { Location } from "./location.ts"
import type { LocationRange, RangeProof } from "./range-proof.ts"
import { type Bagging, bag } from "./root.ts"

/** That `elements` stand from `start` on in the tree of `proof`. Only `proof` may come from a peer. */
export interface RangeClaim {
  readonly family: Family
  readonly bagging: Bagging
  readonly proof: RangeProof
  readonly start: Location
  readonly elements: ReadonlyArray<Uint8Array>
}

/** Why a claim is refused, with the evidence. */
export type ProofRejection =
  | { readonly _tag: "LeavesAboveMax"; readonly leaves: number; readonly max: number }
  | { readonly _tag: "RangeOutsideTree"; readonly start: number; readonly end: number; readonly leaves: number }
  | { readonly _tag: "InactivePeaksAbovePeaks"; readonly inactivePeaks: number; readonly peaks: number }
  | { readonly _tag: "DigestCount"; readonly expected: number; readonly actual: number }
  | { readonly _tag: "DigestLength"; readonly index: number; readonly length: number }
  | { readonly _tag: "RootMismatch"; readonly expected: Digest; readonly actual: Digest }
  | { readonly _tag: "PinCount"; readonly expected: number; readonly actual: number }
  | { readonly _tag: "PinLength"; readonly index: number; readonly length: number }
  | { readonly _tag: "PinMismatch"; readonly firstPin: number; readonly endPin: number }

/** What becomes of the digest of a parent once it is recomputed: how a tree is told whose nodes bind more (spec qmdb §9.1). */
export type Graft = (node: TreeNode, digest: Digest) => Digest

/** The root that a claim leads to, or why it leads to none. */
export type Reconstruction = { readonly _tag: "Root"; readonly root: Digest } | ProofRejection

const rangeOf = ({ start, elements }: RangeClaim): LocationRange => ({
  start,
  end: (start + elements.length) as Location,
})

/**
 * Lays out a claim, or says the first thing wrong with it that shows before anything is hashed.
 *
 * Numbers are checked in full, since a proof that did not come through the codec may hold anything.
 */
const layoutOfClaim = (claim: RangeClaim): Layout | ProofRejection => {
  const { family, bagging, proof } = claim
  const { leaves, inactivePeaks, digests } = proof
  const range = rangeOf(claim)
  const { start, end } = range
  if (!isUpTo(leaves, family.leavesMax)) return { _tag: "LeavesAboveMax", leaves, max: family.leavesMax }
  // Without elements there is nothing to prove but the empty tree.
  const inside = isUpTo(start, end) && (start === end ? leaves === 0 && start === 0 : end <= leaves)
  if (!inside) return { _tag: "RangeOutsideTree", start, end, leaves }
  const peaks = family.peaks(leaves).length
  if (!isUpTo(inactivePeaks, peaks)) return { _tag: "InactivePeaksAbovePeaks", inactivePeaks, peaks }
  const layout = layoutOf(family, { leaves, inactivePeaks, bagging }, range)
  const expected = digestCount(layout)
  if (digests.length !== expected) return { _tag: "DigestCount", expected, actual: digests.length }
  const index = digests.findIndex((digest) => digest.length !== DIGEST_BYTES)
  return index < 0 ? layout : { _tag: "DigestLength", index, length: digests[index]!.length }
}

/** Digests of the covering peaks, from the elements and the sibling digests in walk order. */
const coveringDigests = (
  hasher: Hasher,
  claim: RangeClaim,
  covering: ReadonlyArray<Peak>,
  siblings: ReadonlyArray<Digest>,
  graft: Graft | undefined,
): ReadonlyArray<Digest> => {
  const { family, start, elements } = claim
  const range = rangeOf(claim)
  let next = 0
  const digestOf = (node: TreeNode): Digest => {
    if (isOutside(node, range)) return siblings[next++]!
    if (node.height === 0) return leafDigest(hasher, node.position, elements[node.start - start]!)
    const [left, right] = childrenOf(family, node)
    const leftDigest = digestOf(left)
    const digest = parentDigest(hasher, node.position, leftDigest, digestOf(right))
    return graft === undefined ? digest : graft(node, digest)
  }
  return covering.map(digestOf)
}

/** The root of a claim that has been laid out: digests are split as the layout says, covering peaks recomputed. */
const rootOf = (hasher: Hasher, claim: RangeClaim, layout: Layout, graft?: Graft): Digest => {
  const { leaves, inactivePeaks, digests } = claim.proof
  if (leaves === 0) return rootDigest(hasher, 0, 0, [])
  const siblingsFrom = digests.length - layout.siblings.length
  const youngestFrom = siblingsFrom - Math.min(layout.suffix.length, 1) - layout.after.length
  const peaks = [
    ...digests.slice(0, youngestFrom),
    ...coveringDigests(hasher, claim, layout.covering, digests.slice(siblingsFrom), graft),
    ...digests.slice(youngestFrom, siblingsFrom),
  ]
  // A prefix accumulator is one entry that stands for all prefix peaks.
  const merged = layout.prefix.length
  const folded = merged === 0 ? inactivePeaks : Math.max(inactivePeaks - merged, 0) + 1
  return rootDigest(hasher, leaves, inactivePeaks, [bag(hasher, peaks, folded, claim.bagging)])
}

/**
 * The root that a claim leads to. Use it when the root is bound by something larger; else `verifyRangeProof`. With
 * `graft` it is the root of a tree whose parents over proven elements are grafted.
 *
 * Cost: at most two hashes per element, and one per sibling and peak.
 * Source: spec merkle §6.3.
 */
export const reconstructRoot = (hasher: Hasher, claim: RangeClaim, graft?: Graft): Reconstruction => {
  const layout = layoutOfClaim(claim)
  return "_tag" in layout ? layout : { _tag: "Root", root: rootOf(hasher, claim, layout, graft) }
}

const compareRoots = (expected: Digest, actual: Digest): ProofRejection | undefined =>
  bytesEqual(expected, actual) ? undefined : { _tag: "RootMismatch", expected, actual }

/** Why a claim does not hold against a trusted root; undefined when it holds. */
export const checkRangeProof = (hasher: Hasher, claim: RangeClaim, root: Digest): ProofRejection | undefined => {
  const layout = layoutOfClaim(claim)
  return "_tag" in layout ? layout : compareRoots(root, rootOf(hasher, claim, layout))
}

/** Whether a claim holds against a trusted root. */
export const verifyRangeProof = (hasher: Hasher, claim: RangeClaim, root: Digest): boolean =>
  checkRangeProof(hasher, claim, root) === undefined

/** The nodes of a proof that lie before its range, oldest first, by the digest that stands for them. */
const digestsBefore = (
  claim: RangeClaim,
  layout: Layout,
): ReadonlyArray<readonly [Digest, ReadonlyArray<TreeNode>]> => {
  const { digests } = claim.proof
  const siblingsFrom = digests.length - layout.siblings.length
  const groups: Array<ReadonlyArray<TreeNode>> = layout.prefix.length === 0 ? [] : [layout.prefix]
  for (const peak of layout.activePrefix) groups.push([peak])
  const peaks = groups.map((nodes, i) => [digests[i]!, nodes] as const)
  const siblings = layout.siblings.map((node, i) => [digests[siblingsFrom + i]!, [node]] as const)
  return [...peaks, ...siblings.filter(([, [node]]) => isBefore(node, claim.start))]
}

const checkPins = (
  hasher: Hasher,
  claim: RangeClaim,
  layout: Layout,
  pins: ReadonlyArray<Digest>,
): ProofRejection | undefined => {
  const { family, start } = claim
  const nodes = family.peaks(start)
  if (pins.length !== nodes.length) return { _tag: "PinCount", expected: nodes.length, actual: pins.length }
  // Two pins of wrong lengths could make up the preimage of their parent.
  const index = pins.findIndex((pin) => pin.length !== DIGEST_BYTES)
  if (index >= 0) return { _tag: "PinLength", index, length: pins[index]!.length }

  let used = 0
  const rebuild = (node: TreeNode): Digest => {
    const pin = nodes[used]
    if (pin?.start === node.start && pin.height === node.height) return pins[used++]!
    if (node.height === 0) throw new Error(`leaf ${node.start} lies before ${start} but under no pin`)
    const [left, right] = childrenOf(family, node)
    const leftDigest = rebuild(left)
    return parentDigest(hasher, node.position, leftDigest, rebuild(right))
  }
  for (const [digest, group] of digestsBefore(claim, layout)) {
    const first = used
    if (!bytesEqual(foldForward(hasher, group.map(rebuild)), digest))
      return { _tag: "PinMismatch", firstPin: first, endPin: used }
  }
  if (used !== nodes.length) throw new Error(`${nodes.length - used} pins at ${start} lie under no node of the proof`)
  return undefined
}

/**
 * Why a claim, or the pins at its start, do not hold against a trusted root; undefined when both do.
 *
 * The tree of the proof may have merged several pins into one node, so each node of the proof before the start is
 * rebuilt from pins and compared. Pins and those nodes both cover `[0, start)` oldest first, so one pass uses each pin
 * once; which pins lie under which node follows from `leaves` and `start` alone.
 * Source: spec merkle §8.1.
 */
export const checkRangeWithPins = (
  hasher: Hasher,
  claim: RangeClaim,
  pins: ReadonlyArray<Digest>,
  root: Digest,
): ProofRejection | undefined => {
  const layout = layoutOfClaim(claim)
  if ("_tag" in layout) return layout
  return compareRoots(root, rootOf(hasher, claim, layout)) ?? checkPins(hasher, claim, layout, pins)
}

/** Whether a claim, and the pins at its start, hold against a trusted root. */
export const verifyRangeWithPins = (
  hasher: Hasher,
  claim: RangeClaim,
  pins: ReadonlyArray<Digest>,
  root: Digest,
): boolean => checkRangeWithPins(hasher, claim, pins, root) === undefined
