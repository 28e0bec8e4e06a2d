/**
 * The two coordinates of a Merkle tree.
 *
 * A *location* counts leaves: it names a leaf, a leaf count or the end of a range of leaves. A *position* counts nodes:
 * it names a leaf or a parent in the append-only node array, or the length of that array. The two are never mixed.
 *
 * Invariant: both are integers from 0 to 2^53 - 1, so every sum and product of this package is exact.
 */

declare const unit: unique symbol

/** Index of a leaf, or a number of leaves. */
export type Location = number & { readonly [unit]: "Location" }
/** Index of a node, or a number of nodes. */
export type Position = number & { readonly [unit]: "Position" }

const checked = (what: string, n: number): number => {
  if (!Number.isSafeInteger(n) || n < 0) throw new RangeError(`${what} must be an integer from 0 to 2^53 - 1, got ${n}`)
  return n
}

/** The location `n`. Throws `RangeError` unless `n` is an integer from 0 to 2^53 - 1. */
export const Location = (n: number): Location => checked("location", n) as Location

/** The position `n`. Throws `RangeError` unless `n` is an integer from 0 to 2^53 - 1. */
export const Position = (n: number): Position => checked("position", n) as Position
