/**
 * Goal: corrupt leaders lie about every part of every member's target, so that a validator which does not look at one is
 * found out.
 * Method: worlds in which one validator overlooks one part, in virtual time.
 */
import { bytesKey } from "@coppice/codec"
import type { StandardBlock, Targets } from "@coppice/stateful"
import { describe, expect, test } from "vitest"
import { type Mark, marksOverThree, type ThreeDatabases } from "../src/marks.ts"
import type { Plan } from "../src/plan.ts"
import { CALM, SCENARIOS } from "../src/scenarios.ts"
import type { Subject } from "../src/subject.ts"
import { runWorld } from "../src/world.ts"

type Marks = StandardBlock<Mark, ThreeDatabases>

const PLAN: Plan = {
  ...SCENARIOS.find(({ name }) => name === "plain")!,
  height: 16,
  schedule: { ...CALM, corruptChance: 0.6, misbehaviours: ["bad root", "bad range"] },
}
const PARTS = ["root", "canonical", "start", "end"] as const
const PLACES = (["board", "index", "history"] as const).flatMap((member) =>
  PARTS.filter((part) => part !== "canonical" || member === "index").map((part) => [part, member] as const),
)
type Place = (typeof PLACES)[number]

const said = (targets: Targets<ThreeDatabases>, [part, member]: Place): string => {
  const value = targets[member][part]
  return value instanceof Uint8Array ? bytesKey(value) : `${value}`
}

/** Marks of which one validator takes a lie for the truth when it is about one place. */
const overlooking = (place: Place | undefined) => {
  const honest = marksOverThree(4)
  const truths = new Map<string, Targets<ThreeDatabases>>()
  const told = new Set<string>()
  const subject: Subject<Marks, ThreeDatabases> = {
    ...honest,
    corrupt: (block, how) => {
      const bad = honest.corrupt!(block, how)
      const wrong = PLACES.filter((each) => said(block.targets, each) !== said(bad.targets, each))
      expect(wrong.length, "one lie at a time").toBe(1)
      told.add(wrong[0]!.join())
      if (wrong[0] === place) truths.set(bytesKey(bad.digest), block.targets)
      return bad
    },
    application: (validator) => {
      const application = honest.application(validator)
      if (validator !== 2) return application
      return { ...application, syncTargets: (block) => truths.get(bytesKey(block.digest)) ?? block.targets }
    },
  }
  return { subject, told }
}

describe("corrupt leaders", () => {
  test("F2 lie about every part of every member, and no honest node believes them", () => {
    const { subject, told } = overlooking(undefined)
    expect(runWorld(subject, PLAN, 1).failure).toBeUndefined()
    expect(told).toEqual(new Set(PLACES.map((place) => place.join())))
  })

  test.each(PLACES)("F2 canary: a validator that overlooks the %s of %s is found out", (...place) => {
    const { subject } = overlooking(PLACES.find((each) => each.join() === place.join()))
    // Higher: it finds nothing in the lies of its own turns.
    expect(runWorld(subject, { ...PLAN, height: 40 }, 1).failure?.kind).toBe("VerdictsDiverged")
  })
})
