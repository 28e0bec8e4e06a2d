/**
 * The canonical root of a `current` database by its definition: every bit, every chunk, every node.
 *
 * Source: spec qmdb §9. Written from the text: it shares no code with what it judges but SHA-256.
 */
import { createHash } from "node:crypto"

/** A node of an operations tree. */
export interface DefinedNode {
  readonly position: number
  readonly digest: Uint8Array
}

/** All that a canonical root follows from. */
export interface Definition {
  readonly chunkBytes: number
  readonly leaves: number
  readonly floor: number
  readonly opsRoot: Uint8Array
  /** Active locations, the last commit not counted. */
  readonly active: Iterable<number>
  readonly peaks: ReadonlyArray<{ readonly start: number; readonly height: number }>
  /** A node of the operations tree; undefined when it does not exist. */
  readonly node: (start: number, height: number) => DefinedNode | undefined
}

const sha256 = (...parts: ReadonlyArray<Uint8Array>): Uint8Array =>
  parts.reduce((hash, part) => hash.update(part), createHash("sha256")).digest()

const be8 = (n: number): Uint8Array => {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64BE(BigInt(n))
  return bytes
}

const chunksOf = ({ chunkBytes, leaves, active }: Definition): ReadonlyArray<Buffer> => {
  const span = 8 * chunkBytes
  const chunks = Array.from({ length: Math.ceil(leaves / span) }, () => Buffer.alloc(chunkBytes))
  for (const bit of [...active, leaves - 1]) {
    const chunk = chunks[Math.floor(bit / span)]!
    const at = Math.floor((bit % span) / 8)
    chunk[at] = chunk[at]! | (1 << (bit % 8))
  }
  return chunks
}

const graftedRoot = (definition: Definition, chunks: ReadonlyArray<Buffer>): Uint8Array => {
  const { chunkBytes, leaves, floor, peaks, node } = definition
  const span = 8 * chunkBytes
  const height = Math.log2(span)
  const grafted = (start: number, h: number): Uint8Array => {
    const { position, digest } = node(start, h)!
    if (h < height) return digest
    if (h > height) return sha256(be8(position), grafted(start, h - 1), grafted(start + 2 ** (h - 1), h - 1))
    const chunk = chunks[start / span]!
    return chunk.every((byte) => byte === 0) ? digest : sha256(chunk, digest)
  }
  const ends = peaks.map((peak) => peak.start + 2 ** peak.height)
  const aligned = ends.findLastIndex((end) => end <= floor && end % span === 0) + 1
  const digests = peaks.map((peak) => grafted(peak.start, peak.height))
  const folded = Math.max(1, aligned)
  const first = digests.slice(0, folded).reduce((accumulator, next) => sha256(accumulator, next))
  const body = [first, ...digests.slice(folded)].reduceRight((accumulator, next) => sha256(next, accumulator))
  return sha256(be8(leaves), ...(aligned > 0 ? [be8(aligned)] : []), body)
}

/** The root that the definition gives. */
export const definedRoot = (definition: Definition): Uint8Array => {
  const { chunkBytes, leaves, opsRoot, node } = definition
  const span = 8 * chunkBytes
  const chunks = chunksOf(definition)
  const complete = Math.floor(leaves / span)
  const isPending = complete > 0 && node((complete - 1) * span, Math.log2(span)) === undefined
  const pending = isPending ? [sha256(chunks[complete - 1]!)] : []
  const partial = leaves % span === 0 ? [] : [be8(leaves % span), sha256(chunks[complete]!)]
  return sha256(opsRoot, graftedRoot(definition, chunks), ...pending, ...partial)
}
