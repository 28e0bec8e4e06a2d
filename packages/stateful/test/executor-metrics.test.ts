/**
 * Goal: every metric of the executor says what its help text says (spec stateful §12.5).
 * Method: the real actor over `ModelSet` in virtual time, brought to where each figure has a value of its own.
 */
import { it } from "@effect/vitest"
import { Effect, Fiber, Metric } from "effect"
import { TestClock } from "effect/testing"
import { describe, expect } from "vitest"
import { executorMetrics } from "../src/executor/metrics.ts"
import { ModelSet } from "./support/model-set.ts"
import { never, quiet, started } from "./support/running-executor.ts"
import { execute, TOY_GENESIS, ToyChain } from "./support/toy-chain.ts"

/** Values of the metrics by name, once nothing moves. */
const values = Effect.gen(function* () {
  yield* quiet
  const states = new Map((yield* Metric.snapshot).map(({ id, state }) => [id, state as unknown]))
  const named = Object.entries(executorMetrics).map(([name, { id }]) => [name, states.get(id)])
  return Object.fromEntries(named) as Readonly<Record<keyof typeof executorMetrics, unknown>>
})

/** Runs a scenario with metrics of its own. */
const measured = <A, E, R>(scenario: Effect.Effect<A, E, R>) =>
  Effect.provideService(scenario, Metric.MetricRegistry, new Map())

describe("metrics", () => {
  it.effect("have catalogued names with units and help, and follow what happens", () =>
    Effect.gen(function* () {
      const { chain, verify, finalize, end } = yield* started()
      const a = chain.grow(TOY_GENESIS, 1)
      expect(yield* verify(a)).toBe(true)
      expect(yield* verify(chain.grow(TOY_GENESIS, 2))).toBe(true)
      expect(yield* values).toMatchObject({ pendingBlocks: { value: 2 }, pendingBytes: { value: 200 } })
      yield* finalize(a)
      yield* quiet
      for (const metric of Object.values(executorMetrics)) {
        expect(metric.id).toMatch(/^coppice_stateful_[a-z_]+$/)
        expect(metric.description, metric.id).toMatch(/^[A-Z].{10,}[^.]$/)
      }
      expect(yield* values).toMatchObject({
        ...{ appliedHeight: { value: 1 }, durableHeight: { value: 1 }, syncDone: { value: 1 } },
        ...{ pendingBlocks: { value: 0 }, pendingBytes: { value: 0 }, prunedForks: { count: 1 } },
        ...{ verifyDuration: { count: 2 }, finalizeDuration: { count: 1 }, flushes: { count: 1 } },
      })
      yield* end
    }).pipe(measured),
  )

  it.effect("§12.5 durations are of what succeeded alone, in the buckets that the specification names", () =>
    Effect.gen(function* () {
      const { chain, verify, propose, end } = yield* started({
        hooks: {
          propose: () => Effect.succeed(undefined),
          verify: (context, ancestry, batches, tools) =>
            context.round.view === 1
              ? Effect.succeed(undefined)
              : Effect.flatMap(ancestry.next, (block) => execute(block!, batches, tools)).pipe(
                  Effect.delay("60 millis"),
                ),
        },
      })
      expect(yield* verify(chain.grow(TOY_GENESIS, 1))).toBe(false)
      expect(yield* propose(TOY_GENESIS, 2)).toBeUndefined()
      expect(yield* values).toMatchObject({ verifyDuration: { count: 0 }, proposeDuration: { count: 0 } })
      const asked = yield* Effect.forkChild(verify(chain.grow(TOY_GENESIS, 3)))
      yield* quiet
      yield* TestClock.adjust("60 millis")
      expect(yield* Fiber.join(asked)).toBe(true)
      const { verifyDuration } = yield* values
      expect(verifyDuration).toMatchObject({ count: 1, sum: 0.06 })
      const { buckets } = verifyDuration as { readonly buckets: ReadonlyArray<readonly [number, number]> }
      expect(buckets.map(([bound]) => bound).filter(Number.isFinite)).toEqual([
        ...[0.001, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1],
      ])
      expect(buckets.find(([bound]) => bound === 0.05)?.[1]).toBe(0)
      expect(buckets.find(([bound]) => bound === 0.075)?.[1]).toBe(1)
      yield* end
    }).pipe(measured),
  )

  it.effect("§12.5 the depth of a recovery is the number of blocks that were replayed for it", () =>
    Effect.gen(function* () {
      const { chain, verify, end } = yield* started()
      const deep = [1, 2, 3].reduce((parent, view) => chain.grow(parent, view), TOY_GENESIS)
      expect(yield* verify(deep)).toBe(true)
      expect(yield* values).toMatchObject({
        ...{ rebuildPendingDepth: { value: 2 }, rebuildPendingDuration: { count: 1 }, replayedBlocks: { count: 2 } },
      })
      expect(yield* verify(chain.grow(deep, 4)), "needs no recovery").toBe(true)
      expect(yield* values).toMatchObject({ rebuildPendingDepth: { value: 2 }, rebuildPendingDuration: { count: 1 } })
      yield* end
    }).pipe(measured),
  )

  it.effect("§12.5 flushes and prunes are timed each by itself, and the newest prune says what it kept", () =>
    Effect.gen(function* () {
      const set = new ModelSet(ToyChain.start)
      set.rewindHeights = 2
      set.gate = Effect.sleep("30 millis")
      set.pruneGate = Effect.sleep("70 millis")
      const { chain, finalize, end } = yield* started({ set, acks: 1, pruning: { interval: 1 } })
      const untouched = { flushDuration: { count: 0 }, pruneDuration: { count: 0 }, pruneHeight: { value: 0 } }
      expect(yield* values).toMatchObject(untouched)
      let block = TOY_GENESIS
      for (const view of [1, 2, 3]) {
        block = chain.grow(block, view)
        yield* finalize(block)
        yield* quiet
        yield* TestClock.adjust("30 millis")
        yield* quiet
        yield* TestClock.adjust("70 millis")
      }
      expect(set.prunes).toEqual([1, 2])
      const figures = yield* values
      expect(figures).toMatchObject({ flushes: { count: 3 }, flushDuration: { count: 3, min: 0.03, max: 0.03 } })
      expect(figures).toMatchObject({ prunes: { count: 2 }, pruneDuration: { count: 2, min: 0.07, max: 0.07 } })
      expect(figures).toMatchObject({ pruneHeight: { value: 2 }, durableHeight: { value: 3 } })
      yield* end
    }).pipe(measured),
  )

  it.effect("F65 tell what waits for room from what is parked, and count what was evicted", () =>
    Effect.gen(function* () {
      const chain = new ToyChain()
      const full = yield* started({ chain, limits: { pendingEntriesMax: 1 } })
      expect(yield* full.verify(chain.grow(TOY_GENESIS, 1))).toBe(true)
      expect(yield* full.verify(chain.grow(TOY_GENESIS, 2))).toBe(true)
      expect(yield* values).toMatchObject({ evictedBlocks: { count: 1 }, pendingBlocks: { value: 1 } })
      yield* full.end
      const { verify, port, end } = yield* started({
        chain,
        limits: { pendingEntriesMax: 1 },
        hooks: { verify: never },
      })
      for (const view of [3, 4, 5]) yield* Effect.forkChild(verify(chain.grow(TOY_GENESIS, view)))
      const candidate = chain.grow(TOY_GENESIS, 6)
      yield* Effect.forkChild(port.verify(candidate.context, { next: Effect.succeed(undefined) }))
      yield* quiet
      expect(yield* values).toMatchObject({
        ...{ openRequests: { value: 4 }, waitingRequests: { value: 2 }, parkedRequests: { value: 1 } },
        queuedVerifications: { value: 0 },
      })
      yield* end
    }).pipe(measured),
  )
})
