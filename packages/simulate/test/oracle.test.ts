/**
 * Goal: the script never tells an impossible history, and tells all the possible ones it is asked for.
 * Method: random schedules and outcomes; the rules of spec consensus §6.1 are checked from outside, over the full record.
 */
import { fc, test as property } from "@fast-check/vitest"
import { describe, expect, test } from "vitest"
import {
  type Certified,
  endView,
  type OracleSetting,
  type OracleState,
  planView,
  startOracle,
  type Verdict,
  type ViewPlan,
} from "../src/oracle.ts"
import { type ConsensusSchedule, DEFAULT_SCHEDULE, type Fault, requireSchedule } from "../src/schedule.ts"

interface Entry {
  readonly plan: ViewPlan
  readonly notarized: boolean
  readonly verdict: Verdict
}

const ROOT: Certified = { view: 0, parentView: 0, digest: new Uint8Array(32), height: 0, isSplit: false, voters: [] }
const digestOf = (view: number): Uint8Array => new Uint8Array(32).fill(view % 256)

/** Plays `views` views; a view is notarized unless the script keeps it silent or `fails` says that no quorum accepts. */
const play = (
  seed: number,
  schedule: ConsensusSchedule,
  views: number,
  fails: (view: number) => boolean = () => false,
  allows: (fault: Fault) => boolean = () => true,
) => {
  const setting: OracleSetting = { nodes: 4, downMax: 1, schedule, canCorrupt: true, canRestart: true, allows }
  let state: OracleState = startOracle(seed, ROOT, 1)
  const entries: Array<Entry> = []
  for (let i = 0; i < views; i++) {
    const [plan, planned] = planView(state, setting)
    const notarized = plan.fate !== "silent" && plan.misbehaves === undefined && !fails(plan.view)
    const height = plan.parent.height + 1
    const [verdict, ended] = endView(
      planned,
      setting,
      plan,
      notarized ? { tag: "notarized", digest: digestOf(plan.view), height, voters: [0, 1, 2] } : { tag: "nullified" },
    )
    entries.push({ plan, notarized, verdict })
    state = ended
  }
  return { entries, state }
}

/** What a record says against the rules. */
const violations = (entries: ReadonlyArray<Entry>): ReadonlyArray<string> => {
  const found: Array<string> = []
  const byView = new Map(entries.map((entry) => [entry.plan.view, entry]))
  const nullified = (view: number): boolean => {
    const entry = byView.get(view)!
    return !entry.notarized || entry.plan.fate === "split"
  }
  let root = 0
  const final: Array<number> = [0]
  for (const { plan, verdict } of entries) {
    const { view, parent } = plan
    if (parent.view !== 0 && !byView.get(parent.view)?.notarized) found.push(`${view}: parent not certified`)
    if (parent.view < root) found.push(`${view}: parent before the last finalized view`)
    for (let between = parent.view + 1; between < view; between++) {
      if (!nullified(between)) found.push(`${view}: skips ${between}, which is not nullified`)
    }
    for (const certified of verdict.finalizes) {
      if (nullified(certified.view)) found.push(`${view}: finalizes the nullified ${certified.view}`)
    }
    for (const block of verdict.becameFinal) {
      if (block.parentView !== final.at(-1)) found.push(`${view}: ${block.view} is not linked to the final chain`)
      final.push(block.view)
    }
    root = verdict.becameFinal.at(-1)?.view ?? root
  }
  return found
}

const anySchedule = fc.record({
  silentChance: fc.double({ min: 0, max: 0.4, noNaN: true }),
  splitChance: fc.double({ min: 0, max: 0.6, noNaN: true }),
  forkChance: fc.double({ min: 0, max: 1, noNaN: true }),
  stallChance: fc.double({ min: 0, max: 0.5, noNaN: true }),
  stallViewsMax: fc.integer({ min: 1, max: 8 }),
  corruptChance: fc.double({ min: 0, max: 0.3, noNaN: true }),
})

describe("histories", () => {
  property.prop([fc.nat(), anySchedule, fc.array(fc.boolean(), { minLength: 1, maxLength: 7 })])(
    "CONS-5 parents are certified, skipped views nullified, finalized views plain, the final chain a chain",
    (seed, knobs, failures) => {
      const schedule = { ...DEFAULT_SCHEDULE, ...knobs }
      const { entries } = play(seed, schedule, 120, (view) => failures[view % failures.length]!)
      expect(violations(entries)).toEqual([])
    },
  )

  test("P-16 the default schedule has forks, lost branches, split blocks that become final, and late certificates", () => {
    const { entries } = play(1, DEFAULT_SCHEDULE, 1_000)
    const final = entries.flatMap(({ verdict }) => verdict.becameFinal)
    const finalViews = new Set(final.map(({ view }) => view))
    const lost = entries.filter(({ plan, notarized }) => notarized && plan.view < 990 && !finalViews.has(plan.view))
    expect(entries.filter(({ verdict }) => verdict.isFork).length).toBeGreaterThan(50)
    expect(lost.length).toBeGreaterThan(50)
    expect(final.filter(({ isSplit }) => isSplit).length).toBeGreaterThan(50)
    expect(entries.filter(({ verdict }) => verdict.finalizes.length > 1).length).toBeGreaterThan(5)
    expect(Math.max(...entries.map(({ verdict }) => verdict.becameFinal.length))).toBeGreaterThan(4)
  })

  test("leaders take turns, and no more nodes are down than may be", () => {
    const { entries } = play(3, { ...DEFAULT_SCHEDULE, restarts: { everyViews: 5, downViews: 30 } }, 400)
    const down = new Set<number>()
    for (const { plan } of entries) {
      expect(plan.leader).toBe(plan.view % 4)
      for (const node of plan.comeUp) expect(down.delete(node)).toBe(true)
      if (plan.goesDown !== undefined) down.add(plan.goesDown)
      expect(down.size).toBeLessThanOrEqual(1)
    }
    expect(entries.filter(({ plan }) => plan.goesDown !== undefined).length).toBeGreaterThan(10)
  })

  test("a script is decided by its seed; one knob does not move what the others decide", () => {
    const fates = (schedule: ConsensusSchedule, seed = 5) =>
      play(seed, schedule, 200).entries.map(({ plan }) => plan.fate)
    expect(fates(DEFAULT_SCHEDULE)).toEqual(fates(DEFAULT_SCHEDULE))
    expect(fates(DEFAULT_SCHEDULE, 6)).not.toEqual(fates(DEFAULT_SCHEDULE))
    expect(fates({ ...DEFAULT_SCHEDULE, forkChance: 0, corruptChance: 0, stallChance: 0 })).toEqual(
      fates(DEFAULT_SCHEDULE),
    )
  })

  test("it remembers no more than the views since the root", () => {
    const { state } = play(
      1,
      { ...DEFAULT_SCHEDULE, silentChance: 0, splitChance: 0, stallChance: 0, corruptChance: 0 },
      500,
    )
    expect(state.certified.size).toBe(0)
    expect(state.root.view).toBe(500)
  })

  test("canary: the rules reject a skipped plain view, a finalized split view and a broken chain", () => {
    const { entries } = play(1, { ...DEFAULT_SCHEDULE, stallChance: 0 }, 200)
    const altered = (view: number, change: (entry: Entry) => Entry) =>
      violations(entries.map((entry) => (entry.plan.view === view ? change(entry) : entry))).join()
    const plain = entries.find(({ plan, notarized }) => notarized && plan.fate === "plain" && plan.view > 20)!.plan.view
    const split = entries.find(({ plan, notarized }) => notarized && plan.fate === "split")!
    const skips = (entry: Entry): Entry => ({ ...entry, plan: { ...entry.plan, parent: { ...ROOT, view: plain - 1 } } })
    expect(altered(plain + 1, skips)).toContain("skips")
    const block = { ...ROOT, view: split.plan.view, isSplit: true }
    const finalizes = (entry: Entry): Entry => ({ ...entry, verdict: { ...entry.verdict, finalizes: [block] } })
    expect(altered(split.plan.view, finalizes)).toContain("finalizes the nullified")
    const breaks = (entry: Entry): Entry => ({ ...entry, verdict: { ...entry.verdict, becameFinal: [] } })
    expect(altered(plain, breaks)).toContain("not linked")
  })
})

describe("schedules", () => {
  test("that make no sense are mistakes", () => {
    const broken: ReadonlyArray<Partial<ConsensusSchedule>> = [
      { splitChance: 1.1 },
      { silentChance: 0.6, splitChance: 0.6 },
      { forkChance: Number.NaN },
      { viewMs: 0 },
      { stallViewsMax: 0 },
      { latencyMs: { min: 5, max: 4 } },
      { latencyMs: { min: 0, max: 9_000 } },
      { restarts: { everyViews: 0, downViews: 1 } },
    ]
    for (const change of broken) {
      expect(() => requireSchedule({ ...DEFAULT_SCHEDULE, ...change }), JSON.stringify(change)).toThrow(RangeError)
    }
    requireSchedule(DEFAULT_SCHEDULE)
  })
})
