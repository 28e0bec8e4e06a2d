/**
 * From peaks to a root.
 *
 * The oldest `a` peaks are *inactive*: no operation below them is needed for the current state. They fold left to right.
 * The direction in which the others fold is the *bagging*:
 *
 *   forward    ((((P0 P1) P2) P3) P4)
 *   backward   ((P0 P1) (P2 (P3 P4)))  with a = 2: an old part that hardly moves, and a young part folded from its end
 *
 * Invariant: the root binds the leaf count, and the inactive count unless it is 0 (spec merkle §5).
 */
import type { Digest, Hasher } from "@coppice/crypto"
import type { Frontier } from "./frontier.ts"
import { requireInactivePeaks } from "./internal/bounds.ts"
import { foldBackward, foldForward, rootDigest } from "./internal/digests.ts"

/** How active peaks fold into one digest: oldest first, or youngest first. Database roots use backward. */
export type Bagging = "forward" | "backward"

/** Folds peaks into the body of a root: the first `folded` left to right, then the rest by direction. */
export const bag = (hasher: Hasher, peaks: ReadonlyArray<Digest>, folded: number, bagging: Bagging): Digest => {
  const first = Math.max(folded, 1)
  const entries = [foldForward(hasher, peaks.slice(0, first)), ...peaks.slice(first)]
  return bagging === "forward" ? foldForward(hasher, entries) : foldBackward(hasher, entries)
}

/**
 * Root of the tree of a frontier.
 *
 * Errors: throws `RangeError` when `inactivePeaks` is not between 0 and the number of peaks.
 * Cost: one hash per peak.
 */
export const root = (hasher: Hasher, frontier: Frontier, inactivePeaks: number, bagging: Bagging): Digest => {
  const { leaves, peaks } = frontier
  requireInactivePeaks(inactivePeaks, peaks.length)
  const body = peaks.length === 0 ? [] : [bag(hasher, peaks, inactivePeaks, bagging)]
  return rootDigest(hasher, leaves, inactivePeaks, body)
}
