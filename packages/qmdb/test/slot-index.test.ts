/**
 * Goal: the in-memory indexes give back what they no longer need.
 * Method: a database that creates and deletes for many flushes, watched from inside; the queue of freed slots alone.
 */
import { U32 } from "@coppice/codec"
import { describe, expect, it, vi } from "vitest"
import { type Branch, Branches } from "../src/internal/branches.ts"
import type { KeyIndex } from "../src/internal/key-index.ts"
import { SlotIndex } from "../src/internal/slot-index.ts"
import { createRig, Qmdb } from "./support/api.ts"

vi.mock("../src/internal/layout.ts", () => ({ ROW_BYTES: 64, PACKED_OPERATIONS: 3, SLICE_ITEMS: 2, ROUND_FLUSHES: 4 }))

describe("what the indexes hold", () => {
  it("slots of deleted keys are used again and unswept keys leave memory", () => {
    const rig = createRig(Qmdb.any({ key: U32, value: U32 }))
    const { keys, slots: index } = (rig.member as unknown as { readonly index: unknown }).index as {
      readonly keys: KeyIndex
      readonly slots: { readonly freed: ReadonlyArray<number> }
    }
    for (let block = 0; block < 60; block++) {
      rig.commit((batch) => {
        for (let n = 0; n < 10; n++) {
          batch.put(block * 10 + n, block)
          if (block > 1) batch.remove((block - 2) * 10 + n)
        }
      })
      rig.flush()
      expect(keys.unsweptCount).toBeLessThan(200)
      expect(index.freed.length, "freed slots that wait").toBeLessThan(60)
    }
    const slots = Math.max(
      ...[...rig.rows.get("slots")!.keys()].map((key) => 1 + Buffer.from(key, "latin1").readUIntBE(5, 6)),
    )
    expect(slots * (64 / 8), "slots ever used").toBeLessThan(60)
    for (let block = 0; block < 20; block++) {
      rig.commit(() => {})
      rig.flush()
    }
    expect(keys.unsweptCount).toBe(0)
  })

  it("a row holds the flushed locations, whatever un-flushed layers have done", () => {
    const index = new SlotIndex()
    const branches = new Branches<null>(() => {})
    const row = (): ReadonlyArray<number> => {
      const locations = new Float64Array(64 / 8)
      index.writePage(0, locations)
      return [...locations].slice(0, 4)
    }
    for (let slot = 0; slot < 4; slot++) index.store(slot, 100 + slot)
    const layer = (parent: Branch<null>): Branch<null> => {
      const branch = branches.begin(parent, 1)
      branch.sealed({} as never, null, 0, "pending")
      return branch
    }
    const a = layer(branches.stored)
    index.set(0, a, 200)
    index.set(1, a, 201)
    const b = layer(a)
    index.set(0, b, 300)
    index.set(2, b, 302)
    const sibling = layer(a)
    index.set(0, sibling, 400)
    expect(row()).toEqual([100, 101, 102, 103])
    index.forget(0, sibling)
    index.merge(0, a)
    index.merge(1, a)
    expect(row()).toEqual([200, 201, 102, 103])
    expect([0, 1, 2, 3].map((slot) => index.locate(slot, b))).toEqual([300, 201, 302, 103])
    index.forget(0, b)
    index.merge(2, b)
    expect(row()).toEqual([200, 201, 302, 103])
  })

  it("positions in the queue of freed slots keep their meaning while it is consumed", () => {
    const index = new SlotIndex()
    for (let slot = 0; slot < 5000; slot++) index.store(slot, slot % 2 === 0 ? 0 : 7)
    expect(index.rebuildFreed(5000)).toBe(2500)
    const expected = (position: number): number | undefined => (position < 2500 ? position * 2 : undefined)
    for (let position = 0; position <= 2500; position += 100) {
      index.consumeFreed(position)
      for (let at = position; at < position + 150; at++) expect(index.freedAt(at)).toBe(expected(at))
    }
  })
})
