/**
 * Goal: a key that was made or read before is found without a look at its row, and a wrong guess at its slot changes no read.
 * Method: one history with forks, deletes, slots and locations that go to other keys, read through a model after each step:
 * once with the real hash, and once with one under which every guess is at the slot of the key read before.
 */
import { U32 } from "@coppice/codec"
import { afterEach, describe, expect, it, vi } from "vitest"
import * as keyHash from "../src/internal/key-hash.ts"
import { ROUND_FLUSHES } from "../src/internal/layout.ts"
import { applyChanges, createRig, finish, type Layer, Qmdb } from "./support/api.ts"

vi.mock("../src/internal/key-hash.ts", { spy: true })

afterEach(() => {
  vi.mocked(keyHash.hashBytes).mockReset()
})

const KEYS = Array.from({ length: 40 }, (_, key) => key)
const spec = Qmdb.any({ key: U32, value: U32 })

type Model = ReadonlyMap<number, number>

const history = (): void => {
  const rig = createRig(spec)
  const reads = (layer: Layer, model: Model, when: string): void => {
    for (const from of [0, 20]) {
      const batch = rig.member.openBatch(layer)
      for (const key of [...KEYS.slice(from), ...KEYS.slice(0, from)]) {
        expect(batch.get(key), `${when}: key ${key}`).toBe(model.get(key))
      }
      rig.member.closeBatch(batch)
    }
  }
  /** A layer over another one, and its model: keys `from .. to` get a value, or go when there is none. */
  const over = (parent: Layer, model: Model, from: number, to: number, value: number | undefined) => {
    const after = new Map(model)
    const layer = rig.seal((batch) => {
      for (let key = from; key < to; key++) {
        if (value === undefined) batch.remove(key)
        else batch.put(key, value)
        if (value === undefined) after.delete(key)
        else after.set(key, value)
      }
    }, parent)
    return [layer, after] as const
  }
  const [first, firstModel] = over(rig.member.tip, new Map(), 0, 20, 1)
  const { end } = first.target
  reads(first, firstModel, "pending")
  rig.member.apply(first)
  rig.flush()
  reads(rig.member.tip, firstModel, "flushed")
  const [second, secondModel] = over(rig.member.tip, firstModel, 5, 10, undefined)
  const [sibling, siblingModel] = over(rig.member.tip, firstModel, 8, 30, 2)
  reads(second, secondModel, "deleted in one branch")
  reads(sibling, siblingModel, "and written in another")
  rig.member.apply(second)
  rig.flush()
  reads(rig.member.tip, secondModel, "deleted")
  const [third, thirdModel] = over(rig.member.tip, secondModel, 30, 35, 3)
  reads(third, thirdModel, "freed slots used again")
  rig.member.apply(third)
  rig.flush()
  reads(rig.member.tip, thirdModel, "and flushed")
  const rewind = finish(rig.member.rewind(end)!)
  applyChanges(rig.rows, rewind.changes)
  rewind.settled()
  reads(rig.member.tip, firstModel, "rewound")
  const [fourth, fourthModel] = over(rig.member.tip, firstModel, 15, 18, 4)
  rig.member.apply(fourth)
  rig.flush()
  reads(rig.member.tip, fourthModel, "other operations where some were cut off")
}

describe("guesses at slots", () => {
  it("change no read", history)

  it("change none when all are wrong", () => {
    vi.mocked(keyHash.hashBytes).mockReturnValue(7)
    history()
  })

  it("answer the read of a key that was made, or read before, without a look at its row", () => {
    const rig = createRig(spec)
    // As many flushes as leave every row of a key in storage and none in memory.
    for (let height = 0; height <= 2 * ROUND_FLUSHES; height++) {
      rig.commit((batch) => {
        for (const key of height === 0 ? KEYS : [0]) batch.put(key, key)
      })
      rig.flush()
    }
    const rowsAsked = ({ member, home }: typeof rig): number => {
      const asked = vi.spyOn(home.storage, "getInto")
      const batch = member.openBatch(member.tip)
      expect(KEYS.map((key) => batch.get(key))).toEqual(KEYS)
      const rows = asked.mock.calls.filter(([map]) => map === "keys").length
      asked.mockRestore()
      return rows
    }
    expect(rowsAsked(rig)).toBe(0)
    const reopened = rig.reopen()
    expect(rowsAsked(reopened)).toBe(KEYS.length)
    expect(rowsAsked(reopened)).toBe(0)
  })
})
