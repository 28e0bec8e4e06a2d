/**
 * The arithmetic of a `current` database: how chunks of activity bits are grafted onto the operations tree.
 *
 *   bits      chunk 0 | chunk 1 | ... | chunk g-1 | pending? | partial?
 *   tree      (0, G)    (1, G)  ...     (g-1, G)     not yet   leaves of no full chunk
 *
 * Terms: a *chunk* is N bytes of activity bits, one bit an operation, so it covers `2^G` operations where G, the *grafting
 * height*, is `log2(8 N)`. A chunk is *graftable* once the tree has the node over its operations; an MMB makes that node
 * late, so one complete chunk may be *pending*. The *partial* chunk is the last, when it is not complete.
 *
 * Invariant: every number here follows from family, chunk size, leaf count and floor alone.
 * Source: spec qmdb §9 and §12.
 */
import type { Digest, Hasher } from "@coppice/crypto"
import type { Family, Location } from "@coppice/merkle"

/** How a database grafts. */
export interface Grafting {
  readonly family: Family
  /** Bytes of a chunk: a power of two. */
  readonly chunkBytes: number
  /** Height of the nodes that chunks are grafted onto. */
  readonly height: number
  /** Operations that a chunk covers: `2^height`. */
  readonly span: number
}

/** The grafting of a chunk size. Throws `RangeError` unless it is a power of two. */
export const grafting = (family: Family, chunkBytes: number): Grafting => {
  const height = Math.log2(8 * chunkBytes)
  if (!(Number.isInteger(height) && height >= 3))
    throw new RangeError(`chunks of ${chunkBytes} bytes: not a power of two`)
  return { family, chunkBytes, height, span: 2 ** height }
}

/** What the chunks of a leaf count are. */
export interface ChunkCounts {
  /** Chunks all of whose operations exist. */
  readonly complete: number
  /** Chunks with a node to graft onto. */
  readonly graftable: number
  /** Operations of the partial chunk; 0 when there is none. */
  readonly remainder: number
}

/** Counts the chunks of a leaf count. The pending chunk, if any, is number `graftable`; the partial one `complete`. */
export const chunkCounts = ({ family, height, span }: Grafting, leaves: Location): ChunkCounts => ({
  complete: Math.floor(leaves / span),
  graftable: family.count(leaves, height),
  remainder: leaves % span,
})

/** Leading peaks before the floor, up to the last one that ends where a chunk does. */
export const alignedInactivePeaks = ({ family, span }: Grafting, leaves: Location, floor: Location): number => {
  let aligned = 0
  for (const [i, { start, height }] of family.peaks(leaves).entries()) {
    const end = start + 2 ** height
    if (end > floor) break
    if (end % span === 0) aligned = i + 1
  }
  return aligned
}

/** The leaf count from which on no root needs the youngest of so many dropped chunks. */
const settle = ({ family, height, span }: Grafting, dropped: number): number => {
  const youngest = dropped - 1
  const at = family.birth((youngest * span) as Location, height)
  if (at === dropped * span) return at
  return family.birth(((youngest - (youngest % 2)) * span) as Location, height + 1)
}

/** The location up to which a database may be pruned, and from which it may be synced. */
export const syncBoundary = (shape: Grafting, leaves: Location, floor: Location): Location => {
  let dropped = Math.floor(floor / shape.span)
  while (dropped > 0 && leaves < settle(shape, dropped)) dropped -= 1
  return (dropped * shape.span) as Location
}

/** What the canonical root binds beside the operations root. */
export interface CanonicalParts {
  readonly graftedRoot: Digest
  /** Digest of the pending chunk. */
  readonly pending: Digest | undefined
  /** Bits and digest of the partial chunk. */
  readonly partial: { readonly bits: number; readonly digest: Digest } | undefined
}

/** The root of a `current` database. */
export const canonicalRoot = (
  hasher: Hasher,
  opsRoot: Digest,
  { graftedRoot, pending, partial }: CanonicalParts,
): Digest => {
  const parts: Array<Uint8Array> = [opsRoot, graftedRoot]
  if (pending !== undefined) parts.push(pending)
  if (partial !== undefined) {
    const bits = new Uint8Array(8)
    new DataView(bits.buffer).setUint32(4, partial.bits)
    parts.push(bits, partial.digest)
  }
  const preimage = new Uint8Array(parts.reduce((length, part) => length + part.length, 0))
  let at = 0
  for (const part of parts) {
    preimage.set(part, at)
    at += part.length
  }
  return hasher.hash(preimage)
}
