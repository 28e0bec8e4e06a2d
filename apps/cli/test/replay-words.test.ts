/**
 * Goal: what a replay found is told as it is: one verdict, and never that something unknown is the same.
 * Method: findings of every kind, made up, over one bundle.
 */
import type { Divergence, Replayed, ReplayedState } from "@coppice/stateful/diagnosis"
import { describe, expect, test } from "vitest"
import { linesOf } from "../src/replay-words.ts"

const target = (digit: string, end: number) => ({ start: 0, end, root: digit.repeat(64) })

const BUNDLE: Divergence = {
  format: 2,
  versions: { node: "24.0.0" },
  chain: "words",
  application: "counters",
  hook: "verify",
  reason: "commitment",
  height: 5,
  digest: "0".repeat(64),
  block: "",
  parent: { height: 4, view: 4, digest: "1".repeat(64) },
  members: [{ name: "counts", format: "any", parent: target("2", 9), header: target("3", 12), state: null }],
  executions: [
    { of: "hook", members: [{ target: target("4", 12), operations: "" }] },
    { of: "record", members: [{ target: target("4", 12), operations: "" }] },
  ],
  omitted: ["something large"],
  ended: "sealed",
  complete: true,
  calls: [{ member: "counts", method: "get", args: ["a"], returned: 1 }],
}

const STATE: ReplayedState = {
  targets: { counts: target("4", 12) },
  isHeader: false,
  equals: [0, 1],
  differences: [],
  damaged: [],
}

const SAME: Replayed = {
  calls: undefined,
  ended: { recorded: "sealed", replayed: "sealed" },
  state: STATE,
  between: undefined,
}

const told = (found: Partial<Replayed>): string => linesOf(BUNDLE, { ...SAME, ...found }).join("\n")
const verdict = (state: Partial<ReplayedState>): string | undefined =>
  linesOf(BUNDLE, { ...SAME, state: { ...STATE, ...state } }).at(-1)

describe("the verdict", () => {
  const VERDICTS: ReadonlyArray<readonly [string, Partial<ReplayedState>, string]> = [
    [
      "the recorded code",
      {},
      "execution 1, 2: this is the code that was recorded; either it is wrong, or the header lies",
    ],
    [
      "the header's state",
      { isHeader: true, equals: [] },
      "what the header says: the code that was recorded is at fault",
    ],
    ["the header's state and a recorded one", { isHeader: true }, "execution 1, 2, and what the header says"],
    [
      "one of two executions",
      { equals: [1] },
      "execution 2 alone: the code that was recorded does not agree with itself",
    ],
    ["neither", { equals: [] }, "neither what the header says nor that of a recorded execution"],
    ["no state", { targets: undefined, equals: [] }, "it came to no state here"],
    ["a damaged database, whatever else", { damaged: ["counts"], isHeader: true }, "the databases were damaged"],
  ]
  for (const [what, state, words] of VERDICTS) {
    test(`on ${what}`, () => {
      expect(verdict(state)).toContain(words)
    })
  }

  test("without the state there is none, and no root is shown for it", () => {
    const text = told({ state: undefined })
    expect(text).toContain("no roots are computed: the bundle lacks the state below the block")
    expect(text).not.toContain("here")
  })
})

describe("differences", () => {
  const OPERATION = { tag: "operation", member: "counts", location: 10, one: { key: "a" }, other: null } as const

  test("what was left out is said", () => {
    expect(told({})).toContain("left out: something large")
  })

  test("of calls: another call, another answer, a record that was cut, another end", () => {
    const [call] = BUNDLE.calls
    const other = { ...call!, returned: 2 }
    expect(told({ calls: { tag: "call", at: 0, recorded: call, replayed: undefined } })).toContain(
      "here      (the end)",
    )
    const answer = told({ calls: { tag: "answer", at: 0, recorded: call!, replayed: other } })
    expect(answer).toContain("recorded  1")
    expect(answer).toContain("here      2")
    expect(answer).toContain("they are damaged")
    const cut = told({ calls: { tag: "cut", at: 1 } })
    expect(cut).toContain("cut after 1; up to there nothing differs")
    expect(cut).not.toContain("all 1 calls are the same")
    expect(told({ ended: { recorded: "sealed", replayed: "declined" } })).toContain("sealed there and is declined here")
  })

  test("of operations: here and among the executions, decoded, or not known", () => {
    const here = told({ state: { ...STATE, differences: [OPERATION] } })
    expect(here).toContain("first differing operation of counts: location 10")
    expect(here).toContain('recorded  {"key":"a"}')
    expect(told({ between: { execution: 1, differences: [OPERATION] } })).toContain('execution 1  {"key":"a"}')
    const cut = { tag: "cut", member: "counts", location: 11 } as const
    expect(told({ state: { ...STATE, differences: [cut] } })).toContain("location 11 or above")
    const root = { tag: "root", member: "counts", location: 12 } as const
    expect(told({ state: { ...STATE, differences: [root] } })).toContain("what hashes them is at fault")
  })
})
