/**
 * Automatic pruning: when what nobody can ask for any more is forgotten, and how far.
 *
 *   heights   ... | forgotten everywhere | marshal only | set and marshal .... durable
 *                                        ^ marshal      ^ set: the oldest height it can go back to
 *
 * Terms: a prune is *due* when durability passes a height of the schedule: one height in `interval`, shifted by an offset
 * that differs between validators, so that they do not prune in lockstep. Both boundaries count back from what is durable.
 *
 * Invariant: never past durable, never into the rewind window (INV-12); marshal keeps at least what the set keeps (INV-31);
 * the set goes first, since a marshal that keeps too much is harmless. One prune at a time; a later one replaces one that
 * waits. While a synced set is handed over none starts: what becomes due waits for the plan to be complete. A failure is
 * fatal: the set is dead then.
 */
import { type Block, Height } from "@coppice/consensus"
import { PruneFailed } from "./errors.ts"
import type { Outcome, State } from "./protocol.ts"
import { type Core, startJob, stop } from "./state.ts"

/** When and how far to prune. The set keeps what it can go back to: its `rewindHeights`. */
export interface PruneConfig {
  /** Heights from one prune to the next; at least 1. */
  readonly interval: number
  /** Finalized blocks that marshal keeps for others to fetch, the newest durable one included: at least as many as the set. */
  readonly marshalBlocks: number
}

/** When to prune, and how many heights stay. */
export interface PruneSchedule {
  readonly interval: number
  /** In `[0, interval)`. */
  readonly offset: number
  readonly marshalWindow: number
  readonly setWindow: number
}

const atLeast = (name: string, value: number, least: number) => {
  if (!Number.isSafeInteger(value) || value < least) throw new RangeError(`${name} is at least ${least}, got ${value}`)
}

/** The schedule of a configuration. Throws RangeError for one by which marshal keeps less than the set (F61). */
export const pruneSchedule = (
  { interval, marshalBlocks }: PruneConfig,
  set: { readonly rewindHeights: number },
  offset: number,
): PruneSchedule => {
  atLeast("interval", interval, 1)
  atLeast("marshalBlocks", marshalBlocks, set.rewindHeights)
  return { interval, offset, marshalWindow: marshalBlocks, setWindow: set.rewindHeights }
}

/** Durability has moved on from `before`: prunes if a height of the schedule lies between. */
export const schedulePrune = <B extends Block, S extends State>(core: Core<B, S>, before: Height) => {
  const { schedule } = core.options
  if (schedule === undefined) return
  const { interval, marshalWindow, offset } = schedule
  const { height } = core.durable
  const newest = height - ((((height - offset) % interval) + interval) % interval)
  if (newest <= before || height < marshalWindow) return
  core.pruneDue = true
  startPrune(core)
}

const startPrune = <B extends Block, S extends State>(core: Core<B, S>) => {
  if (!core.pruneDue || core.pruning !== undefined || !core.complete) return
  const { marshalWindow, setWindow } = core.options.schedule!
  const { height } = core.durable
  core.pruneDue = false
  core.pruning = Height(height - setWindow + 1)
  const marshal = Height(height - marshalWindow + 1)
  startJob(core, { of: "prune" }, { kind: "prune", set: core.pruning, marshal })
}

/** The databases are complete: starts the prune that became due before. */
export const allowPrunes = <B extends Block, S extends State>(core: Core<B, S>) => {
  core.complete = true
  startPrune(core)
}

/** The prune has settled: starts the one that became due meanwhile. */
export const settlePrune = <B extends Block, S extends State>(core: Core<B, S>, outcome: Outcome<B, S>) => {
  const height = core.pruning!
  core.pruning = undefined
  if (outcome.kind !== "done") {
    const cause = outcome.kind === "failed" ? outcome.cause : new Error(`settled with ${outcome.kind}`)
    return stop(core, new PruneFailed({ height, durable: core.durable.height, cause }))
  }
  core.pruned = height
  startPrune(core)
}
