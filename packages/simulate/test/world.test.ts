/**
 * Goal: a world's run is decided by its seed, finds what is wrong with an application or with itself, and shrinks to few
 * faults.
 * Method: applications, models and schedules that break one property each; the properties' own checks on made-up evidence;
 * equal seeds in one process and in two.
 */
import { spawnSync } from "node:child_process"
import { join } from "node:path"
import { Height, Round, View } from "@coppice/consensus"
import { nodeHasher } from "@coppice/crypto/node"
import { Location, type LogReader } from "@coppice/qmdb"
import type { PlanRecord, StandardApplication, StandardBlock } from "@coppice/stateful"
import { readDivergence, replayDivergence } from "@coppice/stateful/diagnosis"
import { Effect } from "effect"
import { describe, expect, test } from "vitest"
import { validators } from "../src/chain.ts"
import { makeDisks } from "../src/cluster.ts"
import { FinalBlocks } from "../src/final-blocks.ts"
import { blameViolations, NodeRecord, pendingViolations, type Stand } from "../src/journal.ts"
import { heldViolations, judgeAtRest, logViolations } from "../src/judgement.ts"
import { WAYS } from "../src/links.ts"
import { type Mark, marksOverOne, type OneDatabase, overOne, UPGRADE_HEIGHT } from "../src/marks.ts"
import { NodeWatch } from "../src/node-watch.ts"
import {
  type Happenings,
  missedBy,
  only,
  type Plan,
  POINTS,
  partWords,
  SYNC_POINTS,
  type WorldFault,
} from "../src/plan.ts"
import { CALM, runScenario, runTwice, SCENARIOS, shrinkSeed, stalledFor } from "../src/scenarios.ts"
import { simulate } from "../src/scheduler.ts"
import { Troubles } from "../src/troubles.ts"
import { BUNDLES_MAX, judgeRestarts, runWorld, VALIDATORS } from "../src/world.ts"
import { makeWorld, type World } from "../src/world-nodes.ts"
import { GROUPS } from "./scenarios/matrix.ts"

const named = (name: string): Plan => SCENARIOS.find((plan) => plan.name === name)!
const short = (name: string, change: Partial<Plan> = {}): Plan => ({ ...named(name), height: 6, ...change })
/** Long runs take seconds; on a machine that does much else, many. */
const TIMEOUT_MS = 180_000
const FOLDER = join(import.meta.dirname, "..")

const honest = marksOverOne(4)
type Subject = typeof honest
/** A key that no mark writes. */
const STRAY = new Uint8Array(32).fill(9)
type Made = World<StandardBlock<Mark, OneDatabase>, OneDatabase>

describe("determinism (P-14)", () => {
  test("INV-43 CONS-26 the same seed has the same audit, parts and outcome, another seed another", () => {
    const plan = short("everything")
    const [a, b, c] = [5, 5, 6].map((seed) => runScenario(plan, "three", seed))
    expect(a).toEqual(b)
    expect(a!.failure).toBeUndefined()
    expect(a!.audit).not.toBe(c!.audit)
  })

  test("two processes give the same audit", () => {
    const program = `
      import { runScenario, SCENARIOS } from "@coppice/simulate/scenarios"
      const plan = SCENARIOS.find(({ name }) => name === "random-crashes")
      console.log(runScenario({ ...plan, height: 6 }, "one", 3).audit)`
    const run = () =>
      spawnSync(process.execPath, ["--input-type=module-typescript", "--eval", program], {
        cwd: FOLDER,
        encoding: "utf8",
      })
    const first = run()
    expect(first.stderr).toBe("")
    expect(first.stdout).toMatch(/^[0-9a-f]{16}\n$/)
    expect(first.stdout.trim()).toBe(runScenario(short("random-crashes"), "one", 3).audit)
  })

  test("canary: an application with a memory of its own gives another audit", () => {
    let calls = 0
    const subject: Subject = {
      ...honest,
      application: (validator) => {
        const application = honest.application(validator)
        return {
          ...application,
          verify: (...asked) => Effect.delay(application.verify(...asked) as never, calls++ % 7),
        }
      },
    }
    const run = (of: Subject) => runTwice(() => runWorld(of, short("plain"), 1)).failure?.kind
    expect([run(honest), run(subject)]).toEqual([undefined, "P-14"])
  })
})

/** What one validator does on its own before it executes a block, if a put will do. */
const straying = (
  validator: number,
  put: (board: { put: (key: Uint8Array, value: Uint8Array) => void }) => void,
): Subject => ({
  ...honest,
  application: (index) => {
    const application = honest.application(index)
    if (index !== validator) return application
    return {
      ...application,
      verify: (context, ancestry, batches, tools) => {
        put(batches.board)
        return application.verify(context, ancestry, batches, tools)
      },
      apply: (block, batches, tools) => {
        put(batches.board)
        return application.apply(block, batches, tools)
      },
    }
  },
})

describe("divergence bundles of a world", () => {
  const astray = straying(2, (board) => board.put(new Uint8Array(32).fill(7), new Uint8Array(24)))

  test("the sound code names the operation that one validator alone wrote", async () => {
    const { failure, bundles } = runWorld(astray, short("plain"), 1, { bundles: true })
    // Whichever comes first: its refusal beside the others' votes, or the final block that it executes again.
    expect(["FinalizedCommitmentMismatch", "VerdictsDiverged"]).toContain(failure?.kind)
    const bundle = bundles.find(({ name }) => name.startsWith("node-2-divergence-"))
    const found = await Effect.runPromise(
      Effect.flatMap(readDivergence(bundle!.text), (divergence) => replayDivergence(overOne, divergence, nodeHasher)),
    )
    expect(found).toMatchObject({
      calls: {
        tag: "call",
        at: 0,
        recorded: { member: "board", method: "put", args: [{ $bytes: "07".repeat(32) }, {}] },
      },
      state: { isHeader: true, equals: [], damaged: [], differences: [{ tag: "operation", member: "board" }] },
    })
  })

  test("there are none unless asked for, none twice, and no more than may be kept", () => {
    const badRoot = named("bad-root")
    const plan = { ...badRoot, height: 6, schedule: { ...badRoot.schedule, corruptChance: 0.85 } }
    expect(runScenario(short("bad-root"), "one", 1).bundles).toEqual([])
    const { bundles, failure } = runScenario(plan, "one", 1, { bundles: true })
    expect(failure).toBeUndefined()
    expect(bundles).toHaveLength(BUNDLES_MAX)
    expect(new Set(bundles.map(({ text }) => text)).size).toBe(BUNDLES_MAX)
  })
})

describe("in development", () => {
  test("a sound application passes, and a seed decides everything", () => {
    const plan = short("forks", { height: 4 })
    const [one, other] = [1, 2].map(() => runScenario(plan, "three", 5, { development: true }))
    expect(one!.failure).toBeUndefined()
    expect(one).toEqual(other)
  })

  test("INV-40 an application that does not agree with itself is stopped before its node votes", () => {
    let runs = 0
    const moody = straying(1, (board) => board.put(new Uint8Array(32).fill(7), new Uint8Array(24).fill(++runs)))
    const { failure, bundles } = runWorld(moody, short("plain"), 1, { development: true, bundles: true })
    expect(failure?.kind).toBe("ApplicationFault")
    expect(bundles).toHaveLength(1)
    expect(JSON.parse(bundles[0]!.text)).toMatchObject({
      reason: "determinism",
      executions: [{ of: "hook" }, { of: "guard" }, { of: "record" }],
    })
  })
})

/** Runs a world in which a test meddles, beside its consensus, and gives what the meddler gives. */
const inWorld = <A>(
  plan: Plan,
  faults: ReadonlyArray<WorldFault>,
  meddles: (world: Made) => Effect.Effect<A, unknown>,
): A => {
  const meddled = Effect.gen(function* () {
    const parts = { subject: honest, plan, seed: 1, faults, link: plan.link, validators, happens: () => true }
    const world = yield* makeWorld(parts)
    return yield* Effect.raceFirst(meddles(world), world.runs)
  })
  const { exit } = simulate(1, Effect.scoped(meddled))
  if (exit._tag === "Failure") throw new Error(String(exit.cause))
  return exit.value
}

describe("canaries: what is wrong is found", () => {
  const found = (subject: Subject, plan: Plan, seed = 1) => runWorld(subject, plan, seed).failure

  test("INV-40 an application that differs on one validator", () => {
    const subject: Subject = {
      ...honest,
      application: (validator) => {
        const application = honest.application(validator)
        if (validator !== 2) return application
        return {
          ...application,
          verify: (context, ancestry, batches, tools) => {
            batches.board.put(STRAY, new Uint8Array(24))
            return application.verify(context, ancestry, batches, tools)
          },
        }
      },
    }
    expect(found(subject, short("plain"))?.kind).toBe("VerdictsDiverged")
  })

  test("INV-40 a validator that refuses only once a quorum has accepted", () => {
    const subject: Subject = {
      ...honest,
      application: (validator) => {
        const application = honest.application(validator)
        return validator === 2 ? { ...application, verify: () => Effect.as(Effect.sleep(100), undefined) } : application
      },
    }
    expect(found(subject, short("forks"))?.kind).toBe("VerdictsDiverged")
  })

  test("INV-13 a refusal that comes when another block of its height is final is no divergence", () => {
    const plan = SCENARIOS.find(({ name }) => name === "slow-executors")!
    // View 32 loses to view 33 while verifications of both are under way.
    const parts = [
      { view: 23, kind: "silent" },
      { view: 32, kind: "split" },
      { view: 33, kind: "fork" },
    ] as const
    const { failure, happenings } = runScenario(plan, "one", 5, { keeps: only(parts) })
    expect(failure).toBeUndefined()
    expect(happenings).toMatchObject({ forks: 1, refused: 0 })
  })

  test("a hook that throws fails with what it threw, and that with its cause", () => {
    const subject: Subject = {
      ...honest,
      application: (validator) => ({
        ...honest.application(validator),
        verify: () => {
          throw new Error("the till is empty", { cause: new TypeError("no such drawer") })
        },
      }),
    }
    const what =
      /^ApplicationFault: hook verify, height 1, because of Error: the till is empty, because of TypeError: no such drawer$/
    expect(found(subject, short("plain"))).toMatchObject({
      kind: "ApplicationFault",
      what: expect.stringMatching(what),
    })
  })

  test("an upgrade that one validator makes a height late, and one that all make elsewhere than the model", () => {
    const late = marksOverOne(4, UPGRADE_HEIGHT + 1)
    const oneIsLate: Subject = {
      ...honest,
      application: (validator) => (validator === 2 ? late : honest).application(validator),
    }
    expect(found(oneIsLate, short("plain"))?.kind).toBe("VerdictsDiverged")
    expect(found(marksOverOne(4, 7), short("plain"))?.kind).toBe("P-12")
  })

  test("P-6 a block that commits to another state than the databases have", () => {
    const made = new Set<number>()
    const subject: Subject = {
      ...honest,
      application: (validator) => {
        const application = honest.application(validator)
        if (made.has(validator)) return application
        made.add(validator)
        return {
          ...application,
          syncTargets: (block) => {
            const { board } = application.syncTargets(block)
            return { board: block.height === 0 ? board : { ...board, end: Location(board.end + 1) } }
          },
        }
      },
    }
    expect(found(subject, short("plain"))?.kind).toBe("P-6")
  })

  test("P-11 a chain that does not go on", () => {
    expect(found(honest, short("plain", { schedule: { ...CALM, silentChance: 1 } }))?.kind).toBe("P-11")
  })

  test("P-12 contents that are not what the blocks wrote", () => {
    const subject: Subject = { ...honest, model: () => ({ advance: () => {}, difference: () => "cell 3 is missing" }) }
    expect(found(subject, short("plain"))).toMatchObject({ kind: "P-12", what: expect.stringContaining("cell 3") })
  })

  test("P-15 a fiber that nobody ends", () => {
    const subject: Subject = {
      ...honest,
      application: (validator) => {
        const application = honest.application(validator)
        return { ...application, finalized: () => Effect.asVoid(Effect.forkDetach(Effect.never)) }
      },
    }
    expect(found(subject, short("plain"))?.kind).toBe("P-15")
  })

  test.each(WAYS)("P-9 P-1 an honest node that is blamed, and a decision without a quorum, cut off: %s", (way) => {
    const faults: ReadonlyArray<WorldFault> = [{ kind: "partition", atMs: 100, nodes: [0, 1], forMs: 9_000, way }]
    const [before, after] = inWorld(short("plain"), faults, (world) =>
      Effect.gen(function* () {
        const before = world.violations()
        const [first, second] = validators
        yield* world.cluster.network.transport(first!.publicKey).blame(second!.publicKey, "made up")
        yield* Effect.sleep(6_000)
        world.cluster.links.heal()
        yield* Effect.sleep(4_000)
        return [before, world.violations()] as const
      }),
    )
    expect(before).toEqual([])
    expect(after.join()).toContain("P-9 node 1 is honest and blamed")
    expect(after.join()).toContain("views were notarized without a quorum")
  })

  test.each(WAYS)(
    "a quorum goes on when one node is cut off, and there is no quorum when two are, whichever way: %s",
    (way) => {
      const losses = (...nodes: ReadonlyArray<number>) =>
        inWorld(short("plain"), [{ kind: "partition", atMs: 100, nodes, forMs: 400, way }], (world) =>
          Effect.gen(function* () {
            yield* Effect.sleep(600)
            const { partitions, oneWay, quorumLosses } = world.happenings()
            return [partitions, oneWay, quorumLosses]
          }),
        )
      const oneWay = way === "both" ? 0 : 1
      expect([losses(2), losses(2, 3)]).toEqual([
        [1, oneWay, 0],
        [1, oneWay, 1],
      ])
    },
  )

  test("P-8 an executor that keeps a branch which finality has cut off", () => {
    const [before, after] = inWorld(short("plain"), [], (world) =>
      Effect.gen(function* () {
        yield* Effect.sleep(2_000)
        const before = world.violations()
        const { executor } = world.life(1)
        const { tip } = yield* executor.pending
        const stray = { anchor: { ...tip, height: Height(tip.height + 1) }, parent: new Uint8Array(32) }
        Object.assign(executor, { pending: Effect.succeed({ tip, blocks: [stray] }) })
        yield* Effect.sleep(1_000)
        return [before, world.violations()] as const
      }),
    )
    expect(before).toEqual([])
    expect(after.join()).toContain("P-8 node 1: the pending block of round 0/")
  })

  test("F65 a node that holds more states in memory than it may, and what running jobs can add", () => {
    const plan = short("plain", { limits: { pendingEntriesMax: 4 } })
    const holding = (pendingEntries: number): string =>
      inWorld(plan, [], (world) =>
        Effect.gen(function* () {
          yield* Effect.sleep(1_000)
          const { executor } = world.life(1)
          const status = { ...(yield* executor.status), pendingEntries, scratchEntries: 2, requests: 3 }
          Object.assign(executor, { status: Effect.succeed(status) })
          yield* Effect.sleep(1_000)
          return world.violations().join()
        }),
      )
    expect(holding(9)).toBe("")
    expect(holding(10)).toContain("F65 node 1 holds 8 states in memory, 4 are allowed")
  })

  test("P-1 P-6 P-12 a node at rest that lacks a final block, has another one, or stands elsewhere than its block says", () => {
    const judged = inWorld(short("plain"), [], (world) =>
      Effect.gen(function* () {
        yield* Effect.sleep(3_000)
        const { marshal } = world.cluster.node(1)!
        const { set } = world.life(2)
        const { finalizedAt } = marshal
        const { row } = set
        const sound = yield* judgeAtRest(world, honest)
        const found: Array<ReadonlyArray<string>> = []
        for (const gives of [Effect.succeed(undefined), finalizedAt(Height(1))]) {
          Object.assign(marshal, { finalizedAt: (at: Height) => (at === 2 ? gives : finalizedAt(at)) })
          found.push(yield* judgeAtRest(world, honest))
        }
        Object.assign(marshal, { finalizedAt })
        Object.assign(set, { row: () => row(Height(set.anchor.height - 1)) })
        found.push(yield* judgeAtRest(world, honest))
        return { sound: sound.join(), found: found.map((each) => each.join()) }
      }),
    )
    expect(judged.sound).not.toMatch(/P-1 |P-6|P-12/)
    expect(judged.found[0]).toContain("P-12 node 1 does not hold the final block 2")
    expect(judged.found[1]).toContain("P-1 node 1 holds another block at 2")
    expect(judged.found[2]).toMatch(/P-6 node 2 at \d+: board is not what the block commits to/)
  })

  test("P-8 what is pending is no tree over the final block: a gap, a height, a round", () => {
    const at = (height: number, view: number) => ({
      height: Height(height),
      round: Round(0, view),
      digest: new Uint8Array(32).fill(view),
    })
    const judge = (...blocks: ReadonlyArray<readonly [parent: number, height: number, view: number]>) =>
      pendingViolations(0, {
        tip: at(5, 7),
        blocks: blocks.map(([parent, height, view]) => ({
          anchor: at(height, view),
          parent: new Uint8Array(32).fill(parent),
        })),
      })
    expect(judge([7, 6, 8], [8, 7, 10], [7, 6, 9])).toEqual([])
    const wrong = [judge([6, 6, 8]), judge([7, 7, 8]), judge([7, 6, 7]), judge([8, 7, 9], [7, 6, 8])]
    expect(wrong.map((found) => found.length)).toEqual([1, 1, 1, 1])
  })

  test("P-10 a liar that is blamed by those whom it told no lie, or more often than it lied", () => {
    const blame = (by: number, peer: number) => ({ by, peer, reason: "made up" })
    const lie = (to: number, by: number) => ({ to, by })
    expect(blameViolations([blame(0, 1), blame(0, 1)], [lie(0, 1), lie(0, 1)])).toEqual([])
    expect(blameViolations([blame(2, 1)], [lie(0, 1)]).join()).toContain("P-10 node 2 blames node 1")
    expect(blameViolations([blame(0, 1), blame(0, 1)], [lie(0, 1)]).join()).toContain("P-10 node 0 blames node 1")
    expect(blameViolations([blame(1, 0)], [lie(0, 1)]).join()).toContain("P-9 node 0 is honest")
  })

  test("P-13 a node that does not come up again from a disk at rest, or comes up with less", () => {
    const lives = new Map<number, number>()
    const subject: Subject = {
      ...honest,
      application: (validator) => {
        const application = honest.application(validator)
        const life = (lives.get(validator) ?? 0) + 1
        lives.set(validator, life)
        // The first is asked what blocks commit to, the second is the node's; the third is the node's after its restart.
        const isRestarted = validator === 3 && life === 3
        const genesis = (): never => {
          throw new Error("no genesis")
        }
        return isRestarted ? { ...application, genesis } : application
      },
    }
    expect(found(subject, short("plain"))).toMatchObject({ kind: "P-13", what: expect.stringContaining("node 3") })
    const standing = [9, 9]
    const restart = (index: number) => Effect.sync(() => void standing.fill(9 - index, index, index + 1))
    const judged = Effect.runSync(judgeRestarts({ durable: (index) => standing[index]!, restart }, [0, 1]))
    expect(judged).toEqual(["P-13 node 1 came up at 8, stood at 9"])
  })

  test("P-4 P-5 P-7 INV-11 a node that says two things, forgets, or comes up elsewhere", () => {
    const judge = (act: (record: NodeRecord) => void): string => {
      const record = new NodeRecord("node 1")
      act(record)
      return record.violations.join()
    }
    const [a, b] = [new Uint8Array(32).fill(1), new Uint8Array(32).fill(2)]
    expect(judge((record) => [a, a].map((digest) => record.says({ round: Round(0, 1), digest }, digest)))).toBe("")
    expect(judge((record) => [a, b].map((digest) => record.says({ round: Round(0, 1), digest }, digest)))).toContain(
      "P-4",
    )
    expect(judge((record) => record.says({ round: Round(0, 1), digest: a }, undefined))).toContain("P-5")
    expect(judge((record) => record.says({ round: Round(0, 1), digest: a }, b))).toContain("P-5")
    const acknowledges = (durable: number) => (record: NodeRecord) => {
      record.hooks(1, 5)
      record.acknowledges(5, 5, { durable, isComplete: true, covered: 0 })
    }
    expect(judge(acknowledges(5))).toBe("")
    expect(judge(acknowledges(4))).toContain("P-5")
    const forgets = (record: NodeRecord): void => {
      acknowledges(5)(record)
      record.boots(4, 4, 16)
    }
    expect(judge(forgets)).toContain("P-5")
    expect(judge((record) => record.boots(4, 5, 16))).toContain("P-7")
    expect(judge((record) => record.boots(20, 3, 16))).toContain("P-7")
    expect(judge((record) => record.stands([3, 5], 3, 2))).toBe("")
    expect(judge((record) => record.stands([3, 3], 4, 2))).toContain("P-7")
    expect(judge((record) => record.stands([6, 6], 3, 2))).toContain("P-7")
    const holding = (held: Uint8Array | undefined) => (record: NodeRecord) => {
      record.says({ round: Round(0, 1), digest: a }, a)
      for (const saying of record.newest) record.holds(saying, held)
    }
    expect(judge(holding(a))).toBe("")
    expect([judge(holding(b)), judge(holding(undefined))].join()).toMatch(/P-5.*P-5/)
  })

  test("P-5 P-7 INV-16 INV-19 INV-23 a joiner is excused for what is below its floor or covered, and for nothing else", () => {
    const judge = (standing: number, ...acts: ReadonlyArray<(record: NodeRecord) => void>): string => {
      const record = new NodeRecord("node 1")
      record.joins(7, Round(0, 9))
      for (const act of acts) act(record)
      return [...record.violations, ...record.unhooked(standing)].join()
    }
    const acks = (height: number, stand: Partial<Stand>) => (record: NodeRecord) =>
      record.acknowledges(height, height, { durable: undefined, isComplete: false, covered: 0, ...stand })
    const hooks = (height: number) => (record: NodeRecord) => record.hooks(1, height)
    const covers = [7, 8].map((height) => acks(height, { covered: 8 }))
    const out = (height: number, least: number, processed: number) => (record: NodeRecord) =>
      record.comesOut(height, least, processed, 3)
    const handsOver = [hooks(9), acks(9, { durable: 9 }), (record: NodeRecord) => record.completes(9)]
    expect(judge(9, ...covers, out(8, 8, 8), ...handsOver)).toBe("")
    // What was acknowledged before the plan is complete may be lost while marshal has not recorded it, and nothing later.
    expect(judge(7, ...covers, out(7, 0, 6), hooks(7), acks(7, { durable: 7 }))).toBe("")
    expect(judge(7, ...covers, ...handsOver, (record) => record.boots(8, 8, 3))).toContain("P-5 node 1 came up at 8")
    expect(judge(8, ...covers, acks(9, { covered: 8 }))).toContain("P-5 node 1 acknowledged 9")
    expect(judge(8, ...covers, hooks(9), acks(9, { durable: 8, covered: 8 }))).toContain("P-5 node 1 acknowledged 9")
    expect(judge(8, acks(7, { covered: 7 }))).toBe("INV-16 node 1 never ran its hook of 8")
    expect(judge(8, ...covers, acks(9, { durable: 9 }))).toBe("INV-16 node 1 acknowledged 9 before its hook")
    // A sync that is over covers nothing any more.
    expect(judge(6, acks(7, { durable: 7, covered: 7, isComplete: true }))).toContain("INV-16 node 1 acknowledged 7")
    expect(judge(6, out(7, 8, 6))).toBe("INV-23 node 1 came out of sync at 7, not at 8")
    expect(judge(6, out(7, 7, 8))).toContain("P-7 node 1 came up at 7, marshal at 8")
    expect(judge(6, out(10, 0, 6))).toContain("P-7 node 1 came up at 10, marshal at 6")
    const again = [(record: NodeRecord) => record.completes(9), (record: NodeRecord) => record.joins(9, Round(0, 11))]
    expect(judge(6, ...again)).toContain("INV-19 node 1 syncs again")
  })

  test("INV-18 INV-20 a joiner whose plan has forgotten its sync, or its newest floor", () => {
    const finds = (plan: PlanRecord): string => {
      const record = new NodeRecord("node 1")
      record.joins(7, Round(0, 9))
      record.starts(plan)
      return record.violations.join()
    }
    const floor = (view: number): PlanRecord => {
      const proposal = { round: Round(0, view), parentView: View(0), payload: new Uint8Array(32) }
      return { tag: "in progress", floor: { proposal, certificate: undefined as never } }
    }
    expect([finds({ tag: "complete", height: Height(9) }), finds(floor(9)), finds(floor(10))]).toEqual(["", "", ""])
    expect(finds({ tag: "absent" })).toBe("INV-18 node 1 began a sync that its plan does not know")
    expect(finds(floor(8))).toBe("INV-20 node 1 had a newer floor than its plan knows")
  })

  test("a joiner whose floor is older than all that honest peers replied, or that none replied to at all", () => {
    const finds = (view: number, ...told: ReadonlyArray<number>): string => {
      const record = new NodeRecord("node 1")
      record.hears(Round(0, 1))
      record.probes()
      for (const heard of told) record.hears(Round(0, heard))
      record.finds(Round(0, view))
      return record.violations.join()
    }
    expect([finds(9, 9), finds(9, 12, 8)]).toEqual(["", ""])
    const violation = "floor node 1 found one of round 0/7, which no honest peer is behind"
    expect([finds(7, 8, 9), finds(7)]).toEqual([violation, violation])
  })

  test("INV-17 INV-22 a joiner that answers before its databases are complete", () => {
    const answers = (isComplete: boolean): string => {
      const disks = makeDisks(1, 1)
      const plan = short("plain")
      const troubles = new Troubles(
        { plan, faults: [], disks, seed: 1 },
        { happens: () => true, powerLoss: () => {}, now: () => 0 },
      )
      const shared = { deliveries: [], final: new FinalBlocks<StandardBlock<Mark, OneDatabase>>(), isCalm: () => true }
      const watch = new NodeWatch({ index: 0, subject: honest, plan, seed: 1, troubles, ...shared })
      const block = {} as StandardBlock<Mark, OneDatabase>
      const eager = {
        propose: () => Effect.succeed(block),
        verify: () => Effect.succeed(true),
        finalized: () => Effect.void,
      }
      const port = watch.port(1, eager, { set: undefined, isComplete, covered: 0 }, Effect.void)
      const [context, ancestry] = [undefined as never, undefined as never]
      Effect.runSync(Effect.andThen(port.propose(context, ancestry), port.verify(context, ancestry)))
      return watch.violations().join()
    }
    expect(answers(true)).toBe("")
    expect(answers(false)).toMatch(
      /INV-17 node 0 answers when asked to propose.*INV-22 node 0 answers when asked to verify/,
    )
  })

  test.each(["verified", "proposed"] as const)("P-5 a node that lets out what it has not stored by %s", (stores) => {
    const [before, after] = inWorld(short("plain"), [], (world) =>
      Effect.gen(function* () {
        yield* Effect.sleep(1_000)
        const before = world.violations()
        Object.assign(world.cluster.node(1)!.marshal, { [stores]: () => Effect.void })
        yield* Effect.sleep(VALIDATORS * 500)
        return [before, world.violations()] as const
      }),
    )
    expect(before).toEqual([])
    expect(after.join()).toContain("P-5 node 1 said a block in round 0/")
  })

  test("INV-16 C14 hooks that a node never ran, or too late, or not in order within an incarnation", () => {
    const judge = (standing: number, ...ran: ReadonlyArray<readonly [incarnation: number, height: number]>) => {
      const record = new NodeRecord("node 1")
      for (const hook of ran) record.hooks(...hook)
      return [...record.violations, ...record.unhooked(standing)].join()
    }
    expect(judge(3, [0, 1], [0, 2], [1, 2], [1, 3])).toBe("")
    expect(judge(2, [0, 2])).toBe("INV-16 node 1 never ran its hook of 1")
    expect(judge(3, [0, 1], [0, 3], [1, 2])).toBe("INV-16 node 1 ran its hook of 3 after that of 1")
    expect(judge(2, [0, 1], [0, 2], [0, 2])).toBe("INV-16 node 1 ran its hook of 2 after that of 2")
    const record = new NodeRecord("node 1")
    record.acknowledges(1, 1, { durable: 1, isComplete: true, covered: 0 })
    expect(record.violations).toEqual(["INV-16 node 1 acknowledged 1 before its hook"])
  })

  test("INV-16 P-15 a node that drops hooks, and one with a caller that waits for a block, at rest", () => {
    const meddled = Effect.gen(function* () {
      const plan = short("plain")
      const parts = { subject: honest, plan, seed: 1, faults: [], link: plan.link, validators, happens: () => true }
      const world = yield* makeWorld(parts)
      const meddles = Effect.gen(function* () {
        yield* Effect.sleep(1_000)
        const sound = world.violations()
        world.watches[2]!.record.hooks = () => {}
        yield* Effect.sleep(1_000)
        return sound
      })
      const sound = yield* Effect.raceFirst(meddles, world.runs)
      yield* Effect.forkChild(world.cluster.node(1)!.marshal.subscribe(STRAY, "wait"))
      yield* Effect.sleep(1)
      return { sound, running: world.violations(), rest: yield* judgeAtRest(world, honest) }
    })
    const { exit } = simulate(1, Effect.scoped(meddled))
    if (exit._tag === "Failure") throw new Error(String(exit.cause))
    const { sound, running, rest } = exit.value
    expect(sound).toEqual([])
    expect(running.join()).toMatch(/INV-16 node 2 acknowledged \d+ before its hook/)
    expect(rest.join()).toMatch(/INV-16 node 2 never ran its hook of/)
    expect(rest).toContain("P-15 node 1 has 1 callers that wait for a block at rest")
  })

  test("a call that is not legal where it is made: a final block after none", () => {
    const [before, after] = inWorld(short("plain"), [], (world) =>
      Effect.gen(function* () {
        yield* Effect.sleep(1_000)
        const before = world.violations()
        const { block } = world.deliveries.deliveries.at(-1)!
        const ack = { acknowledge: () => {}, cancel: () => {} }
        const { executor } = world.cluster.node(1)!
        yield* Effect.exit(executor.finalized({ ...block, height: Height(block.height + 2) }, ack))
        return [before, world.violations()] as const
      }),
    )
    expect(before).toEqual([])
    expect(after.join()).toContain("IllegalCall the engine may not deliver")
  })

  test("F65 finality that is back later than ten views after its stall", { timeout: TIMEOUT_MS }, () => {
    const subject: Subject = {
      ...honest,
      application: (validator) => ({ ...honest.application(validator), finalized: () => Effect.sleep(400) }),
    }
    expect(found(honest, stalledFor(150))).toBeUndefined()
    expect(found(subject, stalledFor(150))).toMatchObject({ kind: "F65", what: expect.stringContaining("later") })
  })

  test("CONS-24 a node that takes in a forged finalization", () => {
    const faults: ReadonlyArray<WorldFault> = [{ kind: "forgery", node: 1, how: "too few", atMs: 2_000 }]
    const judge = (gullible: boolean) =>
      inWorld(short("plain"), faults, (world) =>
        Effect.gen(function* () {
          yield* Effect.sleep(1_990)
          if (gullible) Object.assign(world.cluster.node(1)!.marshal, { report: () => Effect.void })
          yield* Effect.sleep(2_010)
          return [world.violations().join(), world.happenings().forgeries] as const
        }),
      )
    expect(judge(false)).toEqual(["", 1])
    expect(judge(true)).toEqual(["CONS-24 node 1 takes in a forged finalization: too few", 0])
  })

  test("P-12 P-15 logs that differ in an operation, and what is held at rest", () => {
    const log = (...operations: ReadonlyArray<number>): Pick<LogReader, "pruned" | "target" | "prove"> => ({
      pruned: Location(0),
      target: { root: new Uint8Array(32), start: Location(0), end: Location(operations.length) },
      prove: (start, max) => ({
        start,
        operations: operations.slice(start, start + max).map((operation) => Uint8Array.of(operation)),
        proof: undefined as never,
      }),
    })
    expect(logViolations("board", [log(1, 2, 3), log(1, 2)])).toEqual([])
    expect(logViolations("board", [log(1, 2, 3), log(1, 4)]).join()).toContain("operation 1 of board differs")
    expect(heldViolations(0, { requests: 0, unacked: 0, pendingEntries: 2 }, 2, 0)).toEqual([])
    expect(heldViolations(0, { requests: 1, unacked: 1, pendingEntries: 0 }, 1, 1).length).toBe(4)
  })

  test("P-16 a plan that did not contain what it intends", () => {
    const nothing = runScenario(short("plain"), "one", 1).happenings as Happenings
    expect(missedBy({ intends: ["finalizedBlocks", "crashes"] }, [nothing])).toEqual(["crashes"])
  })
})

describe("a node that joins by state sync", () => {
  const JOINER = 2
  const joins = (atMs: number): ReadonlyArray<WorldFault> => [{ kind: "join", node: JOINER, atMs }]
  /** A validator that does what it should, but for how it replays: only its state sync does. */
  const replaying = (apply: StandardApplication<Mark, OneDatabase>["apply"]): Subject => ({
    ...honest,
    application: (index) => ({ ...honest.application(index), ...(index === JOINER && { apply }) }),
  })

  test("could not have replayed: the others have forgotten; F58 cut off it stands still, found again it goes on", () => {
    const seen = inWorld(named("state-sync"), joins(3_000), (world) =>
      Effect.gen(function* () {
        yield* Effect.sleep(2_990)
        const others = [0, 1, 3].map((index) => world.cluster.node(index)!.marshal)
        const held = yield* Effect.forEach(others, ({ finalizedAt }) => finalizedAt(Height(1)))
        yield* Effect.sleep(60)
        world.cluster.links.partition([JOINER])
        yield* Effect.sleep(1_000)
        const { syncedAt } = world.watches[JOINER]!.record
        const before = [world.durable(JOINER), syncedAt, world.happenings().synced]
        world.cluster.links.heal()
        while (world.durable(JOINER) < 16) yield* Effect.sleep(100)
        const { record } = world.watches[JOINER]!
        return { held, before, first: record.first, syncedAt: record.syncedAt, found: world.violations() }
      }),
    )
    expect(seen).toMatchObject({ held: [undefined, undefined, undefined], before: [-1, undefined, 0], found: [] })
    expect(seen.first).toBeGreaterThan(4)
    expect(seen.syncedAt).toBeGreaterThanOrEqual(seen.first)
  })

  test("one liar does not hold its floor back, whichever it is; canary: among three its floor is found to be too old", () => {
    const others = [...validators.keys()].filter((index) => index !== JOINER)
    const probing = (liars: ReadonlyArray<number>) => {
      const lies = liars.map(
        (node): WorldFault => ({ kind: "lie", node, how: "another certificate", atMs: 2_900, forMs: 900 }),
      )
      return inWorld(named("state-sync"), [...joins(3_000), ...lies], (world) =>
        Effect.gen(function* () {
          while (world.happenings().probed === 0) yield* Effect.sleep(5)
          return { told: world.happenings().lies > 0, found: world.violations() }
        }),
      )
    }
    for (const liar of others) expect(probing([liar]), `node ${liar} lies`).toEqual({ told: true, found: [] })
    const amongThree = others.map((honest) => probing(others.filter((index) => index !== honest)).found.join())
    expect(amongThree.filter((found) => found.includes(`floor node ${JOINER} found one of round 0/`))).not.toEqual([])
  })

  test("canary: INV-20 its plan has an older floor than the one it began at", () => {
    const faults: ReadonlyArray<WorldFault> = [
      ...joins(3_000),
      { kind: "point", node: JOINER, point: "sync begun", nth: 1, downMs: 200 },
    ]
    const found = inWorld(named("state-sync"), faults, (world) =>
      Effect.gen(function* () {
        while (world.happenings().pointCrashes === 0) yield* Effect.sleep(5)
        const before = world.violations()
        const { record } = world.watches[JOINER]!
        record.joins(record.first, Round(0, 9_999))
        while (world.cluster.node(JOINER) === undefined) yield* Effect.sleep(5)
        return [before, world.violations().join()]
      }),
    )
    expect(found).toEqual([[], `INV-20 node ${JOINER} had a newer floor than its plan knows`])
  })

  test.each(SYNC_POINTS)("loses power at the point %j and joins all the same", (point) => {
    const fault: WorldFault = { kind: "point", node: JOINER, point, nth: 1, downMs: 100 }
    const plan = { ...named("state-sync"), faultsMs: 6_000, faults: () => [...joins(3_000), fault] }
    const { failure, happenings } = runScenario(plan, "one", 1)
    expect(failure).toBeUndefined()
    expect([happenings!.pointCrashes, happenings!.synced]).toEqual([1, 1])
  })

  test("canary: P-11 its plan never completes", () => {
    const slow = { ...CALM, viewMs: 20_000, viewTimeoutMs: 21_000 }
    const plan = short("state-sync", { schedule: slow, faultsMs: 240_000, faults: () => joins(230_000) })
    const subject = replaying(() => Effect.never)
    expect(runWorld(subject, plan, 1).failure?.what).toContain(`P-11 node ${JOINER} stands at -1`)
  })

  test("canary: F49 its databases come out with another root", () => {
    const plan = short("state-sync", { faults: () => joins(3_000) })
    const subject = replaying((block, batches, tools) => {
      batches.board.put(STRAY, new Uint8Array(24))
      return overOne.apply(block, batches, tools)
    })
    expect(runWorld(subject, plan, 1).failure?.kind).toBe("SyncedTargetMismatch")
  })

  test("canary: INV-23 INV-24 its databases come out below what was asked for", () => {
    let made: Made | undefined
    const run = () =>
      inWorld(named("state-sync"), joins(3_000), (world) => {
        made = world
        const watch = world.watches[JOINER]!
        const { sync } = watch
        const fallsBack: typeof sync = ({ run }, ...rest) => {
          const back: typeof run = (...asked) =>
            Effect.tap(run(...asked), (set) => Effect.orDie(set.rewind(Height(set.anchor.height - 1))))
          return sync.call(watch, { run: back }, ...rest)
        }
        Object.assign(watch, { sync: fallsBack })
        return Effect.never
      })
    expect(run).toThrow("SyncedElsewhere")
    expect(made!.violations().join()).toContain(`INV-23 node ${JOINER} came out of sync at`)
  })

  test("canary: P-12 P-16 at rest it lacks a block from its floor on, or its databases came in another way", () => {
    const [sound, lacking, replayed] = inWorld(named("state-sync"), joins(3_000), (world) =>
      Effect.gen(function* () {
        while (world.durable(JOINER) < 16) yield* Effect.sleep(100)
        const judge = Effect.map(judgeAtRest(world, honest), (found) =>
          found.filter((what) => !what.startsWith("P-15")),
        )
        const { record } = world.watches[JOINER]!
        const { marshal } = world.cluster.node(JOINER)!
        const sound = yield* judge
        const { finalizedAt } = marshal
        const lacks = (height: Height) => (height === 14 ? Effect.succeed(undefined) : finalizedAt(height))
        Object.assign(marshal, { finalizedAt: lacks })
        const lacking = yield* judge
        Object.assign(marshal, { finalizedAt })
        record.syncedAt = undefined
        return [sound, lacking, yield* judge] as const
      }),
    )
    expect(sound).toEqual([])
    expect(lacking).toEqual([`P-12 node ${JOINER} does not hold the final block 14`])
    expect(replayed).toEqual([`P-16 node ${JOINER} joined without state sync`])
  })
})

describe("the matrix", () => {
  test("every scenario is in one group, and every part has words of its own", () => {
    expect(Object.values(GROUPS).flat().toSorted()).toEqual(SCENARIOS.map(({ name }) => name).toSorted())
    const { parts } = runScenario(short("everything"), "one", 2)
    expect(new Set(parts.map(partWords)).size).toBe(parts.length)
  })

  test("what is left out of a schedule moves nothing else in it", () => {
    const plan = short("random-crashes")
    const whole = runScenario(plan, "one", 5)
    const without = runScenario(plan, "one", 5, { keeps: ({ kind }) => kind === "crash" })
    const crashes = whole.parts.filter(({ kind }) => kind === "crash")
    expect(without.parts).toEqual(crashes)
    expect(without.failure).toBeUndefined()
  })
})

test("F65 finality that stalls for 10,000 views costs no more than the pending budget, and is back within ten views", {
  timeout: TIMEOUT_MS,
}, () => {
  const plan = named("stalled-finality")
  const { pendingEntriesMax = 0, spilledEntriesMax } = plan.limits!
  const { views } = plan.schedule.stall!
  const { failure, happenings, decisions } = runScenario(plan, "one", 1)
  expect(failure).toBeUndefined()
  expect(happenings!.spilled).toBe(spilledEntriesMax)
  expect(happenings!.finalizedAtOnce).toBeGreaterThan(plan.height - pendingEntriesMax / 2)
  expect(happenings!.nullified).toBeGreaterThan(views - 2 * plan.height)
  expect([views >= 10_000, decisions.length < views + 12]).toEqual([true, true])
})

test("all validators lose power while consensus asks them where to go on, and it goes on", () => {
  const fault = { kind: "point", node: 4, point: "set write is visible", nth: 1, downMs: 700, everyone: true } as const
  const outage = short("plain", { faultsMs: 1_000, faults: () => [fault] })
  expect(runScenario(outage, "one", 1).failure).toBeUndefined()
})

// Where links lose messages, nodes ask their peers for blocks.
test.each(POINTS)("a node that loses power at the point %j comes back, and all holds", (point) => {
  const fault: WorldFault = { kind: "point", node: 1, point, nth: 1, downMs: 100 }
  const { failure, happenings } = runScenario(short("lossy-links", { faults: () => [fault] }), "one", 1)
  expect(failure).toBeUndefined()
  expect(happenings!.pointCrashes).toBe(1)
})

test("a read of marshal that fails while a node starts fails its start, and the node comes up the next time", () => {
  const { failure, happenings } = runScenario({ ...named("read-faults"), height: 8 }, "three", 9)
  expect(failure).toBeUndefined()
  expect(happenings!.storageFaults).toBeGreaterThan(0)
})

describe("shrinking", () => {
  /** Validator 2 replays wrongly: a fault that shows only once it has lost its memory. */
  const forgetful: Subject = {
    ...honest,
    application: (validator) => {
      const application = honest.application(validator)
      if (validator !== 2) return application
      return {
        ...application,
        apply: (block, batches, tools) => {
          batches.board.put(STRAY, new Uint8Array(24))
          return application.apply(block, batches, tools)
        },
      }
    },
  }

  test("a failure that one lost validator shows is shrunk to few faults, a loss of that validator among them", async () => {
    const plan = short("rapid-crashes", { faultsMs: 4_000 })
    let [seed, failed] = [1, runWorld(forgetful, plan, 1)]
    while (failed.failure?.kind !== "FinalizedCommitmentMismatch" && seed < 20)
      failed = runWorld(forgetful, plan, ++seed)
    expect(failed.failure?.kind).toBe("FinalizedCommitmentMismatch")
    expect(failed.parts.length).toBeGreaterThan(5)
    const run = (options: Parameters<typeof runWorld>[3]) => runWorld(forgetful, plan, failed.seed, options)
    const { result, isMinimal } = await Effect.runPromise(shrinkSeed(failed, run, 100))
    expect(isMinimal).toBe(true)
    expect(result.failure?.kind).toBe(failed.failure?.kind)
    expect(result.parts.length).toBeGreaterThan(0)
    expect(result.parts.length).toBeLessThan(4)
    expect(result.parts).toContainEqual(expect.objectContaining({ kind: "crash", nodes: [2] }))
  })
})
