/**
 * What is final: certificates, their blocks, and the gaps between them.
 *
 *   certificate --> block held? --no--> awaited until it comes        gap: the parent is held? it is final too
 *                        | yes
 *                        v
 *   durable rows:  [x][x][x][ ][ ][ ][x]
 *                            ^missing ^tip
 *
 * Invariant: only provably final blocks are stored by height, each the parent of the next (CONS-12). A height that was
 * processed, or lies below the floor, and is not held is never stored again: it was pruned.
 */
import { bytesEqual } from "@coppice/codec"
import type { Digest } from "@coppice/crypto"
import { compareRounds, type Finalization, Height, roundKey } from "@coppice/verify/certificate"
import { anchorOf, type Block } from "../block.ts"
import { AWAITED_FINALIZATIONS_MAX, REPAIR_WALK_MAX } from "../limits.ts"
import { digestKey, heightKey, newer } from "./state.ts"
import { conflicting, type Work } from "./work.ts"

/** Takes in a certificate, its block held or not. */
export const takeFinalization = <B extends Block>(work: Work<B>, finalization: Finalization): void => {
  work.update({ newest: newer(work.state.newest, finalization) })
  const { round, payload } = finalization.proposal
  const block = work.draft.byDigest(payload)
  if (block !== undefined) finalize(work, block, finalization)
  else if (compareRounds(round, work.state.roundFloor) > 0) awaitBlock(work, finalization)
}

/** Every block that becomes known goes through here: it is told to who waits for it, and may be one that is final. */
export const arrive = <B extends Block>(work: Work<B>, block: B): void => {
  work.draft.hold(block)
  work.known(digestKey(block.digest), block)
  const finalization = awaitedByRound(work).find(({ proposal }) => bytesEqual(proposal.payload, block.digest))
  if (finalization !== undefined) finalize(work, block, finalization)
}

const awaitBlock = <B extends Block>(work: Work<B>, finalization: Finalization): void => {
  const key = roundKey(finalization.proposal.round)
  if (work.state.awaited.has(key)) return
  const awaited = new Map(work.state.awaited).set(key, finalization)
  work.draft.add({ tag: "awaited", finalization })
  work.update({ awaited })
  if (awaited.size > AWAITED_FINALIZATIONS_MAX) settle(work, awaitedByRound(work)[0]!)
}

const settle = <B extends Block>(work: Work<B>, { proposal: { round } }: Finalization): void => {
  const awaited = new Map(work.state.awaited)
  awaited.delete(roundKey(round))
  work.draft.add({ tag: "settled", round })
  work.update({ awaited })
}

/** Certificates whose block is not held, lowest round first. */
export const awaitedByRound = <B extends Block>({ state }: Work<B>): ReadonlyArray<Finalization> =>
  [...state.awaited.values()].sort((a, b) => compareRounds(a.proposal.round, b.proposal.round))

/** Lets go of certificates that the round floor has reached: what they made final is done with. */
export const settleReached = <B extends Block>(work: Work<B>): void => {
  const { roundFloor, awaited } = work.state
  for (const finalization of awaited.values()) {
    if (compareRounds(finalization.proposal.round, roundFloor) <= 0) settle(work, finalization)
  }
}

/** Stores a block that is provably final, with its own certificate if it has one. */
export const finalize = <B extends Block>(work: Work<B>, block: B, finalization: Finalization | undefined): void => {
  const { draft } = work
  const { height, digest } = block
  // Above the tip nothing is held.
  const isAbove = height > work.state.tip.height
  const held = isAbove ? undefined : draft.finalizedAt(height)
  const known = held?.digest ?? deliveredDigest(work, height)
  if (known !== undefined && !bytesEqual(known, digest)) throw conflicting(height, known, digest)
  for (const awaited of work.state.awaited.values()) {
    if (bytesEqual(awaited.proposal.payload, digest)) settle(work, awaited)
  }
  work.known(heightKey(height), block)
  if (held === undefined) {
    if (height < work.unprocessed) return
    checkLinks(work, block)
    draft.add({ tag: "finalized", block })
  }
  if (finalization === undefined) return
  if (isAbove || !draft.hasFinalization(height)) draft.add({ tag: "finalization", height, finalization })
  if (isAbove) {
    work.update({ tip: { ...anchorOf(block), finalizedRound: finalization.proposal.round } })
  }
}

/** Digest of the last delivered block, if that is its height. */
const deliveredDigest = <B extends Block>({ state: { delivery } }: Work<B>, height: Height): Digest | undefined =>
  delivery?.next === height + 1 ? delivery.below : undefined

const checkLinks = <B extends Block>(work: Work<B>, block: B): void => {
  const { height, digest, parent } = block
  if (height > 0) {
    const lower = Height(height - 1)
    const below = work.draft.finalizedAt(lower)?.digest ?? deliveredDigest(work, lower)
    if (below !== undefined && !bytesEqual(below, parent)) throw conflicting(lower, below, parent)
  }
  const above = height < work.state.tip.height ? work.draft.finalizedAt(Height(height + 1)) : undefined
  if (above !== undefined && !bytesEqual(above.parent, digest)) throw conflicting(height, above.parent, digest)
}

/** The first height from the given one on whose final block is not held. Above the tip none is. */
export const missingFrom = <B extends Block>({ draft, state: { tip } }: Work<B>, height: Height): Height => {
  let missing = height
  while (missing <= tip.height && draft.isFinalized(missing)) missing = Height(missing + 1)
  return missing
}

/** What is missing right above what is held: heights `low` to `high`, the last of them the block `digest`. */
export interface Gap {
  readonly low: Height
  readonly high: Height
  readonly digest: Digest
}

/** Closes gaps downward from their upper end with blocks that are held. Returns the lowest gap that stays. */
export const repair = <B extends Block>(work: Work<B>): Gap | undefined | "unfinished" => {
  for (let walked = 0; ; ) {
    const missing = missingFrom(work, work.state.missing)
    work.update({ missing })
    if (missing > work.state.tip.height) return undefined
    let upper = work.draft.finalizedFrom(missing)
    if (upper === undefined) return undefined
    while (upper.height > missing) {
      const high = Height(upper.height - 1)
      const parent = work.draft.byDigest(upper.parent)
      if (parent === undefined) return { low: missing, high, digest: upper.parent }
      if (parent.height !== high) throw conflicting(high, upper.parent, parent.digest)
      if (walked === REPAIR_WALK_MAX) return "unfinished"
      walked++
      finalize(work, parent, undefined)
      upper = parent
    }
  }
}
