/**
 * Goal: the marshal's core keeps its rows, order, window and progress right, whatever comes in, in whatever order.
 * Method: single turns with known outcome, then random histories over a forked chain with restarts; after every turn the
 * invariants are checked against the rows alone, and at the end everything must have been delivered.
 *
 * Sections are those of spec stateful (§8.1 M1 to M9) and spec consensus (crash points M1 to M11, §3.10).
 */
import { bytesEqual, bytesKey } from "@coppice/codec"
import { chainOn, childOf, finalize, genesis, type TestBlock } from "@coppice/simulate/chain"
import { fc, test as property } from "@fast-check/vitest"
import { describe, expect, test } from "vitest"
import { type Anchor, anchorOf, type Finalization, Height } from "../src/index.ts"
import { AWAITED_FINALIZATIONS_MAX, FETCHES_MAX, REPAIR_WALK_MAX, ROUND_RETENTION } from "../src/limits.ts"
import { step } from "../src/marshal/core.ts"
import { initialState, type MarshalEffect, type MarshalEvent, type MarshalState } from "../src/marshal/state.ts"
import { MemoryRows } from "./memory-rows.ts"

type Event = MarshalEvent<TestBlock>
type Effect = MarshalEffect<TestBlock>

const reported = (finalization: Finalization): Event => ({ tag: "finalization", finalization })
const verified = (block: TestBlock): Event => ({ tag: "cached", kind: "verified", round: block.context.round, block })
const acknowledged = (height: number): Event => ({ tag: "acknowledged", height: Height(height) })
const start: Event = { tag: "start", after: anchorOf(genesis) }

/** One marshal without its shell: rows, state, and what was delivered in this lifetime. */
class Machine {
  readonly rows = new MemoryRows(genesis)
  readonly max: number
  state: MarshalState
  delivered: Array<TestBlock> = []
  unacknowledged = new Set<number>()
  startedAt: Anchor | undefined
  stopped = false

  constructor(max = 16) {
    this.max = max
    this.state = this.load()
  }

  load(): MarshalState {
    const { finalizations, finalized, progress, awaited } = this.rows
    const height = Math.max(0, ...finalizations.keys()) as Height
    const finalization = finalizations.get(height)
    const tip = {
      ...anchorOf(finalized.get(height)!),
      finalizedRound: (finalization?.proposal ?? genesis.context).round,
    }
    return initialState(tip, progress, finalization, [...awaited.values()])
  }

  /** Loses everything that is not durable. */
  crash(): void {
    this.state = this.load()
    this.delivered = []
    this.unacknowledged.clear()
    this.startedAt = undefined
  }

  attempt(...events: ReadonlyArray<Event>) {
    return step(this.state, events, this.rows, this.max)
  }

  turn(...events: ReadonlyArray<Event>): ReadonlyArray<Effect> {
    const before = { processed: this.state.processed ?? 0, tip: this.state.tip.height }
    const turn = this.attempt(...events)
    if (turn.tag === "failed") throw turn.failure
    this.rows.apply(turn.rows)
    this.state = turn.state
    for (const event of events) {
      if (event.tag === "start") this.startedAt = event.after
      if (event.tag === "acknowledged") this.unacknowledged.delete(event.height)
    }
    for (const effect of turn.effects) {
      if (effect.tag === "deliver") this.delivered.push(effect.block)
      if (effect.tag === "deliver") this.unacknowledged.add(effect.block.height)
      if (effect.tag === "stop") this.stopped = true
    }
    expect(violations(this, before)).toEqual([])
    return turn.effects
  }
}

/** What the rows and the deliveries of a lifetime say against the invariants. */
const violations = (machine: Machine, before: { readonly processed: number; readonly tip: number }) => {
  const { rows, state, delivered, unacknowledged, startedAt, max } = machine
  const found: Array<string> = []
  for (const block of rows.finalized.values()) {
    const below = rows.finalized.get(Height(Math.max(0, block.height - 1)))
    if (block.height > 0 && below !== undefined && !bytesEqual(below.digest, block.parent))
      found.push("CONS-12 unlinked")
  }
  for (const [height, { proposal }] of rows.finalizations) {
    const block = rows.finalized.get(height)
    if (block === undefined || !bytesEqual(block.digest, proposal.payload)) found.push("CONS-12 certificate of another")
  }
  delivered.forEach((block, i) => {
    if (block.height !== (startedAt?.height ?? 0) + 1 + i) found.push("CONS-13 heights not consecutive")
    if (rows.finalized.get(block.height) !== block) found.push("CONS-13 delivered before durable")
  })
  if (unacknowledged.size > max) found.push("CONS-13 window exceeded")
  const lowest = Math.min(...unacknowledged, Number.POSITIVE_INFINITY)
  const top = Math.max(before.processed, startedAt?.height ?? 0, delivered.at(-1)?.height ?? 0)
  const processed = state.processed ?? 0
  if (processed > top) found.push("CONS-14 progress beyond what was delivered")
  if (processed > before.processed && processed >= lowest) found.push("CONS-14 progress past an open acknowledgement")
  if (processed < before.processed || state.tip.height < before.tip) found.push("CONS-16 went back")
  if (rows.awaited.size > AWAITED_FINALIZATIONS_MAX || state.fetching.size > FETCHES_MAX) found.push("limit exceeded")
  return found
}

const fetches = (effects: ReadonlyArray<Effect>): ReadonlyArray<string> =>
  effects.flatMap((effect) => {
    if (effect.tag !== "fetch") return []
    return effect.request.tag === "block"
      ? [`block ${bytesKey(effect.request.digest)}`]
      : [`height ${effect.request.height}`]
  })
const heights = (machine: Machine) => machine.delivered.map(({ height }) => height)

const chain = chainOn(genesis, 1, 20)
const at = (height: number): TestBlock => chain[height - 1]!

describe("ordering and window", () => {
  test("§8.1 M1 delivery starts after the anchor, in height order, and waits for the start", () => {
    const machine = new Machine()
    machine.turn(verified(at(1)), verified(at(2)), reported(finalize(at(2))))
    expect(heights(machine)).toEqual([])
    machine.turn(start)
    expect(heights(machine)).toEqual([1, 2])
  })

  test("G-5 genesis is not delivered to an executor that stands on it", () => {
    const machine = new Machine()
    machine.turn(start)
    expect(heights(machine)).toEqual([])
  })

  test("§8.1 M2 CONS-13 at most pendingAcksMax blocks are out, acks may come in any order and are consumed in order", () => {
    const machine = new Machine(3)
    machine.turn(start, ...chain.map(verified), reported(finalize(at(10))))
    expect(heights(machine)).toEqual([1, 2, 3])
    machine.turn(acknowledged(2), acknowledged(3))
    expect(machine.rows.progress).toBeUndefined()
    expect(heights(machine)).toEqual([1, 2, 3])
    machine.turn(acknowledged(1))
    expect(machine.rows.progress).toBe(3)
    expect(heights(machine)).toEqual([1, 2, 3, 4, 5, 6])
  })

  test("CONS-14 all ready acks are one progress row", () => {
    const machine = new Machine()
    machine.turn(start, ...chain.map(verified), reported(finalize(at(10))))
    const turn = machine.attempt(...[3, 1, 2, 4].map(acknowledged))
    expect(turn.tag === "turn" && turn.rows.filter(({ tag }) => tag === "progress")).toEqual([
      { tag: "progress", height: 4 },
    ])
  })

  test("§8.1 M4 M5 without a recorded ack everything is delivered again, but only after a restart", () => {
    const machine = new Machine()
    machine.turn(start, ...chain.map(verified), reported(finalize(at(4))))
    machine.turn(reported(finalize(at(4))), verified(at(2)))
    expect(heights(machine)).toEqual([1, 2, 3, 4])
    machine.crash()
    expect(machine.state.processed).toBeUndefined()
    machine.turn(start)
    expect(heights(machine)).toEqual([1, 2, 3, 4])
  })

  test("§8.1 M7 a cancelled ack stops without failure and without progress", () => {
    const machine = new Machine()
    machine.turn(start, ...chain.map(verified), reported(finalize(at(3))))
    const effects = machine.turn({ tag: "cancelled", height: Height(1) }, acknowledged(2))
    expect(effects.some(({ tag }) => tag === "stop")).toBe(true)
    expect(machine.rows.progress).toBeUndefined()
  })
})

describe("start after an anchor", () => {
  const processedTo = (height: number): Machine => {
    const machine = new Machine()
    machine.turn(start, ...chain.map(verified), reported(finalize(at(12))))
    machine.turn(...Array.from({ length: height }, (_, i) => acknowledged(i + 1)))
    machine.crash()
    return machine
  }

  test("ahead of the marshal: nothing below the anchor is delivered again, progress follows the anchor", () => {
    const machine = processedTo(5)
    machine.turn({ tag: "start", after: anchorOf(at(9)) })
    expect(heights(machine)).toEqual([10, 11, 12])
    expect(machine.rows.progress).toBe(9)
  })

  test("behind the marshal: delivery resumes after the anchor, progress stays where it was", () => {
    const machine = processedTo(8)
    machine.turn({ tag: "start", after: anchorOf(at(3)) })
    expect(heights(machine)).toEqual([4, 5, 6, 7, 8, 9, 10, 11, 12])
    machine.turn(acknowledged(4), acknowledged(5))
    expect(machine.rows.progress).toBe(8)
    machine.turn(...[6, 7, 8, 9].map(acknowledged))
    expect(machine.rows.progress).toBe(9)
  })

  test("a real hole above the anchor is fatal and names the height", () => {
    const machine = processedTo(8)
    machine.rows.finalized.delete(Height(5))
    expect(machine.attempt({ tag: "start", after: anchorOf(at(3)) })).toMatchObject({
      tag: "failed",
      failure: { _tag: "DeliveryHole", anchor: 3, missing: 5, processed: 8 },
    })
  })

  test("an anchor that is not the finalized block of its height is fatal", () => {
    const machine = processedTo(5)
    const other = anchorOf(childOf(at(4), 5, 99))
    expect(machine.attempt({ tag: "start", after: other })).toMatchObject({
      tag: "failed",
      failure: { _tag: "AnchorMismatch", height: 5, finalized: at(5).digest, anchor: other.digest },
    })
  })

  test("an anchor above everything held is trusted, and the next block must be its child", () => {
    const machine = new Machine()
    machine.turn({ tag: "start", after: anchorOf(at(7)) })
    expect(machine.rows.progress).toBe(7)
    machine.turn(verified(at(8)), reported(finalize(at(8))))
    expect(heights(machine)).toEqual([8])
    const wrong = new Machine()
    wrong.turn({ tag: "start", after: anchorOf(childOf(at(6), 7, 99)) })
    expect(wrong.attempt(verified(at(8)), reported(finalize(at(8))))).toMatchObject({
      failure: { _tag: "ConflictingFinalized" },
    })
  })
})

describe("stores", () => {
  test("crash point M2: the first block of a round wins, in verified and notarized apart", () => {
    const machine = new Machine()
    const [first, second] = [childOf(genesis, 1, 1), childOf(genesis, 1, 2)]
    machine.turn(verified(first), verified(second))
    machine.turn({ tag: "cached", kind: "notarized", round: second.context.round, block: second })
    expect(machine.rows.cachedAt("verified", first.context.round)).toBe(first)
    expect(machine.rows.cachedAt("notarized", first.context.round)).toBe(second)
  })

  test("CONS-12 two final blocks at one height are fatal (F-29)", () => {
    const machine = new Machine()
    const other = childOf(at(2), 30)
    machine.turn(verified(at(3)), verified(other), reported(finalize(at(3))))
    expect(machine.attempt(reported(finalize(other)))).toMatchObject({
      failure: { _tag: "ConflictingFinalized", height: 3, known: at(3).digest, conflicting: other.digest },
    })
  })

  test("CONS-12 a final block that does not link to its final neighbours is fatal", () => {
    const machine = new Machine()
    const stranger = childOf(childOf(at(1), 40), 41)
    machine.turn(verified(at(2)), reported(finalize(at(2))))
    expect(machine.attempt(verified(stranger), reported(finalize(stranger)))).toMatchObject({
      failure: { _tag: "ConflictingFinalized", height: 2 },
    })
  })

  test("CONS-12 a final block whose final child has another parent is fatal, and not stored", () => {
    const machine = new Machine()
    const stranger = childOf(at(1), 40)
    machine.turn(verified(at(3)), reported(finalize(at(3))))
    expect(machine.attempt(verified(stranger), reported(finalize(stranger)))).toMatchObject({
      failure: { _tag: "ConflictingFinalized", height: 2, known: at(2).digest, conflicting: stranger.digest },
    })
  })

  test("G-6 a block that is final through a descendant needs no certificate, and keeps one that comes later", () => {
    const machine = new Machine()
    machine.turn(start, verified(at(1)), verified(at(2)), reported(finalize(at(2))))
    expect(machine.rows.hasFinalization(Height(1))).toBe(false)
    machine.turn(reported(finalize(at(1))))
    expect(machine.rows.hasFinalization(Height(1))).toBe(true)
    expect(machine.state.tip.height).toBe(2)
  })

  test("certificates that wait for their block survive a restart, and the lowest round gives way beyond the limit", () => {
    const machine = new Machine()
    const late = Array.from({ length: AWAITED_FINALIZATIONS_MAX + 1 }, (_, i) => childOf(at(5), 100 + i))
    machine.turn(...late.map((block) => reported(finalize(block))))
    machine.crash()
    expect(machine.state.awaited.size).toBe(AWAITED_FINALIZATIONS_MAX)
    expect(machine.state.awaited.has("0/100")).toBe(false)
    expect(machine.state.newest?.proposal.round.view).toBe(100 + AWAITED_FINALIZATIONS_MAX)
  })

  test("cached blocks far below the newest acknowledged one are removed, newer ones stay", () => {
    const machine = new Machine(1_000)
    const long = chainOn(genesis, 1, ROUND_RETENTION + 10)
    machine.turn(start, ...long.map(verified), reported(finalize(long.at(-1)!)))
    machine.turn(...long.map(({ height }) => acknowledged(height)))
    const views = [...machine.rows.cached.values()].map(({ ref }) => ref.round.view)
    expect(Math.min(...views)).toBe(10)
    expect(views.length).toBe(ROUND_RETENTION + 1)
  })
})

describe("repair", () => {
  test("a finalization of an unknown block is fetched by digest", () => {
    const machine = new Machine()
    const effects = machine.turn(start, reported(finalize(at(1))))
    expect(fetches(effects)).toEqual([`block ${bytesKey(at(1).digest)}`])
    const answered = machine.turn({
      tag: "fetched",
      request: { tag: "block", digest: at(1).digest },
      answer: { block: at(1), finalization: undefined },
    })
    expect(heights(machine)).toEqual([1])
    expect(fetches(answered)).toEqual([])
    expect(machine.rows.awaited.size).toBe(0)
  })

  test("a gap is closed by parents that are held, without a fetch", () => {
    const machine = new Machine()
    expect(fetches(machine.turn(start, ...chain.slice(0, 9).map(verified), reported(finalize(at(9)))))).toEqual([])
    expect(heights(machine)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9])
  })

  test("a gap that is missing asks for its upper end by digest and for the heights below, lowest first", () => {
    const machine = new Machine()
    const effects = machine.turn(start, verified(at(6)), reported(finalize(at(6))))
    expect(fetches(effects)).toEqual([
      `block ${bytesKey(at(5).digest)}`,
      "height 1",
      "height 2",
      "height 3",
      "height 4",
    ])
  })

  test("a fetched block in the middle of a gap splits it, and closed requests are abandoned", () => {
    const machine = new Machine()
    machine.turn(start, verified(at(6)), reported(finalize(at(6))))
    const effects = machine.turn({
      tag: "fetched",
      request: { tag: "finalized", height: Height(3) },
      answer: { block: at(3), finalization: finalize(at(3)) },
    })
    expect(fetches(effects)).toEqual([`block ${bytesKey(at(2).digest)}`])
    const abandoned = effects.flatMap((effect) => (effect.tag === "abandon" ? [effect.key] : []))
    expect(abandoned.toSorted()).toEqual([`block/${bytesKey(at(5).digest)}`, "finalized/2", "finalized/4"].toSorted())
  })

  test("a walk longer than its limit takes another turn", () => {
    const machine = new Machine(1_000)
    const long = chainOn(genesis, 1, REPAIR_WALK_MAX + 5)
    machine.turn(start, ...long.map(verified))
    const first = machine.turn(reported(finalize(long.at(-1)!)))
    expect(first.some(({ tag }) => tag === "continue")).toBe(true)
    machine.turn({ tag: "continued" })
    expect(machine.delivered.length).toBe(long.length)
  })

  test("CONS-19 a cached candidate asks for nothing; a wanted digest is fetched once and kept when it comes", () => {
    const machine = new Machine()
    expect(fetches(machine.turn(verified(at(3))))).toEqual([])
    const wanted: Event = { tag: "wanted", digest: at(2).digest }
    expect(fetches(machine.turn(wanted, wanted))).toEqual([`block ${bytesKey(at(2).digest)}`])
    const request = { tag: "block", digest: at(2).digest } as const
    machine.turn({ tag: "fetched", request, answer: { block: at(2), finalization: undefined } })
    expect(machine.rows.cachedAt("notarized", at(2).context.round)).toBe(at(2))
  })

  test("a want that its callers gave up is abandoned", () => {
    const machine = new Machine()
    machine.turn({ tag: "wanted", digest: at(2).digest })
    const effects = machine.turn({ tag: "unwanted", digest: at(2).digest })
    expect(effects.map(({ tag }) => tag)).toEqual(["abandon"])
  })
})

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
  fc.record({ tag: fc.constant("start" as const) }),
  fc.record({ tag: fc.constant("crash" as const), lead: fc.nat(4) }),
)
type Command = typeof command extends fc.Arbitrary<infer C> ? C : never

/** Peers know the whole chain, and a certificate of every second height. */
const answer = (machine: Machine, pick: number): ReadonlyArray<Event> => {
  const answers = [...machine.state.fetching.values()].flatMap((request): ReadonlyArray<Event> => {
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
  const processed = machine.rows.finalized.get(Height(machine.rows.progress ?? 0))!
  const anchor = durable !== undefined && durable.height > processed.height ? durable : processed
  machine.crash()
  return anchorOf(anchor)
}

const eventsOf = (machine: Machine, command: Command, anchor: Anchor): ReadonlyArray<Event> => {
  if (command.tag === "cache") return [verified([...main, ...side][command.index]!)]
  if (command.tag === "report") return [reported(finalize(main[command.index]!))]
  if (command.tag === "answer") return answer(machine, command.pick)
  if (command.tag === "start") return machine.startedAt === undefined ? [{ tag: "start", after: anchor }] : []
  const open = [...machine.unacknowledged]
  return command.tag === "ack" && open.length > 0 ? [acknowledged(open[command.pick % open.length]!)] : []
}

describe("histories", () => {
  property.prop([
    fc.array(fc.array(command, { minLength: 1, maxLength: 4 }), { maxLength: 60 }),
    fc.integer({ min: 1, max: 5 }),
  ])("CONS-12 to CONS-16 hold in every turn, and everything final is delivered in the end", (turns, max) => {
    const machine = new Machine(max)
    let anchor = anchorOf(genesis)
    for (const commands of turns) {
      const events: Array<Event> = []
      for (const command of commands) {
        if (command.tag === "crash") anchor = restart(machine, command.lead)
        else if (!events.some(({ tag }) => tag === "start")) events.push(...eventsOf(machine, command, anchor))
      }
      machine.turn(...(commands.some(({ tag }) => tag === "crash") ? [] : distinct(events)))
    }
    if (machine.startedAt === undefined) machine.turn({ tag: "start", after: anchor })
    machine.turn(reported(finalize(main.at(-1)!)))
    for (let i = 0; i < 20 * LENGTH; i++) {
      machine.turn(...answer(machine, i), ...[...machine.unacknowledged].map(acknowledged))
    }
    expect(machine.state.delivered).toEqual(anchorOf(main.at(-1)!))
    expect(machine.rows.progress).toBe(LENGTH)
    expect(machine.state.fetching.size).toBe(0)
    expect(machine.state.awaited.size).toBe(0)
  })

  test("canary: the invariants reject a lost order, a lost row, a wide window and progress past an open ack", () => {
    const before = { processed: 0, tip: 0 }
    const make = (): Machine => {
      const machine = new Machine(3)
      machine.turn(start, ...chain.map(verified), reported(finalize(at(9))))
      return machine
    }
    const swapped = make()
    swapped.delivered.reverse()
    expect(violations(swapped, before)).toContain("CONS-13 heights not consecutive")
    const lost = make()
    lost.rows.finalized.delete(Height(2))
    expect(violations(lost, before)).toContain("CONS-13 delivered before durable")
    const wide = make()
    wide.unacknowledged.add(4)
    expect(violations(wide, before)).toContain("CONS-13 window exceeded")
    const early = make()
    early.state = { ...early.state, processed: Height(2) }
    expect(violations(early, before)).toContain("CONS-14 progress past an open acknowledgement")
    const forked = make()
    forked.rows.finalized.set(Height(5), childOf(at(4), 50))
    expect(violations(forked, before)).toContain("CONS-12 unlinked")
  })
})

/** Events of one turn without repeated acks or answers: the shell delivers each once. */
const distinct = (events: ReadonlyArray<Event>): ReadonlyArray<Event> => [
  ...new Map(events.map((event, i) => [event.tag === "acknowledged" ? `ack ${event.height}` : `${i}`, event])).values(),
]
