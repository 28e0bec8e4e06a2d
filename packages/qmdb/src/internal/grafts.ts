/**
 * The part of a keyed state that `current` databases add: its activity and its canonical root, derived at every way in.
 *
 *   genesis, open   from the active locations           seal   from the parent's by what the layer touched
 *                                                        rewind from the newest by what the commits touched
 *
 * Invariant: nothing of it is stored; what open derives equals what sealing had derived.
 */
import type { Hasher } from "@coppice/crypto"
import { Location } from "@coppice/merkle"
import type { Grafting } from "@coppice/verify/grafting"
import type { SealStep } from "../member.ts"
import { type Activity, type CurrentState, canonicalState, type NodeReader } from "./activity.ts"
import { requireSealing } from "./base-member.ts"
import type { Branch } from "./branches.ts"
import type { KeyedContent } from "./keyed-state.ts"
import { SLICE_ITEMS } from "./layout.ts"
import type { LogPart } from "./log-part.ts"
import type { LogState } from "./log-state.ts"
import type { OperationLog } from "./operation-log.ts"
import { graftAll, regraft } from "./regraft.ts"
import type { SlotIndex } from "./slot-index.ts"
import { synchronous } from "./synchronous.ts"

const NONE = new Float64Array(0)

/** Reads nodes through a layer that is being sealed: its own are in no list yet. */
const nodesOver =
  (log: OperationLog, part: LogPart, parent: Branch<unknown>): NodeReader =>
  (position) =>
    position < part.nodeStart ? log.node(position, parent) : part.node(position - part.nodeStart)

/** Runs hash jobs on the spot, whatever the hasher, and pauses where the work may. */
function* onTheSpot<A>(hasher: Hasher, work: Generator<SealStep, A, void>): Generator<undefined, A, void> {
  const { run } = synchronous(hasher)
  for (;;) {
    const step = work.next()
    if (step.done === true) return step.value
    if (step.value !== undefined) run(step.value)
    yield undefined
  }
}

const toTheEnd = <A>(work: Generator<undefined, A, void>): A => {
  for (;;) {
    const step = work.next()
    if (step.done === true) return step.value
  }
}

/** What sealing reads. */
interface Sources {
  readonly log: OperationLog
  readonly slots: SlotIndex
}

/** Derives the part of one database. */
export class Grafts {
  private readonly grafting: Grafting
  private readonly hasher: Hasher

  constructor(grafting: Grafting, hasher: Hasher) {
    this.grafting = grafting
    this.hasher = hasher
  }

  private finish({ root }: LogState, activity: Activity, node: NodeReader): CurrentState {
    return { activity, canonical: canonicalState(this.hasher, activity, root, node) }
  }

  /** The part of a state by its active locations. */
  build(state: LogState, set: Float64Array, node: NodeReader): CurrentState {
    const change = { leaves: Location(state.size), floor: Location(state.floor), set }
    return this.finish(state, toTheEnd(onTheSpot(this.hasher, graftAll(this.grafting, change, node))), node)
  }

  /** The part of a layer that is being sealed. Throws `StaleBatch` once the branch is closed. */
  *seal(
    content: KeyedContent,
    before: CurrentState,
    parent: Branch<KeyedContent>,
    branch: Branch<KeyedContent>,
    { log, slots }: Sources,
  ): Generator<SealStep, KeyedContent, void> {
    const { state, index } = content
    const { touched, previous } = index!
    const set = new Float64Array(touched.length)
    for (let from = 0; from < touched.length; from += SLICE_ITEMS) {
      const end = Math.min(touched.length, from + SLICE_ITEMS)
      for (let i = from; i < end; i++) set[i] = slots.locate(touched[i]!, branch)
      yield undefined
      requireSealing(branch)
    }
    const change = { leaves: Location(state.size), floor: Location(state.floor), cleared: previous, set }
    const node = nodesOver(log, content.log!, parent)
    const work = regraft(before.activity, change, node)
    for (;;) {
      const step = work.next()
      if (step.done === true) return { ...content, state: { ...state, current: this.finish(state, step.value, node) } }
      yield step.value
      requireSealing(branch)
    }
  }

  /** The part of an earlier state by the locations that the undone commits took slots from; those of later ones do not count. */
  *rewind(
    before: CurrentState,
    to: LogState,
    locations: Iterable<number>,
    node: NodeReader,
  ): Generator<undefined, CurrentState, void> {
    const set = Float64Array.from(locations)
    const change = { leaves: Location(to.size), floor: Location(to.floor), cleared: NONE, set }
    const activity = yield* onTheSpot(this.hasher, regraft(before.activity, change, node))
    return this.finish(to, activity, node)
  }
}
