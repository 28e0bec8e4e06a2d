/**
 * Goal: the executor as its callers see it: answers, finalization, acks.
 * Method: the real actor over `ModelSet` and a toy application whose hooks each test replaces; every scenario ends by
 * closing the executor's scope and looking for forks and batches left open. Effects run in virtual time; only the tests of
 * promise hooks have promises in them.
 */
import { anchorOf, ExecutorStopped } from "@coppice/consensus"
import { Location } from "@coppice/merkle"
import { StaleBatch } from "@coppice/qmdb"
import { StorageDead } from "@coppice/storage"
import { it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Logger, Metric } from "effect"
import { TestClock } from "effect/testing"
import { describe, expect } from "vitest"
import { executorMetrics } from "../src/executor/metrics.ts"
import { type FatalError, VERIFICATIONS_MAX } from "../src/index.ts"
import { ModelSet } from "./support/model-set.ts"
import { never, path, quiet, started, stoppedBy } from "./support/running-executor.ts"
import { contextOn, execute, recordingAck, TOY_GENESIS, type ToyBlock, ToyChain } from "./support/toy-chain.ts"

/** A false target of the second member for a header over the first block's state. */
const right = (change: (target: ToyBlock["targets"]["right"]) => ToyBlock["targets"]["right"]) => {
  const honest = new ToyChain().grow(TOY_GENESIS, 1)
  return { right: change(honest.targets.right) }
}
const otherCanonical = right((target) => ({ ...target, canonical: target.root }))

describe("answers", () => {
  it.effect("a chain of proposals is verified, finalized, made durable and acknowledged", () =>
    Effect.gen(function* () {
      const { chain, set, log, verify, propose, finalize, status, end } = yield* started()
      let parent = TOY_GENESIS
      for (let view = 1; view <= 5; view++) {
        const block = yield* propose(parent, view)
        parent = chain.learn(block!)
        expect(yield* verify(parent)).toBe(true)
      }
      expect(yield* status).toMatchObject({ pendingEntries: 5, pendingBytes: 500, requests: 0, replayed: 0 })
      for (const block of [...chain.finalized, ...(yield* path(chain, parent))].slice(1)) yield* finalize(block)
      yield* quiet
      expect(log).toEqual(["ack 1", "ack 2", "ack 3", "ack 4", "ack 5"])
      expect(set.durable).toEqual(anchorOf(parent))
      expect(set.tip.targets).toEqual(parent.targets)
      expect(yield* status).toMatchObject({ tip: { height: 5 }, durable: { height: 5 }, pendingEntries: 0, unacked: 0 })
      yield* end
    }),
  )

  it.effect("F1 a proposal whose header lies about its state stops the executor; no block is returned", () =>
    Effect.gen(function* () {
      const chain = new ToyChain()
      const { propose, executor, end } = yield* started({
        chain,
        hooks: {
          propose: (context, _ancestry, batches, tools) =>
            Effect.map(execute({ changes: [["n", 2]] }, batches, tools), (sealed) => ({
              block: { ...chain.grow(TOY_GENESIS, context.round.view, [["n", 1]]), context },
              sealed,
            })),
        },
      })
      const asked = yield* Effect.forkChild(propose(TOY_GENESIS, 1))
      const fatal = yield* Effect.flip(executor.stopped)
      expect(fatal).toMatchObject({ _tag: "ProposalCommitmentMismatch", height: 1, member: "left" })
      yield* quiet
      expect(stoppedBy(asked)).toBe(fatal)
      yield* end
    }),
  )

  it.effect("F1 a proposal with the state's root and another canonical root is that mismatch, of that member", () =>
    Effect.gen(function* () {
      const chain = new ToyChain()
      const { propose, executor, end } = yield* started({
        chain,
        hooks: {
          propose: (context, _ancestry, batches, tools) =>
            Effect.map(execute({ changes: [["n", 1]] }, batches, tools), (sealed) => ({
              block: { ...chain.grow(TOY_GENESIS, context.round.view, [["n", 1]], otherCanonical), context },
              sealed,
            })),
        },
      })
      yield* Effect.forkChild(propose(TOY_GENESIS, 1))
      expect(yield* Effect.flip(executor.stopped)).toMatchObject({
        _tag: "ProposalCommitmentMismatch",
        height: 1,
        member: "right",
      })
      yield* end
    }),
  )

  it.effect.each([
    ["root", right((target) => ({ ...target, root: new Uint8Array(32) }))],
    ["range start", right((target) => ({ ...target, start: Location(1) }))],
    ["range end", right((target) => ({ ...target, end: Location(target.end + 1) }))],
    ["canonical root", otherCanonical],
    ["canonical root, left out,", right(({ canonical: _, ...target }) => target)],
  ] as const)("F2 a header with a wrong %s of its second member is false and is not cached", ([, lie]) =>
    Effect.gen(function* () {
      const { chain, verify, status, end } = yield* started()
      expect(yield* verify(chain.grow(TOY_GENESIS, 1, [["n", 1]], lie))).toBe(false)
      expect(yield* status).toMatchObject({ pendingEntries: 0 })
      yield* end
    }),
  )

  it.effect("F3 a verification that gives nothing is false", () =>
    Effect.gen(function* () {
      const { chain, verify, end } = yield* started({ hooks: { verify: () => Effect.succeed(undefined) } })
      expect(yield* verify(chain.grow(TOY_GENESIS, 1))).toBe(false)
      yield* end
    }),
  )

  it.effect("F4 INV-42 a verification that never ends stays open until its caller leaves; all else proceeds", () =>
    Effect.gen(function* () {
      const stuck = new Set<string>()
      const { chain, verify, finalize, log, status, end } = yield* started({
        hooks: {
          verify: (context, ancestry, batches, tools) =>
            stuck.has(String(context.round.view))
              ? Effect.never
              : Effect.flatMap(ancestry.next, (block) => execute(block!, batches, tools)),
        },
      })
      const a = chain.grow(TOY_GENESIS, 1)
      const b = chain.grow(a, 2)
      stuck.add("3")
      expect(yield* verify(a)).toBe(true)
      const open = yield* Effect.forkChild(verify(chain.grow(b, 3)))
      expect(yield* verify(b)).toBe(true)
      yield* finalize(a)
      yield* finalize(b)
      yield* quiet
      expect(log).toEqual(["ack 1", "ack 2"])
      expect(open.pollUnsafe()).toBeUndefined()
      yield* Fiber.interrupt(open)
      yield* quiet
      expect(yield* status).toMatchObject({ requests: 0 })
      yield* end
    }),
  )

  it.effect(
    "F5 interrupting a caller interrupts its hook, closes its batches, and keeps the ancestors it replayed",
    () =>
      Effect.gen(function* () {
        let interrupted = false
        const { chain, set, verify, status, end } = yield* started({
          hooks: {
            verify: () =>
              Effect.onInterrupt(Effect.never, () =>
                Effect.sync(() => {
                  interrupted = true
                }),
              ),
          },
        })
        const a = chain.grow(TOY_GENESIS, 1)
        const open = yield* Effect.forkChild(verify(chain.grow(a, 2)))
        yield* quiet
        expect(set.openBatchCount).toBe(1)
        yield* Fiber.interrupt(open)
        yield* quiet
        expect(interrupted).toBe(true)
        expect(set.openBatchCount).toBe(0)
        expect(yield* status).toMatchObject({ requests: 0, pendingEntries: 1, replayed: 1 })
        yield* end
      }),
  )

  it.effect("F8 F14 F15 F16 blocks at and below the tip are answered from the chain; a source that ended parks", () =>
    Effect.gen(function* () {
      const { chain, verify, finalize, status, end } = yield* started()
      const [a, a2] = [chain.grow(TOY_GENESIS, 1), chain.grow(TOY_GENESIS, 2)]
      const [b, b2] = [chain.grow(a, 3), chain.grow(a2, 4)]
      yield* finalize(a)
      yield* finalize(b)
      yield* quiet
      expect(yield* verify(b)).toBe(true)
      expect(yield* verify(b2)).toBe(false)
      expect(yield* verify(a)).toBe(true)
      expect(yield* verify(a2)).toBe(false)
      const deep = chain.grow(chain.grow(chain.grow(b, 5), 6), 7)
      let fetches = 0
      chain.parentOf = () =>
        Effect.sync(() => {
          fetches++
          return undefined
        })
      const open = yield* Effect.forkChild(verify(deep))
      yield* quiet
      expect(open.pollUnsafe()).toBeUndefined()
      expect(yield* status).toMatchObject({ parked: 1 })
      expect(fetches).toBe(1)
      yield* Fiber.interrupt(open)
      yield* end
    }),
  )

  it.effect("INV-40 a replay on another node gives the state that the proposer sealed", () =>
    Effect.gen(function* () {
      const proposer = yield* started()
      const a = proposer.chain.learn((yield* proposer.propose(TOY_GENESIS, 1))!)
      const b = proposer.chain.learn((yield* proposer.propose(a, 2))!)
      const other = yield* started({ chain: proposer.chain })
      for (const block of [a, b]) yield* other.finalize(block)
      yield* quiet
      expect(other.set.tip.targets).toEqual(b.targets)
      expect(yield* other.status).toMatchObject({ replayed: 2, tip: { height: 2 } })
      yield* proposer.end
      yield* other.end
    }),
  )

  it.effect(
    "a caller hears its answer after the turn that gave it: a second verdict on one block has left no state",
    () =>
      Effect.gen(function* () {
        const both = yield* Deferred.make<void>()
        let sealed = 0
        const { chain, set, verify, end } = yield* started({
          hooks: {
            verify: (_context, ancestry, batches, tools) =>
              Effect.gen(function* () {
                const state = yield* execute((yield* ancestry.next)!, batches, tools)
                if (++sealed === 2) Deferred.doneUnsafe(both, Effect.void)
                yield* Deferred.await(both)
                return state
              }),
          },
        })
        const a = chain.grow(TOY_GENESIS, 1)
        const layers = Effect.map(
          Effect.suspend(() => verify(a)),
          (valid) => [valid, set.layers],
        )
        expect(yield* Effect.all([layers, layers], { concurrency: 2 })).toEqual([
          [true, 2],
          [true, 1],
        ])
        yield* end
      }),
  )

  it.effect("INV-42 as many verifications as may be abstain; a proposal is answered at once all the same", () =>
    Effect.gen(function* () {
      const { chain, verify, propose, status, end } = yield* started({ hooks: { verify: never } })
      for (let view = 1; view <= VERIFICATIONS_MAX + 1; view++) {
        yield* Effect.forkChild(verify(chain.grow(TOY_GENESIS, view)))
      }
      yield* quiet
      expect(yield* status).toMatchObject({ requests: VERIFICATIONS_MAX + 1, queued: 1 })
      expect((yield* propose(TOY_GENESIS, 1000))?.height).toBe(1)
      yield* end
    }),
  )

  it.effect("INV-42 a caller who is answered at once, and asks again at once, leaves the thread to others", () =>
    Effect.gen(function* () {
      const { port, end } = yield* started()
      let left = 10_000
      const ask: Effect.Effect<void, unknown> = Effect.suspend(() =>
        left-- === 0
          ? Effect.void
          : Effect.flatMap(port.propose(contextOn(TOY_GENESIS, 1), { next: Effect.succeed(undefined) }), () => ask),
      )
      const asking = yield* Effect.forkChild(ask)
      yield* quiet
      expect(left).toBeGreaterThan(0)
      expect(left, "it is answered all the same").toBeLessThan(9_990)
      yield* Fiber.interrupt(asking)
      yield* end
    }),
  )

  it.effect("callers above the limit wait for a place, in a gauge, and are answered then; their wait counts", () =>
    Effect.gen(function* () {
      const value = (metric: { readonly id: string }) =>
        Effect.map(Metric.snapshot, (all) => all.find(({ id }) => id === metric.id)?.state)
      const { chain, verify, end } = yield* started({
        limits: { verificationsMax: 1 },
        hooks: {
          verify: (context, ancestry, batches, tools) =>
            context.round.view === 1
              ? Effect.never
              : Effect.flatMap(ancestry.next, (block) => execute(block!, batches, tools)),
        },
      })
      const first = yield* Effect.forkChild(verify(chain.grow(TOY_GENESIS, 1)))
      yield* quiet
      const second = yield* Effect.forkChild(verify(chain.grow(TOY_GENESIS, 2)))
      yield* quiet
      expect(second.pollUnsafe()).toBeUndefined()
      expect(yield* value(executorMetrics.queuedVerifications)).toMatchObject({ value: 1 })
      yield* TestClock.adjust("3 seconds")
      yield* Fiber.interrupt(first)
      expect(yield* Fiber.join(second)).toBe(true)
      expect(yield* value(executorMetrics.queuedVerifications)).toMatchObject({ value: 0 })
      expect(yield* value(executorMetrics.verifyDuration), "from the request").toMatchObject({ count: 1, sum: 3 })
      yield* end
    }).pipe(Effect.provideService(Metric.MetricRegistry, new Map())),
  )

  it.effect("INV-14 a verification above the limit of held ones is never answered, and hears of the end", () =>
    Effect.gen(function* () {
      const { chain, verify, end } = yield* started({
        limits: { verificationsMax: 1, heldVerificationsMax: 1 },
        hooks: { verify: never },
      })
      const asked = yield* Effect.forEach([1, 2, 3], (view) => Effect.forkChild(verify(chain.grow(TOY_GENESIS, view))))
      yield* quiet
      const dropped = (yield* Metric.snapshot).find(({ id }) => id === executorMetrics.droppedVerifications.id)
      expect(dropped?.state).toMatchObject({ count: 1 })
      yield* Fiber.interrupt(asked[0]!)
      yield* quiet
      expect(asked[2]!.pollUnsafe()).toBeUndefined()
      yield* end
      yield* quiet
      const [reason] = (yield* Effect.flip(Effect.sandbox(Fiber.join(asked[2]!)))).reasons
      expect(reason).toMatchObject({ _tag: "Fail", error: { _tag: "ExecutorStopped" } })
    }).pipe(Effect.provideService(Metric.MetricRegistry, new Map())),
  )
})

describe("finalization", () => {
  it.effect(
    "INV-9 acks wait for the flush that covers them; one flush at a time covers what was applied meanwhile",
    () =>
      Effect.gen(function* () {
        const set = new ModelSet(ToyChain.start)
        const gate = yield* Deferred.make<void>()
        set.gate = Deferred.await(gate)
        const { chain, log, finalize, status, end } = yield* started({ set })
        const a = chain.grow(TOY_GENESIS, 1)
        const b = chain.grow(a, 2)
        const c = chain.grow(b, 3)
        for (const block of [a, b, c]) yield* finalize(block)
        yield* quiet
        expect(yield* status).toMatchObject({ tip: { height: 3 }, durable: { height: 0 }, unacked: 3 })
        expect(log).toEqual([])
        yield* Deferred.succeed(gate, undefined)
        yield* quiet
        expect(log).toEqual(["ack 1", "ack 2", "ack 3"])
        expect(set.flushes).toBe(2)
        expect(yield* status).toMatchObject({ flushes: 2, durable: { height: 3 } })
        yield* end
      }),
  )

  it.effect("INV-16 the hook runs after durability and before the ack, and later blocks execute meanwhile", () =>
    Effect.gen(function* () {
      const set = new ModelSet(ToyChain.start)
      const gate = yield* Deferred.make<void>()
      const { chain, log, finalize, verify, status, end } = yield* started({
        set,
        hooks: {
          finalized: (block, readers) =>
            Effect.gen(function* () {
              log.push(`hook ${block.height} durable ${set.durable.height} reads ${readers.left.get("n")}`)
              if (block.height === 1) yield* Deferred.await(gate)
            }),
        },
      })
      const a = chain.grow(TOY_GENESIS, 1)
      const b = chain.grow(a, 2)
      yield* finalize(a)
      yield* quiet
      expect(log).toEqual(["hook 1 durable 1 reads 1"])
      expect(yield* verify(b)).toBe(true)
      yield* finalize(b)
      yield* quiet
      expect(yield* status).toMatchObject({ tip: { height: 2 }, durable: { height: 2 }, unacked: 2 })
      yield* Deferred.succeed(gate, undefined)
      yield* quiet
      expect(log.slice(1)).toEqual(["ack 1", "hook 2 durable 2 reads 3", "ack 2"])
      yield* end
    }),
  )

  it.effect(
    "§2.5 a hook reads the newest applied block, ahead of its own; the anchor names it, also when it moves on",
    () =>
      Effect.gen(function* () {
        const set = new ModelSet(ToyChain.start)
        const [flush, hook] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
        set.gate = Deferred.await(flush)
        const { chain, log, finalize, end } = yield* started({
          set,
          hooks: {
            finalized: ({ height }, readers, anchor) =>
              Effect.gen(function* () {
                const look = () =>
                  log.push(`hook ${height} reads ${readers.left.get("n")} of height ${anchor().height}`)
                look()
                if (height > 1) return
                yield* Deferred.await(hook)
                look()
              }),
          },
        })
        const [a, b] = [chain.grow(TOY_GENESIS, 1), chain.grow(chain.grow(TOY_GENESIS, 1), 2)]
        for (const block of [a, b]) yield* finalize(block)
        yield* quiet
        yield* Deferred.succeed(flush, undefined)
        yield* quiet
        expect(log).toEqual(["hook 1 reads 3 of height 2"])
        yield* finalize(chain.grow(b, 3))
        yield* quiet
        yield* Deferred.succeed(hook, undefined)
        yield* quiet
        expect(log.slice(1)).toEqual([
          "hook 1 reads 6 of height 3",
          ...["ack 1", "hook 2 reads 6 of height 3", "ack 2", "hook 3 reads 6 of height 3", "ack 3"],
        ])
        yield* end
      }),
  )

  const fatals: ReadonlyArray<readonly [string, FatalError["_tag"], (chain: ToyChain) => ReadonlyArray<ToyBlock>]> = [
    [
      "F20 another block at the tip's height",
      "ConflictingFinalized",
      (c) => [c.grow(TOY_GENESIS, 1), c.grow(TOY_GENESIS, 2)],
    ],
    ["F22 a block that skips a height", "FinalizedGap", (c) => [c.grow(c.grow(TOY_GENESIS, 1), 2)]],
    [
      "F22 a block with a foreign parent",
      "FinalizedParentMismatch",
      (c) => [c.grow(TOY_GENESIS, 1), c.grow(c.grow(TOY_GENESIS, 2), 3)],
    ],
    [
      "F24 a block that replays to another state",
      "FinalizedCommitmentMismatch",
      (c) => [c.grow(TOY_GENESIS, 1, [["n", 1]], { left: TOY_GENESIS.targets.left })],
    ],
    [
      "F24 a block with the root of its state and another canonical root",
      "FinalizedCommitmentMismatch",
      (c) => [c.grow(TOY_GENESIS, 1, [["n", 1]], otherCanonical)],
    ],
  ]
  it.effect.each(fatals)("%s is fatal: its ack is cancelled and callers fail with the same error", ([, tag, blocks]) =>
    Effect.gen(function* () {
      const { chain, set, log, executor, verify, finalize, end } = yield* started({ hooks: { verify: never } })
      const open = yield* Effect.forkChild(verify(chain.grow(TOY_GENESIS, 9, [["other", 1]])))
      yield* quiet
      const list = blocks(chain)
      for (const block of list) yield* finalize(block, recordingAck(log, 10 + log.length))
      const fatal = yield* Effect.flip(executor.stopped)
      expect(fatal._tag).toBe(tag)
      yield* quiet
      expect(log.filter((line) => line.startsWith("cancel")).length).toBeGreaterThan(0)
      expect(set.anchor.height).toBe(list.length - 1)
      if (list.length === 1) expect(stoppedBy(open)).toBe(fatal)
      const late = recordingAck(log, 99)
      expect(yield* Effect.flip(finalize(list[0]!, late))).toBeInstanceOf(ExecutorStopped)
      expect(log.at(-1)).toBe("cancel 99")
      expect(yield* Effect.flip(verify(list[0]!))).toBeInstanceOf(ExecutorStopped)
      yield* end
    }),
  )

  it.effect("F29 a flush that fails is fatal with what was durable; no ack is released", () =>
    Effect.gen(function* () {
      const set = new ModelSet(ToyChain.start)
      const cause = new StorageDead({ environment: "toy", cause: "power" })
      set.gate = Effect.fail(cause)
      const { chain, log, executor, finalize, end } = yield* started({ set })
      yield* finalize(chain.grow(TOY_GENESIS, 1))
      expect(yield* Effect.flip(executor.stopped)).toMatchObject({ _tag: "FlushFailed", durable: 0, applied: 1, cause })
      yield* quiet
      expect(log).toEqual(["cancel 1"])
      yield* end
    }),
  )

  it.effect.each([
    ["fails", () => Effect.fail(new Error("hook"))],
    [
      "throws",
      () => {
        throw new Error("hook")
      },
    ],
  ] as const)("F31 a finalized hook that %s is fatal, and its block is not acknowledged", ([, finalized]) =>
    Effect.gen(function* () {
      const { chain, set, log, executor, finalize, end } = yield* started({ hooks: { finalized } })
      yield* finalize(chain.grow(TOY_GENESIS, 1))
      expect(yield* Effect.flip(executor.stopped)).toMatchObject({
        _tag: "FinalizedHookFailed",
        height: 1,
        cause: { message: "hook" },
      })
      yield* quiet
      expect(log).toEqual(["cancel 1"])
      expect(set.durable.height).toBe(1)
      yield* end
    }),
  )

  it.effect("F62 a state that the set finds stale is never applied: fatal, databases untouched, no ack", () =>
    Effect.gen(function* () {
      const set = new ModelSet(ToyChain.start)
      const { chain, log, executor, verify, finalize, end } = yield* started({ set })
      const a = chain.grow(TOY_GENESIS, 1)
      expect(yield* verify(a)).toBe(true)
      const apply = set.apply.bind(set)
      set.apply = (sealed, anchor) => {
        set.close(sealed)
        apply(sealed, anchor)
      }
      yield* finalize(a)
      const fatal = yield* Effect.flip(executor.stopped)
      expect(fatal).toMatchObject({ _tag: "ApplyFailed", height: 1 })
      expect((fatal as { cause?: unknown }).cause).toBeInstanceOf(StaleBatch)
      yield* quiet
      expect(log).toEqual(["cancel 1"])
      expect(set.anchor.height).toBe(0)
      yield* end
    }),
  )

  it.effect("F65 at the budget honest work waits or goes on after eviction; finalization is not asked", () =>
    Effect.gen(function* () {
      const { chain, log, verify, finalize, status, end } = yield* started({ limits: { pendingEntriesMax: 2 } })
      const a = chain.grow(TOY_GENESIS, 1)
      const b = chain.grow(a, 2)
      const c = chain.grow(b, 3)
      expect(yield* verify(a)).toBe(true)
      expect(yield* verify(b)).toBe(true)
      const waiting = yield* Effect.forkChild(verify(c))
      yield* quiet
      expect(waiting.pollUnsafe()).toBeUndefined()
      expect(yield* status).toMatchObject({ waiting: 1, evicted: 0 })
      yield* finalize(a)
      expect(yield* Fiber.join(waiting)).toBe(true)
      expect(yield* verify(chain.grow(a, 4))).toBe(true)
      expect(yield* status).toMatchObject({ waiting: 0, evicted: 1, pendingEntries: 2 })
      yield* quiet
      expect(log).toEqual(["ack 1"])
      yield* end
    }),
  )

  it.effect("F65 where there is scratch a chain grows past the budget, and people are told once", () => {
    const warnings: unknown[] = []
    const logger = Logger.make(({ message }) => void warnings.push([message].flat()[0]))
    return Effect.gen(function* () {
      const { chain, set, log, verify, finalize, status, end } = yield* started({ limits: { pendingEntriesMax: 4 } })
      set.spilledBytes = 10
      const blocks = [chain.grow(TOY_GENESIS, 1)]
      for (let n = 2; n <= 20; n++) blocks.push(chain.grow(blocks.at(-1)!, n))
      for (const block of blocks) {
        expect(yield* verify(block)).toBe(true)
        yield* quiet
      }
      const { scratchEntries, scratchBytes, spilled, waiting, evicted } = yield* status
      expect({ spilled, scratchBytes }).toEqual({ spilled: scratchEntries, scratchBytes: 90 * scratchEntries })
      expect([scratchEntries > 15, waiting, evicted]).toEqual([true, 0, 0])
      const snapshot = yield* Metric.snapshot
      const state = (metric: { readonly id: string }) => snapshot.find(({ id }) => id === metric.id)?.state
      expect(state(executorMetrics.scratchBlocks)).toMatchObject({ value: scratchEntries })
      expect(state(executorMetrics.scratchBytes)).toMatchObject({ value: scratchBytes })
      expect(state(executorMetrics.spilledBlocks)).toMatchObject({ count: spilled })
      expect(warnings).toEqual(["finality stalls: pending blocks are moved to scratch"])
      for (const block of blocks.slice(0, 4)) yield* finalize(block)
      yield* quiet
      expect(log).toEqual(["ack 1", "ack 2", "ack 3", "ack 4"])
      yield* end
    }).pipe(Effect.provide(Logger.layer([logger])), Effect.provideService(Metric.MetricRegistry, new Map()))
  })
})
