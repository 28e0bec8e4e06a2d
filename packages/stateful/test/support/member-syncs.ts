/**
 * Members of a set whose syncs a test moves, tips that they are sent to, and a set that comes out of them.
 *
 * Terms: one member changes with every block, one with every second, one with every fifth (F47).
 */
import { Height, Round } from "@coppice/consensus"
import { Location } from "@coppice/merkle"
import type { MemberSpec, SyncTarget } from "@coppice/qmdb"
import { Deferred, Effect, type Exit } from "effect"
import type { DatabaseSet, MemberCourse, MemberSync, SyncTip, SyncUpdate } from "../../src/index.ts"
import { LatestValueCell } from "../../src/state-sync/latest-value.ts"

export type Three = { readonly [Name in "slow" | "even" | "rare"]: MemberSpec<unknown, unknown> }
export type Name = keyof Three

export const NAMES: ReadonlyArray<Name> = ["slow", "even", "rare"]
export const DATABASES = { slow: {}, even: {}, rare: {} } as unknown as Three

export const targetAt = (end: number): SyncTarget => ({
  root: new Uint8Array(32).fill(end),
  start: Location(0),
  end: Location(end),
})

/** The tip of a height. */
export const tipAt = (height: number): SyncTip<Three> => ({
  anchor: { height: Height(height), round: Round(0, height), digest: new Uint8Array(32).fill(height) },
  targets: {
    slow: targetAt(height + 1),
    even: targetAt(Math.floor(height / 2) + 1),
    rare: targetAt(Math.floor(height / 5) + 1),
  },
})

/** The set as it stands at a tip, as far as a sync looks. */
export const setAt = ({ anchor, targets }: SyncTip<Three>): DatabaseSet<Three> =>
  ({ anchor, tip: { targets } }) as unknown as DatabaseSet<Three>

/** Tips as a join offers them, and the heights that were recorded. */
export class Tips {
  readonly cell = new LatestValueCell<SyncUpdate<Three>>()
  readonly recorded: number[] = []

  offer(height: number, then = () => {}) {
    const recorded = () => {
      this.recorded.push(height)
      then()
    }
    this.cell.offer({ ...tipAt(height), recorded })
  }
}

/** A member's sync that does what its test says. */
export class ScriptedMember implements MemberSync {
  /** Targets that it was sent to, in order. */
  readonly sent: SyncTarget[] = []
  isFinishing = false
  wasInterrupted = false
  /** What it does when it is interrupted. */
  atInterruption: Effect.Effect<void> = Effect.void
  #course: MemberCourse | undefined
  readonly #outcome = Deferred.makeUnsafe<void, unknown>()

  readonly run: MemberSync["run"] = (start, course) =>
    Effect.suspend(() => {
      this.sent.push(start)
      this.#course = course
      const finishing = Effect.andThen(
        course.finish,
        Effect.sync(() => {
          this.isFinishing = true
        }),
      )
      return Effect.onInterrupt(Effect.andThen(finishing, Deferred.await(this.#outcome)).pipe(this.#orOutcome), () => {
        this.wasInterrupted = true
        return this.atInterruption
      })
    })

  readonly #orOutcome = (waits: Effect.Effect<void, unknown>) => Effect.raceFirst(waits, Deferred.await(this.#outcome))

  /** Takes the targets that wait, and gives where it is sent to. */
  get ends(): number[] {
    const newer = this.#course?.newer.poll()
    if (newer !== undefined) this.sent.push(newer)
    return this.sent.map(({ end }) => end)
  }

  /** Reaches where it was sent to last, or another target. */
  reach(target = targetAt(this.ends.at(-1)!)) {
    this.#course!.reached(target)
  }

  end(exit: Exit.Exit<void, unknown>) {
    Deferred.doneUnsafe(this.#outcome, exit)
  }
}
