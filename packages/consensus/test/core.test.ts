/**
 * Goal: the marshal's core keeps its rows, order, window and progress right, whatever comes in, in whatever order.
 * Method: single turns with known outcome; after every turn the invariants are checked against the rows alone.
 *
 * Sections are those of spec stateful (§8.1 M1 to M9) and spec consensus (crash points M1 to M11, §3.10).
 */
import { bytesKey } from "@coppice/codec"
import { chainOn, childOf, finalize, genesis, sealBlock, type TestBlock } from "@coppice/simulate/chain"
import { describe, expect, test } from "vitest"
import { anchorOf, Height } from "../src/index.ts"
import { AWAITED_FINALIZATIONS_MAX, REPAIR_WALK_MAX, ROUND_RETENTION } from "../src/limits.ts"
import { acknowledged, type Event, fetches, heights, Machine, reported, start, verified } from "./machine.ts"

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

  test("F34 a real hole above the anchor is fatal and names the height", () => {
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

  test("an anchor whose own block is not held any more must be the parent of the block that is delivered next", () => {
    const machine = processedTo(5)
    machine.rows.finalized.delete(Height(3))
    const other = anchorOf(childOf(at(2), 3, 99))
    expect(machine.attempt({ tag: "start", after: other })).toMatchObject({
      tag: "failed",
      failure: { _tag: "ConflictingFinalized", height: 3, known: other.digest, conflicting: at(3).digest },
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

  test("CONS-12 a held block of another height than its final child's parent closes no gap: it is fatal", () => {
    const machine = new Machine()
    const high = sealBlock({ ...childOf(at(1), 40), height: Height(5) })
    expect(machine.attempt(verified(at(1)), verified(high), reported(finalize(high)))).toMatchObject({
      failure: { _tag: "ConflictingFinalized", height: 4, known: at(1).digest },
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

  test("the tip is the end of what is held: nothing above it is looked for, turn after turn", () => {
    const machine = new Machine()
    machine.turn(start, ...chain.slice(0, 3).map(verified), reported(finalize(at(3))))
    const above: Array<string> = []
    const { rows } = machine
    for (const read of ["isFinalized", "finalizedAt", "hasFinalization"] as const) {
      const found = rows[read].bind(rows)
      const looks = (height: Height) => {
        if (height > machine.state.tip.height) above.push(`${read} ${height}`)
        return found(height)
      }
      Object.assign(rows, { [read]: looks })
    }
    machine.turn(verified(at(4)), acknowledged(1))
    machine.turn(reported(finalize(at(4))))
    machine.crash()
    machine.turn(start)
    expect(machine.state.missing).toBe(5)
    expect(above).toEqual([])
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
    const wanted: Event = { tag: "wanted", request: { tag: "block", digest: at(2).digest } }
    expect(fetches(machine.turn(wanted, wanted))).toEqual([`block ${bytesKey(at(2).digest)}`])
    const request = { tag: "block", digest: at(2).digest } as const
    machine.turn({ tag: "fetched", request, answer: { block: at(2), finalization: undefined } })
    expect(machine.rows.cachedAt("notarized", at(2).context.round)).toBe(at(2))
  })

  test("a want that its callers gave up is abandoned", () => {
    const machine = new Machine()
    machine.turn({ tag: "wanted", request: { tag: "block", digest: at(2).digest } })
    const effects = machine.turn({ tag: "unwanted", request: { tag: "block", digest: at(2).digest } })
    expect(effects.map(({ tag }) => tag)).toEqual(["abandon"])
  })
})
