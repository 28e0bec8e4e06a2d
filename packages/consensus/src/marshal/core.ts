/**
 * The marshal's state machine: (state, events, durable rows) -> (state, rows to write, effects). Pure and synchronous.
 *
 *   events --> floor --> acks --> repair --> delivery --> expiry, pruning --> requests
 *
 * A *turn* takes all events that wait, writes its rows at once, and only then runs its effects.
 *
 * Invariant: effects of a turn rest only on rows that are durable by then, so a delivered block is durable (CONS-13). While
 * a floor is pending, repair, delivery and progress stand still (CONS-15).
 */
import { compareRounds } from "@coppice/verify/certificate"
import type { Block } from "../block.ts"
import { acknowledge, deliver, foldAcks, start } from "./delivery.ts"
import { Draft } from "./draft.ts"
import { arrive, repair, settleReached, takeFinalization } from "./finality.ts"
import { expire, isExpired, prune, settleFloor, takeFloor, takePrune } from "./floor.ts"
import { fetch, keepFetched, takeAnswer, takeHint, want } from "./requests.ts"
import type { RowReader } from "./rows.ts"
import { type MarshalEvent, type MarshalState, notarizedKey, type Turn } from "./state.ts"
import { Failed, Work } from "./work.ts"

/** Runs one turn. Throws only what `durable` throws. */
export const step = <B extends Block>(
  state: MarshalState,
  events: ReadonlyArray<MarshalEvent<B>>,
  durable: RowReader<B>,
  pendingAcksMax: number,
): Turn<B> => {
  const work = new Work(state, new Draft(durable), pendingAcksMax)
  try {
    for (const event of events) take(work, event)
    finish(work)
  } catch (thrown) {
    if (thrown instanceof Failed) return { tag: "failed", failure: thrown.failure }
    throw thrown
  }
  return { tag: "turn", state: work.state, rows: work.draft.rows, effects: work.effects }
}

const take = <B extends Block>(work: Work<B>, event: MarshalEvent<B>): void => {
  if (event.tag === "start") start(work, event.after)
  else if (event.tag === "cached") cache(work, event)
  else if (event.tag === "finalization") takeFinalization(work, event.finalization)
  else if (event.tag === "floor") takeFloor(work, event.finalization)
  else if (event.tag === "fetched") takeAnswer(work, event.request, event.answer)
  else if (event.tag === "acknowledged") acknowledge(work, event.height)
  else if (event.tag === "cancelled") work.isStopping = true
  else if (event.tag === "wanted") want(work, event.request, 1)
  else if (event.tag === "unwanted") want(work, event.request, -1)
  else if (event.tag === "hinted") takeHint(work, event.hint)
  else if (event.tag === "prune") takePrune(work, event.below)
}

/** What follows from the turn's events, in the order that makes each step see the one before. */
const finish = <B extends Block>(work: Work<B>): void => {
  settleFloor(work)
  const isFrozen = work.state.pendingFloor !== undefined
  if (!isFrozen) foldAcks(work)
  const gap = isFrozen ? undefined : repair(work)
  keepFetched(work)
  if (work.isStopping) work.effects.push({ tag: "stop" })
  else if (!isFrozen) deliver(work)
  settleReached(work)
  expire(work)
  prune(work)
  recordRoundFloor(work)
  if (gap === "unfinished" || work.state.isPruning) work.effects.push({ tag: "continue" })
  if (gap !== "unfinished") fetch(work, gap)
}

const recordRoundFloor = <B extends Block>({ state: { roundFloor }, before, draft }: Work<B>): void => {
  if (compareRounds(roundFloor, before.roundFloor) > 0) draft.add({ tag: "roundFloor", round: roundFloor })
}

/** Keeps a block under a round; the first one of a round stays. A round past keeping takes none. */
const cache = <B extends Block>(
  work: Work<B>,
  { kind, round, block }: MarshalEvent<B> & { readonly tag: "cached" },
): void => {
  if (work.draft.cachedAt(kind, round) === undefined && !isExpired(work, round)) {
    work.draft.add({ tag: "cached", kind, round, block })
  }
  if (kind === "notarized") work.known(notarizedKey(round), work.draft.cachedAt(kind, round) ?? block)
  arrive(work, block)
}
