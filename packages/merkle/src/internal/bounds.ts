/**
 * Checks that builder and verifier share.
 */

/** Whether `n` is an integer from 0 to `max`. */
export const isUpTo = (n: number, max: number): boolean => Number.isInteger(n) && n >= 0 && n <= max

/** Throws `RangeError` unless a tree with so many peaks can have so many inactive ones. */
export const requireInactivePeaks = (inactivePeaks: number, peaks: number): void => {
  if (!isUpTo(inactivePeaks, peaks))
    throw new RangeError(`a tree with ${peaks} peaks cannot have ${inactivePeaks} inactive ones`)
}
