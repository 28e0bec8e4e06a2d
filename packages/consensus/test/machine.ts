/**
 * A marshal's core without its shell, for tests: it is fed turns, keeps rows in maps, and is judged after every turn.
 *
 * Invariant: what is expected comes from the events fed in and from the rows alone, never from the core's state.
 */
import { bytesEqual, bytesKey } from "@coppice/codec"
import { finalize, genesis, type TestBlock } from "@coppice/simulate/chain"
import { expect } from "vitest"
import { anchorOf, compareRounds, type Finalization, Height } from "../src/index.ts"
import { AWAITED_FINALIZATIONS_MAX, FETCHES_MAX, HINTS_MAX } from "../src/limits.ts"
import { step } from "../src/marshal/core.ts"
import { initialState, type MarshalEffect, type MarshalEvent, type MarshalState } from "../src/marshal/state.ts"
import { MemoryRows } from "./memory-rows.ts"

export type Event = MarshalEvent<TestBlock>
export type Effect = MarshalEffect<TestBlock>

export const reported = (finalization: Finalization): Event => ({ tag: "finalization", finalization })
export const verified = (block: TestBlock): Event => ({
  tag: "cached",
  kind: "verified",
  round: block.context.round,
  block,
})
export const acknowledged = (height: number): Event => ({ tag: "acknowledged", height: Height(height) })
export const start: Event = { tag: "start", after: anchorOf(genesis) }
/** Starts an executor that has no state. */
export const startEmpty: Event = { tag: "start", after: undefined }
export const floorAt = (block: TestBlock): Event => ({ tag: "floor", finalization: finalize(block) })
export const prune = (below: number): Event => ({ tag: "prune", below: Height(below) })
/** A peer gives a block without a certificate. */
export const given = (block: TestBlock): Event => ({
  tag: "fetched",
  request: { tag: "block", digest: block.digest },
  answer: { block, finalization: undefined },
})

/** One marshal without its shell: rows, state, and what was delivered in this lifetime. */
export class Machine {
  readonly rows = new MemoryRows(genesis)
  readonly max: number
  state: MarshalState
  delivered: Array<TestBlock> = []
  unacknowledged = new Set<number>()
  /** Height that must be delivered next; undefined before the start. */
  expected: number | undefined
  /** How often a floor made delivery jump, in all lifetimes. */
  jumps = 0
  stopped = false
  /** What was delivered or recorded at the wrong time. */
  untimely: Array<string> = []

  constructor(max = 16) {
    this.max = max
    this.state = this.load()
  }

  load(): MarshalState {
    const { finalizations, finalized, progress, roundFloor, awaited, floor, pendingFloor, retained } = this.rows
    const height = Math.max(0, ...finalizations.keys()) as Height
    const finalization = finalizations.get(height)
    const tip = {
      ...anchorOf(finalized.get(height)!),
      finalizedRound: (finalization?.proposal ?? genesis.context).round,
    }
    return initialState({
      ...{ tip, processed: progress, roundFloor, highest: finalization, awaited: [...awaited.values()] },
      ...{ floor, pendingFloor, retained },
    })
  }

  /** Loses everything that is not durable. */
  crash(): void {
    const before = this.state
    this.state = this.load()
    expect(wentBack(before, this.state)).toEqual([])
    this.delivered = []
    this.unacknowledged.clear()
    this.expected = undefined
  }

  attempt(...events: ReadonlyArray<Event>) {
    return step(this.state, events, this.rows, this.max)
  }

  turn(...events: ReadonlyArray<Event>): ReadonlyArray<Effect> {
    const before = { state: this.state, finalized: new Map(this.rows.finalized) }
    const turn = this.attempt(...events)
    if (turn.tag === "failed") throw turn.failure
    this.rows.apply(turn.rows)
    this.state = turn.state
    for (const event of events) {
      if (event.tag === "start")
        this.expected = event.after === undefined ? firstOf(before.state) : event.after.height + 1
      if (event.tag === "acknowledged") this.unacknowledged.delete(event.height)
    }
    const isFrozen = before.state.pendingFloor !== undefined && this.rows.pendingFloor !== undefined
    if (isFrozen && this.state.processed !== before.state.processed && !events.some(({ tag }) => tag === "start")) {
      this.untimely.push("CONS-15 progress while a floor is pending")
    }
    this.#jump(before.state)
    for (const effect of turn.effects) {
      if (effect.tag === "deliver") this.#deliver(effect.block)
      if (effect.tag === "stop") this.stopped = true
    }
    expect([...violations(this, before), ...this.untimely]).toEqual([])
    return turn.effects
  }

  /** A floor above all that was delivered makes delivery begin with its own block, and voids what is open. */
  #jump(before: MarshalState): void {
    const { floor } = this.rows
    if (floor === undefined || floor === before.floor || this.expected === undefined) return
    if (floor.height < this.expected) return
    if (floor.height > this.expected) this.jumps++
    this.expected = floor.height
    this.unacknowledged.clear()
  }

  #deliver(block: TestBlock): void {
    if (block.height !== this.expected) this.untimely.push(`CONS-13 delivered ${block.height}, not ${this.expected}`)
    if (this.rows.pendingFloor !== undefined) this.untimely.push("CONS-15 delivered while a floor is pending")
    this.expected = block.height + 1
    this.delivered.push(block)
    this.unacknowledged.add(block.height)
  }
}

/** The height that an executor without state gets first. */
const firstOf = ({ processed }: MarshalState): number => (processed === undefined ? 0 : processed + 1)

/** What must never decrease, within a lifetime and across crashes. */
const wentBack = (before: MarshalState, after: MarshalState): ReadonlyArray<string> => {
  const found: Array<string> = []
  if ((after.processed ?? -1) < (before.processed ?? -1)) found.push("CONS-16 processed height went back")
  if (after.tip.height < before.tip.height) found.push("CONS-16 tip went back")
  if (after.retained < before.retained) found.push("CONS-16 retained height went back")
  if (compareRounds(after.roundFloor, before.roundFloor) < 0) found.push("CONS-16 round floor went back")
  return found
}

/** A moment to compare with. */
export interface Before {
  readonly state: MarshalState
  readonly finalized: ReadonlyMap<Height, TestBlock>
}

/** What the rows and the deliveries of a lifetime say against the invariants. */
export const violations = (machine: Machine, before: Before): ReadonlyArray<string> => {
  const { rows, state, delivered, unacknowledged, expected, max } = machine
  const found: Array<string> = [...wentBack(before.state, state)]
  for (const block of rows.finalized.values()) {
    const below = rows.finalized.get(Height(Math.max(0, block.height - 1)))
    if (block.height > 0 && below !== undefined && !bytesEqual(below.digest, block.parent)) {
      found.push("CONS-12 unlinked")
    }
  }
  for (const [height, { proposal }] of rows.finalizations) {
    const block = rows.finalized.get(height)
    if (block === undefined || !bytesEqual(block.digest, proposal.payload)) found.push("CONS-12 certificate of another")
  }
  for (const [height, block] of before.finalized) {
    if (height >= state.retained && rows.finalized.get(height) !== block) found.push(`CONS-12 lost height ${height}`)
  }
  for (const block of delivered) {
    if (block.height >= state.retained && rows.finalized.get(block.height) !== block) {
      found.push("CONS-13 delivered before durable")
    }
  }
  if (unacknowledged.size > max) found.push("CONS-13 window exceeded")
  const processed = state.processed ?? -1
  const moved = processed > (before.state.processed ?? -1)
  if (processed >= Math.max(expected ?? 0, (before.state.processed ?? -1) + 1, rows.floor?.height ?? 0)) {
    found.push("CONS-14 progress beyond what was delivered")
  }
  if (moved && processed >= Math.min(...unacknowledged, Number.POSITIVE_INFINITY)) {
    found.push("CONS-14 progress past an open acknowledgement")
  }
  if (state.retained > processed + 1) found.push("pruned above the processed height")
  if (rows.awaited.size > AWAITED_FINALIZATIONS_MAX) found.push("limit of awaited certificates exceeded")
  if (state.fetching.size > FETCHES_MAX || state.hints.size > HINTS_MAX) found.push("limit of requests exceeded")
  return found
}

/** Lets the core finish what it left over. */
export const settle = (machine: Machine): void => {
  for (let turns = 0; machine.turn({ tag: "continued" }).some(({ tag }) => tag === "continue"); turns++) {
    if (turns > 1_000) throw new Error("the core does not come to rest")
  }
}

export const fetches = (effects: ReadonlyArray<Effect>): ReadonlyArray<string> =>
  effects.flatMap((effect) => {
    if (effect.tag !== "fetch") return []
    return effect.request.tag === "block"
      ? [`block ${bytesKey(effect.request.digest)}`]
      : [`height ${effect.request.height}`]
  })
export const heights = (machine: Machine) => machine.delivered.map(({ height }) => height)
