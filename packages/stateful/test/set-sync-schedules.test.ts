/**
 * Goal: the sync of a set keeps its promises under every order in which its members, its tips and its turns happen to run.
 * Method: a synchronous scheduler picks the next runnable task by seed. Members go at their own speed, fail or end at any
 * time, and clean up slowly; tips come at any time; some runs are interrupted. A judge watches what members and tips see.
 * Canaries: syncs that break one rule.
 */
import type { SyncTarget } from "@coppice/qmdb"
import { Cause, Effect, Exit, Fiber } from "effect"
import { describe, expect, test } from "vitest"
import {
  type MemberCourse,
  type MemberSync,
  makeSetSync,
  type SetSync,
  StateSyncFailed,
  SyncEndedEarly,
  type SyncTip,
  type SyncUpdates,
  targetsEqual,
} from "../src/index.ts"
import { DATABASES, NAMES, type Name, setAt, type Three, Tips, targetAt, tipAt } from "./support/member-syncs.ts"
import { seededRun, yields } from "./support/seeded-run.ts"

const START = 10
const SEEDS = 300

/** What is changed in a sync, for canaries. */
interface Broken {
  readonly member?: (sync: MemberSync, name: Name) => MemberSync
  readonly updates?: (updates: SyncUpdates<Three>) => SyncUpdates<Three>
  readonly set?: (sync: SetSync<Three>) => SetSync<Three>
}

/** What members were sent, told of and did, and what is against the rules in it. */
class Judge {
  readonly found: string[] = []
  readonly running = new Set<Name>()
  readonly reached = new Map<Name, SyncTarget>()
  /** Those that failed by themselves, in order, and those that ended before they were told to. */
  readonly failed: Name[] = []
  readonly early: Name[] = []
  regroups = 0
  readonly #sent = new Map(NAMES.map((name) => [name, tipAt(START).targets[name]]))
  /** Members that are where they were sent to, as far as they know; and when all of them were so last. */
  readonly #still = new Set<Name>()
  readonly #stillSince = new Map<Name, number>()
  readonly #finishing = new Set<Name>()
  #clock = 0
  #allStillAt = -1

  takes(name: Name, target: SyncTarget) {
    const before = this.#sent.get(name)!
    if (target.end <= before.end) this.found.push(`INV-26 ${name} is sent to ${target.end} after ${before.end}`)
    if (this.#still.has(name) && this.#allStillAt < this.#stillSince.get(name)!) {
      this.found.push(`INV-25 ${name} is disturbed where it stands, at ${before.end}`)
    }
    if (this.#finishing.size > 0) this.found.push(`INV-24 ${name} is sent on after others were told to finish`)
    this.#sent.set(name, target)
    this.#still.delete(name)
  }

  reaches(name: Name, target: SyncTarget) {
    this.reached.set(name, target)
    this.#still.add(name)
    this.#stillSince.set(name, ++this.#clock)
    if (this.#still.size === NAMES.length) this.#allStillAt = this.#clock
  }

  finishes(name: Name) {
    this.#finishing.add(name)
    if (this.#still.size < NAMES.length)
      this.found.push(`INV-24 ${name} is told to finish while others are on their way`)
  }

  /** What came out, of tips that were recorded. */
  outcome(exit: Exit.Exit<SyncTip<Three>, unknown>, recorded: ReadonlyArray<number>) {
    if (this.running.size > 0) this.found.push(`${[...this.running]} outlive the sync`)
    if (Exit.isSuccess(exit)) return this.#cameOut(exit.value, recorded)
    if (Cause.hasInterrupts(exit.cause)) return
    const error = Cause.squash(exit.cause)
    if (!(error instanceof StateSyncFailed)) return this.found.push(`F44 an error without a member: ${error}`)
    const { member, cause } = error
    const isOwn =
      cause instanceof SyncEndedEarly ? this.early.includes(member as Name) : this.failed.includes(member as Name)
    const isFirst = cause === `${member} fails` || cause instanceof SyncEndedEarly
    if (!(isOwn && isFirst)) this.found.push(`F44 F45 ${member}: ${cause}, not ${[...this.failed, ...this.early]}`)
  }

  #cameOut({ anchor, targets }: SyncTip<Three>, recorded: ReadonlyArray<number>) {
    const least = Math.max(START, ...recorded)
    if (anchor.height < least) this.found.push(`INV-23 at ${anchor.height}, recorded is ${least}`)
    for (const name of NAMES) {
      const at = this.reached.get(name)
      if (at === undefined || !targetsEqual(at, targets[name])) this.found.push(`INV-24 ${name} is at ${at?.end}`)
    }
    if (this.failed.length > 0) this.found.push(`F44 ${this.failed} failed, and the set came out`)
  }
}

/** What a run is made of, by its seed. */
const scriptOf = (seed: number) => {
  let state = Math.imul(seed, 2_654_435_761) >>> 0
  const dice = (sides: number): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor((state / 4_294_967_296) * sides)
  }
  const fate = () => (dice(6) === 0 ? { after: dice(80), fails: dice(3) > 0 } : undefined)
  return {
    dice,
    fates: new Map(NAMES.map((name) => [name, fate()])),
    speeds: new Map(NAMES.map((name) => [name, 5 + dice(40)])),
    interruptedAfter: dice(8) === 0 ? dice(80) : undefined,
  }
}

const play = ({ member = (sync) => sync, updates = (of) => of, set = (sync) => sync }: Broken, seed: number) =>
  Effect.gen(function* () {
    const { dice, fates, speeds, interruptedAfter } = scriptOf(seed)
    const judge = new Judge()
    const tips = new Tips()
    const syncOf = (name: Name): MemberSync => {
      const goes = Effect.fnUntraced(function* (start: SyncTarget, { newer, reached, finish }: MemberCourse) {
        for (let target = start; ; ) {
          yield* yields(dice(speeds.get(name)!))
          const next = newer.poll()
          if (next !== undefined) {
            judge.takes(name, next)
            target = next
            continue
          }
          judge.reaches(name, target)
          reached(target)
          if (yield* Effect.raceFirst(Effect.as(finish, true), Effect.as(newer.arrival, false))) break
        }
        judge.finishes(name)
        yield* yields(dice(10))
      })
      const fate = fates.get(name)
      const ends = Effect.suspend(() => {
        ;(fate!.fails ? judge.failed : judge.early).push(name)
        return fate!.fails ? Effect.fail(`${name} fails`) : Effect.void
      })
      return {
        run: (start, course) =>
          Effect.suspend(() => {
            const sync = goes(start, course)
            const isFated = fate === undefined ? Effect.never : Effect.as(yields(fate.after), true)
            const first = Effect.raceFirst(Effect.as(sync, false), isFated)
            const fated = Effect.flatMap(first, (isOver) => (isOver ? ends : Effect.void))
            return Effect.acquireUseRelease(
              Effect.sync(() => void judge.running.add(name)),
              // What is cut off may end badly: that is not why.
              () => Effect.onInterrupt(fated, () => (dice(2) === 0 ? Effect.die("cut off") : Effect.void)),
              () =>
                Effect.andThen(
                  yields(dice(10)),
                  Effect.sync(() => void judge.running.delete(name)),
                ),
            )
          }),
      }
    }
    const members = Object.fromEntries(NAMES.map((name) => [name, member(syncOf(name), name)]))
    const made = makeSetSync<Three>({
      databases: DATABASES,
      members: members as { readonly [K in Name]: MemberSync },
      open: (tip) => Effect.succeed(setAt(tip)),
      onRegroup: () => void judge.regroups++,
    })
    const run = set(made).run(tipAt(START), updates(tips.cell))
    const fiber = yield* Effect.forkChild(Effect.scoped(run))
    let twice = false
    const offers = yield* Effect.forkChild(
      Effect.gen(function* () {
        for (let left = dice(8), height = START; left > 0; left--) {
          yield* yields(dice(25))
          height = Math.max(0, height + dice(6) - 1)
          let isRecorded = false
          tips.offer(height, () => {
            twice ||= isRecorded
            isRecorded = true
          })
        }
      }),
    )
    if (interruptedAfter !== undefined) {
      yield* yields(interruptedAfter)
      yield* Fiber.interrupt(fiber)
    }
    const exit = yield* Fiber.await(fiber)
    const recorded = [...tips.recorded]
    judge.outcome(
      Exit.map(exit, ({ anchor, tip }) => ({ ...tipAt(0), anchor, targets: tip.targets })),
      recorded,
    )
    yield* Fiber.await(offers)
    yield* yields(20)
    if (tips.recorded.length > recorded.length) judge.found.push("INV-28 a tip is recorded after the end")
    if (twice) judge.found.push("a tip is recorded twice")
    return { judge, exit, recorded }
  })

const findings = (broken: Broken, seed: number) => {
  const exit = seededRun(seed, play(broken, seed))
  if (Exit.isFailure(exit)) throw new Error(`seed ${seed}: ${exit.cause}`)
  return { ...exit.value, found: exit.value.judge.found }
}

test("INV-23 INV-24 INV-25 INV-26 INV-28 F44 F45 members of any speed come out at one tip, or the first failure does", () => {
  const met = { regroups: 0, recorded: 0, moved: 0, failed: 0, early: 0, interrupted: 0, sound: 0 }
  for (let seed = 1; seed <= SEEDS; seed++) {
    const { judge, exit, recorded, found } = findings({}, seed)
    expect(found, `seed ${seed}`).toEqual([])
    met.regroups += judge.regroups
    met.recorded += recorded.length
    if (Exit.isSuccess(exit)) met.sound++
    else if (Cause.hasInterrupts(exit.cause)) met.interrupted++
    else if ((Cause.squash(exit.cause) as StateSyncFailed).cause instanceof SyncEndedEarly) met.early++
    else met.failed++
    if (Exit.isSuccess(exit) && exit.value.anchor.height > START) met.moved++
  }
  for (const [what, times] of Object.entries(met)) expect(times, what).toBeGreaterThan(10)
  expect(met.regroups).toBeGreaterThan(SEEDS / 4)
})

const renewed = (sync: MemberSync, newer: (course: MemberCourse) => MemberCourse["newer"]): MemberSync => ({
  run: (start, course) => sync.run(start, { ...course, newer: newer(course) }),
})

describe("canaries", () => {
  const cases: ReadonlyArray<[string, RegExp, Broken]> = [
    [
      "a tip is recorded and dropped",
      /INV-23/,
      {
        updates: ({ poll, arrival }) => ({
          arrival,
          poll: () => {
            poll()?.recorded()
            return undefined
          },
        }),
      },
    ],
    [
      "a tip is recorded twice",
      /recorded twice/,
      {
        updates: ({ poll, arrival }) => ({
          arrival,
          poll: () => {
            const tip = poll()
            tip?.recorded()
            return tip
          },
        }),
      },
    ],
    [
      "who has reached its generation is disturbed",
      /INV-25/,
      {
        member: (sync, name) =>
          renewed(sync, ({ newer: { poll, arrival } }) => {
            let end = 100
            let comes = false
            const coming = Effect.sync(() => {
              comes = true
            })
            return {
              poll: () => {
                if (!comes) return poll()
                comes = false
                return targetAt(end++)
              },
              arrival: name === "slow" ? arrival : Effect.raceFirst(arrival, Effect.andThen(yields(30), coming)),
            }
          }),
      },
    ],
    [
      "a target is sent twice",
      /INV-26/,
      {
        member: (sync) =>
          renewed(sync, ({ newer: { poll, arrival } }) => {
            let again: SyncTarget | undefined
            return {
              arrival,
              poll: () => {
                const target = again ?? poll()
                again = again === undefined ? target : undefined
                return target
              },
            }
          }),
      },
    ],
    [
      "the set comes out where nobody is",
      /INV-2[34]/,
      { set: ({ run }) => ({ run: (start, updates) => Effect.as(run(start, updates), setAt(tipAt(START + 1))) }) },
    ],
    [
      "one is told to finish alone",
      /INV-24/,
      {
        member: (sync, name) => (name === "rare" ? { run: (s, c) => sync.run(s, { ...c, finish: yields(60) }) } : sync),
      },
    ],
    [
      "what follows from an error is told in place of it",
      /F44/,
      {
        set: ({ run }) => ({
          run: (start, updates) =>
            Effect.mapError(run(start, updates), () => new StateSyncFailed({ member: "even", cause: "cut off" })),
        }),
      },
    ],
    [
      "a member outlives the sync",
      /outlive/,
      {
        member: ({ run }) => ({
          run: (start, course) => Effect.flatMap(Effect.forkDetach(run(start, course)), (fiber) => Fiber.join(fiber)),
        }),
      },
    ],
  ]
  test.each(cases)("%s", (_what, rule, broken) => {
    const found = Array.from({ length: SEEDS / 3 }, (_, i) => findings(broken, i + 1).found.join("; "))
    expect(found.filter((words) => rule.test(words)).length).toBeGreaterThan(0)
  })
})
