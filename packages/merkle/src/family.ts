/**
 * The two families of Merkle forest, as arithmetic.
 *
 * A node `(start, height)` is the perfect subtree over leaves `start .. start + 2^height`. Its children are
 * `(start, height - 1)` and `(start + 2^(height-1), height - 1)`. A peak is a node without a parent.
 *
 *   MMR, 5 leaves        6          A leaf completes every subtree that it can.
 *                      /   \
 *                     2     5
 *                    / \   / \
 *                   0   1 3   4  7
 *
 *   MMB, 5 leaves        7          A leaf creates at most one parent, so merges come later:
 *                      /   \        the parent at 7 exists only since leaf 4, at position 6.
 *                     2     5
 *                    / \   / \
 *                   0   1 3   4  6
 *
 * Invariant: the position of a node never changes, and positions are assigned in the order in which nodes first exist.
 * Both families keep the nodes of one height in the order of their leaves, so node `k` of height `h` starts at `k * 2^h`.
 */

import { POSITION_MAX } from "./limits.ts"
import type { Location, Position } from "./location.ts"

/** Name of a family, as it stands in configuration and on disk. */
export type FamilyName = "mmr" | "mmb"

/** A node by its subtree and its place in the node array. */
export interface TreeNode {
  readonly start: Location
  readonly height: number
  readonly position: Position
}

/** A node without a parent in the tree of a given leaf count. Peaks are listed oldest first, never by position. */
export type Peak = TreeNode

/**
 * The arithmetic of one family. Every function is pure.
 *
 * Bounds: a leaf count is at most `leavesMax`, a leaf is below it; a node must exist in some tree of at most `leavesMax`
 * leaves. Functions do not check: decoders and the public entry points of this package do.
 * Source: spec merkle §2 and §3.
 */
export interface Family {
  readonly name: FamilyName
  /** Most leaves of a tree, such that every position is at most 2^53 - 1. The specification allows more than 2^53. */
  readonly leavesMax: Location
  /** Nodes of a tree with so many leaves; also the position of the leaf of that index. */
  readonly size: (leaves: Location) => Position
  /** Position of a node. */
  readonly position: (start: Location, height: number) => Position
  /** The leaf count at which a node first exists. */
  readonly birth: (start: Location, height: number) => Location
  /** How many nodes of a height a tree has. */
  readonly count: (leaves: Location, height: number) => number
  /** The peaks of a tree, oldest first; heights do not increase. */
  readonly peaks: (leaves: Location) => ReadonlyArray<Peak>
  /** Leaves of the largest tree of at most so many nodes. The node count is a valid size iff `size` gives it back. */
  readonly leavesOfSize: (nodes: Position) => Location
}

const WORD = 2 ** 32

/** Leaves under a node, by height. A table, since `**` costs a node's position a third of its time. */
const SPANS: ReadonlyArray<number> = /* @__PURE__ */ Array.from({ length: 54 }, (_, height) => 2 ** height)

/** Index of the highest set bit of a positive integer below 2^53. */
const ilog2 = (n: number): number => (n < WORD ? 31 - Math.clz32(n) : 63 - Math.clz32(n / WORD))

const onesOf32 = (word: number): number => {
  let n = word | 0
  n -= (n >>> 1) & 0x55555555
  n = (n & 0x33333333) + ((n >>> 2) & 0x33333333)
  return Math.imul((n + (n >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24
}

/** Number of one bits of an integer below 2^53. */
const ones = (n: number): number => (n < WORD ? onesOf32(n) : onesOf32(n % WORD) + onesOf32(n / WORD))

const bit = (n: number, i: number): number => Math.floor(n / SPANS[i]!) % 2

const make = (
  name: FamilyName,
  leavesMax: number,
  arithmetic: Pick<Family, "size" | "position" | "birth" | "count"> & {
    readonly peakHeights: (leaves: number) => ReadonlyArray<number>
  },
): Family => {
  const { peakHeights, ...functions } = arithmetic
  const { size, position } = functions
  return {
    name,
    leavesMax: leavesMax as Location,
    ...functions,
    peaks: (leaves) => {
      let next = 0
      return peakHeights(leaves).map((height) => {
        const start = next as Location
        next += SPANS[height]!
        return { start, height, position: position(start, height) }
      })
    },
    leavesOfSize: (nodes) => {
      // A tree of n leaves has at least 2n - 53 nodes, so the walk takes at most 27 steps.
      let leaves = Math.floor(nodes / 2)
      while (size((leaves + 1) as Location) <= nodes) leaves++
      return leaves as Location
    },
  }
}

const mmrSize = (leaves: number): Position => (2 * leaves - ones(leaves)) as Position

/** Merkle Mountain Range: a leaf completes every subtree that it can, at once. */
export const mmr: Family = /* @__PURE__ */ make("mmr", (POSITION_MAX + 1) / 2, {
  size: mmrSize,
  position: (start, height) => (mmrSize(start) + 2 * SPANS[height]! - 2) as Position,
  birth: (start, height) => (start + 2 ** height) as Location,
  count: (leaves, height) => Math.floor(leaves / SPANS[height]!),
  peakHeights: (leaves) => {
    const heights: Array<number> = []
    for (let height = 52; height >= 0; height--) if (bit(leaves, height) === 1) heights.push(height)
    return heights
  },
})

const mmbSize = (leaves: number): Position => (2 * leaves - ilog2(leaves + 1)) as Position

/** Merkle Mountain Belt: a leaf creates at most one parent, so merges are delayed. */
export const mmb: Family = /* @__PURE__ */ make("mmb", (POSITION_MAX + 1) / 2 + 25, {
  size: mmbSize,
  position: (start, height) =>
    height === 0 ? mmbSize(start) : ((mmbSize(start + 1.5 * SPANS[height]! - 2) + 1) as Position),
  birth: (start, height) => (height === 0 ? start + 1 : start + 1.5 * 2 ** height - 1) as Location,
  count: (leaves, height) =>
    height === 0 ? leaves : Math.max(Math.floor((leaves + 1 - SPANS[height - 1]!) / SPANS[height]!), 0),
  peakHeights: (leaves) => {
    const heights: Array<number> = []
    for (let i = ilog2(leaves + 1) - 1; i >= 0; i--) heights.push(i + bit(leaves + 1, i))
    return heights
  },
})

/** The family of a name. */
export const family = (name: FamilyName): Family => (name === "mmr" ? mmr : mmb)

/**
 * Leading peaks that lie wholly before an inactivity floor.
 *
 * Shape: not monotonic in `leaves`, since a merge can swallow an inactive peak together with active leaves.
 * Source: spec merkle §5.
 */
export const inactivePeaks = (family: Family, leaves: Location, floor: Location): number => {
  const peaks = family.peaks(leaves)
  const active = peaks.findIndex((peak) => peak.start + 2 ** peak.height > floor)
  return active < 0 ? peaks.length : active
}
