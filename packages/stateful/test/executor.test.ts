/**
 * Goal: the executor as others see it: answers, acks, the end, what a restart finds. And that nothing it opened stays.
 * Method: the real actor over `ModelSet` and a toy application whose hooks each test replaces; every scenario ends by
 * closing the executor's scope and looking for forks and batches left open. Effects run in virtual time; only the tests of
 * promise hooks have promises in them.
 */

import { type Ack, anchorOf, ExecutorStopped, Height } from "@coppice/consensus"
import { Location } from "@coppice/merkle"
import { StaleBatch } from "@coppice/qmdb"
import { StorageDead } from "@coppice/storage"
import { it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Metric, Scope, Tracer } from "effect"
import { describe, expect } from "vitest"
import { executorMetrics } from "../src/executor/metrics.ts"
import { Executor, type ExecutorLimits, type FatalError } from "../src/index.ts"
import { ModelSet } from "./support/model-set.ts"
import {
  contextOn,
  execute,
  recordingAck,
  TOY_GENESIS,
  type ToyApplication,
  type ToyBlock,
  ToyChain,
  toyApplication,
} from "./support/toy-chain.ts"

const TURNS = 200

/** Lets everything run that can. */
const quiet = Effect.forEach(Array.from({ length: TURNS }), () => Effect.yieldNow, { discard: true })

interface Setup {
  readonly hooks?: Partial<ToyApplication>
  readonly chain?: ToyChain
  readonly set?: ModelSet
  readonly limits?: Partial<ExecutorLimits>
}

/** A running executor with short names for what tests do to it. */
const started = Effect.fnUntraced(function* (setup: Setup = {}) {
  const chain = setup.chain ?? new ToyChain()
  const set = setup.set ?? new ModelSet(ToyChain.start)
  const log: string[] = []
  const scope = yield* Scope.make()
  const make = Executor.make({
    application: toyApplication(setup.hooks),
    set,
    source: chain,
    ...(setup.limits === undefined ? {} : { limits: setup.limits }),
  })
  const executor = yield* Scope.provide(make, scope)
  const { port } = executor
  const verify = (block: ToyBlock) => port.verify(block.context, chain.ancestry(block))
  const propose = (parent: ToyBlock, view: number) => port.propose(contextOn(parent, view), chain.ancestry(parent))
  const finalize = (block: ToyBlock, ack: Ack = recordingAck(log, block.height)) => {
    chain.finalized[block.height] = block
    return port.finalized(block, ack)
  }
  /** Stops the executor and looks at what it left behind. */
  const end = Effect.gen(function* () {
    yield* Scope.close(scope, Exit.void)
    expect(set.mistakes).toEqual([])
    expect(set.layers, "pending states left").toBe(0)
    expect(set.openBatchCount, "batches left open").toBe(0)
  })
  return { chain, set, log, executor, port, verify, propose, finalize, end, status: executor.status }
})

const never: ToyApplication["verify"] = () => Effect.never

/** What a fiber that must have ended by now failed with. */
const stoppedBy = (fiber: Fiber.Fiber<unknown, unknown>): unknown => {
  const exit = fiber.pollUnsafe()
  if (exit === undefined || Exit.isSuccess(exit)) return exit
  const [reason] = exit.cause.reasons
  return reason?._tag === "Fail" && reason.error instanceof ExecutorStopped ? reason.error.cause : reason
}

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

  const right = (change: (target: ToyBlock["targets"]["right"]) => ToyBlock["targets"]["right"]) => {
    const honest = new ToyChain().grow(TOY_GENESIS, 1)
    return { right: change(honest.targets.right) }
  }
  it.effect.each([
    ["root", right((target) => ({ ...target, root: new Uint8Array(32) }))],
    ["range start", right((target) => ({ ...target, start: Location(1) }))],
    ["range end", right((target) => ({ ...target, end: Location(target.end + 1) }))],
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
        const { chain, set, verify, end } = yield* started()
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

  it.effect("callers above the limit wait for a place and are answered then", () =>
    Effect.gen(function* () {
      const { chain, verify, end } = yield* started({
        limits: { requestsMax: 1 },
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
      yield* Fiber.interrupt(first)
      expect(yield* Fiber.join(second)).toBe(true)
      yield* end
    }),
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
})

describe("the end", () => {
  it.effect("F66 closing the scope fails callers with ExecutorStopped, cancels acks and answers nothing", () =>
    Effect.gen(function* () {
      const set = new ModelSet(ToyChain.start)
      const gate = yield* Deferred.make<void>()
      set.gate = Deferred.await(gate)
      const { chain, log, executor, verify, finalize, propose, end } = yield* started({ set, hooks: { verify: never } })
      const a = chain.grow(TOY_GENESIS, 1)
      yield* finalize(a)
      yield* quiet
      const open = yield* Effect.forkChild(verify(chain.grow(a, 2)))
      yield* quiet
      const ending = yield* Effect.forkChild(end)
      yield* quiet
      expect(log).toEqual(["cancel 1"])
      expect(stoppedBy(open)).toBeUndefined()
      expect(Exit.isFailure(open.pollUnsafe()!)).toBe(true)
      expect(ending.pollUnsafe(), "the end waits for a flush under way").toBeUndefined()
      yield* Deferred.succeed(gate, undefined)
      yield* Fiber.join(ending)
      expect(set.durable.height).toBe(1)
      yield* executor.stopped
      expect(yield* Effect.flip(propose(a, 3))).toBeInstanceOf(ExecutorStopped)
    }),
  )

  it.effect.each(["ancestry", "source"] as const)("a defect in the %s is fatal, never a verdict", (where) =>
    Effect.gen(function* () {
      const { chain, executor, port, end } = yield* started()
      const block = [1, 2, 3].reduce((parent, view) => chain.grow(parent, view), TOY_GENESIS)
      chain.parentOf = () => Effect.die("source")
      const ancestry = where === "source" ? chain.ancestry(block) : { next: Effect.die("ancestry") }
      const asked = yield* Effect.forkChild(port.verify(block.context, ancestry))
      const fatal = yield* Effect.flip(executor.stopped)
      const operation = where === "source" ? "fetch" : "pull"
      expect(fatal).toMatchObject({ _tag: "ExecutorDefect", operation, cause: where })
      yield* quiet
      expect(stoppedBy(asked)).toBe(fatal)
      yield* end
    }),
  )

  it.effect("an ack that throws when it is cancelled keeps nobody else from hearing of the end", () =>
    Effect.gen(function* () {
      const set = new ModelSet(ToyChain.start)
      set.gate = Effect.fail(new StorageDead({ environment: "toy", cause: "power" }))
      const { chain, log, executor, finalize, end } = yield* started({ set })
      const a = chain.grow(TOY_GENESIS, 1)
      const broken: Ack = {
        acknowledge: () => {},
        cancel: () => {
          throw new Error("cancel")
        },
      }
      yield* finalize(a, broken)
      yield* finalize(chain.grow(a, 2))
      expect(yield* Effect.flip(executor.stopped)).toMatchObject({ _tag: "FlushFailed" })
      yield* quiet
      expect(log).toEqual(["cancel 2"])
      yield* end
    }),
  )

  it.effect("a fault in what surrounds the core stops it, and still reaches everybody", () =>
    Effect.gen(function* () {
      const { chain, log, executor, verify, finalize, end } = yield* started({ hooks: { verify: never } })
      const a = chain.grow(TOY_GENESIS, 1)
      const open = yield* Effect.forkChild(verify(chain.grow(a, 2)))
      yield* quiet
      const broken: Ack = {
        acknowledge: () => {
          throw new Error("ack")
        },
        cancel: () => {},
      }
      yield* finalize(a, broken)
      const fatal = yield* Effect.flip(executor.stopped)
      expect(fatal).toMatchObject({ _tag: "ExecutorDefect", operation: "acknowledge", cause: { message: "ack" } })
      yield* quiet
      expect(stoppedBy(open)).toBe(fatal)
      expect(log).toEqual([])
      yield* end
    }),
  )
})

describe("restart", () => {
  it.effect("a crash keeps the durable prefix; what was not acknowledged has its hook again, before anything new", () =>
    Effect.gen(function* () {
      const before = yield* started({
        hooks: { finalized: ({ height }) => (height === 2 ? Effect.never : Effect.void) },
      })
      const { chain } = before
      const a = chain.grow(TOY_GENESIS, 1)
      const b = chain.grow(a, 2)
      const c = chain.grow(b, 3)
      yield* before.finalize(a)
      yield* before.finalize(b)
      yield* quiet
      before.set.gate = Effect.never
      yield* before.finalize(c)
      yield* quiet
      expect(before.log).toEqual(["ack 1"])
      expect(before.set.anchor.height).toBe(3)
      chain.processed = Height(1)

      const hooked: number[] = []
      const after = yield* started({
        chain,
        set: before.set.crash(),
        hooks: {
          finalized: ({ height }) =>
            Effect.sync(() => {
              hooked.push(height)
            }),
        },
      })
      expect(after.set.anchor).toEqual(anchorOf(b))
      expect(hooked).toEqual([2])
      yield* after.finalize(c)
      yield* quiet
      expect(hooked).toEqual([2, 3])
      expect(after.log).toEqual(["ack 3"])
      expect(after.set.tip.targets).toEqual(c.targets)
      yield* after.end
    }),
  )

  it.effect("F31 a hook that fails again at the start keeps the executor from starting", () =>
    Effect.gen(function* () {
      const chain = new ToyChain()
      const a = chain.grow(TOY_GENESIS, 1)
      chain.finalized[1] = a
      const set = new ModelSet(anchorOf(a), chain.contentAfter(a))
      const failing = started({ chain, set, hooks: { finalized: () => Effect.fail(new Error("again")) } })
      expect(yield* Effect.flip(failing)).toMatchObject({ _tag: "FinalizedHookFailed", height: 1 })
    }),
  )

  it.effect("a redelivered block that equals its row is acknowledged and not applied again; another one is fatal", () =>
    Effect.gen(function* () {
      const chain = new ToyChain()
      const [a, a2] = [chain.grow(TOY_GENESIS, 1), chain.grow(TOY_GENESIS, 2)]
      const b = chain.grow(a, 3)
      const rows = [{ ...anchorOf(a), targets: a.targets }]
      chain.processed = Height(2)
      const good = yield* started({ chain, set: new ModelSet(anchorOf(b), chain.contentAfter(b), rows) })
      yield* good.finalize(a)
      yield* good.finalize(b)
      yield* quiet
      expect(good.log).toEqual(["ack 1", "ack 2"])
      yield* good.end
      const bad = yield* started({ chain, set: new ModelSet(anchorOf(b), chain.contentAfter(b), rows) })
      yield* bad.finalize(a2)
      expect(yield* Effect.flip(bad.executor.stopped)).toMatchObject({ _tag: "ConflictingFinalized", height: 1 })
      yield* bad.end
    }),
  )

  it.effect("what an earlier executor applied over the same set becomes durable before anything else", () =>
    Effect.gen(function* () {
      const chain = new ToyChain()
      const a = chain.grow(TOY_GENESIS, 1)
      const leftover = new ModelSet(ToyChain.start)
      const batches = leftover.openBatches(leftover.tip)
      batches.left.put("n", 1)
      batches.right.put("n", 1)
      leftover.apply(yield* leftover.seal(batches), anchorOf(a))
      expect(leftover.durable.height).toBe(0)
      const { end } = yield* started({ chain, set: leftover })
      expect(leftover.durable.height).toBe(1)
      yield* end
    }),
  )
})

describe("hooks", () => {
  it.live(
    "a promise hook is aborted by its signal; what it does later meets StaleBatch, what it sealed is closed",
    () =>
      Effect.gen(function* () {
        const reached = yield* Deferred.make<void>()
        const later = yield* Deferred.make<unknown>()
        let release: () => void = () => {}
        const { chain, set, verify, end } = yield* started({
          hooks: {
            verify: async (_context, _ancestry, batches, { seal, signal }) => {
              const wait = new Promise<void>((resolve) => {
                release = resolve
              })
              Deferred.doneUnsafe(reached, Effect.void)
              await wait
              const outcome = await Effect.runPromise(Effect.flip(seal(batches)))
              Deferred.doneUnsafe(later, Effect.succeed([signal.aborted, outcome]))
              return undefined
            },
          },
        })
        const open = yield* Effect.forkChild(verify(chain.grow(TOY_GENESIS, 1)))
        yield* Deferred.await(reached)
        yield* Fiber.interrupt(open)
        yield* quiet
        expect(set.openBatchCount).toBe(0)
        release()
        const [aborted, error] = (yield* Deferred.await(later)) as [boolean, unknown]
        expect(aborted).toBe(true)
        expect(error).toBeInstanceOf(StaleBatch)
        yield* end
      }),
  )

  it.live("a promise hook may do everything an Effect hook does", () =>
    Effect.gen(function* () {
      const { chain, verify, finalize, log, end } = yield* started({
        hooks: {
          verify: async (_context, ancestry, batches, tools) => {
            const block = await Effect.runPromise(ancestry.next)
            return Effect.runPromise(execute(block!, batches, tools))
          },
        },
      })
      const a = chain.grow(TOY_GENESIS, 1)
      expect(yield* verify(a)).toBe(true)
      const acked = yield* Deferred.make<void>()
      yield* finalize(a, {
        acknowledge: () => Deferred.doneUnsafe(acked, Effect.void),
        cancel: () => log.push("cancel"),
      })
      yield* Deferred.await(acked)
      yield* end
    }),
  )

  it.effect("a hook sees the candidate, its parent and the rest of the ancestry, in order and without a gap", () =>
    Effect.gen(function* () {
      const seen: number[] = []
      const { chain, verify, end } = yield* started({
        hooks: {
          verify: (_context, ancestry, batches, tools) =>
            Effect.gen(function* () {
              const candidate = yield* ancestry.next
              for (let at = candidate; at !== undefined; at = yield* ancestry.next) seen.push(at.height)
              return yield* execute(candidate!, batches, tools)
            }),
        },
      })
      const block = [1, 2, 3, 4].reduce((parent, view) => chain.grow(parent, view), TOY_GENESIS)
      expect(yield* verify(block)).toBe(true)
      expect(seen).toEqual([4, 3, 2, 1, 0])
      yield* end
    }),
  )

  const faults: ReadonlyArray<readonly [string, ToyApplication["verify"]]> = [
    ["fails", () => Effect.fail(new Error("broken"))],
    ["dies", () => Effect.die(new Error("broken"))],
    [
      "throws",
      () => {
        throw new Error("broken")
      },
    ],
    ["rejects", () => Promise.reject(new Error("broken"))],
    ["interrupts itself", () => Effect.interrupt],
    ["returns a state it did not seal", () => Effect.succeed({ id: 7, targets: TOY_GENESIS.targets, bytes: 0 })],
    [
      "seals other batches than its own",
      (_context, _ancestry, { left, right }, tools) => tools.seal({ left: right, right: left }),
    ],
    [
      "seals its batches twice",
      (_context, _ancestry, batches, tools) => Effect.andThen(tools.seal(batches), tools.seal(batches)),
    ],
  ]
  it.live.each(faults)("a verify hook that %s is fatal, never false, and leaves no state behind", ([, verifyHook]) =>
    Effect.gen(function* () {
      const { chain, executor, verify, end } = yield* started({ hooks: { verify: verifyHook } })
      const asked = yield* Effect.forkChild(verify(chain.grow(TOY_GENESIS, 1)))
      const fatal = yield* Effect.flip(executor.stopped)
      expect(fatal).toMatchObject({ _tag: "ApplicationFault", hook: "verify", height: 1 })
      yield* quiet
      expect(stoppedBy(asked)).toBe(fatal)
      yield* end
    }),
  )

  it.effect("a state that a hook sealed and did not return is closed", () =>
    Effect.gen(function* () {
      const { chain, set, verify, end } = yield* started({
        hooks: {
          verify: (_context, ancestry, batches, tools) =>
            Effect.flatMap(ancestry.next, (block) => Effect.as(execute(block!, batches, tools), undefined)),
        },
      })
      expect(yield* verify(chain.grow(TOY_GENESIS, 1))).toBe(false)
      expect(set.layers).toBe(0)
      yield* end
    }),
  )
})

describe("what operators see", () => {
  it.effect("every hook has a span with height and block digest", () =>
    Effect.gen(function* () {
      const spans: Array<readonly [string, unknown, number]> = []
      const tracer = Tracer.make({
        span: (options) => {
          const span = new Tracer.NativeSpan(options)
          spans.push([options.name, span, spans.length])
          return span
        },
      })
      yield* Effect.gen(function* () {
        const { chain, propose, verify, finalize, end } = yield* started()
        const a = chain.learn((yield* propose(TOY_GENESIS, 1))!)
        expect(yield* verify(chain.grow(a, 2))).toBe(true)
        const other = chain.grow(a, 3)
        expect(yield* verify(chain.grow(other, 4))).toBe(true)
        yield* finalize(a)
        yield* finalize(other)
        const last = chain.grow(other, 5)
        yield* finalize(last)
        yield* quiet
        yield* end
      }).pipe(Effect.provideService(Tracer.Tracer, tracer))
      const names = new Set(spans.map(([name]) => name))
      for (const hook of ["propose", "verify", "rebuild_pending_apply", "finalize_reconstruct", "finalized"]) {
        expect(names).toContain(`coppice.stateful.${hook}`)
      }
      for (const [name, span] of spans) {
        const { attributes } = span as Tracer.NativeSpan
        expect(attributes.get("height"), name).toBeTypeOf("number")
        expect(attributes.get("digest"), name).toMatch(/^[0-9a-f]{64}$/)
      }
    }),
  )

  it.effect("metrics have catalogued names with units and help, and follow what happens", () =>
    Effect.gen(function* () {
      const { chain, verify, finalize, end } = yield* started()
      const a = chain.grow(TOY_GENESIS, 1)
      expect(yield* verify(a)).toBe(true)
      expect(yield* verify(chain.grow(TOY_GENESIS, 2))).toBe(true)
      yield* finalize(a)
      yield* quiet
      const snapshot = new Map((yield* Metric.snapshot).map((metric) => [metric.id, metric]))
      for (const metric of Object.values(executorMetrics)) {
        expect(metric.id).toMatch(/^coppice_stateful_[a-z_]+$/)
        expect(metric.description, metric.id).toMatch(/^[A-Z].{10,}[^.]$/)
      }
      const value = (metric: { readonly id: string }) => snapshot.get(metric.id)?.state
      expect(value(executorMetrics.appliedHeight)).toMatchObject({ value: 1 })
      expect(value(executorMetrics.durableHeight)).toMatchObject({ value: 1 })
      expect(value(executorMetrics.prunedForks)).toMatchObject({ count: 1 })
      expect(value(executorMetrics.verifyDuration)).toMatchObject({ count: 2 })
      expect(value(executorMetrics.finalizeDuration)).toMatchObject({ count: 1 })
      expect(value(executorMetrics.flushes)).toMatchObject({ count: 1 })
      yield* end
    }).pipe(Effect.provideService(Metric.MetricRegistry, new Map())),
  )

  it.effect("limits that make no sense are a programmer error", () =>
    Effect.gen(function* () {
      const exit = yield* Effect.exit(started({ limits: { pendingEntriesMax: 0 } }))
      expect(Exit.isFailure(exit) && exit.cause.reasons[0]?._tag).toBe("Die")
    }),
  )
})

/** Blocks from the child of genesis up to a block. */
const path = (chain: ToyChain, block: ToyBlock) =>
  Effect.gen(function* () {
    const { next } = chain.ancestry(block)
    const blocks: ToyBlock[] = []
    for (let at = yield* next; at !== undefined && at.height > 0; at = yield* next) blocks.unshift(at)
    return blocks
  })
