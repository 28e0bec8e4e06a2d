/**
 * The activity of one state: which operations are active, and the operations tree with that grafted onto it.
 *
 *   chunks   bits of activity, from the floor's chunk on          levels   grafted digests of height G, G + 1, ...
 *   nodes    operation digests of height G                                     g(G) = H(chunk || node), above: H(g || g)
 *
 * Terms: see grafting.ts. `low` is the chunk of the floor. Below it every bit is zero, and a zero chunk leaves its node's
 * digest as it is: so nodes wholly below `low` have their plain digests, and nothing is held for them.
 *
 * Invariant: activity is derived from active locations, floor and operations tree alone. It is never stored; a state shares
 * its unchanged pages with the one it came from.
 * Source: spec qmdb §9.
 */
import type { Digest, Hasher } from "@coppice/crypto"
import { type Location, type Position, root as treeRoot } from "@coppice/merkle"
import {
  alignedInactivePeaks,
  type CanonicalParts,
  canonicalRoot,
  chunkCounts,
  type Grafting,
} from "@coppice/verify/grafting"
import { Pages } from "./pages.ts"

/** Digest of the operations tree's node at a position: of every node that the tree has and pruning has left. */
export type NodeReader = (position: Position) => Digest

/** The activity of one state. Immutable. */
export interface Activity {
  readonly grafting: Grafting
  readonly leaves: Location
  readonly floor: Location
  /** The bits, by chunk. */
  readonly chunks: Pages
  /** Operation digests of the graftable nodes of height G. */
  readonly nodes: Pages
  /** Grafted digests of the nodes of each height from G on. */
  readonly levels: ReadonlyArray<Pages>
}

/** Activity of no operations, to build a state from whose floor is `floor`. */
export const emptyActivity = (grafting: Grafting, floor: Location): Activity => ({
  grafting,
  leaves: 0 as Location,
  floor,
  chunks: new Pages(grafting.chunkBytes),
  nodes: new Pages(32),
  levels: [],
})

/** The first chunk that is held. */
export const lowOf = ({ grafting, floor }: Pick<Activity, "grafting" | "floor">): number =>
  Math.floor(floor / grafting.span)

/** Bytes that a state does not share with the one it came from. */
export const activityBytes = ({ chunks, nodes, levels }: Activity): number =>
  levels.reduce((sum, level) => sum + level.bytes, chunks.bytes + nodes.bytes)

/** The bytes of a chunk. */
export const readChunk = (activity: Activity, chunk: number): Uint8Array =>
  chunk < lowOf(activity) ? new Uint8Array(activity.grafting.chunkBytes) : activity.chunks.read(chunk)

/** Whether the operation at a location of the state is active, or the last commit. */
export const isActive = (activity: Activity, location: Location): boolean => {
  const { span } = activity.grafting
  const bit = location % span
  return ((readChunk(activity, Math.floor(location / span))[bit >>> 3]! >>> (bit & 7)) & 1) === 1
}

/** Grafted digest of a node of the operations tree. */
export const graftedDigest = (activity: Activity, start: Location, height: number, node: NodeReader): Digest => {
  const { grafting, levels } = activity
  const above = height - grafting.height
  if (above < 0 || start + 2 ** height <= lowOf(activity) * grafting.span) {
    return node(grafting.family.position(start, height))
  }
  return levels[above]!.read(start / 2 ** height)
}

/** What the canonical root binds, and that root. */
export interface CanonicalState extends CanonicalParts {
  readonly root: Digest
}

/** What a state of a `current` database has beside that of `any`. */
export interface CurrentState {
  readonly activity: Activity
  readonly canonical: CanonicalState
}

/**
 * The canonical root of a state. Cost: a hash per peak and three more.
 * Source: spec qmdb §9.2.
 */
export const canonicalState = (
  hasher: Hasher,
  activity: Activity,
  opsRoot: Digest,
  node: NodeReader,
): CanonicalState => {
  const { grafting, leaves, floor } = activity
  const { family } = grafting
  const peaks = family.peaks(leaves).map(({ start, height }) => graftedDigest(activity, start, height, node))
  const graftedRoot = treeRoot(
    hasher,
    { family, leaves, peaks },
    alignedInactivePeaks(grafting, leaves, floor),
    "backward",
  )
  const { complete, graftable, remainder } = chunkCounts(grafting, leaves)
  const pending = complete > graftable ? hasher.hash(readChunk(activity, graftable)) : undefined
  const partial = remainder === 0 ? undefined : { bits: remainder, digest: hasher.hash(readChunk(activity, complete)) }
  const parts: CanonicalParts = { graftedRoot, pending, partial }
  return { ...parts, root: canonicalRoot(hasher, opsRoot, parts) }
}
