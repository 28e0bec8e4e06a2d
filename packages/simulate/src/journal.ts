/**
 * What nodes were given and what they said, and what that says against consensus properties P-1 to P-5 and P-7
 * to P-10, the order of hooks (INV-16) and what a probe promises of a floor.
 *
 * Terms: a *delivery* is a final block handed to an executor. *Said* is what a node let out for a round: a proposal, or a
 * vote for a block. A *lie* is an answer to a peer that proves itself to be none.
 *
 * Invariant: everything is judged over all incarnations of a node; nothing is forgotten when it crashes.
 */
import { bytesEqual, bytesKey } from "@coppice/codec"
import { type Anchor, anchorOf, type Block, compareRounds, type Round, roundKey } from "@coppice/consensus"
import type { Digest } from "@coppice/crypto"
import type { PendingTree, PlanRecord } from "@coppice/stateful"
import type { Saying } from "./consensus.ts"

/** A final block that one incarnation was given. */
export interface Delivery<B extends Block> {
  readonly index: number
  readonly incarnation: number
  readonly block: B
}

/** An incarnation, and the block after which its deliveries must begin: its anchor, or the one before its floor. */
export interface Boot {
  readonly index: number
  readonly incarnation: number
  readonly anchor: Anchor
}

/** Deliveries and boots, in order. */
export interface Deliveries<B extends Block> {
  readonly deliveries: ReadonlyArray<Delivery<B>>
  readonly boots: ReadonlyArray<Boot>
}

/** What deliveries say against agreement by height and by round (P-1), order (P-2) and the redelivery window (P-3). */
export const deliveryViolations = <B extends Block>(
  { deliveries, boots }: Deliveries<B>,
  pendingAcksMax: number,
): ReadonlyArray<string> => {
  const found: Array<string> = []
  const anchors = new Map(boots.map(({ index, incarnation, anchor }) => [`${index}/${incarnation}`, anchor]))
  const byHeight = new Map<number, string>()
  const byRound = new Map<string, string>()
  const last = new Map<string, B>()
  const highest = new Map<number, number>()
  for (const { index, incarnation, block } of deliveries) {
    const digest = bytesKey(block.digest)
    if ((byHeight.get(block.height) ?? digest) !== digest) found.push(`P-1 height ${block.height} differs`)
    byHeight.set(block.height, digest)
    const round = roundKey(block.context.round)
    if ((byRound.get(round) ?? digest) !== digest) found.push(`P-1 round ${round} differs`)
    byRound.set(round, digest)
    const life = `${index}/${incarnation}`
    const before = last.get(life)
    const expected = before === undefined ? anchors.get(life)! : anchorOf(before)
    if (block.height !== expected.height + 1) found.push(`P-2 node ${life}: ${block.height} after ${expected.height}`)
    if (!bytesEqual(block.parent, expected.digest)) found.push(`P-2 node ${life}: ${block.height} is not linked`)
    last.set(life, block)
    const top = Math.max(highest.get(index) ?? 0, block.height)
    if (top - block.height >= pendingAcksMax) found.push(`P-3 node ${life}: ${block.height} again after ${top}`)
    highest.set(index, top)
  }
  return found
}

/** Deliveries of a block to a node that had it before. */
export const redeliveries = <B extends Block>({ deliveries }: Pick<Deliveries<B>, "deliveries">): number => {
  const seen = new Set<string>()
  return deliveries.filter(({ index, block }) => {
    const key = `${index}/${block.height}`
    return seen.has(key) || !seen.add(key)
  }).length
}

/** Sayings of a node that its next incarnation is asked about. */
const SAYINGS_ASKED_MAX = 8
/** Views below the newest acknowledged block in which a marshal keeps what was said; a few fewer than it does. */
const ROUNDS_KEPT = 48

/** Where an incarnation's databases stand when it acknowledges a block. */
export interface Stand {
  /** Undefined while state sync still brings them. */
  readonly durable: number | undefined
  /** False while the plan that brings them is under way. */
  readonly isComplete: boolean
  /** Height that its sync has promised to cover; 0 when it has promised nothing. */
  readonly covered: number
}

/** What one node said, acknowledged and ran hooks for, over all its incarnations. */
export class NodeRecord {
  readonly violations: Array<string> = []
  /** Height at which its state sync was complete; undefined before, and for a node that needs none. */
  syncedAt: number | undefined
  readonly #name: string
  readonly #said = new Map<string, Saying>()
  readonly #hooked = new Set<number>()
  /** Heights that were acknowledged because a sync covers them: they have no hook. */
  readonly #absorbed = new Set<number>()
  #first = 1
  #floor: Round | undefined
  /** What honest peers have replied to the probe that looks for a floor. */
  #told: Array<Round> = []
  #probed = 0
  #lastHook: { readonly incarnation: number; readonly height: number } | undefined
  #acked = 0
  #ackedView = 0

  constructor(name: string) {
    this.#name = name
  }

  /** The node lets something out for a round: nothing else may ever be said for that round (P-4), and it holds it (P-5). */
  says(saying: Saying, held: Digest | undefined): void {
    this.holds(saying, held)
    const { round, digest } = saying
    const key = roundKey(round)
    const before = this.#said.get(key)
    if (before !== undefined && !bytesEqual(before.digest, digest)) {
      this.violations.push(`P-4 ${this.#name} said two things in round ${key}`)
    }
    if (before === undefined) this.#said.set(key, saying)
  }

  /** The first height that the node owes anything for: that of the newest floor it has begun at, 1 without one. */
  get first(): number {
    return this.#first
  }

  /** Blocks that the node acknowledged without a hook. */
  get absorbed(): number {
    return this.#absorbed.size
  }

  /** Floors that its probes have found. */
  get probed(): number {
    return this.#probed
  }

  /** A new probe looks for a floor. */
  probes(): void {
    this.#told = []
  }

  /** An honest peer answers the probe with what it knows to be final. */
  hears(round: Round): void {
    this.#told.push(round)
  }

  /** The probe has found a floor: f + 1 replies made it, so it is not older than all that honest peers replied (sync §18). */
  finds(floor: Round): void {
    this.#probed++
    if (this.#told.some((round) => compareRounds(floor, round) >= 0)) return
    this.violations.push(`floor ${this.#name} found one of round ${roundKey(floor)}, which no honest peer is behind`)
  }

  /** What the plan on disk says when an incarnation starts: it knows the sync that has begun, and its newest floor. */
  starts(plan: PlanRecord): void {
    if (plan.tag === "complete") this.completes(plan.height)
    if (this.#floor === undefined || plan.tag === "complete") return
    if (plan.tag === "absent") this.violations.push(`INV-18 ${this.#name} began a sync that its plan does not know`)
    else if (compareRounds(plan.floor.proposal.round, this.#floor) < 0)
      this.violations.push(`INV-20 ${this.#name} had a newer floor than its plan knows`)
  }

  /** An incarnation begins by state sync, at a floor of a height: a plan that was complete once stays so (INV-19). */
  joins(height: number, floor: Round): void {
    this.#first = height
    this.#floor = floor
    if (this.syncedAt === undefined) return
    this.violations.push(`INV-19 ${this.#name} syncs again, it was complete at ${this.syncedAt}`)
  }

  /** State sync comes out at a height, asked for another at least, where marshal has recorded progress to a third. */
  comesOut(height: number, least: number, processed: number, pendingAcksMax: number): void {
    if (height < least) this.violations.push(`INV-23 ${this.#name} came out of sync at ${height}, not at ${least}`)
    this.boots(height, processed, pendingAcksMax)
  }

  /** The plan is complete, durably, at a height: from now on nothing below it may be lost. */
  completes(height: number): void {
    this.syncedAt ??= height
    this.#acked = Math.max(this.#acked, height)
  }

  /**
   * The node acknowledges a block of a height and view: it is durable and hooked, or a running sync covers it (INV-28). What
   * is acknowledged before the plan is complete may be lost as long as marshal has not recorded it: it is delivered again.
   */
  acknowledges(height: number, view: number, { durable = 0, isComplete, covered }: Stand): void {
    this.#ackedView = Math.max(this.#ackedView, view)
    if (!isComplete && height <= covered) {
      if (!this.#hooked.has(height)) this.#absorbed.add(height)
      return
    }
    if (durable < height) this.violations.push(`P-5 ${this.#name} acknowledged ${height}, durable at ${durable}`)
    if (!this.#hooked.has(height)) this.violations.push(`INV-16 ${this.#name} acknowledged ${height} before its hook`)
    if (isComplete) this.#acked = Math.max(this.#acked, height)
  }

  /** An incarnation ran its `finalized` hook of a height to the end: each after the one below (INV-16). */
  hooks(incarnation: number, height: number): void {
    const last = this.#lastHook
    if (last?.incarnation === incarnation && height !== last.height + 1) {
      this.violations.push(`INV-16 ${this.#name} ran its hook of ${height} after that of ${last.height}`)
    }
    this.#lastHook = { incarnation, height }
    this.#hooked.add(height)
  }

  /** Heights whose hook is owed and never ran, of a node at rest that stands at one (INV-16). */
  unhooked(standing: number): ReadonlyArray<string> {
    const heights = Array.from({ length: standing - this.#first + 1 }, (_, above) => this.#first + above)
    const missed = heights.filter((height) => !this.#hooked.has(height) && !this.#absorbed.has(height))
    return missed.map((height) => `INV-16 ${this.#name} never ran its hook of ${height}`)
  }

  /** The node comes up at a height, where marshal has recorded progress to another. */
  boots(anchor: number, processed: number, pendingAcksMax: number): void {
    if (anchor < this.#acked)
      this.violations.push(`P-5 ${this.#name} came up at ${anchor}, acknowledged ${this.#acked}`)
    if (!this.#isAligned([anchor, anchor], processed, pendingAcksMax)) {
      this.violations.push(`P-7 ${this.#name} came up at ${anchor}, marshal at ${processed}`)
    }
  }

  /** The node was durable at one height and then at another; between them marshal had recorded progress (P-7, INV-10, INV-11). */
  stands([before, after]: readonly [number, number], processed: number, pendingAcksMax: number): void {
    if (this.#isAligned([before, after], processed, pendingAcksMax)) return
    this.violations.push(`P-7 ${this.#name} stands at ${before} to ${after}, marshal at ${processed}`)
  }

  /** Marshal stands before its floor at least, also where it has yet to install it. */
  #isAligned([before, after]: readonly [number, number], processed: number, pendingAcksMax: number): boolean {
    const stood = Math.max(processed, this.#first - 1)
    return after >= stood && before <= stood + pendingAcksMax
  }

  /** The newest things said, in rounds that marshal still keeps: a new incarnation must hold each of them (P-5). */
  get newest(): ReadonlyArray<Saying> {
    const kept = [...this.#said.values()].filter(({ round }) => round.view > this.#ackedView - ROUNDS_KEPT)
    return kept.slice(-SAYINGS_ASKED_MAX)
  }

  /** The node, when it says something or is up again after, holds this for the same round. */
  holds({ round, digest }: Saying, held: Digest | undefined): void {
    if (held !== undefined && bytesEqual(held, digest)) return
    this.violations.push(`P-5 ${this.#name} said a block in round ${roundKey(round)} and does not hold it`)
  }
}

/** Pending blocks that do not descend from the newest final block, height by height and in later rounds (P-8). */
export const pendingViolations = (index: number, { tip, blocks }: PendingTree): ReadonlyArray<string> => {
  const known = new Map([[bytesKey(tip.digest), tip]])
  const found: Array<string> = []
  for (const { anchor, parent } of blocks) {
    const before = known.get(bytesKey(parent))
    const follows = before !== undefined && anchor.height === before.height + 1
    if (follows && compareRounds(anchor.round, before.round) > 0) known.set(bytesKey(anchor.digest), anchor)
    else found.push(`P-8 node ${index}: the pending block of round ${roundKey(anchor.round)} is not on its final block`)
  }
  return found
}

/**
 * Blames that no lie explains (P-9, P-10): of the honest, and of liars for more than they told that accuser. Silence,
 * lateness and having nothing are no lies.
 */
export const blameViolations = (
  blames: ReadonlyArray<{ readonly by: number; readonly peer: number; readonly reason: string }>,
  lies: ReadonlyArray<{ readonly to: number; readonly by: number }>,
): ReadonlyArray<string> => {
  const owed = new Map<string, number>()
  for (const { to, by } of lies) owed.set(`${to}/${by}`, (owed.get(`${to}/${by}`) ?? 0) + 1)
  const found: Array<string> = []
  for (const { by, peer, reason } of blames) {
    const left = owed.get(`${by}/${peer}`) ?? 0
    owed.set(`${by}/${peer}`, left - 1)
    if (left > 0) continue
    const isLiar = lies.some((lie) => lie.by === peer)
    found.push(
      isLiar
        ? `P-10 node ${by} blames node ${peer} for what it did not do: ${reason}`
        : `P-9 node ${peer} is honest and blamed: ${reason}`,
    )
  }
  return found
}
