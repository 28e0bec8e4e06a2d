/**
 * Goal: whatever happens to a marshal's core, in whatever order, the invariants hold in every turn and everything final is
 * delivered in the end.
 * Method: random histories over a forked chain with floors, pruning, lying-free peers and crashes, judged after every turn.
 */
import { bytesEqual } from "@coppice/codec"
import { chainOn, childOf, finalize, genesis, type TestBlock } from "@coppice/simulate/chain"
import { fc, test as property } from "@fast-check/vitest"
import { describe, expect, test } from "vitest"
import { type Anchor, anchorOf, Height } from "../src/index.ts"
import {
  acknowledged,
  type Event,
  floorAt,
  Machine,
  prune,
  reported,
  settle,
  start,
  startEmpty,
  verified,
  violations,
} from "./machine.ts"

/** A main chain with side branches that lose. */
const forkedChain = (length: number) => {
  const main = chainOn(genesis, 1, length)
  const side = main.flatMap((block, i) =>
    i % 3 === 0 ? [childOf(block, 200 + i), childOf(childOf(block, 200 + i), 300 + i)] : [],
  )
  return { main, side }
}

const LENGTH = 24
const { main, side } = forkedChain(LENGTH)
const command = fc.oneof(
  fc.record({ tag: fc.constant("cache" as const), index: fc.nat(main.length + side.length - 1) }),
  fc.record({ tag: fc.constant("report" as const), index: fc.nat(main.length - 1) }),
  fc.record({ tag: fc.constant("answer" as const), pick: fc.nat(1_000) }),
  fc.record({ tag: fc.constant("ack" as const), pick: fc.nat(1_000) }),
  fc.record({ tag: fc.constant("floor" as const), index: fc.nat(main.length - 1) }),
  fc.record({ tag: fc.constant("prune" as const), below: fc.nat(main.length) }),
  fc.record({ tag: fc.constant("start" as const) }),
  fc.record({ tag: fc.constant("crash" as const), lead: fc.nat(4) }),
)
const at = (height: number): TestBlock => main[height - 1]!
type Command = typeof command extends fc.Arbitrary<infer C> ? C : never

/** Peers know the whole chain, and a certificate of every second height. */
const answer = (machine: Machine, pick: number): ReadonlyArray<Event> => {
  const answers = [...machine.state.fetching.values()].flatMap(({ request }): ReadonlyArray<Event> => {
    const block =
      request.tag === "block"
        ? main.find(({ digest }) => bytesEqual(digest, request.digest))
        : main.find(({ height }) => height === request.height && height % 2 === 0)
    if (block === undefined) return []
    return [
      {
        tag: "fetched",
        request,
        answer: { block, finalization: request.tag === "block" ? undefined : finalize(block) },
      },
    ]
  })
  return answers.length === 0 ? [] : [answers[pick % answers.length]!]
}

/** The state of the executor: what it acknowledged is durable there, and up to `lead` blocks more. */
const restart = (machine: Machine, lead: number): Anchor => {
  const executed = machine.delivered.filter(({ height }) => !machine.unacknowledged.has(height)).length
  const durable = machine.delivered[Math.min(executed + lead, machine.delivered.length) - 1]
  const processed = machine.rows.finalized.get(Height(machine.rows.progress ?? 0)) ?? genesis
  const anchor = durable !== undefined && durable.height > processed.height ? durable : processed
  machine.crash()
  return anchorOf(anchor)
}

/** An executor that began with a floor has no state of its own here: it goes on where its acknowledgements end. */
const startOf = (machine: Machine, anchor: Anchor): Event => ({
  tag: "start",
  after: machine.rows.floor === undefined ? anchor : undefined,
})

const eventsOf = (machine: Machine, command: Command, anchor: Anchor): ReadonlyArray<Event> => {
  if (command.tag === "cache") return [verified([...main, ...side][command.index]!)]
  if (command.tag === "report") return [reported(finalize(main[command.index]!))]
  if (command.tag === "answer") return answer(machine, command.pick)
  if (command.tag === "start") return machine.expected === undefined ? [startOf(machine, anchor)] : []
  if (command.tag === "floor") return [floorAt(main[command.index]!)]
  if (command.tag === "prune") return [prune(command.below)]
  const open = [...machine.unacknowledged]
  return command.tag === "ack" && open.length > 0 ? [acknowledged(open[command.pick % open.length]!)] : []
}

const history = fc.tuple(
  fc.array(fc.array(command, { minLength: 1, maxLength: 4 }), { maxLength: 60 }),
  fc.integer({ min: 1, max: 5 }),
)

/** Plays a history to its end, and lets peers and the executor answer until everything has come to rest. */
const play = ([turns, max]: typeof history extends fc.Arbitrary<infer H> ? H : never) => {
  const machine = new Machine(max)
  let anchor = anchorOf(genesis)
  let pendingOverCrash = 0
  for (const commands of turns) {
    const events: Array<Event> = []
    for (const command of commands) {
      if (command.tag === "crash") {
        if (machine.rows.pendingFloor !== undefined) pendingOverCrash++
        anchor = restart(machine, command.lead)
      } else if (!events.some(({ tag }) => tag === "start")) events.push(...eventsOf(machine, command, anchor))
    }
    const isCrash = commands.some(({ tag }) => tag === "crash")
    const startsAlone = events.findLast(({ tag }) => tag === "start")
    machine.turn(...(isCrash ? [] : startsAlone === undefined ? distinct(events) : [startsAlone]))
  }
  if (machine.expected === undefined) machine.turn(startOf(machine, anchor))
  machine.turn(reported(finalize(main.at(-1)!)))
  for (let i = 0; i < 20 * LENGTH; i++) {
    machine.turn(...answer(machine, i), ...[...machine.unacknowledged].map(acknowledged))
  }
  settle(machine)
  return { machine, pendingOverCrash }
}

describe("histories", () => {
  property.prop([history])(
    "CONS-12 to CONS-16 hold in every turn, and everything final is delivered in the end",
    (history) => {
      const { machine } = play(history)
      expect(machine.state.delivery).toEqual({ next: LENGTH + 1, below: main.at(-1)!.digest })
      expect(machine.rows.progress).toBe(LENGTH)
      expect(machine.state.fetching.size).toBe(0)
      expect(machine.state.awaited.size).toBe(0)
      expect(Math.min(...machine.rows.finalized.keys())).toBe(machine.rows.retained)
    },
  )

  test("P-16 histories contain floors that jump, that are reached, that wait over a crash, and pruning", () => {
    const played = fc.sample(history, { seed: 1, numRuns: 30 }).map(play)
    const withFloor = played.filter(({ machine }) => machine.rows.floor !== undefined)
    expect(withFloor.filter(({ machine }) => machine.jumps > 0).length).toBeGreaterThan(2)
    expect(withFloor.filter(({ machine }) => machine.jumps === 0).length).toBeGreaterThan(0)
    expect(played.filter(({ pendingOverCrash }) => pendingOverCrash > 0).length).toBeGreaterThan(2)
    expect(played.filter(({ machine }) => machine.rows.retained > 0).length).toBeGreaterThan(2)
  })

  test("canary: the invariants reject a lost order, a lost row, a wide window and progress past an open ack", () => {
    const make = (...events: ReadonlyArray<Event>) => {
      const machine = new Machine(3)
      const before = { state: machine.state, finalized: new Map(machine.rows.finalized) }
      machine.turn(start, ...chainOn(genesis, 1, 20).map(verified), reported(finalize(at(9))), ...events)
      return { machine, before, found: () => violations(machine, before) }
    }
    const misordered = make().machine
    misordered.expected = 9
    expect(() => misordered.turn(acknowledged(1))).toThrow()
    expect(misordered.untimely).toEqual(["CONS-13 delivered 4, not 9"])
    const lost = make()
    lost.machine.rows.finalized.delete(Height(2))
    expect(lost.found()).toContain("CONS-13 delivered before durable")
    const kept = make()
    kept.machine.rows.finalized.delete(Height(0))
    expect(kept.found()).toContain("CONS-12 lost height 0")
    const wide = make()
    wide.machine.unacknowledged.add(4)
    expect(wide.found()).toContain("CONS-13 window exceeded")
    const early = make()
    early.machine.state = { ...early.machine.state, processed: Height(2) }
    expect(early.found()).toContain("CONS-14 progress past an open acknowledgement")
    early.machine.state = { ...early.machine.state, processed: Height(4) }
    expect(early.found()).toContain("CONS-14 progress beyond what was delivered")
    const forked = make()
    forked.machine.rows.finalized.set(Height(5), childOf(at(4), 50))
    expect(forked.found()).toContain("CONS-12 unlinked")
    const back = make()
    expect(
      violations(back.machine, { ...back.before, state: { ...back.machine.state, retained: Height(4) } }),
    ).toContain("CONS-16 retained height went back")
    const greedy = make()
    greedy.machine.state = { ...greedy.machine.state, retained: Height(9) }
    expect(greedy.found()).toContain("pruned above the processed height")
  })

  test("canary: delivery and progress while a floor is pending are seen", () => {
    const machine = new Machine()
    machine.turn(startEmpty, floorAt(at(9)))
    machine.state = { ...machine.state, pendingFloor: undefined }
    expect(() => machine.turn(verified(at(1)), reported(finalize(at(1))))).toThrow()
    expect(machine.untimely).toEqual(Array(2).fill("CONS-15 delivered while a floor is pending"))
  })
})

/** Events of one turn without repeated acks or answers: the shell delivers each once. */
const distinct = (events: ReadonlyArray<Event>): ReadonlyArray<Event> => [
  ...new Map(events.map((event, i) => [event.tag === "acknowledged" ? `ack ${event.height}` : `${i}`, event])).values(),
]
