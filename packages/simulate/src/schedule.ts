/**
 * What the simulated consensus may do, and how often.
 *
 * Terms: a *split* view is both notarized and nullified: its block may be built on, or left behind by a fork. A *stall* is
 * a run of views whose finalize votes do not assemble; their blocks become final at once, through a descendant.
 *
 * Invariant: whatever the figures, no history comes out that an honest majority could not have produced.
 */

/** Chances are per view, 0 to 1; times are milliseconds of Effect's clock. */
export interface ConsensusSchedule {
  /** The leader says nothing: the view is nullified without a proposal. */
  readonly silentChance: number
  /** The view is notarized and nullified: its block can only become final through a descendant. */
  readonly splitChance: number
  /** Given a choice of parents, the leader builds on an older certified block than the newest: a fork. */
  readonly forkChance: number
  /** A stall begins. */
  readonly stallChance: number
  /** Longest stall, in views. */
  readonly stallViewsMax: number
  /** The leader's block is corrupted by the hook `corrupt`, if there is one. */
  readonly corruptChance: number
  /** Least time from the start of a view to the start of the next. */
  readonly viewMs: number
  /** After this time a view is nullified, and who has not answered is not waited for. */
  readonly viewTimeoutMs: number
  /** Bounds of the time that a block or certificate takes to a node. */
  readonly latencyMs: { readonly min: number; readonly max: number }
  /** Every `everyViews` views one node goes down for `downViews` views; undefined: never. */
  readonly restarts: { readonly everyViews: number; readonly downViews: number } | undefined
}

/** Something other than a plain view that the schedule makes happen. View and kind name it. */
export type Fault =
  | { readonly view: number; readonly kind: "silent" | "split" | "fork" | "stall" | "corrupt" }
  | { readonly view: number; readonly kind: "down"; readonly node: number }

const CHANCES = ["silentChance", "splitChance", "forkChance", "stallChance", "corruptChance"] as const

/** Asserts that a schedule makes sense. Errors: RangeError. */
export const requireSchedule = (schedule: ConsensusSchedule): void => {
  const { stallViewsMax, viewMs, viewTimeoutMs, latencyMs, restarts } = schedule
  const bound = (holds: boolean, what: string): void => {
    if (!holds) throw new RangeError(`schedule: ${what} is outside`)
  }
  for (const name of CHANCES) bound(schedule[name] >= 0 && schedule[name] <= 1, name)
  bound(schedule.silentChance + schedule.splitChance <= 1, "silentChance + splitChance")
  bound(Number.isInteger(stallViewsMax) && stallViewsMax >= 1, "stallViewsMax")
  bound(viewMs >= 1 && viewMs < Number.POSITIVE_INFINITY, "viewMs")
  bound(viewTimeoutMs >= 1 && viewTimeoutMs < Number.POSITIVE_INFINITY, "viewTimeoutMs")
  bound(latencyMs.min >= 0 && latencyMs.min <= latencyMs.max && latencyMs.max < viewTimeoutMs, "latencyMs")
  if (restarts === undefined) return
  bound(Number.isInteger(restarts.everyViews) && restarts.everyViews >= 1, "restarts.everyViews")
  bound(Number.isInteger(restarts.downViews) && restarts.downViews >= 1, "restarts.downViews")
}

/** A schedule that shows forks, nullified views, delayed finality and restarts within a hundred views. */
export const DEFAULT_SCHEDULE: ConsensusSchedule = {
  silentChance: 0.03,
  splitChance: 0.15,
  forkChance: 0.6,
  stallChance: 0.06,
  stallViewsMax: 4,
  corruptChance: 0.03,
  viewMs: 100,
  viewTimeoutMs: 2_000,
  latencyMs: { min: 1, max: 10 },
  restarts: { everyViews: 60, downViews: 12 },
}
