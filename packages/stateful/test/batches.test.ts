/**
 * Goal: whoever stands between a hook and its batches hears of each call under the name that it was made by.
 * Method: one batch whose two methods are one function, called by turns, and a batch whose method is replaced; batches of a
 * class with all that a class can have, through two that stand between.
 */
import { Effect } from "effect"
import { expect, test } from "vitest"
import { type Intercept, interceptCalls } from "../src/diagnosis/batches.ts"

const tools = { signal: new AbortController().signal, seal: () => Effect.die("not sealed") }

test("a method is heard of under its own name, also where another is the same function, and as it is now", () => {
  const put = (value: number): number => value
  const batch = { put, set: put }
  const heard: Array<readonly [string, unknown]> = []
  const { batches } = interceptCalls({ batches: { cells: batch } as never, tools }, (_member, method, _args, call) => {
    const returned = call()
    heard.push([method, returned])
    return returned
  })
  const { cells } = batches as unknown as { readonly cells: typeof batch }
  for (const value of [1, 2]) {
    cells.put(value)
    cells.set(value)
  }
  batch.put = (value) => -value
  cells.put(3)
  expect(heard).toEqual([
    ["put", 1],
    ["set", 1],
    ["put", 2],
    ["set", 2],
    ["put", -3],
  ])
})

test("all that a batch of a class has is there, of each batch its own, and each who stands between hears of each call once", () => {
  class Base {
    readonly cells = new Map<string, number>()
    count(): number {
      return -1
    }
    get size(): number {
      return this.cells.size
    }
    get(key: string): number | undefined {
      return this.cells.get(key)
    }
    put(_key: string, _value: number): void {}
  }
  class Cells extends Base {
    override readonly count = (): number => this.cells.size
    readonly clear = (): void => this.cells.clear()
    override put(key: string, value: number): void {
      super.put(key, value)
      this.cells.set(key, value)
    }
  }
  const heard: Array<readonly [string, string, string, ReadonlyArray<unknown> | undefined]> = []
  const hears =
    (who: string): Intercept =>
    (member, method, args, call) => {
      heard.push([who, member, method, args])
      return call()
    }
  const batches = { left: new Cells(), right: new Cells() }
  const inner = interceptCalls({ batches: batches as never, tools }, hears("inner"))
  const outer = interceptCalls(inner, hears("outer"))
  const { left, right } = outer.batches as unknown as typeof batches
  const both = (member: string, method: string, args?: ReadonlyArray<unknown>) =>
    ["outer", "inner"].map((who) => [who, member, method, args])
  left.put("a", 1)
  right.put("b", 2)
  expect([left.get("a"), left.get("b"), right.get("b"), left.size]).toEqual([1, undefined, 2, 1])
  expect(left.count()).toBe(1)
  expect(left.cells).toBe(batches.left.cells)
  left.clear()
  expect(batches.left.size).toBe(0)
  expect(left).toBeInstanceOf(Cells)
  expect(heard).toEqual([
    ...both("left", "put", ["a", 1]),
    ...both("right", "put", ["b", 2]),
    ...both("left", "get", ["a"]),
    ...both("left", "get", ["b"]),
    ...both("right", "get", ["b"]),
    ...both("left", "size"),
    ...both("left", "count", []),
    ...both("left", "clear", []),
  ])
})
