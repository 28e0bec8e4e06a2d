/**
 * Goal: what a batch remembers of its parent changes nothing that it reads or seals.
 * Method: one script twice, with and without reads, where keys lie in storage, among unswept changes, in applied and in
 * pending layers, and are flushed between the reads and the seal; the roots must be equal, the reads those of a model.
 */
import { U32 } from "@coppice/codec"
import { describe, expect, it } from "vitest"
import { LookedUp } from "../src/internal/looked-up.ts"
import { LOOKED_UP_BYTES_MAX } from "../src/limits.ts"
import { createRig, Qmdb, runSeal } from "./support/api.ts"

const KEYS = Array.from({ length: 60 }, (_, key) => key)

describe.each([false, true])("ordered %s", (ordered) => {
  const unordered = Qmdb.any({ key: U32, value: U32 })
  const spec = ordered ? (Qmdb.any({ key: U32, value: U32, ordered }) as unknown as typeof unordered) : unordered

  /** The target of the last batch, and what it read; `reads` says whether it reads before it writes. */
  const script = (reads: boolean) => {
    const rig = createRig(spec)
    const model = new Map<number, number>()
    type Batch = ReturnType<typeof rig.member.openBatch>
    const put = (batch: Batch, from: number, to: number, by: number, value: number) => {
      for (let key = from; key < to; key += by) {
        batch.put(key, value)
        model.set(key, value)
      }
    }
    const remove = (batch: Batch, from: number, to: number) => {
      for (let key = from; key < to; key++) {
        batch.remove(key)
        model.delete(key)
      }
    }
    rig.commit((batch) => put(batch, 0, 20, 1, 1))
    rig.flush()
    rig.commit((batch) => {
      put(batch, 20, 30, 1, 2)
      put(batch, 0, 20, 5, 3)
      remove(batch, 1, 4)
    })
    rig.flush()
    rig.commit((batch) => {
      put(batch, 30, 40, 1, 4)
      remove(batch, 20, 23)
    })
    const pending = rig.seal((batch) => {
      put(batch, 40, 45, 1, 5)
      put(batch, 1, 2, 1, 6)
      remove(batch, 30, 32)
    })
    const batch = rig.member.openBatch(pending)
    const seen = (): ReadonlyArray<number | undefined> => KEYS.map((key) => batch.get(key))
    const before = reads ? seen() : []
    rig.member.apply(pending)
    rig.flush()
    rig.flush()
    const after = reads ? seen() : []
    const expected = KEYS.map((key) => model.get(key))
    const layer = rig.seal((other) => other.put(50, 9), pending)
    rig.member.close(layer)
    for (const key of KEYS) {
      if (key % 3 === 0) batch.remove(key)
      else batch.put(key, key)
    }
    return { target: runSeal(rig.home.hasher, rig.member.seal(batch)).target, before, after, expected }
  }

  it("reads and seals the same, whatever is flushed between", () => {
    const [read, unread] = [script(true), script(false)]
    expect(read.before).toEqual(read.expected)
    expect(read.after).toEqual(read.expected)
    expect(read.target).toEqual(unread.target)
  })
})

describe("what is remembered", () => {
  const key = (n: number): Uint8Array => {
    const bytes = new Uint8Array(1024)
    new DataView(bytes.buffer).setUint32(0, n)
    return bytes
  }

  it("is found with its slot and location, and only by its own key", () => {
    const found = new LookedUp()
    for (let n = 0; n < 100; n++) found.add(key(n), n + 1, n * 2 ** 33)
    for (let n = 0; n < 100; n++) {
      const number = found.find(key(n), 0, 1024)
      expect([found.slot(number), found.location(number)]).toEqual([n + 1, n * 2 ** 33])
    }
    expect(found.find(key(100), 0, 1024)).toBe(-1)
    expect(found.find(key(5), 0, 1023)).toBe(-1)
  })

  it("is bounded: keys beyond are not kept", () => {
    const found = new LookedUp()
    const most = LOOKED_UP_BYTES_MAX / 1024
    for (let n = 0; n < most + 5; n++) found.add(key(n), n, n)
    expect(found.find(key(most - 1), 0, 1024)).toBe(most - 1)
    expect(found.find(key(most), 0, 1024)).toBe(-1)
  })
})
