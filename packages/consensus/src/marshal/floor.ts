/**
 * Where the chain begins for this node, and what it lets go of: floors and pruning.
 *
 *   setFloor(certificate) --> block held? --no--> pending: fetched; repair, delivery and progress stand still
 *                                  | yes
 *                                  v
 *        progress = H - 1, the next block delivered is H itself, final blocks below H are removed
 *
 * Terms: a floor is *reached* when its block was delivered already: then it moves nothing but the round floor.
 *
 * Invariant: a floor voids acknowledgements of blocks below it and never moves anything back (CONS-15, CONS-16). Pruning
 * touches no unprocessed block and never the tip, and a prune that a crash cuts goes on afterwards.
 */
import { bytesEqual } from "@coppice/codec"
import { compareRounds, type Finalization, Height, Round } from "@coppice/verify/certificate"
import type { Block } from "../block.ts"
import { EXPIRED_ROWS_MAX, ROUND_RETENTION } from "../limits.ts"
import { finalize } from "./finality.ts"
import { newer } from "./state.ts"
import { conflicting, type Work } from "./work.ts"

/** Takes in a floor. One that is not newer than what is known is ignored. */
export const takeFloor = <B extends Block>(work: Work<B>, finalization: Finalization): void => {
  const { roundFloor, pendingFloor, newest } = work.state
  const { round } = finalization.proposal
  if (compareRounds(round, roundFloor) <= 0) return
  if (pendingFloor !== undefined && compareRounds(round, pendingFloor.proposal.round) <= 0) return
  work.update({ newest: newer(newest, finalization) })
  setPending(work, finalization)
}

const setPending = <B extends Block>(work: Work<B>, finalization: Finalization | undefined): void => {
  work.update({ pendingFloor: finalization })
  work.draft.add({ tag: "pendingFloor", finalization })
}

/** Installs the pending floor if its block is here, and forgets one that progress has overtaken. */
export const settleFloor = <B extends Block>(work: Work<B>): void => {
  const { pendingFloor, roundFloor } = work.state
  if (pendingFloor === undefined) return
  const { round, payload } = pendingFloor.proposal
  if (compareRounds(round, roundFloor) <= 0) {
    setPending(work, undefined)
    return
  }
  const block = work.draft.byDigest(payload)
  if (block !== undefined) install(work, block, pendingFloor)
}

const install = <B extends Block>(work: Work<B>, block: B, finalization: Finalization): void => {
  const { height, parent, context } = block
  if (height > 0 && !bytesEqual(parent, context.parent.digest)) {
    throw conflicting(Height(height - 1), context.parent.digest, parent)
  }
  const { delivery, missing } = work.state
  const { round } = finalization.proposal
  finalize(work, block, finalization)
  const isReached = height < work.unprocessed || (delivery !== undefined && height < delivery.next)
  if (!isReached) {
    if (height > 0) work.progress(Height(height - 1))
    work.update({
      pending: [],
      missing: Height(Math.max(missing, height)),
      delivery: delivery && { next: height, below: undefined },
    })
    retainFrom(work, height)
  }
  const floor = { height, round }
  work.update({ floor })
  work.draft.add({ tag: "floor", floor })
  work.raiseRound(round)
  setPending(work, undefined)
}

/** Lets go of final blocks below a height; ignored above what is processed. */
export const takePrune = <B extends Block>(work: Work<B>, below: Height): void => {
  const { processed, tip } = work.state
  if (processed === undefined || below > processed) return
  retainFrom(work, below < tip.height ? below : tip.height)
}

const retainFrom = <B extends Block>(work: Work<B>, height: Height): void => {
  if (height <= work.state.retained) return
  work.update({ retained: height, isPruning: true })
  work.draft.add({ tag: "retained", from: height })
}

/** Removes a slice of the final blocks that are let go. */
export const prune = <B extends Block>(work: Work<B>): void => {
  const { retained, isPruning } = work.state
  if (!isPruning) return
  const refs = work.draft.finalizedBelow(retained, EXPIRED_ROWS_MAX)
  for (const ref of refs) work.draft.add({ tag: "pruned", ref })
  // Rows of this very turn are not in the slice: another turn looks for them.
  const isNew = retained !== work.before.retained
  work.update({ isPruning: isNew || refs.length === EXPIRED_ROWS_MAX })
}

/** The oldest round whose cached blocks are kept. */
const oldestRound = ({ epoch, view }: Round): Round => Round(epoch, Math.max(0, view - ROUND_RETENTION))

/** Whether a round's cached blocks are past keeping: nothing builds on them any more. */
export const isExpired = <B extends Block>({ state }: Work<B>, round: Round): boolean =>
  compareRounds(round, oldestRound(state.roundFloor)) < 0

/** Removes cached blocks of rounds far below the round floor. */
export const expire = <B extends Block>(work: Work<B>): void => {
  const { roundFloor } = work.state
  if (compareRounds(roundFloor, work.before.roundFloor) === 0) return
  for (const ref of work.draft.cachedBefore(oldestRound(roundFloor), EXPIRED_ROWS_MAX)) {
    work.draft.add({ tag: "expired", ref })
  }
}
