/**
 * The preimages of the format, one function each.
 *
 *   leaf    H( be8(position) || element )            pair   H( left || right )
 *   parent  H( be8(position) || left || right )      root   H( be8(leaves) || be8(inactive), if not 0 || body )
 *
 * The element is raw, without a length; nothing else separates the domains (spec merkle §4 and §5).
 */
import type { Digest, Hasher } from "@coppice/crypto"

const hashOf = (hasher: Hasher, numbers: ReadonlyArray<number>, parts: ReadonlyArray<Uint8Array>): Digest => {
  let length = numbers.length * 8
  for (const part of parts) length += part.length
  const preimage = new Uint8Array(length)
  let at = 0
  for (const number of numbers) {
    // Byte by byte: a view of a short array moves it out of the heap, for as much as hashing it.
    for (let i = 7, rest = number; i >= 0; i--, rest = Math.floor(rest / 256)) preimage[at + i] = rest
    at += 8
  }
  for (const part of parts) {
    preimage.set(part, at)
    at += part.length
  }
  return hasher.hash(preimage)
}

/** Writes an integer below 2^53 as eight bytes, most significant first. */
export const writeBe8 = (view: DataView, offset: number, number: number): void => {
  view.setUint32(offset, number / 2 ** 32)
  view.setUint32(offset + 4, number)
}

/** Digest of a leaf. */
export const leafDigest = (hasher: Hasher, position: number, element: Uint8Array): Digest =>
  hashOf(hasher, [position], [element])

/** Digest of a parent. */
export const parentDigest = (hasher: Hasher, position: number, left: Digest, right: Digest): Digest =>
  hashOf(hasher, [position], [left, right])

/** Folds digests, of which there is one at least, left to right: `x = H(x || next)`. */
export const foldForward = (hasher: Hasher, digests: ReadonlyArray<Digest>): Digest =>
  digests.reduce((folded, next) => hashOf(hasher, [], [folded, next]))

/** Folds digests, of which there is one at least, from the last to the first: `x = H(previous || x)`. */
export const foldBackward = (hasher: Hasher, digests: ReadonlyArray<Digest>): Digest =>
  digests.reduceRight((folded, previous) => hashOf(hasher, [], [previous, folded]))

/** Digest of a whole tree. Without leaves the body is empty. */
export const rootDigest = (
  hasher: Hasher,
  leaves: number,
  inactivePeaks: number,
  body: ReadonlyArray<Digest>,
): Digest => hashOf(hasher, inactivePeaks === 0 ? [leaves] : [leaves, inactivePeaks], body)
