/**
 * Goal: the executor's core does with each input and each fault what the specification asks, one row after the other.
 * Method: scripts. `CoreWorld` carries out the core's actions on a model of the database set and throws on any broken
 * invariant; every test adds what its own row demands. No clock, no promises.
 */
import { describe, expect, test } from "vitest"
import { RECOVERY_BLOCKS_MAX } from "../src/limits.ts"
import { CoreWorld, childOf, contextOn, GENESIS, type WorldBlock, type WorldOptions } from "./support/core-world.ts"

/** A world with a chain g <- a <- b <- c, and a2, b2 beside. Rounds grow from left to right. */
const forked = (options: WorldOptions = {}) => {
  const world = new CoreWorld(options)
  const a = world.grow(GENESIS, "a", 1)
  const a2 = world.grow(GENESIS, "a2", 2)
  const b = world.grow(a, "b", 3)
  const b2 = world.grow(a2, "b2", 4)
  const c = world.grow(b, "c", 5)
  return { world, a, a2, b, b2, c }
}

/** Verifies a block to its end. */
const verified = (world: CoreWorld, block: WorldBlock): boolean | undefined => {
  const request = world.verify(block)
  world.serve()
  while (world.runs("apply")) {
    world.finish(world.job("apply"))
    world.serve()
  }
  world.finish(world.job("verify", block))
  return world.verdicts.get(request)
}

const tagOf = (world: CoreWorld): string | undefined => world.stopped?.error?._tag

describe("proposals", () => {
  test("a proposal is built on the tip, cached, and answers its own verification", () => {
    const { world, a } = forked()
    const request = world.propose(GENESIS, 1)
    world.serve()
    world.finish(world.job("propose"), a)
    expect(world.proposals.get(request)).toBe(a)
    const again = world.verify(a)
    world.serve()
    expect(world.verdicts.get(again)).toBe(true)
    expect(world.runs("verify")).toBe(false)
  })

  test("an application that declines gives no proposal, and nothing is cached", () => {
    const { world } = forked()
    const request = world.propose(GENESIS, 1)
    world.serve()
    world.finish(world.job("propose"))
    expect(world.proposals.has(request)).toBe(true)
    expect(world.proposals.get(request)).toBeUndefined()
    expect(world.core.pending.size).toBe(0)
  })

  test("F1 a proposed state that does not match its block is fatal: nothing cached, no block returned", () => {
    const { world, a } = forked()
    const request = world.propose(GENESIS, 1)
    world.serve()
    const job = world.job("propose")
    world.settle(job, { kind: "proposed", block: a, state: world.seal(world.tip, a, true) })
    expect(tagOf(world)).toBe("ProposalCommitmentMismatch")
    expect(world.proposals.has(request)).toBe(false)
    expect(world.core.pending.size).toBe(0)
    expect(world.live).toEqual([])
  })

  test.each([
    ["parent", ({ a2 }: { a2: WorldBlock }) => childOf(a2, "x", 1)],
    ["height", () => ({ ...childOf(GENESIS, "x", 1), height: 2 as WorldBlock["height"] })],
    ["context", () => childOf(GENESIS, "x", 9)],
  ])("a proposed block with a foreign %s is fatal", (field, make) => {
    const { world, a2 } = forked()
    world.propose(GENESIS, 1)
    world.serve()
    const block = make({ a2 })
    world.settle(world.job("propose"), { kind: "proposed", block, state: world.seal(world.tip, block) })
    expect(world.stopped?.error).toMatchObject({ _tag: "ProposalHeaderMismatch", field })
  })

  test("F7 a stream that ends before the parent gives no proposal", () => {
    const { world } = forked()
    const request = world.propose(GENESIS, 1)
    world.give(world.job("pull"), undefined)
    expect(world.proposals.has(request)).toBe(true)
  })

  test("a proposal on a superseded parent gives no proposal when the tip moves", () => {
    const { world, a, b } = forked()
    const onTip = world.propose(GENESIS, 8)
    world.serve()
    world.finalize(a)
    world.finish(world.job("apply", a))
    expect(world.proposals.has(onTip)).toBe(true)
    const onWinner = world.propose(a, 9)
    world.serve()
    verified(world, b)
    world.finalize(b)
    expect(world.proposals.has(onWinner)).toBe(true)
    expect(world.proposals.get(onWinner)).toBeUndefined()
  })
})

describe("verifications", () => {
  test("F2 a state that does not match the block is false and is not cached", () => {
    const { world } = forked()
    expect(verified(world, world.grow(GENESIS, "x", 6, "bad-root"))).toBe(false)
    expect(world.core.pending.size).toBe(0)
    expect(world.live).toEqual([])
  })

  test("F3 a verification that finds the block invalid is false", () => {
    const { world } = forked()
    expect(verified(world, world.grow(GENESIS, "x", 6, "not-executable"))).toBe(false)
  })

  test("F4 a verification that never ends delays neither others nor finalization", () => {
    const { world, a, a2, b } = forked()
    const stuck = world.verify(a2)
    world.serve()
    expect(verified(world, a)).toBe(true)
    world.finalize(a)
    expect(world.core.tip.anchor.height).toBe(1)
    expect(verified(world, b)).toBe(true)
    expect(world.verdicts.get(stuck)).toBe(false)
  })

  test("F5 a caller who leaves at any point leaves no job, and ancestors replayed for it stay", () => {
    for (let point = 0; point < 6; point++) {
      const { world, a, b, c } = forked()
      const request = world.verify(c)
      const open = () => world.jobs.keys().next().value
      for (let i = 0; i < point; i++) {
        const job = open()
        if (job !== undefined) world.finish(job)
      }
      world.leave(request)
      expect(world.jobs.size, `left after ${point} jobs`).toBe(0)
      expect(world.verdicts.size).toBe(0)
      expect(world.core.requests.size).toBe(0)
      expect(world.core.flights.size).toBe(0)
      for (const entry of world.core.pending.values()) expect([a.name, b.name]).toContain(entry.state.of.name)
      world.checkRest()
    }
  })

  test("F5 what arrives after its caller left is closed and answers nobody", () => {
    const { world, a } = forked()
    const request = world.verify(a)
    world.serve()
    const job = world.job("verify", a)
    world.leave(request)
    world.finish(job)
    expect(world.verdicts.size).toBe(0)
    expect(world.live).toEqual([])
  })

  test.each([0, 1])("F6 a stream that ends after %i blocks parks without a verdict", (given) => {
    const { world, a } = forked()
    const request = world.verify(a)
    for (let i = 0; i < given; i++) world.finish(world.job("pull"))
    world.give(world.job("pull"), undefined)
    world.drain()
    expect(world.verdicts.has(request)).toBe(false)
    expect(world.core.requests.size).toBe(1)
  })

  test("F8 a parent that cannot be fetched parks the request after exactly one attempt", () => {
    const { world, a, b } = forked()
    const request = world.verify(b)
    world.finish(world.job("pull"))
    world.finish(world.job("pull"))
    expect(world.runs("apply", a)).toBe(true)
    const { world: deep, b: b1, c } = forked()
    const parked = deep.verify(c)
    deep.finish(deep.job("pull"))
    deep.finish(deep.job("pull"))
    deep.give(deep.job("fetch", b1), undefined)
    expect(deep.jobs.size).toBe(0)
    const d = deep.grow(c, "d", 6)
    const deeper = deep.verify(d)
    for (let i = 0; i < 2; i++) deep.finish(deep.job("pull"))
    deep.give(deep.job("fetch", c), undefined)
    const x = deep.grow(GENESIS, "x", 9)
    verified(deep, x)
    expect(deep.runs("fetch")).toBe(false)
    deep.finalize(deep.blocks.get("a")!)
    deep.finish(deep.job("apply"))
    expect(deep.runs("fetch")).toBe(false)
    expect(deep.runs("apply", b1), "its missing parent is the tip now").toBe(true)
    deep.drain()
    expect([deep.verdicts.get(parked), deep.verdicts.get(deeper)]).toEqual([true, true])
    expect(world.verdicts.has(request)).toBe(false)
  })

  test("a parked request goes on when another one brings the state it lacks", () => {
    const { world, a, b, c } = forked()
    const parked = world.verify(c)
    for (let i = 0; i < 2; i++) world.finish(world.job("pull"))
    world.give(world.job("fetch", b), undefined)
    expect(verified(world, a)).toBe(true)
    world.drain()
    expect(world.verdicts.get(parked)).toBe(true)
  })

  test("F9 a fetched block with the wrong digest makes the ancestry invalid", () => {
    const { world, b, c, a2 } = forked()
    const request = world.verify(c)
    world.finish(world.job("pull"))
    world.finish(world.job("pull"))
    world.deceived.add(request)
    world.give(world.job("fetch", b), a2)
    expect(world.verdicts.get(request)).toBe(false)
  })

  test.each([0, 2])(
    "F10 a fetched block of height %i under a block of height 2 makes the ancestry invalid",
    (height) => {
      const { world, b, c, a } = forked()
      const request = world.verify(c)
      world.finish(world.job("pull"))
      world.finish(world.job("pull"))
      world.deceived.add(request)
      world.give(world.job("fetch", b), { ...a, height: height as WorldBlock["height"] })
      expect(world.verdicts.get(request)).toBe(false)
    },
  )

  test("F11 an ancestry that reaches the tip's height elsewhere is invalid without a further fetch", () => {
    const { world, a, b2 } = forked()
    verified(world, a)
    world.finalize(a)
    const request = world.verify(b2)
    world.finish(world.job("pull"))
    world.finish(world.job("pull"))
    expect(world.verdicts.get(request)).toBe(false)
    expect(world.runs("fetch")).toBe(false)
  })

  test("F12 a replayed ancestor whose state does not match is invalid and not cached; earlier ones stay", () => {
    const { world, a } = forked()
    const bad = world.grow(a, "bad", 6, "bad-root")
    const request = world.verify(world.grow(bad, "on bad", 7))
    world.serve()
    world.finish(world.job("apply", a))
    world.finish(world.job("apply", bad))
    expect(world.verdicts.get(request)).toBe(false)
    expect([...world.core.pending.values()].map(({ state }) => state.of)).toEqual([a])
  })

  test("F13 an ancestor that cannot be executed is invalid and stops nothing", () => {
    const { world, a } = forked()
    const bad = world.grow(a, "bad", 6, "not-executable")
    const request = world.verify(world.grow(bad, "on bad", 7))
    const proposal = world.propose(bad, 8)
    world.serve()
    world.finish(world.job("apply", a))
    world.finish(world.job("apply", bad))
    expect(world.verdicts.get(request)).toBe(false)
    expect(world.proposals.has(proposal)).toBe(true)
    expect(world.stopped).toBeUndefined()
  })

  test("F14 a candidate at the tip's height is true iff it is the tip", () => {
    const { world, a, a2 } = forked()
    world.finalize(a)
    world.finish(world.job("apply", a))
    const own = world.verify(a)
    const other = world.verify(a2)
    world.serve()
    expect([world.verdicts.get(own), world.verdicts.get(other)]).toEqual([true, false])
    expect(world.runs("verify")).toBe(false)
  })

  test("F15 F16 a candidate below the tip is true iff it is canonical, without execution", () => {
    const { world, a, a2, b } = forked()
    for (const block of [a, b]) {
      world.finalize(block)
      world.finish(world.job("apply", block))
    }
    const canonical = world.verify(a)
    const loser = world.verify(a2)
    world.serve()
    expect([world.verdicts.get(canonical), world.verdicts.get(loser)]).toEqual([true, false])
    expect(world.runs("verify")).toBe(false)
  })

  test("F17 a candidate below the tip whose canonical block is not at hand parks", () => {
    const { world, a, b } = forked()
    for (const block of [a, b]) {
      world.finalize(block)
      world.finish(world.job("apply", block))
    }
    const request = world.verify(a)
    world.finish(world.job("pull"))
    world.give(world.job("canonical"), undefined)
    expect(world.verdicts.has(request)).toBe(false)
    expect(world.core.requests.size).toBe(1)
  })

  test("F18 a candidate whose claimed parent is not the one its ancestry gives is false", () => {
    const { world, b, a2 } = forked()
    const request = world.verify(b)
    world.finish(world.job("pull"))
    world.deceived.add(request)
    world.give(world.job("pull"), a2)
    expect(world.verdicts.get(request)).toBe(false)
  })

  test("a candidate that embeds another context than the one asked about is false", () => {
    const { world, a } = forked()
    const request = world.verify(a, contextOn(GENESIS, 99))
    world.deceived.add(request)
    world.give(world.job("pull"), a)
    expect(world.verdicts.get(request)).toBe(false)
  })

  test.each(["bad-height", "bad-round"] as const)("a candidate with a %s is false", (fault) => {
    const { world } = forked()
    const request = world.verify(world.grow(GENESIS, "x", 6, fault))
    world.serve()
    expect(world.verdicts.get(request)).toBe(false)
  })

  test("a parent at the greatest height is false, not a crash", () => {
    const { world } = forked()
    const top = { ...childOf(GENESIS, "top", 6), height: Number.MAX_SAFE_INTEGER as WorldBlock["height"] }
    world.blocks.set("top", top)
    const over = { ...childOf(GENESIS, "over", 7), parent: top.digest, context: contextOn(top, 7) }
    world.blocks.set("over", { ...over, fault: "bad-height" })
    const request = world.verify(world.blocks.get("over")!)
    world.serve()
    expect(world.verdicts.get(request)).toBe(false)
    expect(world.stopped).toBeUndefined()
  })

  test("INV-15 a replayed block is verified before it is voted for, on a fresh fork of its parent", () => {
    const { world, a, b } = forked()
    expect(verified(world, b)).toBe(true)
    expect(world.core.pending.get([...world.core.pending.values()][0]!.key)!.origin).toBe("replayed")
    const request = world.verify(a)
    world.serve()
    expect(world.verdicts.has(request)).toBe(false)
    world.finish(world.job("verify", a))
    expect(world.verdicts.get(request)).toBe(true)
    expect(world.core.pending.size).toBe(2)
    const again = world.verify(a)
    world.serve()
    expect(world.verdicts.get(again)).toBe(true)
  })

  test("INV-15 a replayed block that the application refuses is false and stays as an ancestor", () => {
    const { world } = forked()
    const odd = world.grow(GENESIS, "odd", 6, "refused")
    expect(verified(world, world.grow(odd, "on odd", 7))).toBe(true)
    const request = world.verify(odd)
    world.serve()
    world.finish(world.job("verify", odd))
    expect(world.verdicts.get(request)).toBe(false)
    expect(world.core.pending.size).toBe(2)
  })

  test.each(["propose", "verify", "apply"] as const)("a %s hook that fails is fatal, never false", (hook) => {
    const { world, a, b } = forked()
    if (hook === "propose") world.propose(GENESIS, 9)
    else world.verify(hook === "verify" ? a : b)
    world.serve()
    const cause = new Error("broken")
    world.settle(world.job(hook), { kind: "failed", cause })
    expect(world.stopped?.error).toMatchObject({ _tag: "ApplicationFault", hook, cause })
    expect(world.verdicts.size).toBe(0)
  })
})

describe("recovery", () => {
  test("INV-34 missing ancestors are fetched once each and replayed oldest first, each cached before the next", () => {
    const world = new CoreWorld()
    const chain: WorldBlock[] = []
    for (let i = 1; i <= 5; i++) chain.push(world.grow(chain.at(-1) ?? GENESIS, `n${i}`, i))
    const request = world.verify(chain[4]!)
    world.serve()
    for (const block of chain.slice(0, 4)) {
      expect([...world.jobs.values()].map(({ kind }) => kind)).toEqual(["apply"])
      world.finish(world.job("apply", block))
      expect([...world.core.pending.values()].at(-1)?.state.of).toBe(block)
    }
    world.finish(world.job("verify", chain[4]))
    expect(world.verdicts.get(request)).toBe(true)
    expect(world.recovered).toEqual([4])
    expect(world.log.filter((line) => line.includes('"fetch"')).length).toBe(3)
  })

  test("INV-32 requests and proposals that need the same ancestor share one replay of it", () => {
    const { world, a, b } = forked()
    const x = world.grow(a, "x", 6)
    const requests = [world.verify(b), world.verify(x)]
    const proposal = world.propose(a, 7)
    world.serve()
    expect([...world.jobs.values()].filter(({ kind }) => kind === "apply").length).toBe(1)
    world.finish(world.job("apply", a))
    world.drain()
    expect(requests.map((request) => world.verdicts.get(request))).toEqual([true, true])
    expect(world.proposals.has(proposal)).toBe(true)
    expect(world.core.pending.size).toBe(3)
  })

  test("a replay goes on for the others when the one who began it leaves, and ends when the last one does", () => {
    const { world, a, b } = forked()
    const first = world.verify(b)
    world.serve()
    const second = world.verify(world.grow(a, "x", 6))
    world.serve()
    world.leave(first)
    expect(world.runs("apply", a)).toBe(true)
    world.leave(second)
    expect(world.runs("apply", a)).toBe(false)
  })

  test("a verdict on an ancestor ends its replay and serves those who waited for it", () => {
    const { world, a, b } = forked()
    const child = world.verify(b)
    const own = world.verify(a)
    world.serve()
    world.finish(world.job("verify", a))
    expect(world.runs("apply", a)).toBe(false)
    world.drain()
    expect([world.verdicts.get(own), world.verdicts.get(child)]).toEqual([true, true])
  })

  test("a walk longer than the window is recovered window by window", () => {
    const world = new CoreWorld({ limits: { pendingEntriesMax: 10_000 } })
    const chain: WorldBlock[] = [GENESIS]
    const length = 2 * RECOVERY_BLOCKS_MAX + 10
    for (let i = 1; i <= length; i++) chain.push(world.grow(chain.at(-1)!, `n${i}`, i))
    const request = world.verify(chain.at(-1)!)
    let held = 0
    while (world.jobs.size > 0) {
      world.finish(world.jobs.keys().next().value!)
      held = Math.max(held, world.core.requests.get(request)?.missing.length ?? 0)
    }
    expect(world.verdicts.get(request)).toBe(true)
    expect(held).toBe(RECOVERY_BLOCKS_MAX)
    expect(world.core.replayed).toBe(length - 1)
  })

  test("a tip that moves into the walked path cuts off what lies below it", () => {
    const world = new CoreWorld()
    const chain: WorldBlock[] = [GENESIS]
    for (let i = 1; i <= 6; i++) chain.push(world.grow(chain.at(-1)!, `n${i}`, i))
    const request = world.verify(chain[6]!)
    for (let i = 0; i < 2; i++) world.finish(world.job("pull"))
    for (let i = 0; i < 2; i++) world.finish(world.job("fetch"))
    expect(world.core.requests.get(request)?.missing.map(({ height }) => height)).toEqual([5, 4, 3])
    for (const block of chain.slice(1, 5)) {
      world.finalize(block)
      world.finish(world.job("apply", block))
    }
    expect(world.core.requests.get(request)?.missing.map(({ height }) => height)).toEqual([5])
    world.drain()
    expect(world.verdicts.get(request)).toBe(true)
  })

  test("a tip that moves onto the walked path shortens it; the fetch that still helps goes on", () => {
    const world = new CoreWorld()
    const chain: WorldBlock[] = [GENESIS]
    for (let i = 1; i <= 6; i++) chain.push(world.grow(chain.at(-1)!, `n${i}`, i))
    const request = world.verify(chain[6]!)
    world.finish(world.job("pull"))
    world.finish(world.job("pull"))
    const fetch = world.job("fetch", chain[5])
    for (const block of chain.slice(1, 3)) {
      world.finalize(block)
      world.finish(world.job("apply", block))
    }
    expect(world.job("fetch", chain[5])).toBe(fetch)
    world.finish(fetch)
    world.finalize(chain[3]!)
    world.finish(world.job("apply", chain[3]))
    world.finalize(chain[4]!)
    world.finish(world.job("apply", chain[4]))
    expect(world.runs("fetch")).toBe(false)
    world.drain()
    expect(world.verdicts.get(request)).toBe(true)
  })
})

describe("finalization", () => {
  test("a pending winner is applied in the turn that delivers it; losers end before it, survivors stay", () => {
    const { world, a, a2, b, b2, c } = forked()
    for (const block of [a, a2, b, b2]) verified(world, block)
    const losing = world.verify(world.grow(b2, "on b2", 6))
    const staying = world.verify(c)
    world.serve()
    world.finalize(a)
    expect(world.verdicts.get(losing)).toBe(false)
    expect(world.runs("verify", c)).toBe(true)
    expect([...world.core.pending.values()].map(({ state }) => state.of)).toEqual([b])
    expect(world.core.forksPruned).toBe(2)
    world.finish(world.job("verify", c))
    expect(world.verdicts.get(staying)).toBe(true)
  })

  test("the verification of the winner itself ends true, that of its sibling false", () => {
    const { world, a, a2 } = forked()
    const own = world.verify(a)
    const other = world.verify(a2)
    world.serve()
    world.finalize(a)
    world.finish(world.job("apply", a))
    expect([world.verdicts.get(own), world.verdicts.get(other)]).toEqual([true, false])
    expect(world.runs("verify")).toBe(false)
  })

  test("F19 a finalized block below the tip is fatal", () => {
    const { world, a, b } = forked()
    for (const block of [a, b]) {
      world.finalize(block)
      world.finish(world.job("apply", block))
    }
    world.drain()
    world.finalize(a, a.digest)
    expect(world.stopped?.error).toMatchObject({ _tag: "FinalizedBelowTip", height: 1, tip: 2 })
  })

  test("F20 another finalized block at the tip's height is fatal", () => {
    const { world, a, a2 } = forked()
    world.finalize(a)
    world.finish(world.job("apply", a))
    world.finalize(a2)
    expect(world.stopped?.error).toMatchObject({
      _tag: "ConflictingFinalized",
      height: 1,
      expected: a.digest,
      actual: a2.digest,
    })
  })

  test("F21 the same finalized block again is acknowledged, and nothing else", () => {
    const { world, a } = forked()
    world.finalize(a)
    world.finish(world.job("apply", a))
    world.drain()
    world.finalize(a)
    world.drain()
    expect(world.acked).toEqual([1, 1])
    expect(world.hooked).toEqual([1])
    expect(world.applied.length).toBe(1)
  })

  test("F21 a duplicate of a block that is not durable yet waits for it", () => {
    const { world, a } = forked()
    world.finalize(a)
    world.finish(world.job("apply", a))
    world.finalize(a)
    expect(world.acked).toEqual([])
    world.drain()
    expect(world.acked).toEqual([1, 1])
  })

  test("F22 a finalized block that skips a height is fatal", () => {
    const { world, b } = forked()
    world.finalize(b)
    expect(world.stopped?.error).toMatchObject({ _tag: "FinalizedGap", expected: 1, actual: 2 })
  })

  test("F22 a finalized block that is no child of the tip is fatal", () => {
    const { world, a, b2 } = forked()
    world.finalize(a)
    world.finish(world.job("apply", a))
    world.finalize(b2)
    expect(world.stopped?.error).toMatchObject({ _tag: "FinalizedParentMismatch", expected: a.digest })
    expect(world.acked).toEqual([])
  })

  test("F23 a finalized block without pending state is replayed on the live tip, checked and applied", () => {
    const { world, a, b } = forked()
    world.finalize(a)
    world.finalize(b)
    expect([...world.jobs.values()]).toMatchObject([{ kind: "apply", purpose: "finalization", state: { of: GENESIS } }])
    world.finish(world.job("apply", a))
    expect(world.job("apply", b)).toBeGreaterThan(0)
    world.drain()
    expect(world.acked).toEqual([1, 2])
    expect(world.core.replayed).toBe(2)
  })

  test("F24 a finalized replay that does not match is fatal: nothing applied, no ack", () => {
    const { world } = forked()
    const bad = world.grow(GENESIS, "bad", 6, "bad-root")
    world.finalize(bad)
    world.finish(world.job("apply", bad))
    expect(world.stopped?.error).toMatchObject({ _tag: "FinalizedCommitmentMismatch", height: 1, member: "toy" })
    expect(world.applied).toEqual([])
    expect(world.acked).toEqual([])
    expect(world.live).toEqual([])
  })

  test("a finalized block that apply rejects is fatal", () => {
    const { world } = forked()
    const bad = world.grow(GENESIS, "bad", 6, "not-executable")
    world.finalize(bad)
    world.finish(world.job("apply", bad))
    expect(tagOf(world)).toBe("FinalizedBlockRejected")
  })

  test("F25 the replay of a winner that a request began serves its finalization, though the caller leaves", () => {
    const { world, a, b } = forked()
    const request = world.verify(b)
    world.serve()
    const replay = world.job("apply", a)
    world.finalize(a)
    expect(world.job("apply", a)).toBe(replay)
    world.leave(request)
    expect(world.job("apply", a)).toBe(replay)
    world.finish(replay)
    expect(world.core.tip.anchor.height).toBe(1)
  })

  test("F25 when that replay fails the finalization reconstructs the block itself, and those who waited recover", () => {
    const { world, a, b } = forked()
    const request = world.verify(b)
    world.serve()
    world.finalize(a)
    world.settle(world.job("apply", a), { kind: "declined" })
    expect(world.jobs.get(world.job("apply", a))).toMatchObject({ purpose: "finalization" })
    expect(world.verdicts.has(request)).toBe(false)
    world.drain()
    expect(world.verdicts.get(request)).toBe(true)
    expect(world.acked).toEqual([1])
  })

  test("a request that the finalization excludes is refused at once, however high it stands, without a fetch", () => {
    const { world, a, b2 } = forked()
    const c2 = world.grow(b2, "c2", 6)
    const d2 = world.grow(c2, "d2", 7)
    verified(world, a)
    verified(world, c2)
    const executing = world.verify(d2)
    const proposing = world.propose(c2, 8)
    const replaying = world.verify(world.grow(d2, "e2", 9))
    world.serve()
    expect(world.runs("apply", d2)).toBe(true)
    world.finalize(a)
    expect([world.verdicts.get(executing), world.verdicts.get(replaying)]).toEqual([false, false])
    expect(world.proposals.has(proposing)).toBe(true)
    expect([...world.jobs.values()].map(({ kind }) => kind)).toEqual(["flush"])
  })

  test("a request that waits for the winner's replay goes on over it, and counts each replay once", () => {
    const { world, a, b, c } = forked()
    const request = world.verify(c)
    world.serve()
    world.finalize(a)
    world.finish(world.job("apply", a))
    world.finish(world.job("apply", b))
    expect(world.recovered).toEqual([2])
    world.drain()
    expect(world.verdicts.get(request)).toBe(true)
  })

  test("F26 a result of a losing branch that comes late is refused: false, and its state is closed", () => {
    const { world, a, a2, b2 } = forked()
    verified(world, a)
    verified(world, a2)
    const request = world.verify(b2)
    world.serve()
    const job = world.job("verify", b2)
    const state = world.seal(world.core.pending.get(keyNamed(world, "a2"))!.state, b2)
    world.finalize(a)
    expect(world.verdicts.get(request)).toBe(false)
    world.settle(job, { kind: "sealed", state })
    expect(state.closed).toBe(true)
    expect(world.core.pending.size).toBe(0)
  })

  test("F29 a flush that fails is fatal and releases no ack", () => {
    const { world, a } = forked()
    world.finalize(a)
    world.finish(world.job("apply", a))
    world.settle(world.job("flush"), { kind: "failed", cause: new Error("io") })
    expect(world.stopped?.error).toMatchObject({ _tag: "FlushFailed", durable: 0, applied: 1 })
    expect(world.acked).toEqual([])
  })

  test("F31 a finalized hook that fails is fatal, and its block is not acknowledged", () => {
    const { world, a } = forked()
    world.finalize(a)
    world.finish(world.job("apply", a))
    world.finish(world.job("flush"))
    world.settle(world.job("finalized", a), { kind: "failed", cause: new Error("hook") })
    expect(world.stopped?.error).toMatchObject({ _tag: "FinalizedHookFailed", height: 1 })
    expect(world.acked).toEqual([])
  })

  test("F62 a state that the set refuses to apply is fatal", () => {
    const { world, a } = forked()
    world.send({ type: "fault", error: { _tag: "ApplyFailed" } as never })
    expect(tagOf(world)).toBe("ApplyFailed")
    world.send({ type: "finalized", block: a, ack: 99, row: undefined })
    expect(world.applied).toEqual([])
  })

  test("F66 shutdown answers nobody, closes what is pending and cancels the acks", () => {
    const { world, a, b, c } = forked()
    verified(world, a)
    verified(world, b)
    const request = world.verify(c)
    world.serve()
    world.finalize(a)
    world.send({ type: "shutdown" })
    expect(world.stopped).toEqual({ error: undefined })
    expect(world.verdicts.has(request)).toBe(false)
    expect(world.acked).toEqual([])
    expect(world.live).toEqual([])
  })

  test("more deliveries than the ack window are fatal", () => {
    const { world, a, b } = forked({ pendingAcksMax: 1 })
    world.finalize(a)
    world.finalize(b)
    expect(world.stopped?.error).toMatchObject({ _tag: "AckWindowExceeded", allowed: 1 })
  })

  test("INV-8 INV-9 INV-16 one flush covers all that was applied meanwhile; hooks and acks follow in height order", () => {
    const { world, a, b, c } = forked()
    for (const block of [a, b, c]) {
      world.finalize(block)
      world.finish(world.job("apply", block))
    }
    const first = world.job("flush")
    world.settle(first, { kind: "durable", anchor: { height: a.height, round: a.context.round, digest: a.digest } })
    expect(world.job("flush")).not.toBe(first)
    expect(world.runs("finalized", a)).toBe(true)
    world.finish(world.job("flush"))
    expect(world.acked).toEqual([])
    expect(world.runs("finalized", b)).toBe(false)
    world.drain()
    expect(world.hooked).toEqual([1, 2, 3])
    expect(world.acked).toEqual([1, 2, 3])
    expect(world.log.filter((line) => line.includes('"flush"')).length).toBe(2)
  })

  test("INV-42 execution does not wait for a hook that takes for ever", () => {
    const { world, a, b, c } = forked()
    world.finalize(a)
    world.finish(world.job("apply", a))
    world.finish(world.job("flush"))
    expect(world.runs("finalized", a)).toBe(true)
    expect(verified(world, b)).toBe(true)
    world.finalize(b)
    expect(world.core.tip.anchor.height).toBe(2)
    world.finish(world.job("flush"))
    expect(verified(world, c)).toBe(true)
    expect(world.acked).toEqual([])
  })

  test("INV-42 parked and waiting requests delay nothing", () => {
    const { world, a, b, c } = forked({ limits: { pendingEntriesMax: 1 } })
    const parked = world.verify(c)
    world.give(world.job("pull"), undefined)
    const running = world.verify(a)
    const waiting = world.verify(b)
    world.serve()
    expect(world.core.requests.get(waiting)?.wait?.on).toBe("room")
    world.finalize(a)
    world.finish(world.job("apply", a))
    world.finish(world.job("flush"))
    world.finish(world.job("finalized", a))
    expect(world.acked).toEqual([1])
    expect(world.verdicts.get(running)).toBe(true)
    expect(world.verdicts.has(parked)).toBe(false)
    world.drain()
    expect(world.verdicts.get(waiting)).toBe(true)
  })
})

describe("restart", () => {
  const restarted = () => {
    const before = new CoreWorld()
    const a = before.grow(GENESIS, "a", 1)
    const b = before.grow(a, "b", 2)
    const c = before.grow(b, "c", 3)
    const world = new CoreWorld({ start: b })
    for (const block of [GENESIS, a, c]) world.blocks.set(block.name, block)
    return { world, a, b, c }
  }

  test("genesis, delivered first on a fresh node, is acknowledged without a hook", () => {
    const { world } = forked()
    world.finalize(GENESIS)
    expect(world.acked).toEqual([0])
    expect(world.hooked).toEqual([])
  })

  test("redelivered blocks that equal their rows are acknowledged after their hook, not applied again", () => {
    const { world, a, b, c } = restarted()
    world.finalize(a, a.digest)
    world.finalize(b, b.digest)
    world.finalize(c)
    world.drain()
    expect(world.acked).toEqual([1, 2, 3])
    expect(world.hooked).toEqual([1, 2, 3])
    expect(world.applied.map(({ of }) => of)).toEqual([c])
  })

  test("a redelivered block that differs from its row is fatal", () => {
    const { world, a } = restarted()
    world.finalize(a, childOf(GENESIS, "other", 1).digest)
    expect(tagOf(world)).toBe("ConflictingFinalized")
    expect(world.acked).toEqual([])
  })

  test("a redelivered block without a row is fatal: nothing vouches for it", () => {
    const { world, a } = restarted()
    world.finalize(a)
    expect(tagOf(world)).toBe("FinalizedBelowTip")
  })

  test("redelivery does not skip a height", () => {
    const { world, a, c } = restarted()
    world.finalize(a, a.digest)
    world.finalize(c)
    expect(world.stopped?.error).toMatchObject({ _tag: "FinalizedGap", expected: 2, actual: 3 })
  })

  test("pending state is empty after a restart, and comes back by replay", () => {
    const { world, b, c } = restarted()
    const request = world.verify(world.grow(c, "d", 4))
    world.drain()
    expect(world.verdicts.get(request)).toBe(true)
    expect(world.core.replayed).toBe(1)
    expect(world.core.tip.anchor.digest).toBe(b.digest)
  })
})

describe("budget", () => {
  test("F65 a full budget evicts the least recently used leaf, and replay restores it", () => {
    const { world, a, a2, b } = forked({ limits: { pendingEntriesMax: 2 } })
    verified(world, a)
    verified(world, a2)
    expect(verified(world, b)).toBe(true)
    expect([...world.core.pending.values()].map(({ state }) => state.of.name)).toEqual(["a", "b"])
    expect(world.core.evicted).toBe(1)
    world.finalize(a2)
    world.finish(world.job("apply", a2))
    expect(world.core.tip.anchor.digest).toBe(a2.digest)
  })

  test("F65 ancestors of kept entries are never evicted; new work waits, nothing is false, finalization goes on", () => {
    const { world, a, b, c } = forked({ limits: { pendingEntriesMax: 3 } })
    for (const block of [a, b, c]) verified(world, block)
    const request = world.verify(world.grow(c, "d", 6))
    world.serve()
    expect(world.core.requests.get(request)?.wait).toEqual({ on: "room" })
    expect(world.core.evicted).toBe(0)
    expect(world.verdicts.has(request)).toBe(false)
    world.finalize(a)
    world.drain()
    expect(world.verdicts.get(request)).toBe(true)
    expect(world.acked).toEqual([1])
  })

  test("F65 results of running hooks count as if they were here", () => {
    const { world, a, a2 } = forked({ limits: { pendingEntriesMax: 1 } })
    world.verify(a)
    const second = world.verify(a2)
    world.serve()
    expect(world.runs("verify", a)).toBe(true)
    expect(world.core.requests.get(second)?.wait).toEqual({ on: "room" })
    world.drain()
    expect(world.verdicts.get(second)).toBe(true)
  })

  test("F65 bytes that wait for the disk count, and a flush makes room", () => {
    const { world, a, b, c } = forked({ limits: { pendingBytesMax: 20 }, bytes: () => 10 })
    verified(world, a)
    verified(world, b)
    world.finalize(a)
    const request = world.verify(c)
    world.serve()
    expect(world.core.requests.get(request)?.wait).toEqual({ on: "room" })
    world.finish(world.job("flush"))
    world.finish(world.job("verify", c))
    expect(world.verdicts.get(request)).toBe(true)
  })

  test("F65 what was used last is evicted last", () => {
    const { world, a, a2 } = forked({ limits: { pendingEntriesMax: 3 } })
    const [y, z] = [world.grow(GENESIS, "y", 7), world.grow(GENESIS, "z", 8)]
    for (const block of [a, a2, y]) verified(world, block)
    world.verify(a2)
    world.serve()
    verified(world, z)
    expect([...world.core.pending.values()].map(({ state }) => state.of.name)).toEqual(["a2", "y", "z"])
  })

  test("F65 an entry whose last child was evicted is a leaf again", () => {
    const { world, a, b } = forked({ limits: { pendingEntriesMax: 2 } })
    const [y, z] = [world.grow(GENESIS, "y", 7), world.grow(GENESIS, "z", 8)]
    for (const block of [a, b, y]) verified(world, block)
    world.core.certified = undefined
    verified(world, z)
    expect([...world.core.pending.values()].map(({ state }) => state.of.name)).toEqual(["y", "z"])
  })

  test("F65 the newest certified block outlives leaves that were used later", () => {
    const { world, a, a2 } = forked({ limits: { pendingEntriesMax: 2 } })
    const x = world.grow(GENESIS, "x", 6)
    verified(world, a)
    const onA = world.propose(a, 7)
    world.serve()
    world.leave(onA)
    verified(world, a2)
    verified(world, x)
    expect([...world.core.pending.values()].map(({ state }) => state.of.name)).toEqual(["a", "x"])
  })

  test("F65 requests that do not fit together do not replay and evict in turns: the later round goes ahead", () => {
    const { world, b, b2 } = forked({ limits: { pendingEntriesMax: 1 } })
    const early = world.verify(b)
    const late = world.verify(b2)
    world.drain()
    expect(world.core.replayed).toBeLessThanOrEqual(2)
    expect([...world.core.pending.values()].map(({ state }) => state.of.name)).toEqual(["a2"])
    for (const request of [early, late]) expect(world.core.requests.get(request)?.wait).toEqual({ on: "room" })
  })

  test("F65 a request that waits for room is answered when another one brings the verdict", () => {
    const { world, a } = forked({ limits: { pendingEntriesMax: 1 } })
    const requests = [world.verify(a), world.verify(a)]
    world.serve()
    expect(world.core.requests.get(requests[1]!)?.wait).toEqual({ on: "room" })
    world.finish(world.job("verify", a))
    expect(requests.map((request) => world.verdicts.get(request))).toEqual([true, true])
  })

  test("F65 a caller who waits for room and leaves is forgotten", () => {
    const { world, a, b } = forked({ limits: { pendingEntriesMax: 1 } })
    verified(world, a)
    const request = world.verify(b)
    world.serve()
    world.leave(request)
    expect(world.core.requests.size).toBe(0)
    world.checkRest()
  })
})

const keyNamed = (world: CoreWorld, name: string): string =>
  [...world.core.pending.values()].find(({ state }) => state.of.name === name)!.key
