/**
 * Goal: what becomes of a running verification when a block is finalized under it, whatever it was doing, without waiting
 * for it to stop: spec stateful §7.3 by the rule of design §3.
 * Method: a chain g <- a <- b <- c with a2 <- b2 <- c2 beside it. A verification is brought to every phase it has, then
 * `a` is finalized in one turn; the jobs that end, the jobs that stay and the answer are compared with the rule.
 */
import { describe, expect, test } from "vitest"
import type { RequestId } from "../src/executor/protocol.ts"
import { CoreWorld, GENESIS, verified, type WorldBlock } from "./support/core-world.ts"

const tree = () => {
  const world = new CoreWorld()
  const a = world.grow(GENESIS, "a", 1)
  const a2 = world.grow(GENESIS, "a2", 2)
  const b = world.grow(a, "b", 3)
  const b2 = world.grow(a2, "b2", 4)
  const c = world.grow(b, "c", 5)
  const c2 = world.grow(b2, "c2", 6)
  return { world, a, a2, b, b2, c, c2 }
}
type Tree = ReturnType<typeof tree>

/** Delivers `a` and ends its replay if it needed one. */
const finalizeA = ({ world, a }: Tree) => {
  world.finalize(a)
  if (world.runs("apply", a)) world.finish(world.job("apply", a))
  expect(world.tip.of).toBe(a)
}

/** Brings the verification of a block to the replay of `at`. */
const toReplayOf = ({ world }: Tree, block: WorldBlock, at: WorldBlock): RequestId => {
  const request = world.verify(block)
  world.serve()
  for (const below of [...world.path(at)].reverse()) {
    if (below !== at && world.runs("apply", below)) world.finish(world.job("apply", below))
  }
  return request
}

const toHook = ({ world }: Tree, block: WorldBlock): RequestId => {
  const request = world.verify(block)
  world.serve()
  return request
}

describe("acquiring", () => {
  test("INV-13 a verification without its candidate goes on: on the winner's branch to true, on another to false", () => {
    for (const [name, verdict] of [
      ["b", true],
      ["b2", false],
    ] as const) {
      const t = tree()
      const request = t.world.verify(t[name])
      finalizeA(t)
      expect(t.world.verdicts.has(request), "undecided").toBe(false)
      t.world.drain()
      expect(t.world.verdicts.get(request), name).toBe(verdict)
    }
  })

  test("INV-13 a verification without its parent goes on in the same way", () => {
    for (const [name, verdict] of [
      ["b", true],
      ["b2", false],
    ] as const) {
      const t = tree()
      const request = t.world.verify(t[name])
      t.world.finish(t.world.job("pull", request))
      const [pull] = [t.world.job("pull", request)]
      finalizeA(t)
      expect(t.world.job("pull", request), "the same pull goes on").toBe(pull)
      t.world.drain()
      expect(t.world.verdicts.get(request), name).toBe(verdict)
    }
  })

  test("a verification of the winner that lacks its parent ends true, of its sibling false, without the parent", () => {
    for (const [name, verdict] of [
      ["a", true],
      ["a2", false],
    ] as const) {
      const t = tree()
      const request = t.world.verify(t[name])
      t.world.finish(t.world.job("pull", request))
      finalizeA(t)
      expect(t.world.verdicts.get(request), name).toBe(verdict)
      expect(t.world.runs("pull", request)).toBe(false)
    }
  })

  test("a verification that walks towards the tip goes on walking; one that has met another branch is false at once", () => {
    const t = tree()
    const walking = t.world.verify(t.c)
    const lost = t.world.verify(t.b2)
    for (const request of [walking, lost]) {
      t.world.finish(t.world.job("pull", request))
      t.world.finish(t.world.job("pull", request))
    }
    expect(t.world.runs("fetch", t.b)).toBe(true)
    finalizeA(t)
    expect(t.world.verdicts.get(lost), "a2 is missing and excluded").toBe(false)
    t.world.drain()
    expect(t.world.verdicts.get(walking)).toBe(true)
  })
})

describe("replaying", () => {
  test("F25 the winner's own replay is kept: it becomes the finalization's, and the verification goes on over it", () => {
    const t = tree()
    const request = toReplayOf(t, t.b, t.a)
    const replay = t.world.job("apply", t.a)
    t.world.finalize(t.a)
    expect(t.world.job("apply", t.a)).toBe(replay)
    t.world.drain()
    expect(t.world.verdicts.get(request)).toBe(true)
  })

  test("a replay over a descendant of the winner is kept; one over another branch ends, false in the same turn", () => {
    const t = tree()
    const kept = toReplayOf(t, t.c, t.b)
    const lost = toReplayOf(t, t.c2, t.b2)
    const replay = t.world.job("apply", t.b)
    const losing = t.world.job("apply", t.b2)
    finalizeA(t)
    expect(t.world.job("apply", t.b)).toBe(replay)
    expect(t.world.cancelled.has(losing)).toBe(true)
    expect(t.world.verdicts.get(lost)).toBe(false)
    t.world.drain()
    expect(t.world.verdicts.get(kept)).toBe(true)
  })

  test("the replay of a sibling of the winner ends, and everyone who waited for it hears false (INV-32)", () => {
    const t = tree()
    const first = toReplayOf(t, t.b2, t.a2)
    const second = toReplayOf(t, t.c2, t.a2)
    finalizeA(t)
    expect([first, second].map((request) => t.world.verdicts.get(request))).toEqual([false, false])
    expect(t.world.core.flights.size).toBe(0)
  })
})

describe("verifying", () => {
  test("the winner ends true, its sibling false, in the turn of the finalization; their late results count nothing (F26)", () => {
    const t = tree()
    const winner = toHook(t, t.a)
    const loser = toHook(t, t.a2)
    const hooks = [t.world.job("verify", t.a), t.world.job("verify", t.a2)]
    finalizeA(t)
    expect([winner, loser].map((request) => t.world.verdicts.get(request))).toEqual([true, false])
    expect(hooks.every((job) => t.world.cancelled.has(job))).toBe(true)
    t.world.drain()
    t.world.checkRest()
  })

  test("a descendant of the winner keeps its hook and its verdict; a descendant of a loser ends false", () => {
    const t = tree()
    verified(t.world, t.a)
    verified(t.world, t.a2)
    const kept = toHook(t, t.b)
    const lost = toHook(t, t.b2)
    const hook = t.world.job("verify", t.b)
    finalizeA(t)
    expect(t.world.job("verify", t.b)).toBe(hook)
    expect(t.world.verdicts.get(lost)).toBe(false)
    t.world.drain()
    expect(t.world.verdicts.get(kept)).toBe(true)
  })

  test("a child of the winner starts in the next turn on the new tip, and a verdict given before stays (§2.3)", () => {
    const t = tree()
    expect(verified(t.world, t.a2)).toBe(true)
    const waiting = toReplayOf(t, t.b, t.a)
    finalizeA(t)
    expect(t.world.runs("verify", t.b)).toBe(true)
    t.world.drain()
    expect(t.world.verdicts.get(waiting)).toBe(true)
    expect([...t.world.verdicts.values()]).toEqual([true, true])
  })
})
