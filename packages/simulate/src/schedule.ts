/**
 * What the simulated consensus may do, and how often.
 *
 * Terms: a *split* view is both notarized and nullified: its block may be built on, or left behind by a fork. A *stall* is
 * a run of views whose finalize votes do not assemble; their blocks become final at once, through a descendant.
 *
 * Invariant: whatever the figures, no history comes out that an honest majority could not have produced.
 */

/**
 * What a corrupt leader does instead of its duty.
 *
 * Those called "bad" replace its block by one that the hook `corrupt` makes of it, which no honest node may accept. "two
 * blocks": some nodes are given another block for the same turn. "two parents": some are told of another parent view than
 * the block's own. "withheld": some are given nothing. "late": the block goes out just before the view ends.
 */
export const MISBEHAVIOURS = [
  "bad root",
  "bad range",
  "bad parent",
  "bad height",
  "bad epoch",
  "bad context",
  "two blocks",
  "two parents",
  "withheld",
  "late",
] as const

/** One of `MISBEHAVIOURS`. */
export type Misbehaviour = (typeof MISBEHAVIOURS)[number]

/** Those that replace the block. */
export type BadBlock = Extract<Misbehaviour, `bad ${string}`>

/** Whether a misbehaviour replaces the block. */
export const isBadBlock = (how: Misbehaviour): how is BadBlock => how.startsWith("bad ")

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
  /** Shortest stall, in views; 1 when not given. */
  readonly stallViewsMin?: number
  /** A stall that is certain, of so many views after `view`, beside those by chance. */
  readonly stall?: { readonly view: number; readonly views: number }
  /** The leader is corrupt in this view. */
  readonly corruptChance: number
  /** What corrupt leaders do, each as often; not empty. */
  readonly misbehaviours: ReadonlyArray<Misbehaviour>
  /** A validator votes for an honest leader's block that it did not look at; never when not given. */
  readonly blindChance?: number
  /** Least time from the start of a view to the start of the next. */
  readonly viewMs: number
  /** After this time a view is nullified, and who has not answered is not waited for. */
  readonly viewTimeoutMs: number
  /** Bounds of the time that a block, vote or certificate takes where no links are given. */
  readonly latencyMs: { readonly min: number; readonly max: number }
  /** Every `everyViews` views one node goes down for `downViews` views; undefined: never. */
  readonly restarts?: { readonly everyViews: number; readonly downViews: number } | undefined
}

/** Something other than a plain view that the schedule makes happen. View and kind name it. */
export type Fault =
  | { readonly view: number; readonly kind: "silent" | "split" | "fork" | "stall" }
  | { readonly view: number; readonly kind: "corrupt"; readonly how: Misbehaviour }
  | { readonly view: number; readonly kind: "down" | "blind"; readonly node: number }

const CHANCES = ["silentChance", "splitChance", "forkChance", "stallChance", "corruptChance"] as const

/** Asserts that a schedule makes sense. Errors: RangeError. */
export const requireSchedule = (schedule: ConsensusSchedule): void => {
  const { stallViewsMax, stallViewsMin = 1, stall, blindChance = 0 } = schedule
  const { viewMs, viewTimeoutMs, latencyMs, restarts } = schedule
  const bound = (holds: boolean, what: string): void => {
    if (!holds) throw new RangeError(`schedule: ${what} is outside`)
  }
  for (const name of CHANCES) bound(schedule[name] >= 0 && schedule[name] <= 1, name)
  bound(schedule.silentChance + schedule.splitChance <= 1, "silentChance + splitChance")
  bound(schedule.misbehaviours.length > 0, "misbehaviours")
  bound(Number.isInteger(stallViewsMax) && stallViewsMax >= 1, "stallViewsMax")
  bound(Number.isInteger(stallViewsMin) && stallViewsMin >= 1 && stallViewsMin <= stallViewsMax, "stallViewsMin")
  if (stall !== undefined)
    bound(
      [stall.view, stall.views].every((n) => Number.isInteger(n) && n >= 1),
      "stall",
    )
  bound(blindChance >= 0 && blindChance <= 1, "blindChance")
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
  misbehaviours: ["bad root"],
  viewMs: 100,
  viewTimeoutMs: 2_000,
  latencyMs: { min: 1, max: 10 },
  restarts: { everyViews: 60, downViews: 12 },
}
