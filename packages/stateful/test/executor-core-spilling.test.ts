/**
 * Goal: F65 what memory cannot hold goes to scratch before anybody has to wait for it, and nothing else changes.
 * Method: scripts on `CoreWorld`, which checks after every event that sizes add up and no limit is passed. A spill leaves a
 * quarter of a state in memory.
 */
import { describe, expect, test } from "vitest"
import { SPILL_BYTES } from "../src/limits.ts"
import {
  CoreWorld,
  forked,
  GENESIS,
  keyNamed,
  tagOf,
  verified,
  type WorldBlock,
  type WorldOptions,
} from "./support/core-world.ts"

/** A world with a chain that grows by one verified block at a time. */
const chainOf = (options: WorldOptions) => {
  const world = new CoreWorld(options)
  const chain: WorldBlock[] = [GENESIS]
  return {
    world,
    chain,
    /** Verifies the next block; its verdict, or undefined when it waits. */
    next: () => {
      const block = world.grow(chain.at(-1)!, `block ${chain.length}`, chain.length)
      chain.push(block)
      const request = world.verify(block)
      world.serve()
      if (world.runs("verify", block)) world.finish(world.job("verify", block))
      return world.verdicts.get(request)
    },
  }
}

const spilling = (world: CoreWorld): ReadonlyArray<string> => {
  const work = world.jobs.get(world.job("spill"))!
  return work.kind === "spill" ? work.states.map(({ of }) => of.name) : []
}

describe("F65 spilling", () => {
  test("begins at three quarters of the budget with the oldest, and goes to half, leaves kept", () => {
    const { world, next } = chainOf({ limits: { pendingEntriesMax: 8 } })
    for (let n = 0; n < 6; n++) next()
    expect(world.runs("spill")).toBe(false)
    next()
    expect(spilling(world)).toEqual(["block 1", "block 2", "block 3"])
    next()
    world.finish(world.job("spill"))
    expect([world.core.pending.size, world.core.pending.heldSize, world.core.spilled]).toEqual([8, 5, 3])
    expect(world.runs("spill")).toBe(false)
  })

  test("forks are not in its way, and leaves do not go", () => {
    const { world, a, a2, b, b2, c } = forked({ limits: { pendingEntriesMax: 6 } })
    for (const block of [a, a2, b, b2, c]) verified(world, block)
    expect(spilling(world)).toEqual(["a", "a2"])
  })

  test("lets a chain without finality grow far past the budget: nothing waits, is evicted or replayed", () => {
    const { world, chain, next } = chainOf({ limits: { pendingEntriesMax: 8, spilledEntriesMax: 200 } })
    for (let n = 0; n < 100; n++) {
      expect(next()).toBe(true)
      if (n % 2 === 0) world.drain()
    }
    expect([world.core.evicted, world.core.replayed]).toEqual([0, 0])
    world.drain()
    expect(world.core.pending.heldSize).toBeLessThanOrEqual(6)
    for (const block of chain.slice(1)) {
      world.finalize(block)
      world.drain()
    }
    expect(world.acked.length).toBe(100)
    expect([world.core.pending.size, world.core.pending.bytes, world.core.pending.scratchBytes]).toEqual([0, 0, 0])
  })

  test("goes by bytes too, a bounded number of them at a time", () => {
    const bytes = SPILL_BYTES / 2
    const { world, next } = chainOf({ limits: { pendingBytesMax: 16 * bytes }, bytes: () => bytes })
    for (let n = 0; n < 13; n++) next()
    expect(spilling(world)).toEqual(["block 1", "block 2"])
    world.finish(world.job("spill"))
    // A quarter of each stays in memory: eleven and a half are below three quarters of the budget.
    expect(world.core.pending.bytes).toBe(11.5 * bytes)
    expect(world.core.pending.scratchBytes).toBe(1.5 * bytes)
    expect(world.runs("spill")).toBe(false)
  })

  test("takes a leaf where a request waits and nothing else is left; the request goes on", () => {
    const { world, next } = chainOf({ limits: { pendingEntriesMax: 1 } })
    next()
    expect(world.runs("spill")).toBe(false)
    expect(next()).toBeUndefined()
    expect(spilling(world)).toEqual(["block 1"])
    world.drain()
    expect([...world.verdicts.values()]).toEqual([true, true])
  })

  test("that moves nothing is not tried again before the next flush", () => {
    const { world, chain, next } = chainOf({ limits: { pendingEntriesMax: 4 } })
    for (let n = 0; n < 4; n++) next()
    const job = world.job("spill")
    world.settle(job, { kind: "spilled", bytes: [1, 1] })
    expect(next()).toBeUndefined()
    expect(world.runs("spill")).toBe(false)
    world.finalize(chain[1]!)
    expect(world.runs("spill")).toBe(false)
    world.finish(world.job("flush"))
    world.drain()
    expect(world.core.spilled).toBeGreaterThan(0)
    expect([...world.verdicts.values()].every((valid) => valid)).toBe(true)
  })

  test("ends at its own limits: then new blocks wait, and finalization makes room", () => {
    for (const limits of [{ spilledEntriesMax: 3 }, { spilledBytesMax: 3 * 8 }]) {
      const { world, chain, next } = chainOf({ limits: { pendingEntriesMax: 4, ...limits }, bytes: () => 8 })
      for (let n = 0; n < 20; n++) {
        next()
        while (world.runs("spill")) world.finish(world.job("spill"))
      }
      expect(world.core.pending.size, JSON.stringify(limits)).toBe(7)
      expect([...world.core.requests.values()].map(({ wait }) => wait?.on)).toContain("room")
      world.finalize(chain[1]!)
      world.drain()
      expect(world.core.pending.size).toBeGreaterThan(6)
      expect(world.core.evicted).toBe(0)
    }
  })

  test("of a block that is finalized or loses meanwhile changes nothing", () => {
    const { world, a, a2, b, b2, c } = forked({ limits: { pendingEntriesMax: 6 } })
    for (const block of [a, a2, b, b2, c]) verified(world, block)
    const job = world.job("spill")
    world.finalize(a)
    world.finish(job)
    expect(world.core.spilled).toBe(0)
    world.drain()
    world.checkRest()
    expect(world.acked).toEqual([1])
  })

  test("of a state that was evicted and replayed meanwhile says nothing of the new one", () => {
    const { world, a, b } = forked({ limits: { pendingEntriesMax: 2 } })
    verified(world, a)
    verified(world, b)
    const job = world.job("spill")
    const other = world.grow(GENESIS, "other", 9)
    world.core.certified = undefined
    verified(world, other)
    verified(world, world.grow(GENESIS, "one more", 10))
    expect([...world.core.pending.values()].map(({ state }) => state.of.name)).toEqual(["other", "one more"])
    world.verify(b)
    world.serve()
    world.finish(world.job("apply", a))
    const replayed = world.core.pending.get(keyNamed(world, "a"))
    expect(replayed?.origin).toBe("replayed")
    world.finish(job)
    expect([world.core.spilled, replayed?.scratchBytes]).toEqual([0, 0])
  })

  test("that fails is fatal: what was spilled cannot be read", () => {
    const { world, next } = chainOf({ limits: { pendingEntriesMax: 2 } })
    next()
    next()
    world.settle(world.job("spill"), { kind: "failed", cause: new Error("io") })
    expect(tagOf(world)).toBe("SpillFailed")
  })
})
