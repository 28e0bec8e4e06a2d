/**
 * Goal: whatever happens to a member, at most `INDEX_REPLAY_OPS_MAX` operations lie beyond the checkpoint after a flush;
 * and a checkpoint covers only changes that have been written.
 * Method: the sweep alone, over indexes that only count what is asked of them.
 */
import fc from "fast-check"
import { describe, expect, it } from "vitest"
import type { KeyIndex } from "../src/internal/key-index.ts"
import type { SlotIndex } from "../src/internal/slot-index.ts"
import type { Space } from "../src/internal/space.ts"
import { Sweep } from "../src/internal/sweep.ts"
import { finish, INDEX_REPLAY_OPS_MAX } from "./support/api.ts"

/** Pages and keys by number, each changed by every flush and clean once it has been written. */
const counting = (pages: number, keys: number) => {
  const dirtySince = new Map<number, number>()
  const slots = {
    dirtyPages: () => Array.from(dirtySince.keys()),
    writePage: (page: number) => void dirtySince.delete(page),
  } as unknown as SlotIndex
  const index = {
    unsweptKeys: () => Array.from({ length: keys }, (_, i) => `${i}`),
    sweep: () => true,
  } as unknown as KeyIndex
  const touch = (location: number): void => {
    for (let page = 0; page < pages; page++) if (!dirtySince.has(page)) dirtySince.set(page, location)
  }
  /** Location of the oldest change that has not been written, at least. */
  const oldest = (): number => Math.min(Number.POSITIVE_INFINITY, ...dirtySince.values())
  return { slots, index, touch, oldest }
}

const space = { rowKey: () => new Uint8Array(1) } as unknown as Space

describe("the checkpoint", () => {
  const flushes = fc.array(
    fc.record({
      operations: fc.oneof(
        fc.nat(50),
        fc.nat(3000),
        fc.nat(Math.floor(INDEX_REPLAY_OPS_MAX / 3)),
        fc.nat(INDEX_REPLAY_OPS_MAX * 2),
      ),
      reopen: fc.integer({ min: 0, max: 3 }).map((n) => n === 0),
    }),
    { minLength: 1, maxLength: 80 },
  )

  it("stays within its bound of the log, however often the member is reopened", () => {
    fc.assert(
      fc.property(flushes, (steps) => {
        let sweep = new Sweep(1)
        let size = 1
        const { slots, index, touch, oldest } = counting(7, 5)
        for (const { operations, reopen } of steps) {
          if (reopen) sweep = new Sweep(sweep.checkpoint)
          touch(size)
          size += operations + 1
          finish(sweep.advance(space, slots, index, size, operations + 1, []))
          const behind = size - sweep.checkpoint
          expect(behind).toBeLessThanOrEqual(INDEX_REPLAY_OPS_MAX)
          expect(sweep.checkpoint, "a change below the checkpoint was not written").toBeLessThanOrEqual(oldest())
        }
      }),
    )
  })

  it("moves on although the member is reopened after every flush", () => {
    let checkpoint = 1
    let size = 1
    for (let i = 0; i < 400; i++) {
      const sweep = new Sweep(checkpoint)
      const { slots, index, touch } = counting(7, 5)
      touch(size)
      size += 1500
      finish(sweep.advance(space, slots, index, size, 1500, []))
      checkpoint = sweep.checkpoint
      expect(size - checkpoint, `flush ${i}`).toBeLessThanOrEqual(INDEX_REPLAY_OPS_MAX)
    }
  })
})
