/**
 * What closed layers have left in the shared indexes, until somebody has time to take it out.
 *
 *   close, apply --> queue --(slices of the next seal or flush)--> slots and created keys forgotten
 *
 * Invariant: nobody sees what lies here, because no living layer has a closed one on its path, and ids are never used
 * again. It is gone before a flush merges anything, so that the oldest entry of every slot belongs to the chain.
 * A winner can close many large siblings in one call: taking out one of 32,768 updates takes as long as hashing a third
 * of it does.
 */

import type { KeyText } from "@coppice/verify/log"
import type { Branch } from "./branches.ts"
import type { KeyIndex } from "./key-index.ts"
import { SLICE_ITEMS } from "./layout.ts"
import type { SlotIndex } from "./slot-index.ts"

interface Closed {
  readonly branch: Branch<unknown>
  readonly touched: Uint32Array
  readonly created: ReadonlyArray<KeyText>
  /** Items taken out: slots, then keys. */
  done: number
}

/** The queue of one member. */
export class ClosedLayers {
  private readonly slots: SlotIndex | undefined
  private readonly keys: KeyIndex
  private readonly queue: Array<Closed> = []

  /** An index without slots has created keys alone. */
  constructor(slots: SlotIndex | undefined, keys: KeyIndex) {
    this.slots = slots
    this.keys = keys
  }

  /** Whether nothing is left to take out. */
  get empty(): boolean {
    return this.queue.length === 0
  }

  /** Notes a layer that has just been closed. */
  add(branch: Branch<unknown>, touched: Uint32Array, created: ReadonlyArray<KeyText>): void {
    if (touched.length + created.length > 0) this.queue.push({ branch, touched, created, done: 0 })
  }

  /** Takes everything out, in slices. Several may do so at once. */
  *clear(): Generator<undefined, void, void> {
    while (!this.empty) {
      this.takeSome()
      yield undefined
    }
  }

  private takeSome(): void {
    const closed = this.queue.at(-1)!
    const { branch, touched, created } = closed
    const end = Math.min(touched.length + created.length, closed.done + SLICE_ITEMS)
    for (let i = closed.done; i < end; i++) {
      if (i < touched.length) this.slots!.forget(touched[i]!, branch)
      else this.keys.forget(created[i - touched.length]!, branch)
    }
    closed.done = end
    if (end === touched.length + created.length) this.queue.pop()
  }
}
