/**
 * Goal: the executor and its callers keep the legal order of calls, and whoever breaks it is found and named.
 * Method: walks through the grammar drive a running executor whose port and application are checked; canaries break one rule.
 */
import { type Ack, type ExecutorPort, Height } from "@coppice/consensus"
import { Effect, Fiber } from "effect"
import { describe, expect, test } from "vitest"
import { CALL_ORDER, CallOrder, drawer, follow, IllegalCall, type Machine } from "../src/diagnosis/index.ts"
import { runHook } from "../src/index.ts"
import { CALLS_WALKED_MAX } from "../src/limits.ts"
import { FloorChain, joining } from "./support/joining.ts"
import { ModelSet } from "./support/model-set.ts"
import { quiet, started } from "./support/running-executor.ts"
import { ScriptedCalls, words } from "./support/scripted-calls.ts"
import {
  contextOn,
  recordingAck,
  type ToyApplication,
  type ToyBlock,
  ToyChain,
  toyApplication,
} from "./support/toy-chain.ts"

const WINDOW = 3
const STEPS = 60
const HEIGHTS = 12

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

/** What an engine's walk goes over: blocks of subsequent heights, ports that are checked, and what became of them. */
interface Walked {
  readonly order: CallOrder
  readonly port: ExecutorPort<ToyBlock>
  readonly chain: ToyChain
  readonly blocks: ReadonlyArray<ToyBlock>
  readonly log: string[]
  readonly fibers: Array<Fiber.Fiber<unknown, unknown>>
}

/** Makes one of the calls that are legal for an engine now, and lets some turns pass. */
const engineStep = Effect.fnUntraced(function* (
  { order, port, chain, blocks, log, fibers }: Walked,
  chance: () => number,
) {
  const first = blocks[0]!.height
  const calls = order
    .legal(["engine"], first)
    .filter(({ machine, of }) => machine !== "delivery" || of < first + HEIGHTS)
  const { call, of } = calls[Math.floor(chance() * calls.length)]!
  const block = blocks[Math.floor(chance() * HEIGHTS)]!
  if (call === "leave") yield* Effect.forkChild(Fiber.interrupt(fibers[of]!))
  if (call === "verify" || call === "propose") {
    const asked: Effect.Effect<unknown, unknown> =
      call === "verify"
        ? port.verify(block.context, chain.ancestry(block))
        : port.propose(contextOn(block, 1_000), chain.ancestry(block))
    fibers.push(yield* Effect.forkChild(asked, { startImmediately: true }))
  }
  if (call === "deliver") {
    const delivered = blocks[of - first]!
    chain.finalized[of] = delivered
    yield* port.finalized(delivered, recordingAck(log, of))
  }
  for (let turns = Math.floor(chance() * 8); turns > 0; turns--) yield* Effect.yieldNow
  return call
})

/** A walk over a running executor. */
const walk = Effect.fnUntraced(function* (seed: number) {
  const { end, ...run }: Checked = yield* checked()
  const walked = { ...run, blocks: chainOf(run.chain, HEIGHTS).slice(1), fibers: [] }
  const chance = drawer(seed, "walk")
  const made: Record<string, number> = {}
  for (let i = 0; i < STEPS; i++) {
    const call = yield* engineStep(walked, chance)
    made[call] = (made[call] ?? 0) + 1
  }
  yield* quiet
  yield* Fiber.interruptAll(walked.fibers)
  yield* end
  expect(walked.order.illegal, `seed ${seed}`).toEqual([])
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
  const walked = { order, port: order.port(port), chain, blocks, log, fibers: [] }
  const chance = drawer(seed, "join")
  for (let i = 0; i < 2 * STEPS; i++) {
    yield* engineStep(walked, chance)
    if (chance() < 0.2) sync.record()
    if (i === STEPS) converge(sync.heights.at(-1)!)
  }
  yield* quiet
  const { phase } = yield* status
  const hooks = log.filter((line) => line.startsWith("hook")).length
  const counts = { open: phase === "open" ? 1 : 0, hooked: hooks, covered: acks().length - hooks }
  yield* Fiber.interruptAll(walked.fibers)
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

describe("walks through every table", () => {
  const transitions = (Object.entries(CALL_ORDER) as ReadonlyArray<[string, Machine]>).flatMap(([name, machine]) =>
    Object.entries(machine).flatMap(([state, calls]) => Object.keys(calls).map((call) => `${name} ${state} ${call}`)),
  )

  test("draw every transition, and whoever makes the calls that they draw is found legal", () =>
    Effect.runPromise(
      Effect.gen(function* () {
        const drawn = new Set<string>()
        for (let seed = 0; seed < 20; seed++) {
          const script = new ScriptedCalls(WINDOW)
          const chance = drawer(seed, "walk")
          for (let i = 0; i < 100; i++) drawn.add(words(yield* script.make(script.legal, chance)))
          expect(script.order.illegal, `seed ${seed}`).toEqual([])
          yield* script.end
        }
        expect([...drawn].sort()).toEqual(transitions.toSorted())
      }),
    ))

  test("whatever the tables do not list is refused in the face of its maker", () =>
    Effect.runPromise(
      Effect.gen(function* () {
        const refused = new Set<string>()
        for (let seed = 0; seed < 60; seed++) {
          const script = new ScriptedCalls(WINDOW)
          const chance = drawer(seed, "strays")
          for (let i = 0; i < 10 + seed; i++) yield* script.make(script.legal, chance)
          const fresh = script.strays.filter((stray) => !refused.has(words(stray)))
          if (fresh.length === 0) continue
          const stray = yield* script.make(fresh, chance)
          expect(script.order.illegal, `seed ${seed}: ${words(stray)}`).toMatchObject([
            { machine: stray.machine, state: stray.state, call: stray.call },
          ])
          refused.add(words(stray))
          yield* script.end
        }
        expect([...refused].sort()).toEqual([
          "delivery ended acknowledge",
          "delivery ended cancel",
          "delivery hooking acknowledge",
          "run ended batch",
          "run ended seal",
          "run running give",
          "run sealed batch",
          "run sealed seal",
          "run sealing batch",
          "run sealing decline",
          "run sealing give",
          "run sealing seal",
        ])
      }),
    ))
})

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

test("a request is asked once, then answered or left; a block is delivered once, and nothing but its hook precedes its ack", () => {
  const legalIn = (name: keyof typeof CALL_ORDER, call: string) =>
    Object.keys(CALL_ORDER[name]).filter((state) => follow(name, state, call as never) !== undefined)
  for (const call of ["propose", "verify"]) expect(legalIn("request", call), call).toEqual(["new"])
  for (const call of ["answer", "leave", "stop"]) expect(legalIn("request", call), call).toEqual(["asked"])
  expect(["deliver", "hook", "hooked"].map((call) => legalIn("delivery", call))).toEqual([
    ["new"],
    ["delivered"],
    ["hooking"],
  ])
  expect(legalIn("delivery", "acknowledge")).toEqual(["delivered", "hooked"])
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

test("an order remembers so many calls that have not ended, the newest", () =>
  Effect.runPromise(
    Effect.gen(function* () {
      const order = new CallOrder(WINDOW)
      const { verify } = order.port<ToyBlock>({
        propose: () => Effect.never,
        verify: () => Effect.never,
        finalized: () => Effect.void,
      })
      const chain = new ToyChain(WINDOW)
      const block = chain.grow(chain.finalized[0]!, 1)
      const beyond = 5
      for (let i = 0; i < CALLS_WALKED_MAX + beyond; i++) {
        yield* Effect.forkChild(verify(block.context, chain.ancestry(block)), { startImmediately: true })
      }
      const open = order.legal(["engine"]).flatMap(({ call, of }) => (call === "leave" ? [of] : []))
      expect(open).toEqual(Array.from({ length: CALLS_WALKED_MAX }, (_, i) => beyond + i))
    }),
  ))

test("a walk acknowledges what was never hooked before the first hook, and nothing unhooked afterwards", () =>
  Effect.runPromise(
    Effect.gen(function* () {
      const order = new CallOrder(WINDOW)
      const acks: Ack[] = []
      const silent = { propose: () => Effect.never, verify: () => Effect.never }
      const port = order.port<ToyBlock>({
        ...silent,
        finalized: (_block, ack) => Effect.sync(() => void acks.push(ack)),
      })
      const { finalized } = order.application(toyApplication({ finalized: () => Effect.void }))
      const acknowledged = () =>
        order.legal(["executor"], 0).flatMap(({ call, of }) => (call === "acknowledge" ? [of] : []))
      const [genesis, first, second] = chainOf(new ToyChain(WINDOW), 2)
      for (const block of [genesis!, first!, second!]) yield* deliver(port, block)
      expect(acknowledged()).toEqual([0])
      acks[0]!.acknowledge()
      yield* runHook(() => finalized!(first!, undefined as never, undefined as never))
      expect(acknowledged()).toEqual([1])
      acks[1]!.acknowledge()
      expect(acknowledged()).toEqual([])
      yield* runHook(() => finalized!(second!, undefined as never, undefined as never))
      expect(acknowledged()).toEqual([2])
    }),
  ))

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
      "an executor that runs hooks out of order (INV-16)",
      "executor",
      "hook",
      () =>
        Effect.gen(function* () {
          const run = yield* checked()
          const { finalized } = run.order.application(toyApplication({ finalized: () => Effect.void }))
          const [, first, , third] = chainOf(run.chain, 3)
          const hook = (block: ToyBlock) =>
            runHook(() => run.set.use("read", (readers) => finalized!(block, readers, () => run.set.anchor)))
          yield* hook(first!)
          yield* refused(hook(third!))
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
