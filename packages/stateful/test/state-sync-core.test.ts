/**
 * Goal: while a set joins by state sync, no order of deliveries, tips, results and crashes loses a block or an ack.
 * Method: `JoinWorld` drives the pure core with random choices and judges every action: acks only of what a recorded tip
 * covers, in order; the anchor over every acknowledged block; everything left over passed on without a gap; a restart that
 * covers what marshal kept. Canaries: cores, and what stands around them, that break a rule each.
 */
import { Effect, Fiber } from "effect"
import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { createJoin, stepJoin } from "../src/state-sync/core.ts"
import { LatestValueCell } from "../src/state-sync/latest-value.ts"
import { blockAt, type JoinParts, type JoinStep, JoinWorld } from "./support/join-world.ts"

const FLOOR = 20

const run = (choices: ReadonlyArray<number>, parts?: Partial<JoinParts>) => {
  const [window = 0, ...events] = choices
  const world = new JoinWorld(FLOOR, 1 + (window % 5), parts)
  const seen = { acked: 0, crashes: 0, completed: 0, recorded: 0, handedOver: 0 }
  for (const choice of events) {
    const roll = choice % 32
    if (roll < 14) world.deliver()
    else if (roll < 19) world.record()
    else if (roll < 20) world.converge()
    else if (roll < 23) world.start()
    else if (roll < 31) world.execute()
    else if (choice % 3 === 0) world.crash(Math.floor(choice / 32) % (1 + (window % 5)))
    seen.handedOver = Math.max(seen.handedOver, world.executing.length)
  }
  if (world.stopped !== undefined) throw new Error(`stopped: ${world.stopped.error}`)
  // Whatever was left undone comes to its end: nothing is stuck (F48).
  world.record()
  world.converge()
  world.start()
  for (let left = 12; left > 0; left--) {
    world.deliver()
    world.execute()
  }
  expect(world.complete, "the join completes").toBeDefined()
  expect(world.acked.length + world.executing.length).toBeGreaterThan(0)
  seen.acked = world.acked.length
  seen.crashes = world.lives - 1
  seen.recorded = world.core.recorded === undefined ? 0 : 1
  return seen
}

const seed = Number(process.env["FC_SEED"] ?? 42)
const choices = fc.array(fc.nat({ max: 65_535 }), { minLength: 40, maxLength: 300, size: "max" })

describe("every order of events", () => {
  test("INV-7 INV-8 INV-23 INV-28 nothing is lost, and a join comes to its end (C3 to C10)", () => {
    const total = { acked: 0, crashes: 0, recorded: 0, handedOver: 0 }
    fc.assert(
      fc.property(choices, (list) => {
        const seen = run(list)
        for (const key of Object.keys(total) as Array<keyof typeof total>) total[key] += seen[key]
      }),
      { numRuns: 400, seed },
    )
    for (const [what, count] of Object.entries(total)) expect(count, `${what}: vacuous`).toBeGreaterThan(100)
  })
})

const BROKEN_CORES: ReadonlyArray<readonly [string, RegExp, JoinStep]> = [
  [
    "acknowledges when it sends instead of when it is recorded",
    /INV-28/,
    (core, event) => {
      const actions = stepJoin(core, event)
      const sent = actions.find(({ type }) => type === "send")
      if (sent === undefined) return actions
      const acks = core.retained.map(({ ack }) => ({ type: "acknowledge", ack }) as const)
      return [...actions, ...acks]
    },
  ],
  [
    "hands over the newest block only",
    /INV-8|F51/,
    (core, event) => {
      const actions = stepJoin(core, event)
      const newest = actions.findLast(({ type }) => type === "deliver")
      return event.type === "executing" ? actions.filter((a) => a.type !== "deliver" || a === newest) : actions
    },
  ],
  [
    "acknowledges what the recorded tip does not cover",
    /INV-28|INV-8/,
    (core, event) => {
      const actions = stepJoin(core, event)
      if (event.type !== "recorded" || core.retained.length > 0) return actions
      return [...actions, { type: "acknowledge", ack: event.height + 1 }]
    },
  ],
  [
    "completes at the anchor, before what is left over",
    /complete at what is left over/,
    (core, event) =>
      stepJoin(core, event).map((action) =>
        action.type === "complete" ? { ...action, height: core.anchor!.height } : action,
      ),
  ],
]

const CANARIES: ReadonlyArray<readonly [string, RegExp, Partial<JoinParts>]> = [
  ...BROKEN_CORES.map(([name, rule, step]) => [`core that ${name}`, rule, { step }] as const),
  [
    "core that believes a sync which forgets the newest tip",
    /INV-23/,
    {
      converges: (tips) => tips.at(-2) ?? tips[0]!,
      step: (core, event) => {
        if (event.type === "synced") core.recorded = undefined
        return stepJoin(core, event)
      },
    },
  ],
  [
    "join that starts from its floor, whatever was acknowledged since",
    /INV-7 C5/,
    { resolve: (source, floor) => source.finalizedBlock(floor) },
  ],
]

describe("canaries", () => {
  test.each(CANARIES)("a %s is caught", (_name, rule, parts) => {
    const outcome = fc.check(
      fc.property(choices, (list) => {
        run(list, parts)
      }),
      { numRuns: 200, endOnFailure: true, seed },
    )
    expect(outcome.failed).toBe(true)
    expect(String(outcome.errorInstance)).toMatch(rule)
  })
})

describe("refusals", () => {
  const deliver = (core: ReturnType<typeof createJoin>, height: number) =>
    stepJoin(core, { type: "finalized", block: blockAt(height), ack: height })
  const anchorAt = (height: number) => {
    const { digest, context } = blockAt(height)
    return { height: blockAt(height).height, digest, round: context.round }
  }

  test("F53 more blocks than the ack window are fatal", () => {
    const core = createJoin(2)
    for (const height of [5, 6]) deliver(core, height)
    expect(deliver(core, 7)).toMatchObject([
      { type: "stop", error: { _tag: "AckWindowExceeded", height: 7, allowed: 2 } },
    ])
    expect(deliver(core, 8), "nothing comes out of a stopped core").toEqual([])
  })

  test("F51 a gap among the blocks to be handed over is fatal", () => {
    const core = createJoin(4)
    deliver(core, 5)
    expect(deliver(core, 7)).toMatchObject([{ type: "stop", error: { _tag: "FinalizedGap", expected: 6, actual: 7 } }])
  })

  test("INV-23 a sync that comes out below what it recorded is fatal", () => {
    const core = createJoin(1)
    expect(deliver(core, 5)).toMatchObject([{ type: "send" }])
    expect(stepJoin(core, { type: "recorded", height: blockAt(5).height })).toEqual([{ type: "acknowledge", ack: 5 }])
    expect(stepJoin(core, { type: "synced", anchor: anchorAt(4) })).toMatchObject([
      { type: "stop", error: { _tag: "SyncedBelowRecorded", recorded: 5, synced: 4 } },
    ])
  })

  test("INV-23 a record that comes late takes no promise back: the highest binds", () => {
    const core = createJoin(1)
    deliver(core, 5)
    stepJoin(core, { type: "recorded", height: blockAt(5).height })
    expect(stepJoin(core, { type: "recorded", height: blockAt(4).height })).toEqual([])
    expect(stepJoin(core, { type: "synced", anchor: anchorAt(4) })).toMatchObject([
      { type: "stop", error: { _tag: "SyncedBelowRecorded", recorded: 5, synced: 4 } },
    ])
  })

  test("F48 a tip that was never recorded goes to the executor with all the others", () => {
    const core = createJoin(2)
    for (const height of [5, 6]) deliver(core, height)
    expect(stepJoin(core, { type: "synced", anchor: anchorAt(5) })).toEqual([{ type: "execute" }])
    expect(stepJoin(core, { type: "recorded", height: blockAt(6).height }), "too late").toEqual([])
    expect(stepJoin(core, { type: "executing" })).toMatchObject([
      { type: "deliver", delivery: { ack: 5 } },
      { type: "deliver", delivery: { ack: 6 } },
      { type: "complete", height: 6 },
    ])
  })
})

test("of the tips that a sync has not taken the newest waits, and is taken once", () => {
  const cell = new LatestValueCell<number>()
  expect(cell.poll()).toBeUndefined()
  for (const each of [1, 2]) cell.offer(each)
  expect([cell.poll(), cell.poll()]).toEqual([2, undefined])
  const [before, after] = Effect.runSync(
    Effect.gen(function* () {
      const waiting = yield* Effect.forkChild(cell.arrival, { startImmediately: true })
      const before = waiting.pollUnsafe()
      cell.offer(3)
      yield* Fiber.join(waiting)
      yield* cell.arrival
      return [before, cell.poll()]
    }),
  )
  expect([before, after, cell.poll()], "who waits takes nothing").toEqual([undefined, 3, undefined])
})
