/**
 * The one failure of decoding, and the one conversion from 64-bit integers to numbers.
 *
 * Terms: an item is what one reader call reads. The offset of a failure is where the rejected item begins, counted
 * from the first byte of the input, whatever part of the item was wrong.
 *
 * Invariant: bytes from outside can raise `DecodeError` and nothing else. A `RangeError` from this package always means
 * that our own code passed a value outside a codec's type.
 */

/**
 * Bytes that are not the canonical encoding of a value.
 *
 * Shape: `reason` is a constant sentence without input bytes in it, fit for counting; `offset` is where the item begins.
 */
export class DecodeError extends Error {
  readonly _tag = "DecodeError"
  override readonly name = "DecodeError"
  readonly reason: string
  readonly offset: number

  constructor(reason: string, offset: number) {
    super(`${reason} at byte ${offset}`)
    this.reason = reason
    this.offset = offset
  }
}

/**
 * Converts a 64-bit integer to a number without loss: the only place where that happens.
 *
 * Errors: `DecodeError` when `n` is negative or above 2^53 - 1. `offset` is the place it reports.
 */
export const toSafeInteger = (n: bigint, offset = 0): number => {
  if (n < 0n || n > 0x1f_ffff_ffff_ffffn) throw new DecodeError("integer outside 0..2^53-1", offset)
  return Number(n)
}
