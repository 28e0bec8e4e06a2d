/**
 * Goal: the executor's end and restart, its treatment of hooks, and what operators see of it.
 * Method: the real actor over `ModelSet` and a toy application whose hooks each test replaces; every scenario ends by
 * closing the executor's scope and looking for forks and batches left open. Effects run in virtual time; only the tests of
 * promise hooks have promises in them.
 */
import { AsyncLocalStorage } from "node:async_hooks"
import { type Ack, anchorOf, ExecutorStopped, Height } from "@coppice/consensus"
import { StaleBatch } from "@coppice/qmdb"
import { StorageDead } from "@coppice/storage"
import { it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Option, References, Tracer } from "effect"
import { describe, expect } from "vitest"
import { ModelSet } from "./support/model-set.ts"
import { never, quiet, started, stoppedBy } from "./support/running-executor.ts"
import { contextOn, execute, TOY_GENESIS, type ToyApplication, ToyChain, toyApplication } from "./support/toy-chain.ts"

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
      const databases = yield* executor.databases
      expect(databases).toBe(set)
      const changing = ["apply", "flush", "prune", "rewind"] as const
      // @ts-expect-error §12.1 holders never change the set: only the executor does
      const allowed: ReadonlyArray<keyof typeof databases> = changing
      expect(allowed).toHaveLength(4)
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
      expect(yield* Effect.flip(executor.databases)).toBeInstanceOf(ExecutorStopped)
    }),
  )

  it.effect("INV-33 F66 a state that is sealed as the end comes is closed, though nobody waits for it any more", () =>
    Effect.gen(function* () {
      let ending: Fiber.Fiber<void> | undefined
      const world = yield* started({
        hooks: {
          verify: (_context, ancestry, batches, tools) =>
            Effect.flatMap(ancestry.next, (block) => execute(block!, batches, tools)).pipe(
              Effect.tap(() =>
                Effect.sync(() => {
                  ending = Effect.runFork(world.end)
                }),
              ),
            ),
        },
      })
      const asked = yield* Effect.forkChild(world.verify(world.chain.grow(TOY_GENESIS, 1)))
      yield* quiet
      expect(stoppedBy(asked)).toBeUndefined()
      yield* Fiber.join(ending!)
    }),
  )

  it.effect("F66 a state whose hook ends while the last turns are taken is closed too", () =>
    Effect.gen(function* () {
      const gate = yield* Deferred.make<void>()
      const { chain, set, executor, verify, finalize, end } = yield* started({
        hooks: {
          verify: (_context, ancestry, batches, tools) =>
            Effect.flatMap(ancestry.next, (block) => execute(block!, batches, tools)).pipe(
              Effect.tap(Deferred.await(gate)),
            ),
        },
      })
      yield* Effect.forkChild(verify(chain.grow(TOY_GENESIS, 1)))
      yield* quiet
      const opens = { acknowledge: () => Deferred.doneUnsafe(gate, Effect.void), cancel: () => {} }
      const atEnd = yield* Effect.forkChild(Effect.map(executor.stopped, () => set.layers))
      yield* quiet
      // A duplicate is acknowledged in its own turn, and the end comes with the next one.
      Effect.runSync(finalize(TOY_GENESIS, opens))
      const ending = Effect.runFork(end)
      expect(yield* Fiber.join(atEnd), "before anyone hears of the end").toBe(0)
      yield* Fiber.join(ending)
    }),
  )

  it.effect("F66 a hook that is still ending when the executor has stopped by itself ends, and the scope closes", () =>
    Effect.gen(function* () {
      const gate = yield* Deferred.make<void>()
      const ending = Effect.andThen(Deferred.await(gate), Effect.yieldNow)
      const { chain, executor, verify, finalize, end } = yield* started({
        hooks: { verify: () => Effect.onInterrupt(Effect.never, () => ending) },
      })
      const a = chain.grow(TOY_GENESIS, 1)
      yield* Effect.forkChild(verify(chain.grow(TOY_GENESIS, 2)))
      yield* quiet
      yield* finalize(chain.grow(a, 3))
      expect(yield* Effect.flip(executor.stopped)).toMatchObject({ _tag: "FinalizedGap" })
      yield* quiet
      const closing = yield* Effect.forkChild(end)
      yield* quiet
      expect(closing.pollUnsafe(), "the end waits for the hook").toBeUndefined()
      yield* Deferred.succeed(gate, undefined)
      yield* quiet
      const exit = closing.pollUnsafe()
      expect(exit !== undefined && Exit.isSuccess(exit)).toBe(true)
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
  it.effect(
    "C13 C14 a crash keeps the durable prefix; what was not acknowledged has its hook again, before anything new",
    () =>
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

  it.effect("C15 what was acknowledged, and recorded as that, is neither hooked nor executed again", () =>
    Effect.gen(function* () {
      const before = yield* started()
      const { chain } = before
      const a = chain.grow(TOY_GENESIS, 1)
      const b = chain.grow(a, 2)
      yield* before.finalize(a)
      yield* before.finalize(b)
      yield* quiet
      expect(before.log).toEqual(["ack 1", "ack 2"])
      chain.processed = Height(2)

      const done: string[] = []
      const after = yield* started({
        chain,
        set: before.set.crash(),
        hooks: {
          finalized: ({ height }) => Effect.sync(() => void done.push(`hook ${height}`)),
          apply: (block, batches, tools) =>
            Effect.suspend(() => {
              done.push(`apply ${block.height}`)
              return execute(block, batches, tools)
            }),
        },
      })
      yield* quiet
      expect(done).toEqual([])
      expect(after.set.flushes).toBe(0)
      yield* after.finalize(chain.grow(b, 3))
      yield* quiet
      expect(done).toEqual(["apply 3", "hook 3"])
      expect(after.log).toEqual(["ack 3"])
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

  it.effect("C14 §3.7 INV-11 hooks repeat for the ack window at most, whatever the source still holds", () =>
    Effect.gen(function* () {
      const chain = new ToyChain(2)
      for (let height = 1; height <= 5; height++)
        chain.finalized[height] = chain.grow(chain.finalized[height - 1]!, height)
      const last = chain.finalized[5]!
      const rows = chain.finalized.map((block) => ({ ...anchorOf(block), targets: block.targets }))
      const hooked: number[] = []
      const { end } = yield* started({
        chain,
        set: new ModelSet(anchorOf(last), chain.contentAfter(last), rows),
        hooks: { finalized: ({ height }) => Effect.sync(() => void hooked.push(height)) },
      })
      expect(hooked).toEqual([4, 5])
      yield* end
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

  it.live("hooks run in the async context of whoever started the executor, not in that of a caller", () =>
    Effect.gen(function* () {
      const context = new AsyncLocalStorage<string>()
      const seen: Array<string | undefined> = []
      const { chain, verify, end } = yield* started({
        hooks: {
          verify: (_context, ancestry, batches, tools) => {
            seen.push(context.getStore())
            return Effect.flatMap(ancestry.next, (block) => execute(block!, batches, tools))
          },
        },
      })
      const asked = () => Effect.runPromise(verify(chain.grow(TOY_GENESIS, 1)))
      expect(yield* Effect.promise(() => context.run("caller", asked))).toBe(true)
      expect(seen).toEqual([undefined])
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
  it.effect("§2.1 every hook has one span, named after its purpose, with height and block digest", () =>
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
      const prefix = "coppice.stateful."
      const hooks = spans.map(([name, span]) => `${name} ${(span as Tracer.NativeSpan).attributes.get("height")}`)
      const named = hooks.filter((name) => name.startsWith(prefix)).map((name) => name.slice(prefix.length))
      expect(named.toSorted()).toEqual([
        ...["finalize_reconstruct 3", "finalized 1", "finalized 2", "finalized 3"],
        ...["propose 0", "rebuild_pending_apply 2", "verify 2", "verify 3"],
      ])
      for (const [name, span] of spans) {
        const { attributes } = span as Tracer.NativeSpan
        expect(attributes.get("height"), name).toBeTypeOf("number")
        expect(attributes.get("digest"), name).toMatch(/^[0-9a-f]{64}$/)
      }
    }),
  )

  it.effect("where tracing is off, a hook runs in no span", () =>
    Effect.gen(function* () {
      const spans: unknown[] = []
      const { chain, verify, end } = yield* started({
        hooks: {
          verify: (_context, ancestry, batches, tools) =>
            Effect.gen(function* () {
              spans.push(yield* Effect.option(Effect.currentParentSpan))
              return yield* execute((yield* ancestry.next)!, batches, tools)
            }),
        },
      })
      expect(yield* verify(chain.grow(TOY_GENESIS, 1))).toBe(true)
      expect(spans).toEqual([Option.none()])
      yield* end
    }).pipe(Effect.withTracerEnabled(false)),
  )

  it.effect(
    "§2.1 what is done for a caller continues its span and keeps all its attributes, beside the executor's",
    () =>
      Effect.gen(function* () {
        const seen: unknown[] = []
        const look = (at: string) =>
          Effect.gen(function* () {
            const parent = Option.map((yield* Effect.currentSpan).parent, (span) => (span as Tracer.NativeSpan).name)
            seen.push([at, yield* References.CurrentLogAnnotations, yield* References.TracerSpanAnnotations, parent])
          }).pipe(Effect.orDie)
        const { chain, port, end } = yield* started({
          hooks: {
            verify: (_context, ancestry, batches, tools) =>
              Effect.andThen(
                look("verify"),
                toyApplication().verify(_context, ancestry, batches, tools) as Effect.Effect<never>,
              ),
            propose: () => Effect.as(look("propose"), undefined),
          },
        }).pipe(Effect.annotateLogs({ node: 3, who: "executor" }))
        const asked = <A, E>(who: string, call: Effect.Effect<A, E>) =>
          call.pipe(Effect.withSpan(who), Effect.annotateLogs({ who }), Effect.annotateSpans({ view: who }))
        const a = chain.grow(TOY_GENESIS, 1)
        const ancestry = chain.ancestry(a)
        const noted: unknown[] = []
        const next = Effect.andThen(
          Effect.gen(function* () {
            noted.push(yield* References.CurrentLogAnnotations)
          }),
          ancestry.next,
        )
        expect(yield* asked("voter", port.verify(a.context, { next }))).toBe(true)
        yield* asked("leader", port.propose(contextOn(a, 2), chain.ancestry(a)))
        expect(seen).toEqual([
          ["verify", { node: 3, who: "voter" }, { view: "voter" }, Option.some("voter")],
          ["propose", { node: 3, who: "leader" }, { view: "leader" }, Option.some("leader")],
        ])
        expect(new Set(noted.map((annotations) => JSON.stringify(annotations)))).toEqual(
          new Set([JSON.stringify({ node: 3, who: "voter" })]),
        )
        yield* end
      }),
  )

  it.effect("limits that make no sense are a programmer error", () =>
    Effect.gen(function* () {
      const exit = yield* Effect.exit(started({ limits: { pendingEntriesMax: 0 } }))
      expect(Exit.isFailure(exit) && exit.cause.reasons[0]?._tag).toBe("Die")
    }),
  )
})
