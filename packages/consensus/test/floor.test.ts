/**
 * Goal: a node can begin at any final block and let go of any processed one, and neither moves anything back.
 * Method: single turns of the core with known outcome, floors with and without their block; invariants after every turn.
 */
import { bytesKey } from "@coppice/codec"
import {
  certify,
  chainOn,
  childOf,
  finalize,
  genesis,
  proposalOf,
  sealBlock,
  type TestBlock,
} from "@coppice/simulate/chain"
import { describe, expect, test } from "vitest"
import { anchorOf, Height, Round } from "../src/index.ts"
import { EXPIRED_ROWS_MAX, ROUND_RETENTION } from "../src/limits.ts"
import {
  acknowledged,
  fetches,
  floorAt,
  given,
  heights,
  Machine,
  prune,
  reported,
  settle,
  start,
  startEmpty,
  verified,
} from "./machine.ts"

const chain = chainOn(genesis, 1, 20)
const at = (height: number): TestBlock => chain[height - 1]!
const held = (machine: Machine) => [...machine.rows.finalized.keys()].sort((a, b) => a - b)

describe("start", () => {
  test("G-5 an executor without state gets genesis first, and acknowledges it", () => {
    const machine = new Machine()
    machine.turn(startEmpty, verified(at(1)), reported(finalize(at(1))))
    expect(heights(machine)).toEqual([0, 1])
    machine.turn(acknowledged(0))
    expect(machine.rows.progress).toBe(0)
  })

  test("G-5 M6 at a floor the first block is the floor's own, and its height is not processed yet", () => {
    const machine = new Machine()
    machine.turn(verified(at(7)))
    machine.turn(floorAt(at(7)))
    machine.turn(startEmpty)
    expect(heights(machine)).toEqual([7])
    expect(machine.rows.progress).toBe(6)
    expect(machine.rows.floor).toEqual({ height: 7, round: Round(0, 7) })
    expect(machine.state.tip.height).toBe(7)
    expect(machine.rows.hasFinalization(Height(7))).toBe(true)
    machine.turn(verified(at(8)), reported(finalize(at(8))), acknowledged(7))
    expect(heights(machine)).toEqual([7, 8])
    expect(machine.rows.progress).toBe(7)
  })

  test("an executor without state goes on after its last acknowledged block", () => {
    const machine = new Machine()
    machine.turn(startEmpty, verified(at(7)), floorAt(at(7)))
    machine.turn(verified(at(8)), verified(at(9)), reported(finalize(at(9))), acknowledged(7))
    machine.crash()
    machine.turn(startEmpty)
    expect(heights(machine)).toEqual([8, 9])
  })

  test("an executor that stands below a floor has a hole, one that stands on it or above goes on", () => {
    const machine = new Machine()
    machine.turn(verified(at(7)), floorAt(at(7)))
    expect(machine.attempt({ tag: "start", after: anchorOf(at(3)) })).toMatchObject({
      failure: { _tag: "DeliveryHole", anchor: 3, missing: 4, processed: 6 },
    })
    machine.turn({ tag: "start", after: anchorOf(at(7)) }, verified(at(8)), reported(finalize(at(8))))
    expect(heights(machine)).toEqual([8])
  })
})

describe("a pending floor", () => {
  const frozen = (): Machine => {
    const machine = new Machine()
    machine.turn(start, ...chain.slice(0, 4).map(verified), reported(finalize(at(4))))
    machine.turn(floorAt(at(12)))
    return machine
  }

  test("CONS-15 nothing is delivered, repaired or recorded until its block is here; then the floor's block is next", () => {
    const machine = frozen()
    const effects = machine.turn(verified(at(5)), verified(at(6)), reported(finalize(at(6))), acknowledged(1))
    expect(heights(machine)).toEqual([1, 2, 3, 4])
    expect(machine.rows.progress).toBeUndefined()
    expect(fetches(effects)).toEqual([])
    expect(machine.rows.finalized.has(Height(5))).toBe(false)
    machine.turn(given(at(12)))
    expect(heights(machine)).toEqual([1, 2, 3, 4, 12])
    expect(machine.rows.progress).toBe(11)
    expect(machine.rows.pendingFloor).toBeUndefined()
  })

  test("CONS-15 acknowledgements of blocks below it, given before or after, move nothing", () => {
    const machine = frozen()
    machine.turn(acknowledged(2))
    machine.turn(given(at(12)))
    machine.turn(acknowledged(1), acknowledged(3), acknowledged(4))
    expect(machine.rows.progress).toBe(11)
    machine.turn(acknowledged(12))
    expect(machine.rows.progress).toBe(12)
  })

  test("certificates are taken in, reads and waits go on, and its block alone is asked for at first", () => {
    const machine = new Machine()
    expect(fetches(machine.turn(startEmpty, floorAt(at(12))))).toEqual([`block ${bytesKey(at(12).digest)}`])
    machine.turn(reported(finalize(at(15))), verified(at(13)))
    expect(machine.rows.awaited.size).toBe(1)
    const woken = machine.turn(verified(at(14))).some((effect) => effect.tag === "known" && effect.block === at(14))
    expect(woken).toBe(true)
  })

  test("crash point M9: it survives a crash, is asked for again, and the old blocks are not delivered meanwhile", () => {
    const machine = frozen()
    machine.crash()
    expect(fetches(machine.turn(start))).toEqual([`block ${bytesKey(at(12).digest)}`])
    expect(heights(machine)).toEqual([])
    machine.turn(given(at(12)))
    expect(heights(machine)).toEqual([12])
  })

  test("its block counts however it comes: proposed, voted for, fetched for somebody else", () => {
    const ways = [verified(at(12)), { ...verified(at(12)), kind: "notarized" as const } as const, given(at(12))]
    for (const way of ways) {
      const machine = frozen()
      machine.turn(way as ReturnType<typeof verified>)
      expect(heights(machine), way.tag).toEqual([1, 2, 3, 4, 12])
    }
  })

  test("an older floor is ignored, a newer one takes its place", () => {
    const machine = frozen()
    machine.turn(floorAt(at(9)), verified(at(9)))
    expect(heights(machine)).toEqual([1, 2, 3, 4])
    const effects = machine.turn(floorAt(at(15)))
    expect(fetches(effects)).toEqual([`block ${bytesKey(at(15).digest)}`])
    machine.turn(given(at(15)))
    expect(heights(machine)).toEqual([1, 2, 3, 4, 15])
  })

  test("it is forgotten when an executor turns out to stand on it or above", () => {
    const machine = new Machine()
    machine.turn(floorAt(at(5)))
    machine.turn({ tag: "start", after: anchorOf(at(6)) })
    expect(machine.rows.pendingFloor).toBeUndefined()
    machine.turn(verified(at(7)), reported(finalize(at(7))))
    expect(heights(machine)).toEqual([7])
  })
})

describe("an installed floor", () => {
  test("M6 one whose round is processed is ignored", () => {
    const machine = new Machine()
    machine.turn(start, ...chain.slice(0, 9).map(verified), reported(finalize(at(9))))
    machine.turn(...[1, 2, 3, 4, 5].map(acknowledged))
    const turn = machine.attempt(floorAt(at(5)))
    expect(turn.tag === "turn" && turn.rows).toEqual([])
  })

  test("M6 one that delivery has reached moves the round floor alone, and its acknowledgements go on", () => {
    const machine = new Machine()
    machine.turn(start, ...chain.slice(0, 9).map(verified), reported(finalize(at(9))))
    machine.turn(floorAt(at(6)))
    expect(machine.rows.progress).toBeUndefined()
    expect(machine.state.roundFloor).toEqual(Round(0, 6))
    machine.turn(acknowledged(1), acknowledged(2))
    expect(machine.rows.progress).toBe(2)
    expect(held(machine).slice(0, 3)).toEqual([0, 1, 2])
    expect(heights(machine)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9])
  })

  test("final blocks that were held above it are delivered after it; those below are let go and not stored again", () => {
    const machine = new Machine()
    machine.turn(...chain.map(verified), reported(finalize(at(3))), reported(finalize(at(15))))
    machine.turn(startEmpty, floorAt(at(12)))
    settle(machine)
    expect(heights(machine)).toEqual([12, 13, 14, 15])
    expect(held(machine)).toEqual([12, 13, 14, 15])
    machine.turn(reported(finalize(at(3))), reported(finalize(at(11))))
    expect(held(machine)).toEqual([12, 13, 14, 15])
  })

  test("CONS-15 the window begins anew: blocks below it that nobody acknowledged take no place in it", () => {
    const machine = new Machine(4)
    machine.turn(start, ...chain.map(verified), reported(finalize(at(4))))
    machine.turn(floorAt(at(12)), reported(finalize(at(20))))
    expect(heights(machine)).toEqual([1, 2, 3, 4, 12, 13, 14, 15])
  })

  test("final blocks below it that come in the same turn are let go too", () => {
    const machine = new Machine()
    machine.turn(verified(at(3)), reported(finalize(at(3))), verified(at(12)), floorAt(at(12)))
    settle(machine)
    expect(held(machine)).toEqual([12])
  })

  test("a certificate that its round covers is neither kept nor fetched", () => {
    const machine = new Machine()
    machine.turn(startEmpty, reported(finalize(at(4))), verified(at(9)), floorAt(at(9)))
    expect(machine.rows.awaited.size).toBe(0)
    settle(machine)
    const turn = machine.attempt(reported(finalize(at(5))))
    expect(turn.tag === "turn" && [...turn.rows, ...turn.effects]).toEqual([])
  })

  test("a block whose parent is not its context's is fatal", () => {
    const machine = new Machine()
    const wrong = sealBlock({ ...childOf(at(8), 9), parent: at(7).digest })
    machine.turn(startEmpty, floorAt(wrong))
    expect(machine.attempt(given(wrong))).toMatchObject({
      failure: { _tag: "ConflictingFinalized", height: 8, known: at(8).digest, conflicting: at(7).digest },
    })
  })

  test("a floor that is not on the final chain is fatal", () => {
    const machine = new Machine()
    const other = childOf(at(4), 30)
    machine.turn(start, ...chain.slice(0, 9).map(verified), reported(finalize(at(9))))
    expect(machine.attempt(verified(other), floorAt(other))).toMatchObject({
      failure: { _tag: "ConflictingFinalized", height: 5 },
    })
  })

  test("a re-proposed floor is the same floor: a later round of its certificate raises the round floor", () => {
    const machine = new Machine()
    machine.turn(startEmpty, verified(at(9)), floorAt(at(9)))
    const again = certify({ ...proposalOf(at(9)), round: Round(0, 40) })
    machine.turn({ tag: "floor", finalization: again })
    expect(machine.state.roundFloor).toEqual(Round(0, 40))
    expect(heights(machine)).toEqual([9])
    machine.crash()
    expect(machine.state.roundFloor).toEqual(Round(0, 40))
  })
})

describe("pruning", () => {
  const processedTo = (height: number, length = 20, max = 1_000): Machine => {
    const machine = new Machine(max)
    const long = chainOn(genesis, 1, length)
    machine.turn(start, ...long.map(verified), reported(finalize(long.at(-1)!)))
    settle(machine)
    machine.turn(...Array.from({ length: height }, (_, i) => acknowledged(i + 1)))
    return machine
  }

  test("M8 removes final blocks and certificates below a height and keeps the height; above the processed one it is ignored", () => {
    const machine = processedTo(9)
    machine.turn(reported(finalize(at(3))), prune(10))
    expect(held(machine)[0]).toBe(0)
    machine.turn(prune(9))
    expect(held(machine)[0]).toBe(9)
    expect([...machine.rows.finalizations.keys()]).toEqual([20])
    machine.turn(prune(4))
    expect(held(machine)[0]).toBe(9)
  })

  test("the tip stays, also under a processed height that an executor vouched for", () => {
    const machine = processedTo(2, 2)
    machine.crash()
    machine.turn({ tag: "start", after: anchorOf(at(7)) })
    machine.turn(prune(7))
    expect(held(machine)).toEqual([2])
    machine.crash()
    expect(machine.state.tip.height).toBe(2)
  })

  test("crash point M10: it goes slice by slice, and a crash between two slices loses nothing of it", () => {
    const machine = processedTo(3 * EXPIRED_ROWS_MAX, 3 * EXPIRED_ROWS_MAX + 5)
    machine.turn(prune(2.5 * EXPIRED_ROWS_MAX))
    expect(held(machine)[0]).toBe(EXPIRED_ROWS_MAX)
    machine.crash()
    machine.turn({ tag: "continued" })
    expect(held(machine)[0]).toBe(2 * EXPIRED_ROWS_MAX)
    settle(machine)
    expect(held(machine)[0]).toBe(2.5 * EXPIRED_ROWS_MAX)
    const turn = machine.attempt(prune(2.5 * EXPIRED_ROWS_MAX))
    expect(turn.tag === "turn" && turn.rows).toEqual([])
  })

  test("a pruned height that a peer sends again is told to who waits for it, and not stored", () => {
    const machine = processedTo(9)
    machine.turn(prune(9), { tag: "wanted", request: { tag: "finalized", height: Height(4) } })
    const effects = machine.turn({
      tag: "fetched",
      request: { tag: "finalized", height: Height(4) },
      answer: { block: at(4), finalization: finalize(at(4)) },
    })
    expect(effects).toContainEqual({ tag: "known", key: "finalized/4", block: at(4) })
    expect(held(machine)[0]).toBe(9)
  })

  test("an executor that stands below what was let go has a hole", () => {
    const machine = processedTo(9)
    machine.turn(prune(9))
    machine.crash()
    expect(machine.attempt({ tag: "start", after: anchorOf(at(5)) })).toMatchObject({
      failure: { _tag: "DeliveryHole", anchor: 5, missing: 6, processed: 9 },
    })
  })

  test("a block for a round past keeping is told to who waits for it, and not stored", () => {
    const machine = processedTo(ROUND_RETENTION + 10, ROUND_RETENTION + 10)
    const late = childOf(genesis, 3, 7)
    const effects = machine.turn({ tag: "cached", kind: "notarized", round: late.context.round, block: late })
    expect(effects.map((effect) => (effect.tag === "known" ? effect.key : effect.tag))).toEqual([
      "notarized/0/3",
      `block/${bytesKey(late.digest)}`,
    ])
    expect(machine.rows.cachedAt("notarized", late.context.round)).toBeUndefined()
  })
})
