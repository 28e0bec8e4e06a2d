/**
 * Which digests a range proof holds, in order.
 *
 *   peaks, oldest first:   [prefix ...] [active prefix ...] [covering ...] [after ...] [suffix ...]
 *                                                  lo ^^^^^^^^^^^ hi
 *   digests:   one for all prefix peaks, each active prefix peak, each after peak, one for all suffix peaks, siblings
 *
 * A prefix or suffix accumulator stands for peaks that fold among themselves before anything inside the range joins in.
 * Siblings are the nodes outside the range that hang off the paths from covering peaks to its ends; the walk that
 * finds them is left first and stops at every node that lies wholly inside or wholly outside.
 *
 * Invariant: builder and verifier lay out from the same inputs, so a proof needs no labels (spec merkle §6.1 and §6.2).
 */
import type { Family, Peak, TreeNode } from "../family.ts"
import type { Location } from "../location.ts"
import type { LocationRange, TreeShape } from "../range-proof.ts"

/** The peaks of a tree by what they are to a range, and the siblings. */
export interface Layout {
  readonly prefix: ReadonlyArray<Peak>
  readonly activePrefix: ReadonlyArray<Peak>
  readonly covering: ReadonlyArray<Peak>
  readonly after: ReadonlyArray<Peak>
  readonly suffix: ReadonlyArray<Peak>
  readonly siblings: ReadonlyArray<TreeNode>
}

/** The two children of a node of height 1 or more. */
export const childrenOf = (family: Family, { start, height }: TreeNode): readonly [TreeNode, TreeNode] => {
  const middle = (start + 2 ** (height - 1)) as Location
  return [
    { start, height: height - 1, position: family.position(start, height - 1) },
    { start: middle, height: height - 1, position: family.position(middle, height - 1) },
  ]
}

/** Whether a node lies wholly before a location. */
export const isBefore = ({ start, height }: TreeNode, location: Location): boolean => start + 2 ** height <= location

/** Whether a node shares no leaf with a range. */
export const isOutside = (node: TreeNode, range: LocationRange): boolean =>
  isBefore(node, range.start) || node.start >= range.end

/** Lays out the proof of a range in a tree. The range must lie in the tree. */
export const layoutOf = (family: Family, shape: TreeShape, range: LocationRange): Layout => {
  const layout = {
    prefix: [] as Array<Peak>,
    activePrefix: [] as Array<Peak>,
    covering: [] as Array<Peak>,
    after: [] as Array<Peak>,
    suffix: [] as Array<Peak>,
    siblings: [] as Array<TreeNode>,
  }
  const forward = shape.bagging === "forward"
  const visit = (node: TreeNode): void => {
    if (isOutside(node, range)) layout.siblings.push(node)
    else if (node.start < range.start || !isBefore(node, range.end)) childrenOf(family, node).forEach(visit)
  }
  family.peaks(shape.leaves).forEach((peak, i) => {
    const inactive = i < shape.inactivePeaks
    if (isBefore(peak, range.start)) (forward || inactive ? layout.prefix : layout.activePrefix).push(peak)
    else if (peak.start >= range.end) (forward || inactive ? layout.after : layout.suffix).push(peak)
    else {
      layout.covering.push(peak)
      visit(peak)
    }
  })
  return layout
}

/** Digests that a proof of this layout holds. */
export const digestCount = (layout: Layout): number =>
  Math.min(layout.prefix.length, 1) +
  layout.activePrefix.length +
  layout.after.length +
  Math.min(layout.suffix.length, 1) +
  layout.siblings.length
