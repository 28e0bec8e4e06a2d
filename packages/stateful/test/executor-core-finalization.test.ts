/**
 * Goal: the core finalizes, restarts and keeps its budget as the specification asks, row by row.
 * Method: scripts. `CoreWorld` carries out the core's actions on a model of the database set and throws on any broken
 * invariant; every test adds what its own row demands. No clock, no promises.
 */
import { describe, expect, test } from "vitest"
import { CoreWorld, childOf, forked, GENESIS, keyNamed, tagOf, verified } from "./support/core-world.ts"

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
      known: a.digest,
      conflicting: a2.digest,
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

  test("F52 what a synced state covers has hook and ack without a row, once; what follows is applied", () => {
    const chain = forked()
    const world = new CoreWorld({ start: chain.b, covered: true })
    for (const block of [chain.a, chain.b]) world.finalize(block)
    world.drain()
    expect([world.hooked, world.acked]).toEqual([
      [1, 2],
      [1, 2],
    ])
    world.blocks.set("c", chain.c)
    world.finalize(chain.c)
    world.drain()
    expect(world.tip.of).toBe(chain.c)
    world.finalize(chain.a)
    expect(tagOf(world), "it was delivered before").toBe("FinalizedBelowTip")
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
    world.verify(a)
    world.serve()
    verified(world, z)
    expect([...world.core.pending.values()].map(({ state }) => state.of.name)).toEqual(["a", "y", "z"])
  })

  test("F65 a second verdict on a block is a use of it", () => {
    const { world, a, a2 } = forked({ limits: { pendingEntriesMax: 4 } })
    const [y, z] = [world.grow(GENESIS, "y", 7), world.grow(GENESIS, "z", 8)]
    const again = [world.verify(a), world.verify(a)]
    world.serve()
    world.finish(world.job("verify", again[0]))
    for (const block of [a2, y]) verified(world, block)
    world.finish(world.job("verify", again[1]))
    verified(world, world.grow(GENESIS, "x", 6))
    verified(world, z)
    expect([...world.core.pending.values()].map(({ state }) => state.of.name)).toEqual(["a", "y", "x", "z"])
  })

  test("F65 a hook over a block is a use of it, though it ends without a result", () => {
    const { world, a, a2 } = forked({ limits: { pendingEntriesMax: 4 } })
    const [x, y, z] = [world.grow(GENESIS, "x", 6), world.grow(GENESIS, "y", 7), world.grow(GENESIS, "z", 8)]
    for (const block of [a, a2, y]) verified(world, block)
    for (const parent of [y, a]) {
      const request = world.propose(parent, 9)
      world.serve()
      expect(world.runs("propose", request)).toBe(true)
      world.leave(request)
    }
    for (const block of [x, z]) verified(world, block)
    expect([...world.core.pending.values()].map(({ state }) => state.of.name)).toEqual(["a", "y", "x", "z"])
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
    const { world, b, b2 } = forked({ limits: { pendingEntriesMax: 1, spilledEntriesMax: 0 } })
    const early = world.verify(b)
    const late = world.verify(b2)
    world.drain()
    expect(world.core.replayed).toBeLessThanOrEqual(2)
    expect([...world.core.pending.values()].map(({ state }) => state.of.name)).toEqual(["a2"])
    for (const request of [early, late]) expect(world.core.requests.get(request)?.wait).toEqual({ on: "room" })
  })

  test.each([
    ["who has come further", ["a", "a2"], 0],
    // Its parent is the newest certified block: the other's would be kept if it were that.
    ["who has just begun", ["a2", "a"], 1],
  ] as const)("F65 nor do they in one round: who asked first goes ahead, %s", (_who, names, quick) => {
    const { world } = forked({ limits: { pendingEntriesMax: 1, spilledEntriesMax: 0 } })
    const parents = names.map((name) => world.blocks.get(name)!)
    const requests = parents.map((parent) => world.verify(world.grow(parent, `on ${parent.name}`, 9)))
    for (let pulls = 0; pulls < 2; pulls++) world.finish(world.job("pull", requests[quick]))
    world.finish(world.job("apply", parents[quick]))
    world.drain()
    expect([...world.core.pending.values()].map(({ state }) => state.of)).toEqual([parents[0]])
    for (const request of requests) expect(world.core.requests.get(request)?.wait).toEqual({ on: "room" })
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
    const { world, a, b } = forked({ limits: { pendingEntriesMax: 1, spilledEntriesMax: 0 } })
    verified(world, a)
    const request = world.verify(b)
    world.serve()
    world.leave(request)
    expect(world.core.requests.size).toBe(0)
    world.checkRest()
  })
})
