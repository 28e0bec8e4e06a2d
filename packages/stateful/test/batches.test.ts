/**
 * Goal: whoever stands between a hook and its batches hears of each call under the name that it was made by.
 * Method: one batch whose two methods are one function, called by turns, and a batch whose method is replaced.
 */
import { Effect } from "effect"
import { expect, test } from "vitest"
import { interceptCalls } from "../src/diagnosis/batches.ts"

test("a method is heard of under its own name, also where another is the same function, and as it is now", () => {
  const put = (value: number): number => value
  const batch = { put, set: put }
  const heard: Array<readonly [string, unknown]> = []
  const tools = { signal: new AbortController().signal, seal: () => Effect.die("not sealed") }
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
