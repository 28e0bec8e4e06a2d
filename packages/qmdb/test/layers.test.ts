/**
 * Goal: F62 a stale or sibling batch is refused by every call and changes nothing; what is not stale is accepted; and a
 * chain has the same roots however far it was applied and flushed when it was sealed.
 * Method: small trees, every pair of layers; one chain sealed over pending, applied and flushed parents.
 */
import { Bytes } from "@coppice/codec"
import { describe, expect, it, vi } from "vitest"
import {
  createRig,
  type KeyedBatch,
  type KeyedReader,
  LAYERS_MAX,
  type Layer,
  Qmdb,
  type Rig,
  StaleBatch,
} from "./support/api.ts"

vi.mock("../src/limits.ts", async (original) => ({ ...(await original<object>()), LAYERS_MAX: 300 }))

type Raw = Rig<KeyedBatch<Uint8Array, Uint8Array>, KeyedReader<Uint8Array, Uint8Array>>

const spec = Qmdb.any({ key: Bytes(4), value: Bytes(4) })
const bytes = (n: number): Uint8Array => Uint8Array.of(n >> 24, n >> 16, n >> 8, n)
const create = (): Raw => createRig(spec)
const put =
  (...pairs: ReadonlyArray<readonly [number, number]>) =>
  (batch: KeyedBatch<Uint8Array, Uint8Array>): void => {
    for (const [key, value] of pairs) batch.put(bytes(key), bytes(value))
  }

/** base <- a <- b <- c, and a <- b2, base <- a2 <- b3. Siblings have equal sizes. */
const tree = (rig: Raw) => {
  const base = rig.member.tip
  const a = rig.seal(put([1, 1]), base)
  const b = rig.seal(put([2, 2]), a)
  const c = rig.seal(put([3, 3]), b)
  const b2 = rig.seal(put([2, 9]), a)
  const a2 = rig.seal(put([1, 9]), base)
  const b3 = rig.seal(put([2, 2]), a2)
  return { base, a, b, c, b2, a2, b3 }
}

const parents: Record<string, string | undefined> = { a: "base", b: "a", c: "b", b2: "a", a2: "base", b3: "a2" }

const isOver = (name: string, ancestor: string): boolean => {
  for (let n: string | undefined = name; n !== undefined; n = parents[n]) if (n === ancestor) return true
  return false
}

describe("F62 stale or sibling batch", () => {
  for (const flushed of [false, true]) {
    for (const winner of ["a", "b", "c", "b2", "a2", "b3"]) {
      it(`after ${winner} is applied${flushed ? " and flushed" : ""}, exactly it and its descendants can be used`, () => {
        const rig = create()
        const layers: Record<string, Layer> = tree(rig)
        const open = Object.entries(layers).map(([name, layer]) => [name, rig.member.openBatch(layer)] as const)
        rig.member.apply(layers[winner]!)
        if (flushed) rig.flush()
        const { target } = rig.member.tip
        for (const [name, batch] of open) {
          if (isOver(name, winner)) batch.get(bytes(1))
          else expect(() => batch.get(bytes(1)), `read over ${name}`).toThrow(StaleBatch)
        }
        for (const [name, layer] of Object.entries(layers)) {
          const usable = isOver(name, winner)
          if (usable) rig.member.closeBatch(rig.member.openBatch(layer))
          else {
            expect(() => rig.member.openBatch(layer), `open over ${name}`).toThrow(StaleBatch)
            expect(() => rig.member.apply(layer), `apply ${name}`).toThrow(StaleBatch)
          }
        }
        expect(() => rig.member.apply(layers[winner]!), "twice").toThrow(StaleBatch)
        expect(rig.member.tip.target).toEqual(target)
        expect(rig.member.tip).toBe(layers[winner])
      })
    }
  }

  it("a sibling of equal size and equal contents is another branch", () => {
    const rig = create()
    const one = rig.seal(put([1, 1]))
    const other = rig.seal(put([1, 1]))
    const child = rig.seal(put([2, 2]), other)
    expect(one.target).toEqual(other.target)
    rig.member.apply(one)
    for (const layer of [other, child]) expect(() => rig.member.apply(layer)).toThrow(StaleBatch)
  })

  it("a layer of another member, or of the same one before it was reopened, is refused", () => {
    const rig = create()
    const other = rig.reopen()
    const mine = rig.seal(put([1, 1]))
    const theirs = other.seal(put([1, 1]))
    const child = other.seal(put([2, 2]), theirs)
    for (const layer of [theirs, child]) {
      expect(() => rig.member.openBatch(layer)).toThrow(StaleBatch)
      expect(() => rig.member.apply(layer)).toThrow(StaleBatch)
      expect(() => rig.member.close(layer)).toThrow("another member")
    }
    const batch = other.member.openBatch(theirs)
    expect(() => rig.member.seal(batch)).toThrow("opened it")
    rig.member.apply(mine)
    expect(rig.member.layers).toBe(1)
  })

  it("a closed layer and everything over it are gone; the tip and its ancestors cannot be closed", () => {
    const rig = create()
    const { base, a, b, c, b2 } = tree(rig)
    rig.member.close(b)
    rig.member.close(b)
    for (const layer of [b, c]) expect(() => rig.member.openBatch(layer)).toThrow(StaleBatch)
    rig.member.apply(b2)
    for (const layer of [base, a, b2]) expect(() => rig.member.close(layer)).toThrow("cannot be closed")
    rig.flush()
    for (const layer of [base, a, b2]) expect(() => rig.member.close(layer)).toThrow("cannot be closed")
    expect(rig.member.layers).toBe(0)
    expect(rig.member.bytes).toBe(0)
  })

  it("a flushed layer holds nothing, while layers over it go on", () => {
    const rig = create()
    const a = rig.commit(put([1, 1]))
    const b = rig.seal(put([2, 2]))
    expect(rig.member.bytes).toBe(a.bytes + b.bytes)
    rig.flush()
    expect(a.bytes).toBe(0)
    expect(rig.member.bytes).toBe(b.bytes)
    const c = rig.seal(put([3, 3]), b)
    rig.member.apply(c)
    rig.flush()
    expect([b.bytes, c.bytes, rig.member.bytes, rig.member.layers]).toEqual([0, 0, 0, 0])
    expect([1, 2, 3].map((n) => rig.member.reader.get(bytes(n)))).toEqual([1, 2, 3].map(bytes))
  })

  it("a seal whose branch loses between two steps throws at the next, and leaves no trace", () => {
    const rig = create()
    const batch = rig.member.openBatch(rig.member.tip)
    put([1, 7], [2, 7])(batch)
    const sealing = rig.member.seal(batch)
    const step = sealing.next()
    if (step.done !== true && step.value !== undefined) rig.home.hasher.run(step.value)
    expect(rig.member.layers).toBe(1)
    const winner = rig.commit(put([1, 1]))
    expect(() => sealing.next()).toThrow(StaleBatch)
    expect(rig.member.layers).toBe(1)
    expect(rig.member.tip).toBe(winner)
    expect(rig.member.reader.get(bytes(2))).toBeUndefined()
  })

  it("more than LAYERS_MAX un-flushed layers are refused", () => {
    const rig = create()
    for (let n = 0; n < LAYERS_MAX; n++) rig.seal(() => {})
    expect(() => rig.seal(() => {})).toThrow(RangeError)
    expect(rig.member.layers).toBe(LAYERS_MAX)
  })
})

describe("a chain", () => {
  const blocks = Array.from({ length: 9 }, (_, n) =>
    Array.from({ length: 7 }, (_, i) => [(n * 3 + i * i) % 11, (n * i) % 5 === 4 ? undefined : n * 100 + i] as const),
  )
  const write = (block: (typeof blocks)[number], order: (i: number) => number) => {
    return (batch: KeyedBatch<Uint8Array, Uint8Array>): void => {
      const last = new Map(block)
      const entries = [...last].sort(([a], [b]) => order(a) - order(b))
      for (const [key, value] of entries) {
        if (value === undefined) batch.remove(bytes(key))
        else batch.put(bytes(key), bytes(value))
      }
    }
  }
  const orders = [(i: number) => i, (i: number) => -i, (i: number) => (i * 7) % 11]

  it("has the same targets sealed while pending, after each apply and after each flush, in any order of writes", () => {
    const runs = orders.flatMap((order) =>
      (["pending", "applied", "flushed", "reopened"] as const).map((when) => {
        let rig = create()
        let parent = rig.member.tip
        return blocks.map((block) => {
          parent = rig.seal(write(block, order), parent)
          const { target } = parent
          if (when !== "pending") rig.member.apply(parent)
          if (when === "flushed" || when === "reopened") rig.flush()
          if (when === "reopened") {
            rig = rig.reopen()
            parent = rig.member.tip
          }
          return target
        })
      }),
    )
    for (const run of runs) expect(run).toEqual(runs[0])
  })

  it("applied at its end is the chain applied one by one", () => {
    const rig = create()
    let parent = rig.member.tip
    for (const block of blocks) parent = rig.seal(write(block, orders[0]!), parent)
    rig.member.apply(parent)
    expect(rig.member.tip.target).toEqual(parent.target)
    const flush = rig.plan()!
    expect(flush.layers).toBe(blocks.length)
  })
})
