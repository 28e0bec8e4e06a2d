/**
 * Goal: the core asks peers for what it should, no more, and hints neither pile up nor outlive their use.
 * Method: single turns with known outcome.
 */
import { bytesEqual, bytesKey } from "@coppice/codec"
import { chainOn, childOf, finalize, genesis, type TestBlock } from "@coppice/simulate/chain"
import { describe, expect, test } from "vitest"
import { type BlockRequest, Height, Round } from "../src/index.ts"
import { FETCHES_MAX, HINT_TARGETS_MAX, HINTS_MAX } from "../src/limits.ts"
import { acknowledged, type Event, fetches, given, Machine, reported, start, verified } from "./machine.ts"

const chain = chainOn(genesis, 1, 20)
const at = (height: number): TestBlock => chain[height - 1]!
const finalized = (height: number): BlockRequest => ({ tag: "finalized", height: Height(height) })
const hintFinalized = (height: number, ...targets: ReadonlyArray<string>): Event => ({
  tag: "hinted",
  hint: { request: finalized(height), targets: new Set(targets), round: undefined },
})
const hintNotarized = (block: TestBlock): Event => ({
  tag: "hinted",
  hint: { request: { tag: "block", digest: block.digest }, targets: undefined, round: block.context.round },
})
const targetsOf = (machine: Machine, key: string) => {
  const targets = machine.state.fetching.get(key)?.targets
  return targets === undefined ? "everybody" : [...targets]
}

describe("hints", () => {
  test("a height is asked of its targets alone; another hint adds some, and a caller lifts the restriction", () => {
    const machine = new Machine()
    expect(fetches(machine.turn(start, hintFinalized(9, "a")))).toEqual(["height 9"])
    expect(targetsOf(machine, "finalized/9")).toEqual(["a"])
    expect(fetches(machine.turn(hintFinalized(9, "b")))).toEqual([])
    expect(targetsOf(machine, "finalized/9")).toEqual(["a", "b"])
    machine.turn({ tag: "wanted", request: finalized(9) })
    expect(targetsOf(machine, "finalized/9")).toBe("everybody")
    machine.turn({ tag: "unwanted", request: finalized(9) })
    expect(targetsOf(machine, "finalized/9")).toEqual(["a", "b"])
  })

  test("a height that is certified here, or processed, is not asked for", () => {
    const machine = new Machine()
    machine.turn(start, ...chain.slice(0, 9).map(verified), reported(finalize(at(9))), ...[1, 2, 3].map(acknowledged))
    machine.turn(acknowledged(1), acknowledged(2), acknowledged(3))
    expect(fetches(machine.turn(hintFinalized(9, "a"), hintFinalized(3, "a")))).toEqual([])
    expect(machine.state.hints.size).toBe(0)
    expect(fetches(machine.turn(hintFinalized(4, "a")))).toEqual(["height 4"])
    machine.turn(acknowledged(4))
    expect(machine.state.hints.size).toBe(0)
    expect(machine.state.fetching.size).toBe(0)
  })

  test("a notarized block is fetched without a caller, kept under its round, and the hint is spent", () => {
    const machine = new Machine()
    expect(fetches(machine.turn(start, hintNotarized(at(3))))).toEqual([`block ${bytesKey(at(3).digest)}`])
    machine.turn(given(at(3)))
    expect(machine.rows.cachedAt("notarized", Round(0, 3))).toBe(at(3))
    expect(machine.state.hints.size).toBe(0)
  })

  test("a notarized block whose round the chain has passed is not asked for any more", () => {
    const machine = new Machine()
    const loser = childOf(at(1), 4, 9)
    machine.turn(start, hintNotarized(loser))
    expect(machine.state.fetching.size).toBe(1)
    const long = chain.slice(0, 5)
    machine.turn(...long.map(verified), reported(finalize(at(5))))
    const effects = machine.turn(...[1, 2, 3, 4, 5].map(acknowledged))
    expect(effects.map(({ tag }) => tag)).toContain("abandon")
    expect(machine.state.hints.size).toBe(0)
  })

  test("peers beyond the limit of a hint replace the oldest", () => {
    const machine = new Machine()
    machine.turn(start, hintFinalized(9, "first"))
    for (let i = 0; i < HINT_TARGETS_MAX; i++) machine.turn(hintFinalized(9, `${i}`))
    machine.turn(hintFinalized(9, "0"))
    expect(machine.state.fetching.get("finalized/9")?.targets?.size).toBe(HINT_TARGETS_MAX)
    expect(targetsOf(machine, "finalized/9")).not.toContain("first")
  })

  test("beyond the limit the oldest gives way", () => {
    const machine = new Machine()
    machine.turn(start)
    for (let i = 0; i <= HINTS_MAX; i++) machine.turn(hintFinalized(100 + i, "a"))
    expect(machine.state.hints.size).toBe(HINTS_MAX)
    expect(machine.state.hints.has("finalized/100")).toBe(false)
  })
})

describe("callers", () => {
  test("CONS-19 a fetched block is kept under its round for the caller who vouches for it, and not once nobody does", () => {
    const wanted = { request: { tag: "block", digest: at(5).digest } } as const
    for (const stays of [true, false]) {
      const machine = new Machine()
      expect(fetches(machine.turn(start, { tag: "wanted", ...wanted }))).toEqual([`block ${bytesKey(at(5).digest)}`])
      machine.turn(...(stays ? [] : [{ tag: "unwanted", ...wanted } as const]), given(at(5)))
      expect(machine.rows.cachedAt("notarized", Round(0, 5))).toBe(stays ? at(5) : undefined)
    }
  })

  test("a block that is final when it comes is not kept as notarized too, whoever wants it", () => {
    const request: BlockRequest = { tag: "block", digest: at(5).digest }
    const machine = new Machine()
    machine.turn(start, { tag: "wanted", request }, reported(finalize(at(5))))
    machine.turn(given(at(5)))
    expect(machine.rows.finalized.get(Height(5))).toBe(at(5))
    expect(machine.rows.cachedAt("notarized", Round(0, 5))).toBeUndefined()
  })

  test("a final height is asked for until it is held, and told to who waits", () => {
    const machine = new Machine()
    machine.turn(start)
    expect(fetches(machine.turn({ tag: "wanted", request: finalized(6) }))).toEqual(["height 6"])
    const effects = machine.turn({
      tag: "fetched",
      request: finalized(6),
      answer: { block: at(6), finalization: finalize(at(6)) },
    })
    expect(effects).toContainEqual({ tag: "known", key: "finalized/6", block: at(6) })
    expect(machine.state.fetching.has("finalized/6")).toBe(false)
  })

  test("a height that becomes final through a descendant is told too", () => {
    const machine = new Machine()
    machine.turn(start, ...chain.slice(0, 4).map(verified))
    const keys = machine
      .turn(reported(finalize(at(4))))
      .flatMap((effect) => (effect.tag === "known" ? [effect.key] : []))
    expect(keys).toEqual(["finalized/4", "finalized/3", "finalized/2", "finalized/1"])
    expect(fetches(machine.turn({ tag: "wanted", request: finalized(2) }))).toEqual([])
  })
})

test("many wants are met a window at a time, the gap and the newest certificate first", () => {
  const machine = new Machine()
  const wants = Array.from({ length: 2 * FETCHES_MAX }, (_, i): Event => {
    return { tag: "wanted", request: { tag: "block", digest: childOf(genesis, 500 + i).digest } }
  })
  machine.turn(start, ...wants)
  const effects = machine.turn(verified(at(4)), reported(finalize(at(4))), reported(finalize(at(9))))
  expect(fetches(effects)).toEqual([
    `block ${bytesKey(at(3).digest)}`,
    "height 1",
    "height 2",
    `block ${bytesKey(at(9).digest)}`,
  ])
  expect(effects.filter(({ tag }) => tag === "abandon").length).toBe(4)
  expect(machine.state.fetching.size).toBe(FETCHES_MAX)
})

test("what is most urgent is asked for first: gap, newest certificate, callers, hints, older certificates", () => {
  const machine = new Machine()
  const wanted: Event = { tag: "wanted", request: { tag: "block", digest: at(15).digest } }
  machine.turn(start, ...[10, 14, 12].map((height) => reported(finalize(at(height)))), hintNotarized(at(16)), wanted)
  machine.turn(verified(at(3)), reported(finalize(at(3))))
  const asked = [...machine.state.fetching.values()].map(({ request }) =>
    request.tag === "block" ? chain.find(({ digest }) => bytesEqual(digest, request.digest))!.height : "by height",
  )
  expect(asked).toEqual([2, "by height", 14, 15, 16, 12, 10])
})
