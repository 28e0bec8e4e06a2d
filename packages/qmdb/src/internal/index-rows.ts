/**
 * The rows of an index between memory and storage, as every family with keys has them.
 *
 *   seal: recent keys in memory --flush--> unswept --share of the sweep--> rows --tidy of the next write--> out of memory
 *   closed layers --tidy--> out of memory
 *
 * Invariant: what leaves memory is either visible in storage or nobody's. `tidy` has run before a flush merges anything.
 */
import type { Change } from "@coppice/storage"
import type { KeyText } from "@coppice/verify/log"
import { ClosedLayers } from "./closed-layers.ts"
import type { IndexFlush } from "./family.ts"
import type { KeyIndex } from "./key-index.ts"
import { inSlices } from "./slices.ts"
import type { SlotIndex } from "./slot-index.ts"
import type { Space } from "./space.ts"
import { Sweep } from "./sweep.ts"

/** See the head of this file. */
export class IndexRows {
  readonly closed: ClosedLayers
  private readonly space: Space
  private readonly keys: KeyIndex
  private readonly slots: SlotIndex | undefined
  private sweep = new Sweep(1)
  /** Keys whose rows are visible and that the unswept changes still hold. */
  private swept: ReadonlyArray<KeyText> = []

  /** An index without slots has keys alone. */
  constructor(space: Space, keys: KeyIndex, slots?: SlotIndex) {
    this.space = space
    this.keys = keys
    this.slots = slots
    this.closed = new ClosedLayers(slots, keys)
  }

  /** Begins where the stored index is complete up to a log size. */
  startAt(checkpoint: number): void {
    this.sweep = new Sweep(checkpoint)
  }

  /** Takes out, in slices, what is left of closed layers and of what the last flush wrote. */
  *tidy(): Generator<undefined, void, void> {
    yield* this.closed.clear()
    const { swept } = this
    this.swept = []
    yield* inSlices(swept.length, (i) => this.keys.swept(swept[i]!))
  }

  /** Adds the share of the sweep of a flush that takes the log from `before` operations to `size`. */
  *flush(before: number, size: number, changes: Array<Change>): Generator<undefined, IndexFlush, void> {
    const { space, slots, keys, sweep } = this
    const swept = yield* sweep.advance(space, slots, keys, size, size - before, changes)
    const settled = (): void => {
      this.swept = swept
    }
    return { checkpoint: sweep.checkpoint, settled }
  }

  /** The rows of these keys are exact and visible, and the index begins anew at `checkpoint`. */
  setBack(keys: Iterable<KeyText>, checkpoint: number): void {
    for (const key of keys) this.keys.swept(key)
    this.startAt(checkpoint)
  }
}
