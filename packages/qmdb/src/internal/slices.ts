/** Long loops in slices: what runs between two pauses takes well under a millisecond. */
import { SLICE_ITEMS } from "./layout.ts"

/** Runs a loop with a pause after every `SLICE_ITEMS` rounds. */
export function* inSlices(count: number, run: (i: number) => void): Generator<undefined, void, void> {
  for (let i = 0; i < count; i++) {
    run(i)
    if (i % SLICE_ITEMS === SLICE_ITEMS - 1) yield undefined
  }
}
