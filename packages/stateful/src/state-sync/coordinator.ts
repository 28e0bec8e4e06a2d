/**
 * Bringing the members of a set to one and the same tip, although each syncs at its own speed: the pure core.
 *
 *   tips   A0 --------- A1 --------- A2, A3
 *   left   seeks g0 --> seeks g1 --> seeks g2 = A3 ------> reached g2                      all reached g2, no tip waits:
 *   right  reached g0 (undisturbed) -----------------------> regrouped to g2 -> reached     converged at A3
 *
 * Terms: a *generation* is a numbered tip that members were sent to. A member *seeks* a generation or has *reached* it. To
 * *regroup* is to send who reached an older generation on to the newest that any member has reached.
 *
 * Invariant: a member that has reached its generation is sent nothing until all have (INV-25). What a member is sent goes
 * forward and is sent once (INV-26). Only generations that some member refers to are held (INV-27). The set converges at a
 * tip at or above every recorded one (INV-23), all members at the same (INV-24). Same events, same actions.
 */
import type { SyncTarget } from "@coppice/qmdb"
import type { Databases } from "../database-set.ts"
import { memberNames, targetsEqual } from "../targets.ts"
import type { SyncTip } from "./port.ts"

/** What happens to a coordinator. */
export type CoordinatorEvent<M extends Databases, T extends SyncTip<M> = SyncTip<M>> =
  | { readonly type: "tip"; readonly tip: T }
  /** A member stands at its target of a generation. */
  | { readonly type: "reached"; readonly member: keyof M & string; readonly generation: number }

/** What is to be done, in order. */
export type CoordinatorAction<M extends Databases, T extends SyncTip<M> = SyncTip<M>> =
  /** The tip is held, or changes nothing (F46): who sent it may go on. */
  | { readonly type: "record"; readonly tip: T }
  /** Tells a member's position which generation its next report is for. */
  | {
      readonly type: "number"
      readonly member: keyof M & string
      readonly generation: number
      readonly target: SyncTarget
    }
  /** Sends a member's sync on. */
  | { readonly type: "send"; readonly member: keyof M & string; readonly target: SyncTarget }
  /** Every member is to finish where it stands. */
  | { readonly type: "converge"; readonly tip: SyncTip<M> }

interface Place {
  readonly isReached: boolean
  readonly generation: number
}

/** The core's memory. */
export interface Coordinator<M extends Databases> {
  readonly names: ReadonlyArray<keyof M & string>
  readonly places: Map<keyof M & string, Place>
  /** Target that each member was sent last. */
  readonly sent: Map<keyof M & string, SyncTarget>
  /** The tips of the generations that members refer to. */
  readonly generations: Map<number, SyncTip<M>>
  current: number
  /** The newest tip that is recorded and has no generation yet. */
  waiting: SyncTip<M> | undefined
  /** Height of the newest tip that has one. */
  dispatched: number
  isOver: boolean
}

/** A coordinator whose members were all sent to the start. */
export const createCoordinator = <M extends Databases>(databases: M, start: SyncTip<M>): Coordinator<M> => {
  const names = memberNames(databases)
  return {
    names,
    places: new Map(names.map((name) => [name, { isReached: false, generation: 0 }])),
    sent: new Map(names.map((name) => [name, start.targets[name]])),
    generations: new Map([[0, start]]),
    current: 0,
    waiting: undefined,
    dispatched: start.anchor.height,
    isOver: false,
  }
}

/** Takes everything that has happened, and returns what is to be done about it. */
export const stepCoordinator = <M extends Databases, T extends SyncTip<M> = SyncTip<M>>(
  core: Coordinator<M>,
  events: ReadonlyArray<CoordinatorEvent<M, T>>,
): ReadonlyArray<CoordinatorAction<M, T>> => {
  const actions: Array<CoordinatorAction<M, T>> = []
  if (core.isOver) return actions
  for (const event of events) {
    if (event.type === "tip") actions.push(record(core, event.tip))
    else reach(core, event.member, event.generation)
  }
  decide(core, actions)
  return actions
}

const record = <M extends Databases, T extends SyncTip<M>>(core: Coordinator<M>, tip: T): CoordinatorAction<M, T> => {
  if (tip.anchor.height > (core.waiting?.anchor.height ?? core.dispatched)) core.waiting = tip
  return { type: "record", tip }
}

const reach = <M extends Databases>(core: Coordinator<M>, member: keyof M & string, generation: number): void => {
  const place = core.places.get(member)!
  if (!place.isReached && place.generation === generation) core.places.set(member, { isReached: true, generation })
}

const decide = <M extends Databases, T extends SyncTip<M>>(
  core: Coordinator<M>,
  actions: Array<CoordinatorAction<M, T>>,
): void => {
  for (;;) {
    const places = [...core.places.values()]
    const newest = Math.max(...places.map(({ generation }) => generation))
    const areAllReached = places.every(({ isReached }) => isReached)
    const areTogether = places.every(({ generation }) => generation === newest)
    if (areAllReached && !areTogether) {
      dispatch(core, newest, ({ generation }) => generation !== newest, actions)
    } else if (core.waiting !== undefined) {
      core.generations.set(++core.current, core.waiting)
      core.dispatched = core.waiting.anchor.height
      core.waiting = undefined
      dispatch(core, core.current, ({ isReached }) => areAllReached || !isReached, actions)
    } else {
      if (!areAllReached) return
      core.isOver = true
      actions.push({ type: "converge", tip: core.generations.get(newest)! })
      return
    }
  }
}

/** Sends the members that `isSent` picks to a generation; the others ride along if it is where they stand. */
const dispatch = <M extends Databases, T extends SyncTip<M>>(
  core: Coordinator<M>,
  generation: number,
  isSent: (place: Place) => boolean,
  actions: Array<CoordinatorAction<M, T>>,
): void => {
  const { targets } = core.generations.get(generation)!
  for (const member of core.names) {
    const target = targets[member]
    const isNew = !targetsEqual(target, core.sent.get(member)!)
    actions.push({ type: "number", member, generation, target })
    if (isSent(core.places.get(member)!)) {
      core.places.set(member, { isReached: false, generation })
      if (!isNew) continue
      core.sent.set(member, target)
      actions.push({ type: "send", member, target })
    } else if (!isNew) {
      core.places.set(member, { isReached: true, generation })
    }
  }
  const used = new Set([...core.places.values()].map((place) => place.generation))
  for (const held of core.generations.keys()) if (!used.has(held)) core.generations.delete(held)
}

/**
 * Where one member stands between coordinator and sync: which generation to report when a target is reached.
 *
 * A target that two generations share is reached once, and the number of the second may come before or after that: each
 * generation is reported once, whichever came first. Numbers that wait are to be taken before a target that was reached.
 */
export class MemberPosition {
  #generation = 0
  #target: SyncTarget
  #reached: SyncTarget | undefined
  #reported: number | undefined

  constructor(start: SyncTarget) {
    this.#target = start
  }

  /** Newest generation that was reported as reached. */
  get reported(): number | undefined {
    return this.#reported
  }

  /** The coordinator has numbered a target. The generation to report as reached, if there is one. */
  numbered(generation: number, target: SyncTarget): number | undefined {
    this.#generation = generation
    this.#target = target
    return this.#report()
  }

  /** The sync has reached a target. The generation to report as reached; undefined when the target is a stale one. */
  reached(target: SyncTarget): number | undefined {
    this.#reached = target
    return this.#report()
  }

  #report(): number | undefined {
    const isThere = this.#reached !== undefined && targetsEqual(this.#reached, this.#target)
    if (!isThere || this.#reported === this.#generation) return undefined
    this.#reported = this.#generation
    return this.#generation
  }
}
