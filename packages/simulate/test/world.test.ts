/**
 * Goal: a world's run is decided by its seed, finds what is wrong with an application or with itself, and shrinks to a
 * test that stands alone.
 * Method: applications, models and schedules that break one property each; the properties' own checks on made-up evidence;
 * equal seeds in one process and in two.
 */
import { spawnSync } from "node:child_process"
import { join } from "node:path"
import { Round } from "@coppice/consensus"
import { nodeHasher } from "@coppice/crypto/node"
import { Location, type LogReader } from "@coppice/qmdb"
import { readDivergence, replayDivergence } from "@coppice/stateful/diagnosis"
import { Effect } from "effect"
import { describe, expect, test } from "vitest"
import { validators } from "../src/chain.ts"
import { NodeRecord } from "../src/journal.ts"
import { heldViolations, logViolations } from "../src/judgement.ts"
import { marksOverOne, overOne, UPGRADE_HEIGHT } from "../src/marks.ts"
import { type Happenings, missedBy, type Plan, partWords, type SchedulePart, type WorldFault } from "../src/plan.ts"
import { CALM, regressionTest, runScenario, SCENARIOS, shrinkSeed } from "../src/scenarios.ts"
import { simulate } from "../src/scheduler.ts"
import { BUNDLES_MAX, runWorld } from "../src/world.ts"
import { makeWorld } from "../src/world-nodes.ts"
import { GROUPS } from "./scenarios/matrix.ts"

const named = (name: string): Plan => SCENARIOS.find((plan) => plan.name === name)!
const short = (name: string, change: Partial<Plan> = {}): Plan => ({ ...named(name), height: 6, ...change })
const FOLDER = join(import.meta.dirname, "..")

const honest = marksOverOne(4)
type Subject = typeof honest

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
    const [a, b] = [1, 2].map(() => runWorld(subject, short("plain"), 1))
    expect(a!.audit).not.toBe(b!.audit)
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
    expect(failure?.kind).toBe("VerdictsDiverged")
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
            batches.board.put(new Uint8Array(32), new Uint8Array(24))
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

  test("P-9 P-1 an honest node that is blamed, and a decision without a quorum", () => {
    const cut = Array.from({ length: 2 }, (_, node) => node)
    const faults: ReadonlyArray<WorldFault> = [{ kind: "partition", atMs: 100, nodes: cut, forMs: 9_000 }]
    const plan = short("plain", { faultsMs: 10_000 })
    const judged = Effect.scoped(
      Effect.gen(function* () {
        const parts = { subject: honest, plan, seed: 1, faults, link: plan.link, validators, happens: () => true }
        const world = yield* makeWorld(parts)
        const before = world.violations()
        const [first, second] = validators
        yield* world.cluster.network.transport(first!.publicKey).blame(second!.publicKey, "made up")
        yield* Effect.raceFirst(
          Effect.gen(function* () {
            yield* Effect.sleep(6_000)
            world.cluster.links.heal()
            yield* Effect.sleep(4_000)
          }),
          world.runs,
        )
        return [before, world.violations()] as const
      }),
    )
    const { exit } = simulate(1, judged)
    if (exit._tag === "Failure") throw new Error(String(exit.cause))
    const [before, after] = exit.value
    expect(before).toEqual([])
    expect(after.join()).toContain("P-9 node 1 is honest and blamed")
    expect(after.join()).toContain("views were notarized without a quorum")
  })

  test("P-4 P-5 P-7 a node that says two things, forgets, or comes up elsewhere", () => {
    const judge = (act: (record: NodeRecord) => void): string => {
      const record = new NodeRecord("node 1")
      act(record)
      return record.violations.join()
    }
    const [a, b] = [new Uint8Array(32).fill(1), new Uint8Array(32).fill(2)]
    expect(judge((record) => [a, a].map((digest) => record.says(Round(0, 1), digest)))).toBe("")
    expect(judge((record) => [a, b].map((digest) => record.says(Round(0, 1), digest)))).toContain("P-4")
    expect(judge((record) => record.acknowledges(5, 5, 5))).toBe("")
    expect(judge((record) => record.acknowledges(5, 5, 4))).toContain("P-5")
    const forgets = (record: NodeRecord): void => {
      record.acknowledges(5, 5, 5)
      record.boots(4, 4, 16)
    }
    expect(judge(forgets)).toContain("P-5")
    expect(judge((record) => record.boots(4, 5, 16))).toContain("P-7")
    expect(judge((record) => record.boots(20, 3, 16))).toContain("P-7")
    const holding = (held: Uint8Array | undefined) => (record: NodeRecord) => {
      record.says(Round(0, 1), a)
      for (const saying of record.newest) record.holds(saying, held)
    }
    expect(judge(holding(a))).toBe("")
    expect([judge(holding(b)), judge(holding(undefined))].join()).toMatch(/P-5.*P-5/)
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
    expect(heldViolations(0, { requests: 0, unacked: 0, pendingEntries: 2 }, 2)).toEqual([])
    expect(heldViolations(0, { requests: 1, unacked: 1, pendingEntries: 0 }, 1).length).toBe(3)
  })

  test("P-16 a plan that did not contain what it intends", () => {
    const nothing = runScenario(short("plain"), "one", 1).happenings as Happenings
    expect(missedBy({ intends: ["finalizedBlocks", "crashes"] }, [nothing])).toEqual(["crashes"])
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

test("F65 finality that stalls for 10,000 views costs no more than the pending budget, and is back within ten views", () => {
  const [views, pendingEntriesMax, spilledEntriesMax] = [10_000, 32, 96]
  const schedule = {
    ...CALM,
    viewMs: 50,
    viewTimeoutMs: 100,
    stallChance: 1,
    stallViewsMin: views,
    stallViewsMax: views,
  }
  const blocks = pendingEntriesMax + spilledEntriesMax
  const plan = short("plain", {
    schedule,
    limits: { pendingEntriesMax, spilledEntriesMax },
    faultsMs: (views - blocks) * 100,
    height: blocks,
  })
  const keeps = (part: SchedulePart): boolean => part.kind !== "stall" || part.view === 1
  const { failure, happenings, decisions } = runScenario(plan, "one", 1, { keeps })
  expect(failure).toBeUndefined()
  expect(happenings!.spilled).toBe(spilledEntriesMax)
  expect(happenings!.finalizedAtOnce).toBeGreaterThan(blocks - pendingEntriesMax / 2)
  expect(happenings!.nullified).toBeGreaterThan(views - 2 * blocks)
  expect(decisions.length).toBeLessThan(views + 10)
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
          batches.board.put(new Uint8Array(32), new Uint8Array(24))
          return application.apply(block, batches, tools)
        },
      }
    },
  }

  test("a failure that one lost validator shows is shrunk to losses of that validator, from a schedule of many faults", async () => {
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
    for (const part of result.parts) expect(part).toMatchObject({ kind: "crash", nodes: [2] })
  })

  /** Runs a written test with a stand-in for the test runner. */
  const runAlone = (text: string): string => {
    const standIn = `const expect = (actual: unknown) => ({ toBeUndefined: () => { if (actual !== undefined) throw new Error(JSON.stringify(actual)) } })
const test = (_: string, run: () => void) => run()`
    const program = text.replace('import { expect, test } from "vitest"', standIn)
    const options = ["--input-type=module-typescript", "--eval", program]
    return spawnSync(process.execPath, options, { cwd: FOLDER, encoding: "utf8" }).stderr
  }

  test("a seed is written out as a test that needs nothing but the packages, passes when it passes and fails when it fails", () => {
    const plan = short("partition")
    const text = regressionTest({ plan, size: "one", result: runScenario(plan, "one", 1), date: "2026-01-02" })
    expect(text).toContain('"kind":"partition"')
    expect(runAlone(text)).toBe("")
    const silent = short("plain", { schedule: { ...CALM, silentChance: 1 }, height: 2 })
    const failing = runScenario(silent, "one", 1)
    expect(runAlone(regressionTest({ plan: silent, size: "one", result: failing, date: "2026-01-02" }))).toContain(
      "P-11",
    )
  })
})
