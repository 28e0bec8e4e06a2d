/**
 * Goal: the core answers proposals and verifications, and recovers ancestors, as the specification asks, row by row.
 * Method: scripts. `CoreWorld` carries out the core's actions on a model of the database set and throws on any broken
 * invariant; every test adds what its own row demands. No clock, no promises.
 */
import { bytesKey } from "@coppice/codec"
import { Round, View } from "@coppice/consensus"
import { describe, expect, test } from "vitest"
import { RECOVERY_BLOCKS_MAX } from "../src/limits.ts"
import {
  CoreWorld,
  childOf,
  contextOn,
  forked,
  GENESIS,
  tagOf,
  verified,
  type WorldBlock,
} from "./support/core-world.ts"

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

  test("INV-3 a proposal in a round that is not later than its parent's gives none, and no hook runs for it", () => {
    const { world, b } = forked()
    verified(world, b)
    for (const view of [2, 3]) {
      const request = world.propose(b, view)
      world.serve()
      expect(world.proposals.has(request)).toBe(true)
      expect(world.runs("propose")).toBe(false)
    }
    world.propose(b, 4)
    world.serve()
    expect(world.runs("propose")).toBe(true)
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

  test("F18 a stream that loops, the candidate again in its parent's place, is false and asks for no more", () => {
    const { world, c } = forked()
    const request = world.verify(c)
    world.finish(world.job("pull"))
    world.deceived.add(request)
    world.give(world.job("pull"), c)
    expect(world.verdicts.get(request)).toBe(false)
    expect(world.jobs.size).toBe(0)
  })

  test("F9 F10 parents that loop end the walk: whatever a looping source gives, the next height is below", () => {
    const { world, b, c } = forked()
    const request = world.verify(c)
    world.finish(world.job("pull"))
    world.finish(world.job("pull"))
    world.deceived.add(request)
    // The source names the candidate's own parent as its grandparent.
    world.give(world.job("fetch", b), b)
    expect(world.verdicts.get(request)).toBe(false)
    expect(world.runs("fetch")).toBe(false)
  })

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

  test("a candidate whose height does not follow its parent's is false before anything is fetched or replayed", () => {
    const { world, a2 } = forked()
    const child = childOf(a2, "x", 9)
    const request = world.verify({ ...child, height: (child.height + 1) as WorldBlock["height"] })
    world.deceived.add(request)
    world.finish(world.job("pull"))
    world.finish(world.job("pull"))
    expect(world.verdicts.get(request)).toBe(false)
    expect(world.runs("fetch") || world.runs("apply")).toBe(false)
  })

  test("F18 a candidate whose parent is not the one that its own context names is false, and stops nothing", () => {
    const { world, a, a2 } = forked()
    verified(world, a)
    const candidate = { ...childOf(a, "x", 9), parent: a2.digest }
    const request = world.verify(candidate)
    world.deceived.add(request)
    // Its ancestry follows the context. Executed, its state would be cached under a parent that is not here (INV-2).
    for (const block of [candidate, a]) if (world.runs("pull")) world.give(world.job("pull"), block)
    world.drain()
    expect(world.verdicts.get(request)).toBe(false)
    expect(world.stopped).toBeUndefined()
  })

  test.each([
    ["round", { round: Round(0, 99) }],
    ["leader", { leader: new Uint8Array(32) }],
    ["view of the parent", { parent: { view: View(7), digest: GENESIS.digest } }],
    ["parent", { parent: { view: View(0), digest: new Uint8Array(32) } }],
  ])("a candidate that embeds another %s than the one asked about is false", (_field, other) => {
    const { world, a } = forked()
    const request = world.verify(a, { ...a.context, ...other })
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

describe("places", () => {
  /** Siblings on genesis, as many as asked for. */
  const siblings = (world: CoreWorld, count: number) =>
    Array.from({ length: count }, (_, i) => world.grow(GENESIS, `s${i}`, 10 + i))

  test("INV-42 verifications that abstain take every place, and no proposal waits for one", () => {
    const { world, a } = forked({ limits: { verificationsMax: 2 } })
    const [first, , third] = siblings(world, 3).map((block) => world.verify(block))
    world.serve()
    expect(world.core.requests.get(third!)?.wait).toEqual({ on: "place" })
    const request = world.propose(GENESIS, 1)
    world.serve()
    world.finish(world.job("propose"), a)
    expect(world.proposals.get(request)).toBe(a)
    expect(world.core.requests.get(third!)?.wait).toEqual({ on: "place" })
    world.leave(first!)
    world.serve()
    expect(world.runs("verify", third), "the place of one who left").toBe(true)
  })

  test("INV-42 a parked verification gives its place back; going on, it needs none", () => {
    const { world, a, b, c } = forked({ limits: { verificationsMax: 1 } })
    const parked = world.verify(c)
    for (let i = 0; i < 2; i++) world.finish(world.job("pull"))
    world.give(world.job("fetch", b), undefined)
    expect(world.core.requests.get(parked)?.wait?.on).toBe("source")
    const other = world.verify(a)
    world.serve()
    expect(world.runs("verify", other)).toBe(true)
    world.finish(world.job("verify", other))
    world.drain()
    expect([world.verdicts.get(parked), world.verdicts.get(other)]).toEqual([true, true])
    world.checkRest()
  })

  test("INV-42 a verification that waits for room holds no place: one that needs none is answered", () => {
    const { world, a, a2, b } = forked({ limits: { verificationsMax: 1, pendingEntriesMax: 2 } })
    verified(world, a)
    verified(world, b)
    const waiting = world.verify(world.grow(b, "d", 9))
    world.serve()
    expect(world.core.requests.get(waiting)?.wait).toEqual({ on: "room" })
    const known = world.verify(b)
    world.serve()
    expect(world.verdicts.get(known)).toBe(true)
    expect(world.verdicts.has(waiting)).toBe(false)
    expect(a2.height).toBe(1)
  })

  test("places are given in order of arrival, one for each that is free", () => {
    const { world } = forked({ limits: { verificationsMax: 2 } })
    world.propose(GENESIS, 90)
    const requests = siblings(world, 5).map((block) => world.verify(block))
    world.serve()
    const atWork = () => requests.map((request) => world.runs("verify", request))
    expect(atWork()).toEqual([true, true, false, false, false])
    world.finish(world.job("verify", requests[1]))
    world.serve()
    expect(atWork()).toEqual([true, false, true, false, false])
    world.drain()
    expect(requests.map((request) => world.verdicts.get(request))).toEqual(requests.map(() => true))
  })

  test("INV-14 above the limit of held ones a verification is dropped, never false; above its own a proposal is declined", () => {
    const { world } = forked({ limits: { verificationsMax: 1, heldVerificationsMax: 2, proposalsMax: 1 } })
    const requests = siblings(world, 4).map((block) => world.verify(block))
    expect(world.dropped).toEqual([requests[3]])
    expect(world.core.requests.size).toBe(3)
    const open = world.propose(GENESIS, 50)
    const declined = world.propose(GENESIS, 51)
    expect([world.proposals.has(open), world.proposals.has(declined)]).toEqual([false, true])
    expect(world.proposals.get(declined)).toBeUndefined()
    world.leave(requests[3]!)
    world.drain()
    expect(requests.map((request) => world.verdicts.get(request))).toEqual([true, true, true, undefined])
  })
})

describe("recovery", () => {
  test("INV-32 INV-34 a request joins the replay of its block's parent: nothing is fetched for what is being replayed", () => {
    const { world, a, b, c } = forked()
    const first = world.verify(b)
    world.serve()
    expect(world.runs("apply", a)).toBe(true)
    const second = world.verify(c)
    for (let i = 0; i < 2; i++) world.finish(world.job("pull", second))
    expect(world.runs("fetch")).toBe(false)
    expect(world.core.requests.get(second)?.wait).toEqual({ on: "flight", key: bytesKey(a.digest) })
    world.drain()
    expect([world.verdicts.get(first), world.verdicts.get(second)]).toEqual([true, true])
  })

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
