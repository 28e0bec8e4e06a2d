/**
 * Shrinking: from a list that makes a run fail to a shorter one that still does.
 *
 *   [a b c d e f g h]  -->  [e f g h]  -->  [e g h]  -->  [h]
 *      halves first, then ever smaller pieces, then one by one; of what is left, none, one or two alone
 *
 * Invariant: the result is a part of the list, in its order, and made the run fail. Unless the bound on runs came first,
 * no single element of it can be left out. Two elements show a failure that a whole schedule may hide: a fault moves those
 * after it, so that with one left out the others may happen to show nothing.
 */
import { Effect } from "effect"

/** Elements of which one or two are tried alone at most; they have 79 such parts. */
const FEW_MAX = 12

/** No element, each alone, and each two of them. */
function* fewOf<T>(items: ReadonlyArray<T>): Generator<ReadonlyArray<T>, void, void> {
  yield []
  for (const item of items) yield [item]
  for (const [at, item] of items.entries()) for (const other of items.slice(at + 1)) yield [item, other]
}

/** What is left of a list, and how many runs that took. */
export interface Shrunk<T> {
  readonly items: ReadonlyArray<T>
  readonly runs: number
  /** True when leaving out any one of the items was seen to make the run pass. */
  readonly isMinimal: boolean
}

/**
 * Leaves out what a failure does not need. `items` is known to fail; `fails` runs a part of it, at most `runsMax` times.
 *
 * Cost: few runs where little is needed; about n of them per round where everything is, and half of n squared for the last few.
 */
export const shrink = <T, E, R>(
  items: ReadonlyArray<T>,
  fails: (part: ReadonlyArray<T>) => Effect.Effect<boolean, E, R>,
  runsMax: number,
): Effect.Effect<Shrunk<T>, E, R> =>
  Effect.gen(function* () {
    let kept = items
    let runs = 0
    let size = items.length
    while (size > 0) {
      let isShorter = false
      for (let at = 0; at < kept.length; ) {
        if (runs === runsMax) return { items: kept, runs, isMinimal: false }
        const part = [...kept.slice(0, at), ...kept.slice(at + size)]
        runs++
        if (yield* fails(part)) {
          kept = part
          isShorter = true
        } else at += size
      }
      // What could not be left out alone may be once something else is gone.
      if (size > 1 || !isShorter) size = Math.floor(size / 2)
    }
    if (kept.length <= FEW_MAX) {
      for (const part of fewOf(kept)) {
        if (part.length >= kept.length || runs === runsMax) break
        runs++
        if (yield* fails(part)) return { items: part, runs, isMinimal: true }
      }
    }
    return { items: kept, runs, isMinimal: true }
  })
