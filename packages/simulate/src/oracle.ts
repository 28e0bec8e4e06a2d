/**
 * The script of simulated consensus: who leads each view, on which parent, and what becomes of it. Pure.
 *
 *   view        1      2          3       4          5
 *   block       B1     B2(p=1)    -       B4(p=1)    B5(p=4)
 *   evidence    N      N, X       X       N          N, F        F in 5 makes B1 and B4 final too; B2 lost
 *
 * Terms: N notarized, X nullified, F finalized. A view is *plain* when notarized only, *split* when notarized and
 * nullified. The *root* is the newest directly finalized block. A *fault* is what a chance in the schedule made happen.
 *
 * Invariant: a parent is certified and every view between it and its child is nullified, so no branch ever leaves out a
 * plain view; only plain views are finalized directly; what is finalized descends from the root (spec consensus §6.1).
 */
import type { Digest } from "@coppice/crypto"
import { type Chance, chance, draw } from "@coppice/stateful/diagnosis"
import { type ConsensusSchedule, type Fault, isBadBlock, type Misbehaviour } from "./schedule.ts"

/** A block that a quorum voted for. */
export interface Certified {
  readonly view: number
  readonly parentView: number
  readonly digest: Digest
  readonly height: number
  /** Nullified as well: never final by itself. */
  readonly isSplit: boolean
  /** Nodes whose votes certified it. */
  readonly voters: ReadonlyArray<number>
}

/** Everything the script remembers. Immutable; holds no more than the views since the root. */
export interface OracleState {
  readonly chance: Chance
  /** The next view. */
  readonly view: number
  readonly root: Certified
  /** Certified blocks after the root, by view. */
  readonly certified: ReadonlyMap<number, Certified>
  /** Views left of the present stall. */
  readonly stallViews: number
  /** Nodes that the script took down, with the view in which they come back. */
  readonly down: ReadonlyMap<number, number>
}

/** What is meant to happen in one view. */
export interface ViewPlan {
  readonly view: number
  readonly leader: number
  readonly parent: Certified
  readonly fate: "silent" | "plain" | "split"
  /** What the leader does instead of its duty, and the nodes that it picks out for it. */
  readonly misbehaves: { readonly how: Misbehaviour; readonly victims: ReadonlyArray<number> } | undefined
  /** Votes for the leader's block without a look at it. */
  readonly blind: number | undefined
  readonly goesDown: number | undefined
  readonly comeUp: ReadonlyArray<number>
}

/** What really happened. */
export type ViewOutcome =
  | {
      readonly tag: "notarized"
      readonly digest: Digest
      readonly height: number
      readonly voters: ReadonlyArray<number>
    }
  | { readonly tag: "nullified" }

/** What follows from a view. */
export interface Verdict {
  /** Certificates to sign now, the newest block first; the others were withheld until now. */
  readonly finalizes: ReadonlyArray<Certified>
  /** Blocks that became final, oldest first. */
  readonly becameFinal: ReadonlyArray<Certified>
  /** The parent already had a notarized child. */
  readonly isFork: boolean
}

/** What the script is written for. */
export interface OracleSetting {
  readonly nodes: number
  /** How many may be down at once. */
  readonly downMax: number
  readonly schedule: ConsensusSchedule
  readonly canCorrupt: boolean
  readonly canRestart: boolean
  /** Asked once for every fault that is due, in order. One that is not allowed does not happen; what else does is drawn as before. */
  readonly allows: (fault: Fault) => boolean
}

/** A script that begins after `root`, at `view`. Views between them count as nullified. */
export const startOracle = (seed: number, root: Certified, view: number): OracleState => ({
  chance: chance(seed, "oracle"),
  view: Math.max(view, root.view + 1),
  root,
  certified: new Map(),
  stallViews: 0,
  down: new Map(),
})

/** Certified blocks that may be built on in a view: back from the newest to the first that no nullification lets skip. */
export const eligibleParents = ({ root, certified }: OracleState): ReadonlyArray<Certified> => {
  const newestFirst = [...certified.values()].sort((a, b) => b.view - a.view)
  const plain = newestFirst.findIndex(({ isSplit }) => !isSplit)
  return plain === -1 ? [...newestFirst, root] : newestFirst.slice(0, plain + 1)
}

/** Draws from the state's stream; the state after all draws is `state()`. */
const dice = (state: OracleState) => {
  let at = state.chance
  const next = (): number => {
    const [value, after] = draw(at)
    at = after
    return value
  }
  return {
    next,
    below: (n: number): number => Math.floor(next() * n),
    state: (): OracleState => ({ ...state, chance: at }),
  }
}

const restartsIn = (state: OracleState, setting: OracleSetting, drawn: number) => {
  const { schedule, nodes, downMax, canRestart, allows } = setting
  const comeUp = [...state.down].filter(([, view]) => view <= state.view).map(([node]) => node)
  const down = new Map([...state.down].filter(([, view]) => view > state.view))
  const { restarts } = schedule
  const isDue = canRestart && restarts !== undefined && state.view % restarts.everyViews === 0 && down.size < downMax
  const up = Array.from({ length: nodes }, (_, node) => node).filter(
    (node) => !down.has(node) && !comeUp.includes(node),
  )
  const due = isDue ? up[drawn % up.length] : undefined
  const goesDown = due !== undefined && allows({ view: state.view, kind: "down", node: due }) ? due : undefined
  if (goesDown !== undefined && restarts !== undefined) down.set(goesDown, state.view + restarts.downViews)
  return { comeUp, goesDown, down }
}

/** Nodes other than the leader that a corrupt one picks out: few, as many as leave it without a quorum, or all. */
const victimsOf = (nodes: number, leader: number, downMax: number, drawn: number): ReadonlyArray<number> => {
  const few = 1 + Math.floor(drawn * (downMax + 2))
  const count = few > downMax + 1 ? nodes - 1 : few
  const first = Math.floor(drawn * nodes * 7) % nodes
  const others = Array.from({ length: nodes }, (_, i) => (first + i) % nodes).filter((node) => node !== leader)
  return others.slice(0, count).sort((a, b) => a - b)
}

/** `drawn` below the chance decides that, and where below it, how. */
const misbehaviourIn = (state: OracleState, setting: OracleSetting, leader: number, drawn: number) => {
  const { nodes, downMax, canCorrupt, allows, schedule } = setting
  const { corruptChance, misbehaviours } = schedule
  if (drawn >= corruptChance) return undefined
  const which = (drawn / corruptChance) * misbehaviours.length
  const how = misbehaviours[Math.floor(which)]!
  if (isBadBlock(how) && !canCorrupt) return undefined
  if (!allows({ view: state.view, kind: "corrupt", how })) return undefined
  return { how, victims: victimsOf(nodes, leader, downMax, which % 1) }
}

const fateOf = ({ silentChance, splitChance }: ConsensusSchedule, drawn: number): ViewPlan["fate"] => {
  if (drawn < silentChance) return "silent"
  return drawn < silentChance + splitChance ? "split" : "plain"
}

/** Plans the next view. */
export const planView = (state: OracleState, setting: OracleSetting): readonly [ViewPlan, OracleState] => {
  const { schedule, nodes, allows } = setting
  const { view } = state
  const leader = view % nodes
  const { next, below, state: drawn } = dice(state)
  // Every view draws the same number of times, so that one knob does not move what the others decide.
  const [fateDraw, corruptDraw, forkDraw, parentDraw, restartDraw] = [next(), next(), next(), next(), below(nodes)]
  const [blindDraw, blind] = [next(), (leader + 1 + below(nodes - 1)) % nodes]
  const drawnFate = fateOf(schedule, fateDraw)
  const parents = eligibleParents(state)
  const forks = forkDraw < schedule.forkChance && parents.length > 1 && allows({ view, kind: "fork" })
  const { comeUp, goesDown, down } = restartsIn(state, setting, restartDraw)
  const misbehaves = misbehaviourIn(state, setting, leader, corruptDraw)
  const isBlind = misbehaves === undefined && nodes > 1 && blindDraw < (schedule.blindChance ?? 0)
  const plan: ViewPlan = {
    view,
    leader,
    parent: forks ? parents[1 + Math.floor(parentDraw * (parents.length - 1))]! : parents[0]!,
    fate: drawnFate !== "plain" && allows({ view, kind: drawnFate }) ? drawnFate : "plain",
    misbehaves,
    blind: isBlind && allows({ view, kind: "blind", node: blind }) ? blind : undefined,
    goesDown,
    comeUp,
  }
  return [plan, { ...drawn(), down }]
}

/** The certified blocks from after the root up to `block`, oldest first. */
const branchTo = ({ root, certified }: OracleState, block: Certified): ReadonlyArray<Certified> => {
  const branch: Array<Certified> = []
  for (
    let at: Certified | undefined = block;
    at !== undefined && at.view > root.view;
    at = certified.get(at.parentView)
  ) {
    branch.push(at)
  }
  return branch.reverse()
}

/** A stall ends without a new block: the votes that were withheld for the newest plain one assemble. */
const released = (state: OracleState): readonly [Verdict, OracleState] => {
  const block = [...state.certified.values()].findLast(({ isSplit }) => !isSplit)
  if (block === undefined) return [{ finalizes: [], becameFinal: [], isFork: false }, state]
  // No later block leaves out a plain view: all of them descend from it.
  const certified = new Map([...state.certified].filter(([view]) => view > block.view))
  const verdict: Verdict = { finalizes: [block], becameFinal: branchTo(state, block), isFork: false }
  return [verdict, { ...state, root: block, certified }]
}

/** Ends a view: notes its block, begins or ends a stall, finalizes what is due. */
export const endView = (
  state: OracleState,
  setting: OracleSetting,
  plan: ViewPlan,
  outcome: ViewOutcome,
): readonly [Verdict, OracleState] => {
  const { schedule, allows } = setting
  const { next, below, state: drawn } = dice({ ...state, view: state.view + 1 })
  const { stallViewsMax, stallViewsMin = 1 } = schedule
  const [stallDraw, lengthDraw, lateDraw] = [next(), below(stallViewsMax - stallViewsMin + 1), next()]
  const certain = schedule.stall?.view === plan.view ? schedule.stall.views : undefined
  const isDue = state.stallViews === 0 && (certain !== undefined || stallDraw < schedule.stallChance)
  const begins = isDue && allows({ view: plan.view, kind: "stall" })
  const stallViews = begins ? (certain ?? stallViewsMin + lengthDraw) : Math.max(0, state.stallViews - 1)
  const after: OracleState = { ...drawn(), stallViews }
  const nothing: Verdict = { finalizes: [], becameFinal: [], isFork: false }
  if (outcome.tag === "nullified") return state.stallViews > 0 && stallViews === 0 ? released(after) : [nothing, after]

  const { digest, height, voters } = outcome
  const isSplit = plan.fate === "split"
  const block: Certified = { view: plan.view, parentView: plan.parent.view, digest, height, isSplit, voters }
  const isFork = [...state.certified.values()].some(({ parentView }) => parentView === plan.parent.view)
  const certified = new Map(state.certified).set(block.view, block)
  if (isSplit || stallViews > 0)
    return [
      { ...nothing, isFork },
      { ...after, certified },
    ]

  const becameFinal = branchTo({ ...state, certified }, block)
  const withheld = becameFinal.filter((ancestor) => !ancestor.isSplit && ancestor !== block)
  const finalizes = lateDraw < 0.5 ? [block, ...withheld] : [block]
  return [
    { finalizes, becameFinal, isFork },
    { ...after, root: block, certified: new Map() },
  ]
}
