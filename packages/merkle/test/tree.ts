/**
 * Goal: trees of the package under test, in the forms that tests need.
 * Method: append with the portable hasher and keep the whole node array.
 */
import { type Digest, nobleHasher } from "@coppice/crypto"
import {
  appendLeaves,
  emptyFrontier,
  type Family,
  type Frontier,
  type LeafSource,
  type Location,
  type LocationRange,
  type Position,
  pinPositions,
  runJobs,
  type TreeNode,
} from "../src/index.ts"
import { be8, element, type Model, sha256 } from "./model.ts"

export const sourceOf = (elements: ReadonlyArray<Uint8Array>): LeafSource => {
  const offsets = new Uint32Array(elements.length + 1)
  for (const [i, bytes] of elements.entries()) offsets[i + 1] = offsets[i]! + bytes.length
  const bytes = new Uint8Array(offsets[elements.length]!)
  elements.forEach((part, i) => void bytes.set(part, offsets[i]))
  return { count: elements.length, bytes, offsets }
}

/** A tree with all its nodes. */
export interface Tree {
  readonly frontier: Frontier
  readonly nodes: Uint8Array
  readonly at: (position: Position) => Digest
  readonly node: (node: TreeNode) => Digest
}

export const treeOf = (family: Family, elements: ReadonlyArray<Uint8Array>): Tree => {
  const appended = runJobs(nobleHasher, appendLeaves(emptyFrontier(family), sourceOf(elements)))
  const at = (position: Position): Digest => appended.nodes.slice(position * 32, position * 32 + 32)
  return { ...appended, at, node: ({ position }) => at(position) }
}

/** Elements `0 .. count` of the published vectors. */
export const elements = (count: number): ReadonlyArray<Uint8Array> =>
  Array.from({ length: count }, (_, i) => element(i))

/**
 * A tree too large to grow: its leaves stand in one range, the pins before it and the nodes after it are made up.
 * `node` knows what a proof of the range needs, and no more.
 */
export const farTree = (
  family: Family,
  leaves: Location,
  { start, end }: LocationRange,
  parts: ReadonlyArray<Uint8Array>,
): { readonly node: (node: TreeNode) => Digest; readonly pins: ReadonlyArray<Digest>; readonly model: Model } => {
  const pinned = new Set(pinPositions(family, start))
  const known = new Map<Position, Digest>()
  const digestOf = (from: number, height: number): Digest => {
    const position = family.position(from as Location, height)
    const half = 2 ** (height - 1)
    const digest =
      pinned.has(position) || from >= end
        ? element(position)
        : height === 0
          ? sha256(be8(position), parts[from - start]!)
          : sha256(be8(position), digestOf(from, height - 1), digestOf(from + half, height - 1))
    known.set(position, digest)
    return digest
  }
  const peaks = family.peaks(leaves).map((peak) => ({ ...peak, birth: 0, digest: digestOf(peak.start, peak.height) }))
  const node = ({ position }: TreeNode): Digest => {
    const digest = known.get(position)
    if (digest === undefined) throw new Error(`a proof has no need of position ${position}`)
    return digest
  }
  return { node, pins: [...pinned].map(element), model: { nodes: [], peaks, leaves, size: family.size(leaves) } }
}
