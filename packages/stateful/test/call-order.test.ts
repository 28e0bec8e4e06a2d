/**
 * Goal: the executor and its callers keep the legal order of calls, and whoever breaks it is found and named.
 * Method: walks through the grammar drive a running executor whose port and application are checked; canaries break one rule.
 */
import { type Ack, type ExecutorPort, Height } from "@coppice/consensus"
import { Effect, Fiber } from "effect"
import { describe, expect, test } from "vitest"
import { CALL_ORDER, CallOrder, follow, IllegalCall, legalWalk, type Machine } from "../src/diagnosis/index.ts"
import { FloorChain, joining } from "./support/joining.ts"
import { ModelSet } from "./support/model-set.ts"
import { quiet, started } from "./support/running-executor.ts"
import { recordingAck, type ToyApplication, type ToyBlock, ToyChain, toyApplication } from "./support/toy-chain.ts"

const WINDOW = 3
const STEPS = 60
const HEIGHTS = 12

const chanceOf = (seed: number) => {
  let state = (seed + 1) >>> 0
  return (): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return state / 4_294_967_296
  }
}

const checked = Effect.fnUntraced(function* (
  hooks: Partial<ToyApplication> = {},
  change: (port: ExecutorPort<ToyBlock>) => ExecutorPort<ToyBlock> = (port) => port,
) {
  const order = new CallOrder(WINDOW)
  const set = new ModelSet(ToyChain.start)
  const hooked = toyApplication({
    finalized: (_block, _readers, anchor) => Effect.as(Effect.yieldNow, void anchor()),
    ...hooks,
  })
  const run = yield* started({ hooks: order.application(hooked), set, chain: new ToyChain(WINDOW) })
  return { ...run, order, port: order.port(change(run.port)) }
})

type Checked = Effect.Success<ReturnType<typeof checked>>

const chainOf = (chain: ToyChain, heights: number): ReadonlyArray<ToyBlock> => {
  const blocks = [chain.finalized[0]!]
  while (blocks.length <= heights) blocks.push(chain.grow(blocks.at(-1)!, blocks.length))
  return blocks
}

const walk = Effect.fnUntraced(function* (seed: number) {
  const { chain, port, order, log, end }: Checked = yield* checked()
  const blocks = chainOf(chain, HEIGHTS)
  const chance = chanceOf(seed)
  const fibers: Array<Fiber.Fiber<unknown, unknown>> = []
  const made: Record<string, number> = {}
  const acknowledged = (): number => log.filter((line) => line.startsWith("ack")).length
  const steps = legalWalk(chance, { heights: HEIGHTS, window: WINDOW }, acknowledged)
  for (let i = 0; i < STEPS; i++) {
    const step = steps.next().value!
    made[step.call] = (made[step.call] ?? 0) + 1
    const block = blocks[1 + Math.floor(chance() * HEIGHTS)]!
    if (step.call === "verify") fibers.push(yield* Effect.forkChild(port.verify(block.context, chain.ancestry(block))))
    if (step.call === "propose")
      fibers.push(yield* Effect.forkChild(port.propose(block.context, chain.ancestry(blocks[block.height - 1]!))))
    if (step.call === "leave") yield* Effect.forkChild(Fiber.interrupt(fibers[step.request]!))
    if (step.call === "deliver") {
      const delivered = blocks[step.height]!
      chain.finalized[step.height] = delivered
      yield* port.finalized(delivered, recordingAck(log, step.height))
    }
    for (let turns = Math.floor(chance() * 8); turns > 0; turns--) yield* Effect.yieldNow
  }
  yield* quiet
  yield* Fiber.interruptAll(fibers)
  yield* end
  expect(order.illegal, `seed ${seed}`).toEqual([])
  return made
})

test("legal walks of an engine, whatever their interleaving, meet legal answers, hooks and acks", () =>
  Effect.runPromise(
    Effect.gen(function* () {
      const made: Record<string, number> = {}
      for (let seed = 0; seed < 30; seed++) {
        for (const [call, times] of Object.entries(yield* walk(seed))) made[call] = (made[call] ?? 0) + times
      }
      for (const call of ["propose", "verify", "leave", "deliver"]) expect(made[call], call).toBeGreaterThan(30)
    }),
  ))

const FLOOR = 20

/** A walk over a join: the sync takes tips in as chance has it, and comes out half-way. */
const joinWalk = Effect.fnUntraced(function* (seed: number) {
  const chain = new FloorChain(WINDOW)
  const blocks = Array.from({ length: HEIGHTS }, (_, i) => chain.finalizeTo(FLOOR + i))
  chain.processed = Height(FLOOR - 1)
  const order = new CallOrder(WINDOW)
  const watch = (application: ToyApplication) => order.application(application)
  const { acks, converge, end, log, port, status, sync } = yield* joining({ chain, floor: blocks[0]!, watch })
  const checked = order.port(port)
  const chance = chanceOf(seed)
  const fibers: Array<Fiber.Fiber<unknown, unknown>> = []
  const steps = legalWalk(chance, { heights: HEIGHTS, window: WINDOW }, () => acks().length)
  for (let i = 0; i < 2 * STEPS; i++) {
    const step = steps.next().value!
    const block = blocks[Math.floor(chance() * HEIGHTS)]!
    if (step.call === "verify")
      fibers.push(yield* Effect.forkChild(checked.verify(block.context, chain.ancestry(block))))
    if (step.call === "propose")
      fibers.push(yield* Effect.forkChild(checked.propose(block.context, chain.ancestry(block))))
    if (step.call === "leave") yield* Effect.forkChild(Fiber.interrupt(fibers[step.request]!))
    if (step.call === "deliver") {
      const delivered = blocks[step.height - 1]!
      yield* checked.finalized(delivered, recordingAck(log, delivered.height))
    }
    if (chance() < 0.2) sync.record()
    if (i === STEPS) converge(sync.heights.at(-1)!)
    for (let turns = Math.floor(chance() * 8); turns > 0; turns--) yield* Effect.yieldNow
  }
  yield* quiet
  const { phase } = yield* status
  const hooks = log.filter((line) => line.startsWith("hook")).length
  const counts = { open: phase === "open" ? 1 : 0, hooked: hooks, covered: acks().length - hooks }
  yield* Fiber.interruptAll(fibers)
  yield* end
  expect(order.illegal, `seed ${seed}`).toEqual([])
  return counts
})

test("so do they while state sync brings the databases, when it hands over, and afterwards", () =>
  Effect.runPromise(
    Effect.gen(function* () {
      const met = { open: 0, hooked: 0, covered: 0 }
      for (let seed = 0; seed < 30; seed++) {
        const counts = yield* joinWalk(seed)
        for (const key of ["open", "hooked", "covered"] as const) met[key] += counts[key]
      }
      for (const [what, times] of Object.entries(met)) expect(times, what).toBeGreaterThan(20)
    }),
  ))

test("every call leads to a state of its machine, and every state but the first is reached", () => {
  for (const [name, machine] of Object.entries(CALL_ORDER) as ReadonlyArray<[keyof typeof CALL_ORDER, Machine]>) {
    const states = Object.keys(machine)
    const reached = new Set(states.slice(0, 1))
    for (const [state, calls] of Object.entries(machine)) {
      for (const [call, next] of Object.entries(calls)) {
        expect(states, `${name}: ${state} ${call}`).toContain(next)
        expect(follow(name, state, call as never)).toBe(next)
        reached.add(next)
      }
    }
    expect([...reached].sort(), name).toEqual(states.sort())
  }
})

const deliver = (port: ExecutorPort<ToyBlock>, block: ToyBlock, ack: Ack = recordingAck([], block.height)) =>
  port.finalized(block, ack)

const refused = (run: Effect.Effect<unknown, unknown>) =>
  Effect.map(Effect.exit(run), (exit) => {
    expect(exit._tag).toBe("Failure")
  })

/** A port that does to an ack what `what` says. */
const acking = (what: (ack: Ack, height: number) => void) => (port: ExecutorPort<ToyBlock>) => ({
  ...port,
  finalized: (block: ToyBlock, ack: Ack) => Effect.sync(() => what(ack, block.height)),
})

describe("what is not legal is refused, with its maker", () => {
  const cases: ReadonlyArray<
    [string, IllegalCall["maker"], string, () => Effect.Effect<Pick<Checked, "order">, unknown>]
  > = [
    [
      "an engine that leaves a height out",
      "engine",
      "deliver",
      () =>
        Effect.tap(checked(), ({ port, chain }) => {
          const blocks = chainOf(chain, 3)
          return Effect.andThen(deliver(port, blocks[1]!), refused(deliver(port, blocks[3]!)))
        }),
    ],
    [
      "an engine that does not wait for acks",
      "engine",
      "deliver",
      () =>
        Effect.tap(
          checked(
            {},
            acking(() => {}),
          ),
          ({ port, chain }) =>
            Effect.forEach(chainOf(chain, WINDOW + 1).slice(1), (block) =>
              block.height > WINDOW ? refused(deliver(port, block)) : deliver(port, block),
            ),
        ),
    ],
    [
      "an executor that acknowledges before the hook has run",
      "executor",
      "acknowledge",
      () =>
        Effect.gen(function* () {
          const acks: Ack[] = []
          const run = yield* checked(
            {},
            acking((ack) => void acks.push(ack)),
          )
          const [, first, second] = chainOf(run.chain, 2)
          yield* deliver(run.port, first!)
          yield* deliver(run.port, second!)
          acks[0]!.acknowledge()
          expect(() => acks[0]!.acknowledge()).toThrow(IllegalCall)
          return run
        }),
    ],
    [
      "an executor that acknowledges out of order",
      "executor",
      "acknowledge",
      () =>
        Effect.gen(function* () {
          const acks: Ack[] = []
          const run = yield* checked(
            {},
            acking((ack) => void acks.push(ack)),
          )
          for (const block of chainOf(run.chain, 3).slice(1)) yield* deliver(run.port, block)
          acks[0]!.acknowledge()
          expect(() => acks[2]!.acknowledge()).toThrow(IllegalCall)
          return run
        }),
    ],
    [
      "an application that writes after sealing",
      "application",
      "batch",
      () =>
        Effect.tap(
          checked({
            apply: (_block, batches, tools) =>
              Effect.tap(tools.seal(batches), () => Effect.sync(() => batches.left.put("late", 1))),
          }),
          ({ port, chain }) => Effect.andThen(deliver(port, chainOf(chain, 1)[1]!), quiet),
        ),
    ],
    [
      "an application that seals twice",
      "application",
      "seal",
      () =>
        Effect.tap(
          checked({
            apply: (_block, batches, tools) => Effect.andThen(tools.seal(batches), tools.seal(batches)),
          }),
          ({ port, chain }) => Effect.andThen(deliver(port, chainOf(chain, 1)[1]!), quiet),
        ),
    ],
  ]
  test.each(cases)("%s", (_who, maker, call, run) =>
    Effect.runPromise(
      Effect.map(run(), ({ order }) => {
        expect(order.illegal[0]).toMatchObject({ maker, call })
      }),
    ),
  )
})
