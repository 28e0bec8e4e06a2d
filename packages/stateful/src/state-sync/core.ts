/**
 * Joining by state sync: the pure core.
 *
 *   finalized --> retained --(window full)--> newest tip sent --(recorded)--> all acknowledged      syncing
 *                     |
 *                     '------- synced --> executor at the anchor --> delivered to it --> complete    handing over, open
 *
 * Terms: *retained* are finalized blocks that were delivered and neither acknowledged nor passed on. A tip is *sent* to the
 * sync when the ack window is full, and *recorded* when the sync has promised not to come out below it.
 *
 * Invariant: a block is acknowledged here only after a recorded tip covers it, so marshal never needs to deliver it again
 * (INV-7, INV-23); acks go in height order (INV-8). Blocks above what is recorded are passed on to the executor, which
 * applies or acknowledges each (F50 to F52). Same events, same actions.
 */
import { type Anchor, type Block, Height } from "@coppice/consensus"
import { AckWindowExceeded, FinalizedGap } from "../executor/errors.ts"
import type { AckId } from "../executor/protocol.ts"
import { SyncedBelowRecorded } from "./errors.ts"

/** A finalized block and its ack. */
export interface Retained<B extends Block> {
  readonly block: B
  readonly ack: AckId
}

/** What the core itself refuses. */
export type JoinRefusal = AckWindowExceeded | FinalizedGap | SyncedBelowRecorded

/** What happens while a set is joining. */
export type JoinEvent<B extends Block, E = unknown> =
  | { readonly type: "finalized"; readonly block: B; readonly ack: AckId }
  /** The sync has taken the tip of this height in. */
  | { readonly type: "recorded"; readonly height: Height }
  /** The set stands, durable and verified, at an anchor. */
  | { readonly type: "synced"; readonly anchor: Anchor }
  /** An executor runs over the set. */
  | { readonly type: "executing" }
  | { readonly type: "failed"; readonly error: E }
  | { readonly type: "shutdown" }

/** What is to be done, at once and in order. */
export type JoinAction<B extends Block, E = unknown> =
  /** Let the sync know of a newer tip. */
  | { readonly type: "send"; readonly block: B }
  | { readonly type: "acknowledge"; readonly ack: AckId }
  /** Start the executor at the anchor. */
  | { readonly type: "execute" }
  /** Pass a finalized block on to the executor, with its ack. */
  | { readonly type: "deliver"; readonly delivery: Retained<B> }
  /** Everything the sync left over is passed on: complete at this height once it is acknowledged. */
  | { readonly type: "complete"; readonly height: Height }
  /** The end: cancel what is not acknowledged, fail who waits. `error` is undefined on a clean shutdown. */
  | { readonly type: "stop"; readonly error: E | JoinRefusal | undefined }

/** The core's memory. */
export interface JoinCore<B extends Block> {
  readonly pendingAcksMax: number
  phase: "syncing" | "handing over" | "open" | "stopped"
  retained: Array<Retained<B>>
  /** Newest height that the sync covers, by its word. */
  recorded: Height | undefined
  anchor: Anchor | undefined
}

/** Memory of a join that begins. */
export const createJoin = <B extends Block>(pendingAcksMax: number): JoinCore<B> => ({
  pendingAcksMax,
  phase: "syncing",
  retained: [],
  recorded: undefined,
  anchor: undefined,
})

type Actions<B extends Block, E> = ReadonlyArray<JoinAction<B, E>>

/** Takes one event and returns what is to be done about it, in order. */
export const stepJoin = <B extends Block, E>(core: JoinCore<B>, event: JoinEvent<B, E>): Actions<B, E> => {
  if (core.phase === "stopped") return []
  switch (event.type) {
    case "finalized":
      return finalized(core, { block: event.block, ack: event.ack })
    case "recorded":
      return recorded(core, event.height)
    case "synced":
      return synced(core, event.anchor)
    case "executing":
      return handOver(core)
    case "failed":
      return stop(core, event.error)
    case "shutdown":
      return stop(core, undefined)
  }
}

const stop = <B extends Block, E>(core: JoinCore<B>, error: E | JoinRefusal | undefined): Actions<B, E> => {
  core.phase = "stopped"
  core.retained = []
  return [{ type: "stop", error }]
}

const finalized = <B extends Block>(core: JoinCore<B>, delivery: Retained<B>): Actions<B, never> => {
  if (core.phase === "open") return [{ type: "deliver", delivery }]
  const { retained, pendingAcksMax } = core
  const { height } = delivery.block
  const before = retained.at(-1)?.block.height
  if (before !== undefined && height !== before + 1) {
    return stop(core, new FinalizedGap({ expected: Height(before + 1), actual: height }))
  }
  if (retained.length >= pendingAcksMax) return stop(core, new AckWindowExceeded({ height, allowed: pendingAcksMax }))
  retained.push(delivery)
  if (core.phase !== "syncing" || retained.length < pendingAcksMax) return []
  return [{ type: "send", block: delivery.block }]
}

/** Late records, after the sync has ended, say nothing new: the anchor covers them, or the sync broke its word. */
const recorded = <B extends Block>(core: JoinCore<B>, height: Height): Actions<B, never> => {
  if (core.phase !== "syncing") return []
  // A sync may tell of its tips in another order than it was given them: the highest promise binds.
  core.recorded = Height(Math.max(core.recorded ?? 0, height))
  const covered = core.retained.filter(({ block }) => block.height <= height)
  core.retained = core.retained.slice(covered.length)
  return covered.map(({ ack }) => ({ type: "acknowledge", ack }))
}

const synced = <B extends Block>(core: JoinCore<B>, anchor: Anchor): Actions<B, never> => {
  if (core.phase !== "syncing") return []
  if (core.recorded !== undefined && anchor.height < core.recorded) {
    return stop(core, new SyncedBelowRecorded({ recorded: core.recorded, synced: anchor.height }))
  }
  core.phase = "handing over"
  core.anchor = anchor
  return [{ type: "execute" }]
}

const handOver = <B extends Block>(core: JoinCore<B>): Actions<B, never> => {
  if (core.phase !== "handing over") return []
  core.phase = "open"
  const { retained } = core
  core.retained = []
  const height = Height(Math.max(core.anchor!.height, retained.at(-1)?.block.height ?? 0))
  return [...retained.map((delivery) => ({ type: "deliver", delivery }) as const), { type: "complete", height }]
}
