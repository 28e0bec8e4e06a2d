/**
 * Consensus coordinates: height, view, epoch, round.
 *
 * Terms: a *height* is a place in the chain (genesis is 0); a *view* is one attempt to agree inside an *epoch*, a period
 * with one validator set; a *round* is the pair (epoch, view), ordered by epoch first. Height and view are independent: a
 * nullified view yields no height, and two forked blocks share one.
 *
 * Invariant: every coordinate is a whole number in 0 .. 2^53 - 1; one type is never passed for another.
 */

declare const kind: unique symbol

/** Place of a block in the chain. Genesis is 0. */
export type Height = number & { readonly [kind]: "Height" }
/** One attempt to agree inside an epoch. View 0 is the epoch's genesis; voting starts at 1. */
export type View = number & { readonly [kind]: "View" }
/** A period with one validator set. */
export type Epoch = number & { readonly [kind]: "Epoch" }

const checked = (what: string, n: number): number => {
  if (!Number.isSafeInteger(n) || n < 0) throw new RangeError(`${what} must be in 0 .. 2^53 - 1, got ${n}`)
  return n
}

/** Checked constructor of a height. Throws `RangeError` outside 0 .. 2^53 - 1. */
export const Height = (n: number): Height => checked("height", n) as Height
/** Checked constructor of a view. Throws `RangeError` outside 0 .. 2^53 - 1. */
export const View = (n: number): View => checked("view", n) as View
/** Checked constructor of an epoch. Throws `RangeError` outside 0 .. 2^53 - 1. */
export const Epoch = (n: number): Epoch => checked("epoch", n) as Epoch

/** The only safe key for "which attempt" across epochs. */
export interface Round {
  readonly epoch: Epoch
  readonly view: View
}

/** Checked constructor of a round. */
export const Round = (epoch: number, view: number): Round => ({ epoch: Epoch(epoch), view: View(view) })

/** Total order of rounds: negative, zero or positive as `a` is before, equal to or after `b`. */
export const compareRounds = (a: Round, b: Round): number => a.epoch - b.epoch || a.view - b.view

/** Text form `epoch/view`, for map keys, logs and errors. */
export const roundKey = (round: Round): string => `${round.epoch}/${round.view}`
