/**
 * Goal: arrays that share memory are as good as arrays of their own.
 * Method: properties of contents, kinds and places, for arrays that are taken from a room and for those that grow.
 */
import { fc, test } from "@fast-check/vitest"
import { expect } from "vitest"
import { firstOf, grown, Room } from "../src/internal/room.ts"

const lengths = fc.tuple(fc.nat(40), fc.nat(40), fc.nat(40))

const filled = (float64s: number, uint32s: number, int32s: number) => {
  const room = new Room(8 * float64s + 4 * (uint32s + int32s))
  return [
    room.float64s(float64s).map((_, i) => 2 ** 40 + i),
    room.uint32s(uint32s).map((_, i) => 2 ** 32 - 1 - i),
    room.int32s(int32s).map((_, i) => -1 - i),
  ] as const
}

test.prop([lengths])("arrays of a room begin as zeros and do not overlap", ([float64s, uint32s, int32s]) => {
  const room = new Room(8 * float64s + 4 * (uint32s + int32s))
  const arrays = [room.float64s(float64s), room.uint32s(uint32s), room.int32s(int32s)]
  for (const [n, array] of arrays.entries()) {
    expect(array.every((value) => value === 0)).toBe(true)
    array.fill(n + 1)
  }
  for (const [n, array] of arrays.entries()) expect(array.every((value) => value === n + 1)).toBe(true)
})

test.prop([lengths, fc.nat(40)])("grown arrays keep their kinds and contents, zeros follow", (counts, more) => {
  const before = filled(...counts)
  const after = grown(more, ...before)
  expect(after).toHaveLength(before.length)
  for (const [n, array] of after.entries()) {
    expect(array.constructor).toBe(before[n]!.constructor)
    expect([...array]).toEqual([...before[n]!, ...new Array<number>(more).fill(0)])
  }
  expect(new Set(after.map(({ buffer }) => buffer)).size).toBe(1)
  after[1].fill(7)
  expect([...after[0]].slice(0, counts[0]), "they do not overlap").toEqual([...before[0]])
})

test.prop([fc.nat(100), fc.nat(100)])(
  "the first elements are a view only where it keeps little more",
  (count, spare) => {
    const array = new Uint32Array(count + spare).map((_, i) => i)
    const first = firstOf(array, count)
    expect([...first]).toEqual([...array].slice(0, count))
    expect(first.buffer === array.buffer).toBe(spare <= count / 8)
  },
)
