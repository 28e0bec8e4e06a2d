/**
 * Goal: the actor is right under every order in which its fibers, its callers and its hooks happen to run, and it needs
 * neither promises nor timers.
 * Method: a synchronous scheduler picks the next runnable task by seed. A small network's worth of verifications, leaving
 * callers, proposals and finalizations runs under many seeds; a promise anywhere inside would show as `Stuck`.
 */
import { Effect, Exit, Fiber, Scope } from "effect"
import { describe, expect, test } from "vitest"
import { Executor } from "../src/index.ts"
import { ModelSet } from "./support/model-set.ts"
import { Stuck, seededRun, yields } from "./support/seeded-run.ts"
import {
  contextOn,
  execute,
  recordingAck,
  TOY_GENESIS,
  type ToyBlock,
  ToyChain,
  toyApplication,
} from "./support/toy-chain.ts"

const HEIGHTS = 8
const SEEDS = 60

/** A chain to be finalized; beside every block a valid fork and a liar, which disagree with it. */
const grown = () => {
  const chain = new ToyChain(4)
  const main = [TOY_GENESIS]
  const forks: ToyBlock[] = []
  const liars: ToyBlock[] = []
  for (let height = 1; height <= HEIGHTS; height++) {
    const parent = main.at(-1)!
    const view = height * 10
    const [left] = [TOY_GENESIS.targets.left]
    liars.push(chain.grow(parent, view + 1, [["liar", 1]], { left }))
    const fork = chain.grow(parent, view + 2, [["fork", height]])
    forks.push(fork, chain.grow(fork, view + 3, [["fork", height]]))
    main.push(chain.grow(parent, view + 4, [["main", height]]))
  }
  return { chain, main: main.slice(1), forks, liars }
}

/** One run: its trace, and what is to be checked. */
const network = (seed: number) =>
  Effect.gen(function* () {
    let state = seed
    const dice = (sides: number): number => {
      state = (Math.imul(state, 48_271) + 11) % 2_147_483_647
      return Math.abs(state) % sides
    }
    const { chain, main, forks, liars } = grown()
    const trace: string[] = []
    const log: string[] = []
    const set = new ModelSet(ToyChain.start)
    set.gate = Effect.suspend(() => yields(dice(20)))
    set.rewindHeights = chain.pendingAcksMax + 1
    set.pruneGate = Effect.suspend(() => yields(dice(60)))
    const scope = yield* Scope.make()
    const slowly = (block: ToyBlock) => Effect.andThen(yields(dice(12)), Effect.succeed(block))
    const make = Executor.make({
      set,
      source: chain,
      limits: { pendingEntriesMax: 6, verificationsMax: 8 },
      pruning: { interval: 1 },
      application: toyApplication({
        verify: (_context, ancestry, batches, tools) =>
          Effect.flatMap(
            Effect.flatMap(ancestry.next, (block) => slowly(block!)),
            (block) => execute(block, batches, tools),
          ),
        apply: (block, batches, tools) => Effect.flatMap(slowly(block), () => execute(block, batches, tools)),
        finalized: (block) =>
          Effect.andThen(
            yields(dice(10)),
            Effect.sync(() => void trace.push(`hook ${block.height}`)),
          ),
      }),
    })
    const { port, status } = yield* Scope.provide(make, scope)
    const ask = (name: string, block: ToyBlock) =>
      Effect.gen(function* () {
        yield* yields(dice(60))
        const asked = yield* Effect.forkChild(port.verify(block.context, chain.ancestry(block)))
        if (dice(4) === 0) {
          yield* yields(dice(30))
          yield* Fiber.interrupt(asked)
        }
        const exit = yield* Fiber.await(asked)
        if (Exit.isSuccess(exit)) trace.push(`${name} ${block.height} ${exit.value}`)
      })
    const finalizing = Effect.gen(function* () {
      for (const block of main) {
        yield* yields(dice(60))
        while (log.length + chain.pendingAcksMax <= block.height - 1) yield* Effect.yieldNow
        chain.finalized[block.height] = block
        yield* port.finalized(block, recordingAck(log, block.height))
      }
    })
    const proposing = Effect.forEach(main, (parent) =>
      Effect.andThen(
        yields(dice(80)),
        Effect.forkChild(port.propose(contextOn(parent, 900 + parent.height), chain.ancestry(parent))),
      ),
    )
    const asks = [
      ...main.map((block) => ask("main", block)),
      ...forks.map((block) => ask("fork", block)),
      ...liars.map((block) => ask("liar", block)),
    ]
    yield* Effect.all([finalizing, proposing, ...asks], { concurrency: "unbounded" })
    while (log.length < main.length) yield* Effect.yieldNow
    yield* Scope.close(scope, Exit.void)
    return { trace, log, set, figures: yield* status, main }
  })

describe("seeded schedules", () => {
  test("verdicts, acks and hooks are right under every schedule, and nothing is left open", () => {
    const met = { refusedForks: 0, acceptedForks: 0, evicted: 0, replayed: 0, pruned: 0, traces: new Set<string>() }
    for (let seed = 1; seed <= SEEDS; seed++) {
      const exit = seededRun(seed, network(seed))
      if (Exit.isFailure(exit)) throw new Error(`seed ${seed}: ${String(exit.cause)}`)
      const { trace, log, set, figures, main } = exit.value
      const heights = main.map(({ height }) => height)
      const note = `seed ${seed}`
      expect(log, note).toEqual(heights.map((height) => `ack ${height}`))
      expect(
        trace.filter((line) => line.startsWith("hook")),
        note,
      ).toEqual(heights.map((height) => `hook ${height}`))
      expect(
        trace.filter((line) => /main .* false|liar .* true/.test(line)),
        note,
      ).toEqual([])
      expect(set.mistakes, note).toEqual([])
      expect([set.layers, set.openBatchCount], note).toEqual([0, 0])
      expect(set.tip.targets, note).toEqual(main.at(-1)!.targets)
      met.refusedForks += trace.filter((line) => /fork .* false/.test(line)).length
      met.acceptedForks += trace.filter((line) => /fork .* true/.test(line)).length
      const { durable, prunes } = set
      expect(
        prunes.every((height, i) => height > (prunes[i - 1] ?? 0) && height <= durable.height - 4),
        note,
      ).toBe(true)
      met.pruned += prunes.length
      met.evicted += figures.evicted
      met.replayed += figures.replayed
      met.traces.add(trace.join())
    }
    for (const count of [met.refusedForks, met.acceptedForks, met.evicted, met.replayed, met.pruned]) {
      expect(count, JSON.stringify(met)).toBeGreaterThan(SEEDS)
    }
    expect(met.traces.size).toBeGreaterThan(SEEDS / 2)
  })

  test("INV-33 whenever its caller leaves, a verification leaves nothing open", () => {
    const outcomes = new Set<string>()
    for (let leaving = 0; leaving < 80; leaving++) {
      for (const seed of [14, 15, 28, 29]) {
        const program = Effect.gen(function* () {
          const chain = new ToyChain()
          const set = new ModelSet(ToyChain.start)
          const scope = yield* Scope.make()
          const make = Executor.make({ application: toyApplication(), set, source: chain })
          const { port, status } = yield* Scope.provide(make, scope)
          const block = chain.grow(TOY_GENESIS, 1)
          const asked = yield* Effect.forkChild(port.verify(block.context, chain.ancestry(block)))
          yield* yields(leaving)
          yield* Fiber.interrupt(asked)
          yield* yields(200)
          const { pendingEntries, requests } = yield* status
          expect([set.layers, set.openBatchCount, requests], `left after ${leaving}`).toEqual([pendingEntries, 0, 0])
          outcomes.add(`${pendingEntries}`)
          yield* Scope.close(scope, Exit.void)
          expect(set.layers).toBe(0)
        })
        const exit = seededRun(seed, program)
        if (Exit.isFailure(exit)) throw new Error(`seed ${seed}: ${String(exit.cause)}`)
      }
    }
    expect(outcomes).toEqual(new Set(["0", "1"]))
  })

  test("the same seed gives the same run", () => {
    const traces = [0, 1].map(() => {
      const exit = seededRun(17, network(17))
      return Exit.isSuccess(exit) ? exit.value.trace : undefined
    })
    expect(traces[0]).toBeDefined()
    expect(traces[0]).toEqual(traces[1])
  })

  test("a promise in a hook is noticed", () => {
    const program = Effect.scoped(
      Effect.gen(function* () {
        const chain = new ToyChain()
        const application = toyApplication({ verify: () => Promise.resolve(undefined) })
        const set = new ModelSet(ToyChain.start)
        const { port } = yield* Executor.make({ application, set, source: chain })
        const block = chain.grow(TOY_GENESIS, 1)
        return yield* port.verify(block.context, chain.ancestry(block))
      }),
    )
    expect(() => seededRun(1, program)).toThrow(Stuck)
  })
})
