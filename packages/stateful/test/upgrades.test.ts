/**
 * Goal: rules change exactly at their height: for proposals, verdicts, replays and finalizations, on every branch across
 * the height, and after a crash on either side of it.
 * Method: old rules refuse a block that carries a mark, new rules one that does not; both execute whatever they accept.
 * Forks cross the activation height in the real actor over the model set. Canary: one application for all heights.
 */
import { Height } from "@coppice/consensus"
import { it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { describe, expect, test } from "vitest"
import { runHook } from "../src/diagnosis/index.ts"
import { Application } from "../src/index.ts"
import { quiet, started } from "./support/running-executor.ts"
import {
  execute,
  TOY_GENESIS,
  type ToyApplication,
  type ToyBlock,
  ToyChain,
  toyApplication,
} from "./support/toy-chain.ts"

const FROM = Height(3)
const MARK = "mark"
const plain = (view: number) => [["n", view]] as const
const marked = (view: number) => [...plain(view), [MARK, 1]] as const
const isMarked = ({ changes }: Pick<ToyBlock, "changes">) => changes.some(([key]) => key === MARK)

/** Rules that want the mark, or do not bear it. Their verify is a promise, as a plain application's may be. */
const rules = (wantsMark: boolean, log: string[] = []): ToyApplication => {
  const name = wantsMark ? "new" : "old"
  const judge: ToyApplication["apply"] = (block, batches, tools) =>
    isMarked(block) === wantsMark ? execute(block, batches, tools) : Effect.succeed(undefined)
  const sound = toyApplication()
  return toyApplication({
    apply: judge,
    verify: async (_context, ancestry, batches, tools) => {
      const block = await Effect.runPromise(ancestry.next)
      return Effect.runPromise(judge(block!, batches, tools) as Effect.Effect<never>)
    },
    propose: (context, ancestry, batches, tools) => {
      log.push(`${name} proposes`)
      return sound.propose(context, ancestry, batches, tools)
    },
    finalized: ({ height }, _readers, anchor) =>
      Effect.sync(() => void log.push(`${name} ${height}${anchor().height < height ? " early" : ""}`)),
  })
}

const upgraded = (log?: string[]) =>
  Application.upgrade(rules(false, log), [{ from: FROM, application: rules(true, log) }])

/** g <- a1 <- a2 <- a3 <- a4, and b1 <- b2 <- b3 beside it; marks from height 3 on. */
const grown = () => {
  const chain = new ToyChain()
  const branch = (heights: number, firstView: number) => {
    const blocks: ToyBlock[] = []
    for (let height = 1; height <= heights; height++) {
      const view = firstView + 10 * height
      blocks.push(chain.grow(blocks.at(-1) ?? TOY_GENESIS, view, height < FROM ? plain(view) : marked(view)))
    }
    return blocks
  }
  return { chain, main: branch(5, 0), beside: branch(3, 1) }
}

describe("activation", () => {
  it.live("both branches are judged by the rules of their heights, and blocks of the wrong time are false", () =>
    Effect.gen(function* () {
      const { chain, main, beside } = grown()
      const early = chain.grow(main[0]!, 500, marked(500))
      const late = chain.grow(main[1]!, 501, plain(501))
      const world = yield* started({ chain, hooks: upgraded() })
      for (const block of [...main, ...beside]) expect(yield* world.verify(block), `height ${block.height}`).toBe(true)
      expect(yield* world.verify(early)).toBe(false)
      expect(yield* world.verify(late)).toBe(false)
      yield* world.end
    }),
  )

  it.live("a replay across the height executes each block by its own rules; so does a finalization without state", () =>
    Effect.gen(function* () {
      const { chain, main, beside } = grown()
      const log: string[] = []
      const world = yield* started({ chain, hooks: upgraded(log) })
      expect(yield* world.verify(main[4]!), "replays heights 1 to 4").toBe(true)
      expect((yield* world.status).replayed).toBe(4)
      expect(yield* world.verify(beside[2]!)).toBe(true)
      for (const block of main) yield* world.finalize(block)
      while (world.log.length < 5) yield* quiet
      expect(log).toEqual(["old 1", "old 2", "new 3", "new 4", "new 5"])
      yield* world.end
    }),
  )

  it.live("a proposal follows the rules of the height it builds", () =>
    Effect.gen(function* () {
      const { chain, main } = grown()
      const log: string[] = []
      const world = yield* started({ chain, hooks: upgraded(log) })
      for (const [parent, view] of [
        [main[0]!, 900],
        [main[1]!, 901],
        [main[2]!, 902],
      ] as const) {
        expect((yield* world.propose(parent, view))?.height).toBe(parent.height + 1)
      }
      expect(log).toEqual(["old proposes", "new proposes", "new proposes"])
      yield* world.end
    }),
  )

  it.live("INV-40 after a crash on either side of the height a node goes on to the same state", () =>
    Effect.gen(function* () {
      for (let crash = 1; crash <= 4; crash++) {
        const { chain, main } = grown()
        const before = yield* started({ chain, hooks: upgraded() })
        for (const block of main.slice(0, crash)) yield* before.finalize(block)
        while (before.log.length < crash) yield* quiet
        yield* before.end
        chain.processed = Height(crash)
        const after = yield* started({ chain, set: before.set.crash(), hooks: upgraded() })
        expect(yield* after.verify(main[4]!), `crash after ${crash}`).toBe(true)
        for (const block of main.slice(crash)) yield* after.finalize(block)
        while (after.log.length < main.length - crash) yield* quiet
        expect(after.set.tip.content).toEqual(chain.contentAfter(main[4]!))
        yield* after.end
      }
    }),
  )

  it.live("canary: one set of rules for all heights refuses the other side, and stops at a final block of it", () =>
    Effect.gen(function* () {
      const { chain, main } = grown()
      const world = yield* started({ chain, hooks: rules(false) })
      expect(yield* world.verify(main[2]!)).toBe(false)
      for (const block of main.slice(0, 3)) yield* world.finalize(block)
      expect(yield* Effect.flip(world.executor.stopped)).toMatchObject({ _tag: "FinalizedBlockRejected", height: FROM })
      yield* world.end
    }),
  )
})

test("blocks are read by the codec of the last rules, and commit to their targets by the rules of their own height", () => {
  const named = (name: string) => {
    const targetsOf = { left: name, right: name } as unknown as ToyBlock["targets"]
    return toyApplication({ codec: { name } as never, syncTargets: () => targetsOf })
  }
  const application = Application.upgrade(named("first"), [
    { from: FROM, application: named("second") },
    { from: Height(6), application: named("third") },
  ])
  expect(application.codec).toEqual({ name: "third" })
  const targets = [0, 2, 3, 5, 6].map(
    (height) => application.syncTargets({ ...TOY_GENESIS, height: Height(height) }).left,
  )
  expect(targets).toEqual(["first", "first", "second", "second", "third"])
})

it.effect("F6 F7 without a candidate there is no verdict, without a parent no proposal: no rules are asked", () =>
  Effect.gen(function* () {
    const log: string[] = []
    const { verify, propose } = upgraded(log)
    const nothing = { next: Effect.succeed(undefined) }
    const [batches, tools] = [{} as never, {} as never]
    const { context } = TOY_GENESIS
    const verifying = yield* Effect.forkChild(runHook(() => verify(context, nothing, batches, tools)))
    yield* quiet
    expect(verifying.pollUnsafe()).toBeUndefined()
    yield* Fiber.interrupt(verifying)
    expect(yield* runHook(() => propose(context, nothing, batches, tools))).toBeUndefined()
    expect(log).toEqual([])
  }),
)

describe("mistakes", () => {
  test("heights that do not rise, and other databases, are refused", () => {
    const [first, other] = [rules(false), rules(true)]
    const at = (...heights: number[]) =>
      Application.upgrade(
        first,
        heights.map((height) => ({ from: Height(height), application: other })),
      )
    for (const heights of [[0], [2, 2], [5, 4]]) expect(() => at(...heights), `${heights}`).toThrow(RangeError)
    const renamed = { ...other, databases: { right: other.databases.right, left: other.databases.left } }
    expect(() => Application.upgrade(first, [{ from: FROM, application: renamed }])).toThrow(/other databases/)
    expect(at(1, 2).genesis).toBe(first.genesis)
  })
})
