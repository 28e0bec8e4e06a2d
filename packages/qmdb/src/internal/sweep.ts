/**
 * The rotating sweep: which part of the pending index each flush writes.
 *
 *   round k   |--- flush ---|--- flush ---|--- flush ---|     all that was pending at its start is written, a share a flush
 *             X0                                        checkpoint := X0
 *
 * Terms: a *round* takes the list of changed slot pages and unswept keys at its start, at log size X0, and writes it in
 * order over the following flushes, each entry with its newest value. The *checkpoint* is the X0 of the last finished
 * round: every index change below it is in the stored index.
 *
 * Invariant: the log beyond the checkpoint never holds more than `INDEX_REPLAY_OPS_MAX` operations after a flush, because a
 * round advances in proportion to the operations flushed, and faster where the one before it was broken off by a restart.
 * Setting a location twice is harmless, so replaying the log from the checkpoint over a newer index gives the same index.
 */
import type { Change } from "@coppice/storage"
import type { KeyText } from "@coppice/verify/log"
import { INDEX_REPLAY_OPS_MAX } from "../limits.ts"
import type { KeyIndex } from "./key-index.ts"
import { ROUND_FLUSHES, SLICE_ITEMS } from "./layout.ts"
import { SLOTS_PER_PAGE, type SlotIndex } from "./slot-index.ts"
import type { Space } from "./space.ts"

const MAP = "slots"

/** Operations flushed in a round at most: a checkpoint lags by one finished round and the one under way. */
const ROUND_OPS = INDEX_REPLAY_OPS_MAX / 2

interface Round {
  readonly start: number
  readonly pages: ReadonlyArray<number>
  readonly keys: ReadonlyArray<KeyText>
  pagesDone: number
  keysDone: number
  progress: number
}

/** Sweeps the indexes of one member. */
export class Sweep {
  /** Log size up to which the stored index is complete. */
  checkpoint: number
  private round: Round | undefined

  constructor(checkpoint: number) {
    this.checkpoint = checkpoint
  }

  /**
   * Adds this flush's share; an index without slots has keys alone. `size` is the log size after it, `operations` how many of them it adds. Returns the keys whose
   * change it carries, to be dropped from memory once it is visible.
   */
  *advance(
    space: Space,
    slots: SlotIndex | undefined,
    keys: KeyIndex,
    size: number,
    operations: number,
    changes: Array<Change>,
  ): Generator<undefined, ReadonlyArray<KeyText>, void> {
    const swept: Array<KeyText> = []
    let share = Math.max(1 / ROUND_FLUSHES, operations / ROUND_OPS)
    do {
      this.round ??= {
        start: size,
        pages: slots?.dirtyPages() ?? [],
        keys: keys.unsweptKeys(),
        pagesDone: 0,
        keysDone: 0,
        progress: 0,
      }
      yield undefined
      const round = this.round
      const rest = 1 - round.progress
      const step = Math.min(rest, Math.max(share, this.due(rest, size, operations)))
      share -= step
      round.progress = step === rest ? 1 : round.progress + step
      yield* this.write(round, space, slots, keys, changes, swept)
      if (round.progress < 1) break
      this.checkpoint = round.start
      this.round = undefined
    } while (this.checkpoint < size && (share > 0 || size - this.checkpoint > INDEX_REPLAY_OPS_MAX))
    return swept
  }

  /** The share that a round needs to end before the checkpoint lags too far: more than usual where a restart broke one off. */
  private due(rest: number, size: number, operations: number): number {
    const slack = this.checkpoint + INDEX_REPLAY_OPS_MAX - (size - operations)
    return operations < slack ? (rest * operations) / slack : rest
  }

  private *write(
    round: Round,
    space: Space,
    slots: SlotIndex | undefined,
    keys: KeyIndex,
    changes: Array<Change>,
    swept: Array<KeyText>,
  ): Generator<undefined, void, void> {
    const pagesEnd = Math.ceil(round.pages.length * round.progress)
    const rows = new Float64Array((pagesEnd - round.pagesDone) * SLOTS_PER_PAGE)
    for (let at = 0; round.pagesDone < pagesEnd; round.pagesDone++, at += SLOTS_PER_PAGE) {
      const page = round.pages[round.pagesDone]!
      const row = rows.subarray(at, at + SLOTS_PER_PAGE)
      slots!.writePage(page, row)
      const value = new Uint8Array(row.buffer, row.byteOffset, row.byteLength)
      changes.push({ tag: "put", map: MAP, key: space.rowKey(page), value })
      if (round.pagesDone % SLICE_ITEMS === SLICE_ITEMS - 1) yield undefined
    }
    const keysEnd = Math.ceil(round.keys.length * round.progress)
    for (; round.keysDone < keysEnd; round.keysDone++) {
      const key = round.keys[round.keysDone]!
      if (keys.sweep(key, changes)) swept.push(key)
      if (round.keysDone % SLICE_ITEMS === SLICE_ITEMS - 1) yield undefined
    }
  }
}
