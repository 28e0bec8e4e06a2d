/**
 * Goal: old heights are forgotten on schedule, in set and marshal, and nothing that anybody may still ask for with them.
 * Method: the check value of the specification and a sweep over configurations, on the core's world; a running executor
 * whose prune is held back or fails; a real set whose leases and flushes cross its prunes. Canary: a schedule that looks at
 * what is applied instead of what is durable.
 */
import { Height } from "@coppice/consensus"
import { StorageWriteFailed } from "@coppice/storage"
import { it } from "@effect/vitest"
import { Deferred, Effect, Exit, Random, Scope } from "effect"
import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { step } from "../src/executor/core.ts"
import { pruneSchedule } from "../src/executor/pruning.ts"
import { HeightNotRetained } from "../src/index.ts"
import { advance, openSet } from "./support/chain.ts"
import { CoreWorld, GENESIS, tagOf, type WorldOptions } from "./support/core-world.ts"
import { Disk } from "./support/disk.ts"
import { ModelSet } from "./support/model-set.ts"
import { quiet, started } from "./support/running-executor.ts"
import { TOY_GENESIS, type ToyBlock, ToyChain } from "./support/toy-chain.ts"

/** Finalizes a chain of a height, flushing each block before the next or several at once. */
const grown = (world: CoreWorld, heights: number, flushEvery = 1) => {
  let block = world.tip.of
  for (let i = 0; i < heights; i++) {
    const height = block.height + 1
    block = world.grow(block, `h${height}`, height)
    world.finalize(block)
    world.finish(world.job("apply"))
    if (height % flushEvery === 0) world.drain()
  }
  world.drain()
  return block
}

/** Acks in flight, heights from prune to prune, and what marshal and the set keep beyond the ack window and one. */
const scheduled = (acks: number, interval: number, marshal: number, set: number, offset = 0): WorldOptions => ({
  pendingAcksMax: acks,
  schedule: pruneSchedule({ interval, marshalBlocks: acks + 1 + marshal }, { rewindHeights: acks + 1 + set }, offset),
})

describe("schedule", () => {
  test("one ack, every third height, 3 and 1 more blocks: the first prune is at height 6, marshal to 2, set to 4", () => {
    const world = new CoreWorld(scheduled(1, 3, 3, 1))
    grown(world, 5)
    expect(world.prunes).toEqual([])
    grown(world, 1)
    expect(world.prunes).toEqual([{ set: 4, marshal: 2 }])
    grown(world, 2)
    expect(world.prunes).toHaveLength(1)
    grown(world, 1)
    expect(world.prunes.at(-1)).toEqual({ set: 7, marshal: 5 })
  })

  test("INV-12 INV-30 INV-31 whatever the windows, the offset and the flushes, what is needed stays", () => {
    let prunes = 0
    fc.assert(
      fc.property(
        fc.record({
          acks: fc.integer({ min: 4, max: 6 }),
          interval: fc.integer({ min: 1, max: 5 }),
          set: fc.integer({ min: 0, max: 4 }),
          more: fc.integer({ min: 0, max: 4 }),
          offset: fc.nat({ max: 4 }),
          flushEvery: fc.integer({ min: 1, max: 4 }),
        }),
        ({ acks, interval, set, more, offset, flushEvery }) => {
          const world = new CoreWorld(scheduled(acks, interval, set + more, set, offset % interval))
          grown(world, 40, flushEvery)
          world.checkRest()
          expect(world.prunes.length).toBeGreaterThan(0)
          prunes += world.prunes.length
        },
      ),
      { numRuns: 60 },
    )
    expect(prunes).toBeGreaterThan(200)
  })

  test("canary: a core that counts from what is applied is caught", () => {
    const world = new CoreWorld({
      ...scheduled(4, 1, 0, 0),
      step: (core, event) =>
        step(core, event).map((action) =>
          action.type === "run" && action.work.kind === "prune"
            ? { ...action, work: { ...action.work, set: core.tip.anchor.height } }
            : action,
        ),
    })
    expect(() => grown(world, 8, 4)).toThrow(/INV-30|INV-12/)
  })

  test("a prune that becomes due while one runs follows it, once, with what is durable then", () => {
    const world = new CoreWorld(scheduled(2, 1, 0, 0))
    let block = GENESIS
    for (let height = 1; height <= 8; height++) {
      block = world.grow(block, `h${height}`, height)
      world.finalize(block)
      for (const kind of ["apply", "flush", "finalized"] as const) world.finish(world.job(kind))
    }
    expect(world.prunes).toEqual([{ set: 1, marshal: 1 }])
    world.finish(world.job("prune"))
    expect(world.prunes).toEqual([
      { set: 1, marshal: 1 },
      { set: 6, marshal: 6 },
    ])
  })

  test("§10.7 §14.2 what becomes due in the handover of a synced set is held until its plan is complete, then goes once", () => {
    const world = new CoreWorld({ ...scheduled(2, 1, 0, 0), covered: true })
    grown(world, 8)
    expect(world.prunes).toEqual([])
    world.complete()
    world.drain()
    expect(world.prunes).toEqual([{ set: 6, marshal: 6 }])
    grown(world, 1)
    expect(world.prunes.at(-1)).toEqual({ set: 7, marshal: 7 })
    const idle = new CoreWorld({ ...scheduled(2, 1, 0, 0), covered: true })
    idle.complete()
    expect(idle.prunes, "nothing was due").toEqual([])
  })

  test("F30 after a shutdown nothing is pruned; a prune that fails is fatal", () => {
    const world = new CoreWorld(scheduled(1, 1, 0, 0))
    grown(world, 3)
    const again = world.grow(world.tip.of, "next", 9)
    world.finalize(again)
    world.finish(world.job("apply"))
    world.send({ type: "shutdown" })
    expect(world.jobs.size).toBe(0)
    const failing = new CoreWorld(scheduled(1, 1, 0, 0))
    const block = failing.grow(GENESIS, "a", 1)
    failing.finalize(block)
    for (const kind of ["apply", "flush", "finalized"] as const) failing.finish(failing.job(kind))
    failing.finalize(failing.grow(block, "b", 2))
    for (const kind of ["apply", "flush"] as const) failing.finish(failing.job(kind))
    failing.settle(failing.job("prune"), { kind: "failed", cause: new Error("no more") })
    expect(tagOf(failing)).toBe("PruneFailed")
  })

  test("F61 a configuration by which marshal keeps less than the set is a mistake of the programmer", () => {
    const set = { rewindHeights: 6 }
    expect(pruneSchedule({ interval: 2, marshalBlocks: 6 }, set, 0)).toMatchObject({ marshalWindow: 6, setWindow: 6 })
    for (const wrong of [{ interval: 0 }, { interval: 1.5 }, { marshalBlocks: 5 }, { marshalBlocks: Number.NaN }]) {
      expect(() => pruneSchedule({ interval: 2, marshalBlocks: 6, ...wrong }, set, 0), JSON.stringify(wrong)).toThrow(
        RangeError,
      )
    }
  })
})

/** A chain of toy blocks finalized one after the other. */
const finalizedChain = Effect.fnUntraced(function* (
  { chain, finalize }: Effect.Success<ReturnType<typeof started>>,
  heights: number,
) {
  let block: ToyBlock = TOY_GENESIS
  for (let view = 1; view <= heights; view++) {
    block = chain.grow(block, view)
    yield* finalize(block)
    yield* quiet
  }
})

/** A set that can go back to so many heights. */
const keeping = (rewindHeights: number): ModelSet => {
  const set = new ModelSet(ToyChain.start)
  set.rewindHeights = rewindHeights
  return set
}

describe("executor", () => {
  it.effect("prunes the set, then marshal; a prune that hangs delays no block and no ack", () =>
    Effect.gen(function* () {
      const marshal: number[] = []
      const gate = yield* Deferred.make<void>()
      const world = yield* started({
        pruning: {
          interval: 1,
          marshal: { blocks: 5, prune: (height) => Effect.sync(() => void marshal.push(height)) },
        },
        acks: 2,
        set: keeping(4),
      })
      world.set.pruneGate = Deferred.await(gate)
      yield* finalizedChain(world, 9)
      expect(world.log).toHaveLength(9)
      expect([world.set.prunes, marshal]).toEqual([[], []])
      yield* Deferred.succeed(gate, undefined)
      yield* quiet
      expect(world.set.prunes).toEqual([2, 6])
      expect(marshal).toEqual([1, 5])
      expect((yield* world.status).pruned).toBe(6)
      yield* world.end
    }),
  )

  it.effect("a prune that fails stops the executor with what it wanted to keep", () =>
    Effect.gen(function* () {
      const world = yield* started({
        pruning: { interval: 1 },
        acks: 1,
        set: keeping(2),
      })
      world.set.pruneGate = Effect.fail(new StorageWriteFailed({ environment: "toy", reason: "io", cause: "broken" }))
      yield* finalizedChain(world, 3).pipe(Effect.ignore)
      const exit = yield* Effect.exit(world.executor.stopped)
      expect(Exit.isFailure(exit) && exit.cause.reasons[0]).toMatchObject({
        error: { _tag: "PruneFailed", height: 1, cause: { _tag: "StorageWriteFailed" } },
      })
      yield* world.end
    }),
  )

  it.effect("validators do not prune in lockstep: the offset comes from chance", () =>
    Effect.gen(function* () {
      const firsts = new Set<number>()
      for (let seed = 0; seed < 12; seed++) {
        const world = yield* Effect.provideService(
          started({
            pruning: { interval: 4 },
            acks: 1,
            set: keeping(2),
          }),
          Random.Random,
          { nextDoubleUnsafe: () => seed / 12, nextIntUnsafe: () => seed },
        )
        yield* finalizedChain(world, 6)
        firsts.add(world.set.prunes[0]!)
        yield* world.end
      }
      expect(firsts.size).toBe(4)
    }),
  )

  it.effect("F32 an ack window wider than what the set can go back to keeps the executor from starting", () =>
    Effect.gen(function* () {
      const exit = yield* Effect.exit(started({ acks: 64 }))
      expect(Exit.isFailure(exit) && exit.cause.reasons[0]).toMatchObject({
        _tag: "Die",
        defect: expect.any(RangeError),
      })
    }),
  )
})

describe("leases on a set", () => {
  const grownSet = Effect.fnUntraced(function* (heights: number) {
    const set = yield* openSet(new Disk().open(), { pendingAcksMax: 3, rewindHeights: 12 })
    for (let i = 0; i < heights; i++) {
      yield* advance(set)
      yield* set.flush
    }
    return set
  })
  const prunedTo = (set: Effect.Success<ReturnType<typeof grownSet>>) =>
    set.use("read", ({ balances }) => balances.pruned)

  it.effect("a prune keeps what a lease holds, and the next one forgets it", () =>
    Effect.gen(function* () {
      const set = yield* grownSet(10)
      const scope = yield* Scope.make()
      const held = yield* Scope.provide(set.lease(Height(4)), scope)
      const other = yield* Scope.make()
      yield* Scope.provide(set.lease(Height(4)), other)
      yield* set.prune(Height(8))
      expect(prunedTo(set)).toBe(held.targets.balances.start)
      yield* Scope.close(other, Exit.void)
      yield* set.prune(Height(8))
      expect(prunedTo(set), "the first lease still holds").toBe(held.targets.balances.start)
      yield* Scope.close(scope, Exit.void)
      yield* set.prune(Height(8))
      expect(prunedTo(set)).toBe(set.row(Height(8))!.targets.balances.start)
      expect(prunedTo(set)).toBeGreaterThan(held.targets.balances.start)
    }),
  )

  it.effect("a height is not leased once a prune past it has begun, nor one that is not durable", () =>
    Effect.gen(function* () {
      const set = yield* grownSet(10)
      const late = yield* Effect.all([set.prune(Height(8)), Effect.exit(Effect.scoped(set.lease(Height(3))))], {
        concurrency: "unbounded",
      })
      expect(late[1]).toEqual(Exit.fail(expect.any(HeightNotRetained)))
      yield* advance(set)
      expect(yield* Effect.exit(Effect.scoped(set.lease(Height(11))))).toEqual(Exit.fail(expect.any(HeightNotRetained)))
      expect((yield* Effect.scoped(set.lease(Height(8)))).height).toBe(8)
    }),
  )
})
