/**
 * Goal: nothing that a flush does, at any of its steps, is visible to a reader except that it becomes durable.
 * Method: flushes are planned step by step while batches are read, sealed and applied between the steps; rows become
 * visible before `settled` is called; members are reopened from what each step left.
 */
import { Bytes } from "@coppice/codec"
import { describe, expect, it } from "vitest"
import { applyChanges, createRig, type KeyedBatch, type KeyedReader, Qmdb, type Rig } from "./support/api.ts"

type Raw = Rig<KeyedBatch<Uint8Array, Uint8Array>, KeyedReader<Uint8Array, Uint8Array>>

const spec = Qmdb.any({ key: Bytes(32), value: Bytes(32) })

const bytes = (n: number, salt = 0): Uint8Array => {
  const array = new Uint8Array(32)
  new DataView(array.buffer).setUint32(0, n)
  array[31] = salt
  return array
}

const range = (from: number, to: number): ReadonlyArray<number> => Array.from({ length: to - from }, (_, i) => from + i)

const put = (rig: Raw, numbers: ReadonlyArray<number>, salt: number): void => {
  rig.commit((batch) => {
    for (const n of numbers) batch.put(bytes(n), bytes(n, salt))
  })
}

describe("a flush in the making", () => {
  it("a slot that a planned delete frees names no key but the one that takes it", () => {
    const rig: Raw = createRig(spec)
    put(rig, range(0, 20_000), 1)
    rig.flush()
    rig.commit((batch) => {
      for (const n of range(0, 9_000)) batch.remove(bytes(n))
    })
    const planning = rig.member.flush()!
    for (let step = 0; planning.next().done !== true; step++) {
      const layer = rig.seal((batch) => {
        for (const n of range(0, 64)) batch.put(bytes(1_000_000 + n), bytes(n, 2))
      })
      const child = rig.member.openBatch(layer)
      for (const n of range(0, 9_000)) expect(child.get(bytes(n)), `key ${n} at step ${step}`).toBeUndefined()
      rig.member.close(layer)
    }
  })

  it("a layer closed while it was being sealed leaves nothing behind, even when its seal is never resumed", () => {
    const rig: Raw = createRig(spec)
    const doomed = rig.member.openBatch(rig.member.tip)
    for (const n of range(0, 140_000)) doomed.put(bytes(n), bytes(n, 9))
    const sealing = rig.member.seal(doomed)
    while (sealing.next().value === undefined) {}
    put(rig, range(0, 100), 1)
    rig.flush()
    expect(rig.member.layers).toBe(0)
    for (const n of range(0, 100)) expect(rig.member.reader.get(bytes(n)), `key ${n}`).toEqual(bytes(n, 1))
    put(rig, range(50, 150), 2)
    for (const n of range(0, 150)) {
      expect(rig.member.reader.get(bytes(n)), `key ${n}`).toEqual(bytes(n, n < 50 ? 1 : 2))
    }
    expect(() => sealing.next()).toThrow()
    for (const n of range(0, 150)) {
      expect(rig.member.reader.get(bytes(n)), `key ${n}`).toEqual(bytes(n, n < 50 ? 1 : 2))
    }
  })

  it("a layer closed while a flush is under way leaves nothing behind once the next flush has run", () => {
    const rig: Raw = createRig(spec)
    const { slots, keys } = (rig.member as unknown as { readonly index: unknown }).index as {
      readonly slots: { readonly entriesUsed: number; readonly entries: Int32Array }
      readonly keys: { readonly created: ReadonlyMap<string, unknown> }
    }
    put(rig, range(0, 100), 1)
    const flush = rig.plan()!
    const doomed = rig.member.openBatch(rig.member.tip)
    for (const n of range(50, 140_000)) doomed.put(bytes(n), bytes(n, 9))
    const sealing = rig.member.seal(doomed)
    while (sealing.next().value === undefined) {}
    sealing.return(undefined as never)
    applyChanges(rig.rows, flush.changes)
    flush.settled()
    expect(rig.member.layers).toBe(0)
    for (const n of range(0, 200)) {
      expect(rig.member.reader.get(bytes(n)), `key ${n}`).toEqual(n < 100 ? bytes(n, 1) : undefined)
    }
    expect(keys.created.size).toBeGreaterThan(0)
    put(rig, range(100, 200), 2)
    rig.flush()
    expect(keys.created.size).toBe(0)
    expect(slots.entries.length, "the pool was given back").toBeLessThan(100_000)
    for (const n of range(0, 200))
      expect(rig.member.reader.get(bytes(n)), `key ${n}`).toEqual(bytes(n, n < 100 ? 1 : 2))
  })

  it("rows that are visible before the flush has settled read the same", () => {
    const rig: Raw = createRig(spec)
    put(rig, range(0, 300), 1)
    rig.flush()
    put(rig, range(100, 200), 2)
    rig.commit((batch) => {
      for (const n of range(0, 50)) batch.remove(bytes(n))
    })
    const flush = rig.plan()!
    const over = rig.seal((batch) => {
      for (const n of range(0, 25)) batch.put(bytes(n), bytes(n, 3))
      batch.remove(bytes(299))
    })
    const expected = (n: number): Uint8Array | undefined => {
      if (n < 25) return bytes(n, 3)
      if (n < 50 || n === 299) return undefined
      return bytes(n, n >= 100 && n < 200 ? 2 : 1)
    }
    const check = (moment: string): void => {
      const batch = rig.member.openBatch(over)
      for (const n of range(0, 300)) expect(batch.get(bytes(n)), `key ${n} ${moment}`).toEqual(expected(n))
      rig.member.closeBatch(batch)
    }
    check("planned")
    applyChanges(rig.rows, flush.changes)
    check("visible")
    const while_ = rig.reopen()
    expect(while_.member.tip.target).toEqual(flush.target)
    rig.member.apply(over)
    check("applied")
    flush.settled()
    check("settled")
    rig.flush()
    check("flushed")
    expect(rig.reopen().member.tip.target).toEqual(over.target)
  })

  it("a second flush before the first has settled, and settling twice, are programmer errors", () => {
    const rig: Raw = createRig(spec)
    expect(rig.member.flush()).toBeUndefined()
    put(rig, [1], 1)
    const flush = rig.plan()!
    put(rig, [2], 1)
    expect(() => rig.member.flush()).toThrow("not settled")
    applyChanges(rig.rows, flush.changes)
    flush.settled()
    expect(() => flush.settled()).toThrow("settled")
    expect(rig.plan()!.layers).toBe(1)
  })
})
