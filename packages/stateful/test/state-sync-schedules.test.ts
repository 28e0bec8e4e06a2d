/**
 * Goal: joining is right under every order in which marshal, sync, executor, callers and the plan's writes happen to run.
 * Method: a synchronous scheduler picks the next runnable task by seed. A marshal delivers a chain through its ack window, a
 * scripted sync takes in some tips and ends at a time of its own, callers come and go; every seed must come to its end with
 * each block acknowledged once and in order.
 */
import { Height } from "@coppice/consensus"
import { Effect, Exit, Fiber } from "effect"
import { describe, expect, test } from "vitest"
import { completeOn, FloorChain, joining } from "./support/joining.ts"
import { seededRun, yields } from "./support/seeded-run.ts"
import { contextOn } from "./support/toy-chain.ts"

const FLOOR = 20
const HEIGHTS = 12
const SEEDS = 60

const run = (seed: number) =>
  Effect.gen(function* () {
    let state = seed
    const dice = (sides: number): number => {
      state = (Math.imul(state, 48_271) + 11) % 2_147_483_647
      return Math.abs(state) % sides
    }
    const chain = new FloorChain(1 + (seed % 4))
    chain.finalizeTo(FLOOR + HEIGHTS)
    chain.processed = Height(FLOOR - 1)
    const node = yield* joining({ chain, floor: chain.finalizeTo(FLOOR) })
    const { log, sync } = node
    const last = FLOOR + HEIGHTS - 1
    const marshal = Effect.gen(function* () {
      for (let height = FLOOR; height <= last; height++) {
        yield* yields(dice(40))
        while (height - FLOOR - node.acks().length >= chain.pendingAcksMax) yield* Effect.yieldNow
        yield* node.deliver(height)
      }
    })
    const syncing = Effect.gen(function* () {
      for (let left = dice(12); left > 0; left--) {
        yield* yields(dice(30))
        sync.record()
      }
      while (sync.heights.length === 0) yield* Effect.yieldNow
      const set = node.converge(sync.heights.at(-1)!)
      set.gate = Effect.suspend(() => yields(dice(20)))
      return set
    })
    const asks = Effect.forEach(Array.from({ length: 6 }), (_, i) =>
      Effect.forkChild(
        Effect.gen(function* () {
          yield* yields(dice(120))
          const block = chain.finalizeTo(last - (i % 3))
          const asked = yield* Effect.forkChild(node.port.verify(block.context, chain.ancestry(block)))
          const proposed = yield* node.port.propose(contextOn(block, 900 + i), { next: Effect.succeed(undefined) })
          expect(proposed).toBeUndefined()
          if (dice(3) === 0) {
            yield* yields(dice(40))
            yield* Fiber.interrupt(asked)
          }
          const exit = yield* Fiber.await(asked)
          if (Exit.isSuccess(exit)) log.push(`verdict ${exit.value}`)
        }),
      ),
    )
    const fibers = yield* asks
    const [, set] = yield* Effect.all([marshal, syncing], { concurrency: "unbounded" })
    while (node.acks().length < HEIGHTS) yield* Effect.yieldNow
    yield* Effect.forEach(fibers, Fiber.await)
    while ((yield* node.status).phase !== "open" || (yield* completeOn(node.disk)) === undefined) yield* Effect.yieldNow
    yield* node.executor
    const status = yield* node.status
    yield* node.end
    return { log, acks: node.acks(), set, tips: sync.heights, status, complete: yield* completeOn(node.disk) }
  })

describe("seeded schedules", () => {
  test("INV-8 INV-16 INV-22 INV-23 a join loses nothing, hands over once and answers nobody before that", () => {
    const met = { recorded: 0, handedOver: 0, verdicts: 0, orders: new Set<string>() }
    for (let seed = 1; seed <= SEEDS; seed++) {
      const exit = seededRun(seed, run(seed))
      if (Exit.isFailure(exit)) throw new Error(`seed ${seed}: ${String(exit.cause)}`)
      const { log, acks, set, tips, status, complete } = exit.value
      const note = `seed ${seed}`
      expect(acks, note).toEqual(Array.from({ length: HEIGHTS }, (_, i) => FLOOR + i))
      const hooks = log.filter((line) => line.startsWith("hook")).map((line) => Number(line.slice(5)))
      const recorded = tips.length > 1 ? tips.at(-1)! : FLOOR - 1
      const rest = Array.from({ length: FLOOR + HEIGHTS - 1 - recorded }, (_, i) => recorded + 1 + i)
      expect(hooks, note).toEqual(rest)
      const attached = log.findIndex((line) => line.startsWith("attached"))
      const verdict = log.findIndex((line) => line.startsWith("verdict"))
      expect(attached, note).toBeGreaterThanOrEqual(0)
      const lastHandedOver = complete! > tips.at(-1)! ? log.indexOf(`ack ${complete}`) : -1
      expect(attached, note).toBeGreaterThan(lastHandedOver)
      if (verdict >= 0) expect(verdict, note).toBeGreaterThan(attached)
      expect(log.includes("verdict false"), note).toBe(false)
      expect(complete, note).toBeGreaterThanOrEqual(tips.at(-1)!)
      expect(status, note).toMatchObject({ phase: "open", retained: 0, held: 0 })
      expect([set.mistakes, set.layers, set.openBatchCount], note).toEqual([[], 0, 0])
      met.recorded += tips.length - 1
      met.handedOver += complete! - tips.at(-1)!
      met.verdicts += log.filter((line) => line === "verdict true").length
      met.orders.add(log.join())
    }
    for (const count of [met.recorded, met.handedOver, met.verdicts]) expect(count).toBeGreaterThan(SEEDS / 3)
    expect(met.orders.size).toBeGreaterThan(SEEDS / 2)
  })
})
