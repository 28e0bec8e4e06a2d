/**
 * Goal: the cache of imported keys is bounded and forgets what was not used for longest.
 * Method: count the imports behind a small cache.
 */
import { createSecretKey, type KeyObject } from "node:crypto"
import { expect, test } from "vitest"
import { KeyCache } from "../src/node/key-cache.ts"

const counting = (sizeMax: number): { cache: KeyCache; loads: number[] } => {
  const loads: number[] = []
  const load = (bytes: Uint8Array): KeyObject => {
    loads.push(bytes[0]!)
    if (bytes[0] === 0xff) throw new Error("no key")
    return createSecretKey(bytes)
  }
  return { cache: new KeyCache(sizeMax, load), loads }
}

const use = (cache: KeyCache, ...keys: ReadonlyArray<number>): void => {
  for (const key of keys) cache.get(Uint8Array.of(key))
}

test("a key in use is imported once, the least recently used one is forgotten", () => {
  const { cache, loads } = counting(2)
  use(cache, 1, 2, 1, 3, 1, 2)
  expect(loads).toEqual([1, 2, 3, 2])
  expect(cache.size).toBe(2)
})

test("a key that cannot be imported takes no place", () => {
  const { cache } = counting(2)
  use(cache, 1, 2)
  expect(() => use(cache, 0xff)).toThrow("no key")
  expect(cache.size).toBe(2)
})
