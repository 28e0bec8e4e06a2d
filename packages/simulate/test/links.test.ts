/**
 * Goal: links carry messages in order, lose what they should, and a partition cuts a group off until it is healed.
 * Method: messages in virtual time; clusters in which nodes are cut off, lose each other's messages, or have corrupt leaders.
 */

import { drawer } from "@coppice/stateful/diagnosis"
import { Clock, Effect, Random } from "effect"
import { describe, expect, test } from "vitest"
import { validators } from "../src/chain.ts"
import { type LinkOptions, type Links, makeLinks, simulate } from "../src/index.ts"
import { MISBEHAVIOURS } from "../src/schedule.ts"
import { CALM, runCluster, type TestCluster, violations } from "./cluster-run.ts"

const LINK = { latencyMs: { min: 5, max: 50 }, lossChance: 0 }

const run = <A>(program: Effect.Effect<A>, seed = 1): A => {
  const { exit } = simulate(seed, program)
  if (exit._tag === "Failure") throw new Error(String(exit.cause))
  return exit.value
}

/** Uses links of five nodes by a world's clock. */
const overLinks = <A>(
  link: LinkOptions,
  chance: () => number,
  use: (links: Links) => Effect.Effect<A>,
  seed?: number,
): A =>
  run(
    Effect.flatMap(Clock.Clock, (clock) => use(makeLinks(5, link, chance, clock))),
    seed,
  )

describe("links", () => {
  for (const seed of [1, 2, 3]) {
    test(`messages of one link arrive within its latency, in the order in which they were sent, seed ${seed}`, () => {
      const arrived: Array<readonly [number, number]> = []
      const sends = (links: Links) =>
        Effect.gen(function* () {
          const send = (n: number) =>
            Effect.gen(function* () {
              yield* links.carry(0, 1)
              arrived.push([n, yield* Clock.currentTimeMillis])
            })
          // Three at each time: the order of sending is that in which they are forked, one by one.
          for (let n = 0; n < 60; n++) {
            yield* Effect.forkChild(send(n), { startImmediately: true })
            if (n % 3 === 2) yield* Effect.sleep(9)
          }
          yield* Effect.sleep(100)
        })
      overLinks(LINK, drawer(seed, "links"), sends, seed)
      expect(arrived.map(([n]) => n)).toEqual(Array.from({ length: 60 }, (_, n) => n))
      // Behind a slow one the others wait, a little apart.
      expect(arrived.filter(([n, ms]) => ms < Math.floor(n / 3) * 9 + 5 || ms > Math.floor(n / 3) * 9 + 51)).toEqual([])
      expect(new Set(arrived.map(([, ms]) => Math.round(ms))).size).toBeGreaterThan(5)
    })
  }

  test("a loss is told at once and has the chance it was given; one direction can be changed alone", () => {
    const count = (from: number, to: number) =>
      overLinks({ ...LINK, lossChance: 0.3 }, drawer(2, "links"), (links) => {
        links.update(1, 0, LINK)
        return Effect.forEach(Array.from({ length: 400 }), () => links.carry(from, to), { concurrency: "unbounded" })
      }).filter((arrives) => arrives).length
    expect(count(0, 1)).toBeGreaterThan(240)
    expect(count(0, 1)).toBeLessThan(320)
    expect(count(1, 0)).toBe(400)
  })

  test("a partition cuts both ways, inside and outside stay connected, and healing opens all", () => {
    const opened = overLinks(
      LINK,
      () => 0.5,
      (links) =>
        Effect.gen(function* () {
          const open = (from: number, to: number) =>
            Effect.map(links.carry(from, to), (arrives) => [links.isOpen(from, to), arrives])
          const looks = Effect.all([open(1, 3), open(0, 4), open(0, 1), open(3, 2)])
          links.partition([1, 3])
          const before = yield* looks
          links.heal()
          return [before, yield* looks]
        }),
    )
    const [yes, no] = [
      [true, true],
      [false, false],
    ]
    expect(opened).toEqual([
      [yes, yes, no, no],
      [yes, yes, yes, yes],
    ])
  })

  test.each([
    ["in", false, true],
    ["out", true, false],
  ] as const)("a partition that lets nothing %s cuts that way alone", (way, gets, leaves) => {
    const open = overLinks(
      LINK,
      () => 0.5,
      (links) => {
        links.partition([1, 3], way)
        return Effect.succeed([links.isOpen(0, 1), links.isOpen(1, 0), links.isOpen(1, 3), links.isOpen(0, 4)])
      },
    )
    expect(open).toEqual([gets, leaves, true, true])
  })

  test("figures that make no sense are refused", () => {
    for (const bad of [{ latencyMs: { min: 5, max: 4 } }, { latencyMs: { min: -1, max: 4 } }, { lossChance: 1.5 }]) {
      const make = () => overLinks({ ...LINK, ...bad }, () => 0, Effect.succeed)
      expect(make).toThrow("RangeError")
    }
  })
})

describe("clusters over bad links", () => {
  test("a node that is cut off learns nothing, and after healing everything", () => {
    const act = (cluster: TestCluster) =>
      Effect.gen(function* () {
        yield* Effect.sleep("1 second")
        cluster.links.partition([2])
        yield* Effect.sleep("100 millis")
        const before = yield* cluster.node(2)!.marshal.tip
        yield* Effect.sleep("8 seconds")
        expect(yield* cluster.node(2)!.marshal.tip).toEqual(before)
        expect((yield* cluster.node(0)!.marshal.tip).height).toBeGreaterThan(before.height + 3)
        cluster.links.heal()
      })
    const { journal, statistics } = runCluster(1, { act, schedule: CALM })
    expect(violations(journal)).toEqual([])
    expect(statistics.nullified).toBeGreaterThan(0)
  })

  test("two halves finalize nothing, and go on once they are whole", () => {
    const act = (cluster: TestCluster) =>
      Effect.gen(function* () {
        yield* Effect.sleep("1 second")
        cluster.links.partition([0, 1])
        yield* Effect.sleep("100 millis")
        const tips = () => Effect.forEach(validators, (_, index) => cluster.node(index)!.marshal.tip)
        const before = yield* tips()
        yield* Effect.sleep("10 seconds")
        expect(yield* tips()).toEqual(before)
        cluster.links.heal()
      })
    expect(violations(runCluster(2, { act, schedule: CALM }).journal)).toEqual([])
  })

  test("slow links that lose a tenth of everything, votes and certificates too, cost views and no blocks", () => {
    const link = { latencyMs: { min: 50, max: 350 }, lossChance: 0.1 }
    const act = (cluster: TestCluster) =>
      Effect.gen(function* () {
        cluster.links.updateAll(link)
        yield* Effect.sleep(yield* Random.nextBetween(1, 9))
      })
    const { journal, statistics } = runCluster(3, { act, height: 15, schedule: CALM })
    expect(violations(journal)).toEqual([])
    expect(statistics.nullified).toBeGreaterThan(0)
  })
})

describe("corrupt leaders", () => {
  for (const how of MISBEHAVIOURS) {
    test(`F-5 "${how}" breaks no agreement and stops nobody`, () => {
      const { journal, statistics } = runCluster(4, {
        schedule: { ...CALM, corruptChance: 0.4, misbehaviours: [how] },
        height: 25,
      })
      expect(violations(journal)).toEqual([])
      expect(statistics.corrupted).toBeGreaterThan(5)
      const isRefused = how.startsWith("bad ") || how === "two parents"
      expect(statistics.refused > 0).toBe(isRefused)
      if (how.startsWith("bad ")) expect(statistics.rejected).toBeGreaterThanOrEqual(statistics.corrupted)
    })
  }
})
