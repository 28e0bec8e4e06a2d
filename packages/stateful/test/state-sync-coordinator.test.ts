/**
 * Goal: members of a set that sync at their own speed come out at one tip, whatever the order of tips, results and messages.
 * Method: a world of members whose syncs take targets from a queue and reach the newest one when chance says so; queues of
 * numbers, targets and reports are delivered in any interleaving. Each action is judged. Canaries: cores that break a rule.
 */
import type { SyncTarget } from "@coppice/qmdb"
import fc from "fast-check"
import { describe, expect, test } from "vitest"
import type { SyncTip } from "../src/index.ts"
import {
  type CoordinatorAction,
  type CoordinatorEvent,
  createCoordinator,
  MemberPosition,
  stepCoordinator,
} from "../src/state-sync/coordinator.ts"
import { targetsEqual } from "../src/targets.ts"
import { DATABASES, NAMES, type Name, type Three, targetAt, tipAt } from "./support/member-syncs.ts"

type Step = typeof stepCoordinator<Three>

const START = 10

interface Numbered {
  readonly generation: number
  readonly target: SyncTarget
}

/** One member: its position, and a sync that goes to the newest target it has taken. */
class Member {
  readonly numbers: Numbered[] = []
  readonly targets: SyncTarget[] = []
  readonly position: MemberPosition
  readonly sent: SyncTarget[]
  at: SyncTarget | undefined
  #seeks: SyncTarget

  constructor(start: SyncTarget) {
    this.position = new MemberPosition(start)
    this.#seeks = start
    this.sent = [start]
  }

  take() {
    this.#seeks = this.targets.shift() ?? this.#seeks
  }

  /** Reaches what it seeks, once, unless a newer target waits. Reports generations. */
  reach(): Array<number | undefined> {
    if (this.targets.length > 0 || this.at === this.#seeks) return []
    this.at = this.#seeks
    return [...this.number(this.numbers.length), this.position.reached(this.at)]
  }

  /** Takes numbers that wait. */
  number(count: number): Array<number | undefined> {
    return this.numbers.splice(0, count).map(({ generation, target }) => this.position.numbered(generation, target))
  }
}

const violated = (rule: string): never => {
  throw new Error(rule)
}

class World {
  readonly core = createCoordinator(DATABASES, tipAt(START))
  readonly members = new Map(NAMES.map((name) => [name, new Member(tipAt(START).targets[name])]))
  readonly events: Array<CoordinatorEvent<Three>> = []
  recorded = START
  height = START
  converged: SyncTip<Three> | undefined
  readonly seen = { regrouped: 0, generations: 0 }
  readonly #step: Step
  readonly #reported = new Map<Name, number>()

  constructor(step: Step = stepCoordinator) {
    this.#step = step
  }

  tip(more: number) {
    this.height += more
    this.events.push({ type: "tip", tip: tipAt(this.height) })
  }

  reports(name: Name, generations: ReadonlyArray<number | undefined>) {
    for (const generation of generations) {
      if (generation === undefined) continue
      if (generation <= (this.#reported.get(name) ?? -1)) violated(`${name} reports generation ${generation} again`)
      this.#reported.set(name, generation)
      this.events.push({ type: "reached", member: name, generation })
    }
  }

  turn() {
    const wereReached = new Set(NAMES.filter((name) => this.core.places.get(name)!.isReached))
    const reports = this.events.flatMap((event) => (event.type === "reached" ? [event.member] : []))
    for (const action of this.#step(this.core, this.events.splice(0))) this.#perform(action, wereReached, reports)
    if (this.core.generations.size > NAMES.length + 1) violated("INV-27 more generations than members and one")
    const rode = NAMES.filter((name) => this.core.places.get(name)!.isReached && !reports.includes(name))
    if (rode.some((name) => !wereReached.has(name))) violated("a member is reached without a report")
    this.seen.generations = Math.max(this.seen.generations, this.core.current)
  }

  #perform(action: CoordinatorAction<Three>, wereReached: ReadonlySet<Name>, reports: ReadonlyArray<Name>) {
    switch (action.type) {
      case "record":
        this.recorded = Math.max(this.recorded, action.tip.anchor.height)
        return
      case "number":
        this.members.get(action.member)!.numbers.push(action)
        return
      case "send": {
        const { member, target } = action
        const { sent, targets } = this.members.get(member)!
        if (target.end <= sent.at(-1)!.end) violated(`INV-26 ${member} is sent ${target.end} after ${sent.at(-1)!.end}`)
        const areAll = NAMES.every((name) => wereReached.has(name) || reports.includes(name))
        if (wereReached.has(member) && !areAll) violated(`INV-25 ${member} is sent on while others seek`)
        if (wereReached.has(member)) this.seen.regrouped++
        sent.push(target)
        targets.push(target)
        return
      }
      case "converge":
        this.converged = action.tip
        if (action.tip.anchor.height < this.recorded) violated(`INV-23 converged below ${this.recorded}`)
        for (const [name, { at }] of this.members) {
          if (at === undefined || !targetsEqual(at, action.tip.targets[name])) violated(`INV-24 ${name} is elsewhere`)
        }
    }
  }
}

const play = (choices: ReadonlyArray<number>, step?: Step) => {
  const world = new World(step)
  for (const choice of choices) {
    const name = NAMES[Math.floor(choice / 16) % NAMES.length]!
    const member = world.members.get(name)!
    const roll = choice % 16
    if (roll < 3) world.tip(roll)
    else if (roll < 6) member.take()
    else if (roll < 9) world.reports(name, member.reach())
    else if (roll < 11) world.reports(name, member.number(1))
    else world.turn()
    if (world.converged !== undefined) return world
  }
  // No more tips: it must come to its end, within a bound.
  for (let rounds = 0; world.converged === undefined; rounds++) {
    if (rounds > 20) violated("it does not converge")
    for (const [name, member] of world.members) {
      while (member.targets.length > 0) member.take()
      world.reports(name, member.number(member.numbers.length))
      world.reports(name, member.reach())
    }
    world.turn()
  }
  return world
}

const choices = fc.array(fc.nat({ max: 4_095 }), { minLength: 20, maxLength: 200, size: "max" })
const seed = Number(process.env["FC_SEED"] ?? 42)
const judged = () => {
  const seen = { regrouped: 0, generations: 0, longest: 0 }
  fc.assert(
    fc.property(choices, (list) => {
      const world = play(list)
      seen.regrouped += world.seen.regrouped
      seen.generations += world.seen.generations
      seen.longest = Math.max(seen.longest, world.seen.generations)
    }),
    { numRuns: 500, seed },
  )
  return seen
}

describe("coordinator", () => {
  test("INV-23 INV-24 INV-25 INV-26 INV-27 members come out at one tip, in every order of events", () => {
    const seen = judged()
    expect(seen.regrouped).toBeGreaterThan(100)
    expect(seen.generations).toBeGreaterThan(1_000)
    expect(seen.longest).toBeGreaterThan(5)
  })

  test("F46 a tip that is older, equal or repeated is recorded and changes nothing", () => {
    const core = createCoordinator(DATABASES, tipAt(START))
    const before = structuredClone(core)
    for (const height of [START - 1, START]) {
      const tip = tipAt(height)
      expect(stepCoordinator(core, [{ type: "tip", tip }])).toEqual([{ type: "record", tip }])
    }
    expect(core).toEqual(before)
  })

  test("only the newest of several tips is followed, and who has reached its generation is left alone", () => {
    const core = createCoordinator(DATABASES, tipAt(START))
    stepCoordinator(core, [{ type: "reached", member: "even", generation: 0 }])
    const tips = [12, 14, 13].map((height) => ({ type: "tip", tip: tipAt(height) }) as const)
    const sends = stepCoordinator(core, tips).filter(({ type }) => type === "send")
    // The rare one seeks the target that it was sent already.
    expect(sends).toEqual([{ type: "send", member: "slow", target: tipAt(14).targets.slow }])
    const rest = (["slow", "rare"] as const).map((member) => ({ type: "reached", member, generation: 1 }) as const)
    const regroup = stepCoordinator(core, rest).filter(({ type }) => type === "send")
    expect(regroup).toEqual([{ type: "send", member: "even", target: tipAt(14).targets.even }])
    const end = stepCoordinator(core, [{ type: "reached", member: "even", generation: 1 }])
    expect(end).toEqual([{ type: "converge", tip: tipAt(14) }])
    expect(stepCoordinator(core, tips), "over").toEqual([])
  })

  test("§13.4 who is behind is sent to where the last one has come before a newer tip is followed", () => {
    const core = createCoordinator(DATABASES, tipAt(START))
    const reached = (member: Name, generation: number) => ({ type: "reached", member, generation }) as const
    stepCoordinator(core, [reached("even", 0), reached("rare", 0)])
    stepCoordinator(core, [{ type: "tip", tip: tipAt(12) }])
    const actions = stepCoordinator(core, [reached("slow", 1), { type: "tip", tip: tipAt(14) }])
    // One rides along, and the last one is left where it is (INV-25).
    expect(actions.filter(({ type }) => type === "send")).toEqual(
      [12, 14].map((height) => ({ type: "send", member: "even", target: tipAt(height).targets.even })),
    )
  })

  test.each([
    ["has left", 0],
    ["was not sent to", 2],
  ])("a report for a generation that a member %s is nothing", (_what, generation) => {
    const core = createCoordinator(DATABASES, tipAt(START))
    stepCoordinator(core, [{ type: "tip", tip: tipAt(20) }])
    const reports = NAMES.map((member) => ({ type: "reached", member, generation }) as const)
    expect(stepCoordinator(core, reports)).toEqual([])
    expect(core.isOver).toBe(false)
  })
})

describe("canaries", () => {
  const cases: ReadonlyArray<[string, RegExp, Step]> = [
    [
      "who has reached its generation is disturbed by a tip",
      /INV-25/,
      (core, events) => {
        const frozen = NAMES.filter((name) => core.places.get(name)!.isReached)
        const actions = stepCoordinator(core, events)
        const waits = actions.some(({ type }) => type === "send") && !actions.some(({ type }) => type === "converge")
        const target = targetAt(200)
        return waits ? [...actions, ...frozen.map((member) => ({ type: "send", member, target }) as const)] : actions
      },
    ],
    [
      "a target is sent twice",
      /INV-26/,
      (core, events) =>
        stepCoordinator(core, events).flatMap(
          (action): ReadonlyArray<CoordinatorAction<Three>> => (action.type === "send" ? [action, action] : [action]),
        ),
    ],
    [
      "generations are kept",
      /INV-27/,
      (core, events) => {
        const before = [...core.generations]
        const actions = stepCoordinator(core, events)
        for (const [generation, tip] of before) core.generations.set(generation, tip)
        return actions
      },
    ],
    [
      "who comes first ends it for all",
      /INV-24/,
      (core, events) => {
        const actions = stepCoordinator(core, events)
        const isThere = [...core.places.values()].some(
          ({ isReached, generation }) => isReached && generation === core.current,
        )
        if (core.isOver || !isThere) return actions
        return [...actions, { type: "converge", tip: core.generations.get(core.current)! }]
      },
    ],
    [
      "tips are recorded and dropped",
      /INV-23/,
      (core, events) => [
        ...events.flatMap((event) => (event.type === "tip" ? [{ type: "record", tip: event.tip } as const] : [])),
        ...stepCoordinator(
          core,
          events.filter(({ type }) => type !== "tip"),
        ),
      ],
    ],
  ]
  test.each(cases)("%s", (_what, rule, step) => {
    const lists = fc.sample(choices, { numRuns: 200, seed })
    expect(() => {
      for (const list of lists) play(list, step)
    }).toThrow(rule)
  })
})
