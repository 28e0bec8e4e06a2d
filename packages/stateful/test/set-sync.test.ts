/**
 * Goal: the sync of a set is what its coordinator says, over members that reach, fail and end as they like (spec §13.3 to
 * §13.9), and leaves nothing behind.
 * Method: members and tips that the test moves, one step at a time. Schedules by chance: set-sync-schedules.test.ts.
 */
import type { MemberSpec } from "@coppice/qmdb"
import { it } from "@effect/vitest"
import { Effect, Exit, Fiber, Metric, type Scope } from "effect"
import { describe, expect } from "vitest"
import {
  type DatabaseSet,
  type MemberSync,
  makeSetSync,
  type SetSyncError,
  type SyncTip,
  type SyncUpdates,
} from "../src/index.ts"
import {
  DATABASES,
  NAMES,
  type Name,
  ScriptedMember,
  setAt,
  type Three,
  Tips,
  targetAt,
  tipAt,
} from "./support/member-syncs.ts"
import { quiet } from "./support/running-executor.ts"

const START = 10

interface Setup {
  readonly open?: (tip: SyncTip<Three>) => Effect.Effect<DatabaseSet<Three>, unknown, Scope.Scope>
  readonly updates?: SyncUpdates<Three>
  /** How it hears of a tip; as soon as it is offered when not given. */
  readonly arrival?: Effect.Effect<void>
  /** What runs in place of the member of that name. */
  readonly even?: MemberSync["run"]
}

/** A running sync of three members. */
const syncing = Effect.fnUntraced(function* (setup: Setup = {}) {
  const tips = new Tips()
  const members = { slow: new ScriptedMember(), even: new ScriptedMember(), rare: new ScriptedMember() }
  const opened: number[] = []
  let regroups = 0
  const { run } = makeSetSync({
    databases: DATABASES,
    members: { ...members, ...(setup.even && { even: { run: setup.even } }) },
    open: (tip) => {
      opened.push(tip.anchor.height)
      return setup.open?.(tip) ?? Effect.succeed(setAt(tip))
    },
    onRegroup: () => void regroups++,
  })
  const { poll, arrival } = tips.cell
  const updates = setup.updates ?? { poll, arrival: setup.arrival ?? arrival }
  const fiber = yield* Effect.forkChild(run(tipAt(START), updates))
  yield* quiet
  return {
    ...{ tips, members, opened, fiber },
    regroups: () => regroups,
    /** What everybody was sent, in ends. */
    sent: () => Object.fromEntries(NAMES.map((name) => [name, members[name].ends])),
    tip: Effect.fnUntraced(function* (height: number) {
      tips.offer(height)
      yield* quiet
    }),
    reach: Effect.fnUntraced(function* (...names: ReadonlyArray<Name>) {
      for (const name of names) members[name].reach()
      yield* quiet
    }),
    /** The members end as they were told to. */
    finish: Effect.gen(function* () {
      expect(NAMES.map((name) => members[name].isFinishing)).toEqual([true, true, true])
      for (const name of NAMES) members[name].end(Exit.void)
      return yield* Fiber.join(fiber)
    }),
    error: Effect.suspend(() => Effect.flip(Fiber.join(fiber))),
  }
})

describe("members of a set", () => {
  it.effect(
    "INV-24 INV-25 §13.8 who is ahead is left alone until the last has come, then all go to the newest tip",
    () =>
      Effect.gen(function* () {
        const node = yield* syncing()
        const { members } = node
        yield* node.reach("rare")
        yield* node.tip(15)
        expect(node.sent()).toEqual({ slow: [11, 16], even: [6, 8], rare: [3] })
        yield* node.reach("even")
        yield* node.tip(20)
        yield* node.tip(23)
        expect(node.tips.recorded).toEqual([15, 20, 23])
        expect(node.sent(), "INV-25").toEqual({ slow: [11, 16, 24], even: [6, 8], rare: [3] })
        expect(node.regroups()).toBe(0)
        yield* node.reach("slow")
        expect(node.regroups()).toBe(1)
        expect(node.sent()).toEqual({ slow: [11, 16, 24], even: [6, 8, 12], rare: [3, 5] })
        yield* node.reach("even")
        expect(members.slow.isFinishing, "one is on its way").toBe(false)
        yield* node.reach("rare")
        const set = yield* node.finish
        expect([set.anchor.height, node.opened]).toEqual([23, [23]])
      }),
  )

  it.effect("INV-28 a tip is recorded before anything is sent because of it", () =>
    Effect.gen(function* () {
      const log: string[] = []
      const node = yield* syncing()
      node.tips.offer(17, () => void log.push(`recorded, slow at ${node.members.slow.ends.at(-1)}`))
      yield* quiet
      expect(log).toEqual(["recorded, slow at 11"])
      expect(node.sent()).toEqual({ slow: [11, 18], even: [6, 9], rare: [3, 4] })
      yield* Fiber.interrupt(node.fiber)
    }),
  )

  it.effect("F46 a tip that is older, equal or repeated is recorded and changes nothing", () =>
    Effect.gen(function* () {
      const node = yield* syncing()
      for (const height of [8, START, START]) yield* node.tip(height)
      expect(node.tips.recorded).toEqual([8, START, START])
      yield* node.reach(...NAMES)
      expect(node.sent()).toEqual({ slow: [11], even: [6], rare: [3] })
      expect((yield* node.finish).anchor.height).toBe(START)
    }),
  )

  it.effect(
    "F47 INV-26 a target that a newer tip leaves as it is is not sent again, and the anchor is the newer one",
    () =>
      Effect.gen(function* () {
        const node = yield* syncing()
        yield* node.reach("even", "rare")
        yield* node.tip(11)
        expect(node.sent()).toEqual({ slow: [11, 12], even: [6], rare: [3] })
        yield* node.reach("slow")
        expect(node.regroups(), "they stand there already").toBe(0)
        expect((yield* node.finish).anchor.height).toBe(11)
      }),
  )

  it.effect("INV-23 a tip that comes with the last report is followed: all go on", () =>
    Effect.gen(function* () {
      const node = yield* syncing({ arrival: Effect.never })
      yield* node.reach("slow", "even")
      node.tips.offer(12)
      yield* node.reach("rare")
      expect(node.tips.recorded).toEqual([12])
      expect(node.sent()).toEqual({ slow: [11, 13], even: [6, 7], rare: [3] })
      yield* node.reach("slow")
      expect(node.members.slow.isFinishing).toBe(false)
      yield* node.reach("even")
      expect((yield* node.finish).anchor.height).toBe(12)
    }),
  )

  it.effect("§13.6 a target that two generations share is reached once, before the second is numbered or after", () =>
    Effect.gen(function* () {
      const node = yield* syncing({ arrival: Effect.never })
      yield* node.reach("slow")
      node.tips.offer(11)
      yield* node.reach("rare")
      yield* node.reach("even")
      expect(node.sent()).toEqual({ slow: [11, 12], even: [6], rare: [3] })
      expect(node.members.even.isFinishing).toBe(false)
      yield* node.reach("slow")
      expect((yield* node.finish).anchor.height).toBe(11)
    }),
  )

  it.effect("a target that a newer one has overtaken is not taken for it", () =>
    Effect.gen(function* () {
      const node = yield* syncing()
      yield* node.tip(20)
      node.members.slow.reach(targetAt(11))
      yield* node.reach("even", "rare")
      expect(node.members.slow.isFinishing).toBe(false)
      yield* node.reach("slow")
      expect((yield* node.finish).anchor.height).toBe(20)
    }),
  )

  it.effect("F48 a tip that comes after they converged is left where it is: it is not recorded", () =>
    Effect.gen(function* () {
      const node = yield* syncing()
      yield* node.reach(...NAMES)
      yield* node.tip(20)
      expect((yield* node.finish).anchor.height).toBe(START)
      expect([node.tips.recorded, node.tips.cell.poll()?.anchor.height]).toEqual([[], 20])
    }),
  )
})

describe("what goes wrong", () => {
  it.effect("F44 the first error comes out with its member, whatever the others meet because of it", () =>
    Effect.gen(function* () {
      const node = yield* syncing()
      const { slow, even, rare } = node.members
      even.atInterruption = Effect.die("cut off")
      rare.end(Exit.fail("bad disk"))
      slow.end(Exit.fail("no peers"))
      expect(yield* node.error).toMatchObject({ _tag: "StateSyncFailed", member: "rare", cause: "bad disk" })
      expect([even.wasInterrupted, even.isFinishing, node.opened]).toEqual([true, false, []])
    }),
  )

  const defects: ReadonlyArray<[string, MemberSync["run"], unknown]> = [
    ["dies", () => Effect.die("a bug"), "a bug"],
    ["interrupts itself", () => Effect.interrupt, expect.any(Error)],
    [
      "throws",
      () => {
        throw "a bug"
      },
      "a bug",
    ],
  ]
  it.effect.each(defects)("F44 a member's sync that %s is an error of that member", ([, even, cause]) =>
    Effect.gen(function* () {
      const node = yield* syncing({ even })
      expect(yield* node.error).toMatchObject({ _tag: "StateSyncFailed", member: "even", cause })
      expect(node.members.slow.wasInterrupted).toBe(true)
    }),
  )

  it.effect("F45 a member that ends before it is told to ends it for all: no anchor was converged on", () =>
    Effect.gen(function* () {
      const node = yield* syncing()
      yield* node.reach(...NAMES.slice(1))
      node.members.even.end(Exit.void)
      expect(yield* node.error).toMatchObject({ member: "even", cause: { _tag: "SyncEndedEarly" } })
      expect(NAMES.map((name) => node.members[name].wasInterrupted)).toEqual([true, false, true])
      expect(node.opened).toEqual([])
    }),
  )

  it.effect("a member that fails while it finishes fails the set: §13.7 converged or not", () =>
    Effect.gen(function* () {
      const node = yield* syncing()
      yield* node.reach(...NAMES)
      node.members.slow.end(Exit.void)
      yield* quiet
      expect(node.fiber.pollUnsafe(), "two are not done").toBeUndefined()
      node.members.rare.end(Exit.fail("root mismatch"))
      expect(yield* node.error).toMatchObject({ member: "rare", cause: "root mismatch" })
      expect([node.members.even.wasInterrupted, node.opened]).toEqual([true, []])
    }),
  )

  it.effect(
    "F44 §13.5 of errors at once the first comes out; a tip that comes with them is not promised any more",
    () =>
      Effect.gen(function* () {
        let polls = 0
        const recorded: number[] = []
        const node = yield* syncing({
          updates: {
            poll: () => {
              polls++
              if (polls === 2)
                for (const name of ["even", "slow"] as const) node.members[name].end(Exit.fail(`${name} fails`))
              return polls < 3 ? undefined : { ...tipAt(20), recorded: () => void recorded.push(20) }
            },
            arrival: Effect.never,
          },
        })
        yield* node.reach("rare")
        expect(yield* node.error).toMatchObject({ member: "even", cause: "even fails" })
        expect([polls, recorded, node.members.slow.ends]).toEqual([2, [], [11]])
      }),
  )

  const misplaced: ReadonlyArray<[string, NonNullable<Setup["open"]>, object]> = [
    ["at another block", () => Effect.succeed(setAt(tipAt(11))), { _tag: "SyncedElsewhere", height: 11 }],
    [
      "with a member at another target",
      (tip) => Effect.succeed(setAt({ ...tip, targets: { ...tip.targets, even: targetAt(7) } })),
      { _tag: "SyncedTargetMismatch", member: "even", height: START, actual: targetAt(7) },
    ],
    ["not at all", () => Effect.fail("no space"), { _tag: "StateSyncFailed", member: undefined, cause: "no space" }],
  ]
  it.effect.each(misplaced)("F49 a set that opens %s is an error", ([, open, error]) =>
    Effect.gen(function* () {
      const node = yield* syncing({ open })
      yield* node.reach(...NAMES)
      for (const name of NAMES) node.members[name].end(Exit.void)
      expect(yield* node.error).toMatchObject(error)
    }),
  )

  it.effect("interrupted it ends every member, and waits until they have", () =>
    Effect.gen(function* () {
      const node = yield* syncing()
      let cleaned = 0
      for (const name of NAMES) {
        node.members[name].atInterruption = Effect.andThen(
          quiet,
          Effect.sync(() => void cleaned++),
        )
      }
      yield* node.reach("even")
      yield* Fiber.interrupt(node.fiber)
      expect([cleaned, node.opened]).toEqual([3, []])
      expect(NAMES.map((name) => node.members[name].isFinishing)).toEqual([false, false, false])
    }),
  )
})

describe("taking turns", () => {
  it.effect("there is a turn at the start and one for each event, and none in between", () =>
    Effect.gen(function* () {
      let polls = 0
      const node = yield* syncing({ updates: { poll: () => void polls++, arrival: Effect.never } })
      expect(polls).toBe(1)
      yield* node.reach("rare")
      expect(polls).toBe(2)
      yield* Fiber.interrupt(node.fiber)
    }),
  )
})

describe("metrics", () => {
  const ids = ["coppice_stateful_sync_generation", "coppice_stateful_sync_lag_generations"]
  const figures = Effect.map(Metric.snapshot, (all) =>
    Object.fromEntries(
      all
        .filter(({ id }) => ids.includes(id))
        .map(({ attributes, state }) => [attributes?.["member"] ?? "newest", (state as { value: number }).value]),
    ),
  )

  it.effect("§12.5 §13.8 tell the newest generation, and how far each member is behind it", () =>
    Effect.gen(function* () {
      const node = yield* syncing()
      expect(yield* figures).toEqual({ newest: 0, slow: 1, even: 1, rare: 1 })
      yield* node.reach("even", "rare")
      yield* node.tip(20)
      yield* node.tip(22)
      expect(yield* figures).toEqual({ newest: 2, slow: 3, even: 2, rare: 2 })
      yield* node.reach("slow")
      expect(yield* figures).toEqual({ newest: 2, slow: 0, even: 2, rare: 2 })
      yield* node.reach("even", "rare")
      yield* node.finish
      expect(yield* figures).toEqual({ newest: 2, slow: 0, even: 0, rare: 0 })
      for (const { id, description } of yield* Metric.snapshot) {
        if (ids.includes(id)) expect(description, id).toMatch(/^[A-Z].{10,}[^.]$/)
      }
    }).pipe(Effect.provideService(Metric.MetricRegistry, new Map())),
  )

  it.effect("what a member has reached counts, although it is sent on in the same turn", () =>
    Effect.gen(function* () {
      const node = yield* syncing({ arrival: Effect.never })
      yield* node.reach("slow", "even")
      node.tips.offer(15)
      yield* node.reach("rare")
      expect(yield* figures).toEqual({ newest: 1, slow: 1, even: 1, rare: 1 })
      yield* node.reach("rare")
      node.tips.offer(16)
      yield* node.reach("even")
      expect(yield* figures, "one rides along").toEqual({ newest: 2, slow: 2, even: 1, rare: 0 })
      yield* Fiber.interrupt(node.fiber)
    }).pipe(Effect.provideService(Metric.MetricRegistry, new Map())),
  )
})

/** §13.9: what the specification asks of a set of one database, of the coordinator that is there for any number. */
describe("one database", () => {
  type One = { readonly slow: MemberSpec<unknown, unknown> }
  const only = ({ anchor, targets: { slow } }: SyncTip<Three>): SyncTip<One> => ({ anchor, targets: { slow } })

  interface Alone {
    readonly opens?: (height: number) => number
    readonly arrival?: Effect.Effect<void>
  }
  const alone = Effect.fnUntraced(function* ({ opens = (height) => height, arrival }: Alone = {}) {
    const tips = new Tips()
    const slow = new ScriptedMember()
    const { run } = makeSetSync<One>({
      databases: { slow: DATABASES.slow },
      members: { slow },
      open: (tip) => Effect.succeed({ ...setAt(tipAt(opens(tip.anchor.height))), anchor: tip.anchor } as never),
      onRegroup: () => expect.fail("nobody is ahead of it"),
    })
    const updates: SyncUpdates<One> = {
      arrival: arrival ?? tips.cell.arrival,
      poll: () => {
        const tip = tips.cell.poll()
        return tip && { ...only(tip), recorded: tip.recorded }
      },
    }
    const fiber = yield* Effect.forkChild(run(only(tipAt(START)), updates))
    yield* quiet
    return {
      tips,
      slow,
      fiber,
      outcome: Effect.flatten(Fiber.await(fiber)) as Effect.Effect<DatabaseSet<One>, SetSyncError>,
    }
  })

  /** A tip that leaves the target as it is. */
  const unmoved = ({ recorded }: Tips) => ({
    anchor: tipAt(11).anchor,
    targets: tipAt(START).targets,
    recorded: () => void recorded.push(11),
  })

  it.effect("tips drained: the highest is followed, all are recorded, one that is not above is ignored", () =>
    Effect.gen(function* () {
      const { tips, slow, fiber } = yield* alone()
      for (const height of [12, 15, 15, 11, START]) {
        tips.offer(height)
        yield* quiet
      }
      expect([tips.recorded, slow.ends]).toEqual([
        [12, 15, 15, 11, START],
        [11, 16],
      ])
      expect(slow.isFinishing).toBe(false)
      yield* Fiber.interrupt(fiber)
      expect(slow.wasInterrupted).toBe(true)
    }),
  )

  /** Block 11 leaves the target of block 10 as it is. */
  const opens = (height: number) => (height === 11 ? START : height)

  it.effect("an anchor that advances without its target sends nothing", () =>
    Effect.gen(function* () {
      const { tips, slow, outcome } = yield* alone({ opens })
      tips.cell.offer(unmoved(tips))
      yield* quiet
      expect([tips.recorded, slow.ends]).toEqual([[11], [11]])
      slow.reach()
      yield* quiet
      slow.end(Exit.void)
      expect((yield* outcome).anchor.height).toBe(11)
    }),
  )

  it.effect("nor does one that comes with the report wait for another: the target was reached already", () =>
    Effect.gen(function* () {
      const { tips, slow, outcome } = yield* alone({ opens, arrival: Effect.never })
      tips.cell.offer(unmoved(tips))
      slow.reach()
      yield* quiet
      expect([tips.recorded, slow.ends, slow.isFinishing]).toEqual([[11], [11], true])
      slow.end(Exit.void)
      expect((yield* outcome).anchor.height).toBe(11)
    }),
  )

  it.effect("reached: tips are drained first, a stale target is ignored, the newest ends it", () =>
    Effect.gen(function* () {
      const { tips, slow, outcome } = yield* alone()
      tips.offer(13)
      slow.reach(targetAt(11))
      yield* quiet
      expect([tips.recorded, slow.isFinishing, slow.ends]).toEqual([[13], false, [11, 14]])
      slow.reach(targetAt(11))
      yield* quiet
      expect(slow.isFinishing).toBe(false)
      slow.reach()
      yield* quiet
      expect(slow.isFinishing).toBe(true)
      slow.end(Exit.void)
      expect((yield* outcome).anchor.height).toBe(13)
    }),
  )

  it.effect("ended: its own error is what comes out", () =>
    Effect.gen(function* () {
      const { slow, outcome } = yield* alone()
      slow.end(Exit.fail("disk full"))
      expect(yield* Effect.flip(outcome)).toMatchObject({ _tag: "StateSyncFailed", member: "slow", cause: "disk full" })
    }),
  )

  it.effect("F49 end: a database that is not at its target is an error", () =>
    Effect.gen(function* () {
      const { slow, outcome } = yield* alone({ opens: () => 9 })
      slow.reach()
      yield* quiet
      slow.end(Exit.void)
      expect(yield* Effect.flip(outcome)).toMatchObject({ _tag: "SyncedTargetMismatch", member: "slow" })
    }),
  )
})
