/**
 * Laws of the executor port: what an engine and a marshal rely on, whatever executes behind it.
 *
 *   engine --- propose, verify ---> port        marshal --- finalized + ack ---> port
 *
 * Invariant: `false` is only for what can never become valid; data that is missing leaves a question open (INV-13, INV-14).
 */
import { bytesEqual } from "@coppice/codec"
import { type Ancestry, type Block, contextsEqual, ExecutorStopped } from "@coppice/consensus"
import { CallOrder } from "@coppice/stateful/diagnosis"
import { Effect, Exit, Fiber, Scope } from "effect"
import { chanceOf, claim, law, seededLaw } from "../law.ts"
import { Bench, bench, claimAnswer, type ExecutorLaw, type ExecutorWorld, settled, WINDOW } from "./bench.ts"

export type { ExecutorLaw, ExecutorSubject, ExecutorWorld } from "./bench.ts"

const verdicts: ExecutorLaw = law(
  "a valid block is true and an invalid one false, on genesis and on blocks never seen",
  (world) =>
    Effect.gen(function* () {
      const [made, port] = yield* bench(world)
      const blocks = yield* made.chain(4)
      claimAnswer(yield* settled(world, made.verify(port, blocks[3]!)), true, "four blocks up")
      claimAnswer(yield* settled(world, made.verify(port, blocks[0]!)), true, "one block up")
      for (const parent of [world.genesis, blocks[1]!]) {
        const bad = yield* made.invalid(parent, 50)
        claimAnswer(yield* settled(world, made.verify(port, bad)), false, `invalid on height ${parent.height}`)
        const child = yield* settled(world, made.verify(port, bad))
        claimAnswer(child, false, `invalid on height ${parent.height}, asked again`)
      }
    }),
)

const proposals: ExecutorLaw = law(
  "a proposal extends its parent under its context, and another executor finds it valid",
  (world) =>
    Effect.gen(function* () {
      const [made, port] = yield* bench(world)
      const [parent] = yield* made.chain(1)
      const context = world.contextOn(parent!, 9)
      const exit = yield* settled(world, port.propose(context, made.ancestry(parent!)))
      claim(exit !== undefined && Exit.isSuccess(exit), `proposal: ${exit ?? "no answer"}`)
      const block = exit.value
      if (block === undefined) return
      claim(block.height === parent!.height + 1, `a proposal of height ${block.height} on ${parent!.height}`)
      claim(bytesEqual(block.parent, parent!.digest), "a proposal on another parent")
      claim(contextsEqual(block.context, context), "a proposal under another context")
      const other = yield* world.start(made)
      const walk = [block, parent!, world.genesis].values()
      const ancestry = { next: Effect.sync(() => walk.next().value) }
      claimAnswer(yield* settled(world, other.verify(context, ancestry)), true, "another executor's verdict")
    }),
)

const missing: ExecutorLaw = law(
  "data that is missing is never false, and delays no finalization (INV-14, INV-42)",
  (world) =>
    Effect.gen(function* () {
      const [made, port] = yield* bench(world)
      const blocks = yield* made.chain(2)
      const cases: ReadonlyArray<readonly [string, ReadonlyArray<Block>]> = [
        ["no candidate", []],
        ["no parent", [blocks[1]!]],
      ]
      for (const [what, given] of cases) {
        const walking = (): Ancestry<Block> => {
          const walk = given.values()
          return { next: Effect.sync(() => walk.next().value) }
        }
        yield* Effect.forkChild(made.verify(port, blocks[1]!, walking()), { startImmediately: true })
        const exit = yield* settled(world, made.verify(port, blocks[1]!, walking()))
        claim(exit === undefined, `${what}: ${exit}`)
      }
      const ended: Ancestry<Block> = { next: Effect.succeed(undefined) }
      const proposal = yield* settled(world, port.propose(world.contextOn(world.genesis, 5), ended))
      claimAnswer(proposal, undefined, "a proposal without a parent")
      for (const block of blocks) yield* made.finalize(port, block)
      yield* world.settle
      claim(made.acks.join() === "ack 1,ack 2", `beside open questions, acks are ${made.acks.join()}`)
    }),
)

const acks: ExecutorLaw = seededLaw<ExecutorWorld>(
  "every finalized block is acknowledged once, in height order (INV-8)",
  () => ({
    body: (world, seed) =>
      Effect.gen(function* () {
        const chance = chanceOf(seed)
        const [made, port] = yield* bench(world)
        const blocks = yield* made.chain(8)
        const questions: Array<Fiber.Fiber<unknown, unknown>> = []
        for (const block of blocks) {
          if (chance() < 0.5) questions.push(yield* Effect.forkChild(made.verify(port, block)))
          for (let turns = Math.floor(chance() * 9); turns > 0; turns--) yield* Effect.yieldNow
          if (chance() < 0.3) yield* Effect.forkChild(Fiber.interruptAll(questions))
          if (made.acks.length <= block.height - WINDOW) yield* world.settle
          yield* made.finalize(port, block)
        }
        yield* world.settle
        const expected = blocks.map(({ height }) => `ack ${height}`).join()
        claim(made.acks.join() === expected, `seed ${seed}: acks are ${made.acks.join()}`)
      }),
  }),
)

const below: ExecutorLaw = law(
  "at and below the tip the finalized chain decides (G-9), and a repeated block is acknowledged",
  (world) =>
    Effect.gen(function* () {
      const [made, port] = yield* bench(world)
      const blocks = yield* made.chain(3)
      for (const block of blocks) yield* made.finalize(port, block)
      yield* world.settle
      for (const block of blocks) {
        const parent = blocks[block.height - 2] ?? world.genesis
        const rival = yield* made.child(parent, block.height + 40)
        const at = `height ${block.height} of 3`
        claimAnswer(yield* settled(world, made.verify(port, block)), true, `${at}, final`)
        claimAnswer(yield* settled(world, made.verify(port, rival)), false, `${at}, of a branch that lost`)
      }
      const before = made.acks.length
      yield* made.finalize(port, blocks[2]!)
      yield* world.settle
      claim(made.acks.slice(before).join() === "ack 3", `a repeated block: ${made.acks.slice(before).join()}`)
    }),
)

const repeated: ExecutorLaw = seededLaw<ExecutorWorld>(
  "asked again, at once or later, a block has the same verdict (G-10)",
  () => ({
    body: (world, seed) =>
      Effect.gen(function* () {
        const chance = chanceOf(seed)
        const [made, port] = yield* bench(world)
        const [first] = yield* made.chain(1)
        const asked = [
          [first!, true] as const,
          [yield* made.child(first!, 2), true] as const,
          [yield* made.invalid(first!, 3), false] as const,
        ]
        const fibers: Array<readonly [Fiber.Fiber<boolean, unknown>, boolean]> = []
        for (let i = 0; i < 12; i++) {
          const [block, expected] = asked[Math.floor(chance() * asked.length)]!
          const fiber = yield* Effect.forkChild(made.verify(port, block))
          if (chance() < 0.3) yield* Effect.forkChild(Fiber.interrupt(fiber))
          else fibers.push([fiber, expected])
          for (let turns = Math.floor(chance() * 6); turns > 0; turns--) yield* Effect.yieldNow
        }
        yield* world.settle
        for (const [fiber, expected] of fibers) claimAnswer(fiber.pollUnsafe(), expected, `seed ${seed}`)
      }),
  }),
)

const end: ExecutorLaw = law(
  "the end reaches everyone: questions fail with ExecutorStopped, acks are given or cancelled once",
  (world) =>
    Effect.gen(function* () {
      const made = new Bench(world)
      const scope = yield* Scope.make()
      const port = yield* Scope.provide(world.start(made), scope)
      const blocks = yield* made.chain(3)
      const open = yield* Effect.forkChild(made.verify(port, blocks[1]!, { next: Effect.never }))
      yield* world.settle
      for (const block of blocks) yield* made.finalize(port, block)
      yield* Scope.close(scope, Exit.void)
      const late = yield* settled(world, made.verify(port, blocks[0]!))
      for (const [what, exit] of [
        ["open", open.pollUnsafe()],
        ["late", late],
      ] as const) {
        claim(exit !== undefined && Exit.isFailure(exit), `a question that was ${what}: ${exit ?? "no answer"}`)
        const [reason] = exit.cause.reasons
        claim(
          reason?._tag === "Fail" && reason.error instanceof ExecutorStopped,
          `a question that was ${what}: ${exit}`,
        )
      }
      const ended = made.acks.map((line) => line.split(" ")[1]).sort()
      claim(ended.join() === "1,2,3", `acks at the end: ${made.acks.join()}`)
    }),
)

const STEPS = 40
const HEIGHTS = 8

const legalOrder: ExecutorLaw = seededLaw<ExecutorWorld>(
  "whatever an engine may do in whatever order, the executor keeps the legal order of calls",
  () => ({
    body: (world, seed) =>
      Effect.gen(function* () {
        const chance = chanceOf(seed)
        const [made, inner] = yield* bench(world)
        const order = new CallOrder(WINDOW)
        const port = order.port(inner)
        const blocks = yield* made.chain(HEIGHTS)
        const questions: Array<Fiber.Fiber<unknown, unknown>> = []
        for (let i = 0; i < STEPS; i++) {
          const calls = order.legal(["engine"]).filter(({ machine, of }) => machine !== "delivery" || of <= HEIGHTS)
          const { call, of } = calls[Math.floor(chance() * calls.length)]!
          const block = blocks[Math.floor(chance() * HEIGHTS)]!
          if (call === "leave") yield* Effect.forkChild(Fiber.interrupt(questions[of]!))
          if (call === "verify" || call === "propose") {
            const asked: Effect.Effect<unknown, unknown> =
              call === "verify"
                ? made.verify(port, block)
                : port.propose(world.contextOn(block, 100 + i), made.ancestry(block))
            questions.push(yield* Effect.forkChild(asked, { startImmediately: true }))
          }
          if (call === "deliver") {
            const exit = yield* Effect.exit(made.finalize(port, blocks[of - 1]!))
            claim(Exit.isSuccess(exit), `seed ${seed}: ${order.illegal[0]?.message ?? exit}`)
          }
          for (let turns = Math.floor(chance() * 9); turns > 0; turns--) yield* Effect.yieldNow
        }
        yield* world.settle
        yield* Effect.forkChild(Fiber.interruptAll(questions))
        yield* world.settle
        claim(order.illegal.length === 0, `seed ${seed}: ${order.illegal[0]?.message}`)
      }),
  }),
)

/** Every law of executors. */
export const EXECUTOR_LAWS: ReadonlyArray<ExecutorLaw> = [
  verdicts,
  proposals,
  missing,
  acks,
  below,
  repeated,
  legalOrder,
  end,
]
