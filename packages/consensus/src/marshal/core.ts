/**
 * The marshal's state machine: (state, events, durable rows) -> (state, rows to write, effects). Pure and synchronous.
 *
 *   finalization --> block held? --no--> awaited, fetch Block(digest)
 *                        | yes
 *                        v                       gap: the parent held? store it : fetch Block(parent)
 *   durable rows:  [x][x][x][ ][ ][ ][x]              and Finalized(height), lowest first
 *                   ^     ^contiguous ^tip
 *                   delivered
 *
 * A *turn* takes all events that wait, writes its rows at once, and only then runs its effects.
 *
 * Invariant: effects of a turn rest only on rows that are durable by then, so a delivered block is durable (CONS-13) and
 * progress covers the contiguous acknowledged prefix alone (CONS-14).
 */
import { bytesEqual, bytesKey } from "@coppice/codec"
import type { Digest } from "@coppice/crypto"
import type { Finalization } from "@coppice/verify/certificate"
import { compareRounds, Height, Round, roundKey } from "@coppice/verify/certificate"
import { type Anchor, anchorOf, type Block } from "../block.ts"
import { AnchorMismatch, ConflictingFinalized, DeliveryHole, type MarshalFailure } from "../errors.ts"
import {
  AWAITED_FINALIZATIONS_MAX,
  EXPIRED_ROWS_MAX,
  FETCHES_MAX,
  REPAIR_HEIGHTS_MAX,
  REPAIR_WALK_MAX,
  ROUND_RETENTION,
} from "../limits.ts"
import { Draft } from "./draft.ts"
import type { CacheKind, RowReader } from "./rows.ts"
import {
  type Answer,
  type MarshalEffect,
  type MarshalEvent,
  type MarshalState,
  newer,
  requestKey,
  type Turn,
} from "./state.ts"
import type { BlockRequest } from "./transport.ts"

/** Runs one turn. Throws only what `durable` throws. */
export const step = <B extends Block>(
  state: MarshalState,
  events: ReadonlyArray<MarshalEvent<B>>,
  durable: RowReader<B>,
  pendingAcksMax: number,
): Turn<B> => {
  const work = new Work(state, new Draft(durable), pendingAcksMax)
  try {
    for (const event of events) work.take(event)
    work.finish()
  } catch (thrown) {
    if (thrown instanceof Failed) return { tag: "failed", failure: thrown.failure }
    throw thrown
  }
  return { tag: "turn", state: work.state, rows: work.draft.rows, effects: work.effects }
}

/** Unwinds a turn. Never leaves this module. */
class Failed {
  readonly failure: MarshalFailure
  constructor(failure: MarshalFailure) {
    this.failure = failure
  }
}

const conflicting = (height: Height, known: Digest, other: Digest): Failed =>
  new Failed(new ConflictingFinalized({ height, known, conflicting: other }))

/** What is missing right above the contiguous prefix: heights `low` to `high`, the last of them the block `digest`. */
interface Gap {
  readonly low: Height
  readonly high: Height
  readonly digest: Digest
}

class Work<B extends Block> {
  state: MarshalState
  readonly draft: Draft<B>
  readonly effects: Array<MarshalEffect<B>> = []
  readonly #pendingAcksMax: number
  readonly #before: MarshalState
  readonly #fetched: Array<B> = []
  #stopping = false

  constructor(state: MarshalState, draft: Draft<B>, pendingAcksMax: number) {
    this.state = state
    this.#before = state
    this.draft = draft
    this.#pendingAcksMax = pendingAcksMax
  }

  take(event: MarshalEvent<B>): void {
    if (event.tag === "start") this.#start(event.after)
    else if (event.tag === "cached") this.#cache(event.kind, event.round, event.block)
    else if (event.tag === "finalization") this.#finalization(event.finalization)
    else if (event.tag === "fetched") this.#answered(event.request, event.answer)
    else if (event.tag === "acknowledged") this.#acknowledged(event.height)
    else if (event.tag === "cancelled") this.#stopping = true
    else if (event.tag === "wanted") this.#want(event.digest, 1)
    else if (event.tag === "unwanted") this.#want(event.digest, -1)
  }

  /** What follows from the turn's events, in the order that makes each step see the one before. */
  finish(): void {
    this.#foldAcks()
    const gap = this.#repair()
    this.#keepFetched()
    if (this.#stopping) this.effects.push({ tag: "stop" })
    else this.#deliver()
    this.#expire()
    if (gap === "unfinished") this.effects.push({ tag: "continue" })
    else this.#fetch(gap)
  }

  #update(change: Partial<MarshalState>): void {
    this.state = { ...this.state, ...change }
  }

  #start(after: Anchor): void {
    const { processed } = this.state
    const held = this.draft.finalizedAt(after.height)
    if (held !== undefined && !bytesEqual(held.digest, after.digest)) {
      throw new Failed(new AnchorMismatch({ height: after.height, finalized: held.digest, anchor: after.digest }))
    }
    const contiguous = this.#contiguousFrom(after.height)
    if (processed !== undefined && contiguous < processed) {
      const missing = Height(contiguous + 1)
      throw new Failed(new DeliveryHole({ anchor: after.height, missing, processed }))
    }
    this.#update({ delivered: after, contiguous })
    if (after.height > (processed ?? 0)) this.#progress(after.height)
  }

  #progress(height: Height): void {
    this.#update({ processed: height })
    this.draft.add({ tag: "progress", height })
  }

  #cache(kind: CacheKind, round: Round, block: B): void {
    if (this.draft.cachedAt(kind, round) === undefined) this.draft.add({ tag: "cached", kind, round, block })
    this.#arrived(block)
  }

  #arrived(block: B): void {
    this.draft.hold(block)
    this.effects.push({ tag: "known", block })
    const finalization = this.#awaitedFor(block.digest)
    if (finalization !== undefined) this.#finalize(block, finalization)
  }

  #answered(request: BlockRequest, { block, finalization }: Answer<B>): void {
    const fetching = new Map(this.state.fetching)
    fetching.delete(requestKey(request))
    this.#update({ fetching })
    this.#arrived(block)
    if (finalization === undefined) this.#fetched.push(block)
    else this.#finalization(finalization)
  }

  #finalization(finalization: Finalization): void {
    this.#update({ newest: newer(this.state.newest, finalization) })
    const block = this.draft.byDigest(finalization.proposal.payload)
    if (block === undefined) this.#await(finalization)
    else this.#finalize(block, finalization)
  }

  #await(finalization: Finalization): void {
    const key = roundKey(finalization.proposal.round)
    if (this.state.awaited.has(key)) return
    const awaited = new Map(this.state.awaited).set(key, finalization)
    this.draft.add({ tag: "awaited", finalization })
    this.#update({ awaited })
    if (awaited.size > AWAITED_FINALIZATIONS_MAX) this.#unawait(this.#awaitedByRound()[0]!)
  }

  #unawait(finalization: Finalization): void {
    const { round } = finalization.proposal
    const awaited = new Map(this.state.awaited)
    awaited.delete(roundKey(round))
    this.draft.add({ tag: "settled", round })
    this.#update({ awaited })
  }

  #awaitedByRound(): ReadonlyArray<Finalization> {
    return [...this.state.awaited.values()].sort((a, b) => compareRounds(a.proposal.round, b.proposal.round))
  }

  #awaitedFor(digest: Digest): Finalization | undefined {
    return this.#awaitedByRound().find(({ proposal }) => bytesEqual(proposal.payload, digest))
  }

  /** Stores a block that is provably final, with its own certificate if it has one. */
  #finalize(block: B, finalization: Finalization | undefined): void {
    const { height, digest } = block
    const { delivered } = this.state
    const held = this.draft.finalizedAt(height)
    const known = held?.digest ?? (delivered?.height === height ? delivered.digest : undefined)
    if (known !== undefined && !bytesEqual(known, digest)) throw conflicting(height, known, digest)
    if (held === undefined) {
      this.#checkLinks(block)
      this.draft.add({ tag: "finalized", block })
    }
    if (finalization !== undefined) {
      if (!this.draft.hasFinalization(height)) this.draft.add({ tag: "finalization", height, finalization })
      if (height > this.state.tip.height) {
        this.#update({ tip: { ...anchorOf(block), finalizedRound: finalization.proposal.round } })
      }
    }
    for (const awaited of this.state.awaited.values()) {
      if (bytesEqual(awaited.proposal.payload, digest)) this.#unawait(awaited)
    }
  }

  #checkLinks(block: B): void {
    const { delivered } = this.state
    const isNext = delivered !== undefined && block.height === delivered.height + 1
    const below = isNext ? delivered : this.draft.finalizedAt(Height(block.height - 1))
    if (below !== undefined && !bytesEqual(below.digest, block.parent)) {
      throw conflicting(Height(block.height - 1), below.digest, block.parent)
    }
    const above = this.draft.finalizedAt(Height(block.height + 1))
    if (above !== undefined && !bytesEqual(above.parent, block.digest)) {
      throw conflicting(block.height, above.parent, block.digest)
    }
  }

  #acknowledged(height: Height): void {
    const pending = this.state.pending.map((ack) => (ack.height === height ? { height, acknowledged: true } : ack))
    this.#update({ pending })
  }

  /** Takes the acknowledged prefix off the window; one progress row covers all of it (M2, M4). */
  #foldAcks(): void {
    const { pending, processed } = this.state
    const open = pending.findIndex(({ acknowledged }) => !acknowledged)
    const ready = open === -1 ? pending.length : open
    if (ready === 0) return
    const { height } = pending[ready - 1]!
    this.#update({ pending: pending.slice(ready) })
    if (height > (processed ?? 0)) this.#progress(height)
  }

  #contiguousFrom(height: Height): Height {
    let contiguous = height
    while (this.draft.isFinalized(Height(contiguous + 1))) contiguous = Height(contiguous + 1)
    return contiguous
  }

  /** Closes gaps downward from their upper end with blocks that are held. Returns the lowest gap that stays. */
  #repair(): Gap | undefined | "unfinished" {
    for (let walked = 0; ; ) {
      const contiguous = this.#contiguousFrom(this.state.contiguous)
      this.#update({ contiguous })
      let upper = this.draft.finalizedAbove(contiguous)
      if (upper === undefined) return undefined
      while (upper.height > contiguous + 1) {
        const high = Height(upper.height - 1)
        const parent = this.draft.byDigest(upper.parent)
        if (parent === undefined) return { low: Height(contiguous + 1), high, digest: upper.parent }
        if (parent.height !== high) throw conflicting(high, upper.parent, parent.digest)
        if (walked === REPAIR_WALK_MAX) return "unfinished"
        walked++
        this.#finalize(parent, undefined)
        upper = parent
      }
    }
  }

  /** A fetched ancestor that is not final yet is certified under its embedded round: it is kept there for the next reader. */
  #keepFetched(): void {
    for (const block of this.#fetched) {
      const { round } = block.context
      const isFinal = this.draft.isFinalized(block.height)
      if (isFinal || !this.state.wanted.has(bytesKey(block.digest))) continue
      if (this.draft.cachedAt("notarized", round) === undefined) {
        this.draft.add({ tag: "cached", kind: "notarized", round, block })
      }
    }
  }

  #deliver(): void {
    for (;;) {
      const { delivered, contiguous, pending } = this.state
      if (delivered === undefined || delivered.height >= contiguous || pending.length >= this.#pendingAcksMax) return
      const block = this.draft.finalizedAt(Height(delivered.height + 1))!
      if (!bytesEqual(block.parent, delivered.digest)) {
        throw conflicting(delivered.height, delivered.digest, block.parent)
      }
      this.#update({
        delivered: anchorOf(block),
        pending: [...pending, { height: block.height, acknowledged: false }],
      })
      this.effects.push({ tag: "deliver", block })
    }
  }

  /** Removes cached blocks of rounds far below the newest acknowledged block: nothing builds on them any more. */
  #expire(): void {
    const { processed } = this.state
    if (processed === undefined || processed === this.#before.processed) return
    const round = this.draft.finalizedAt(processed)?.context.round
    if (round === undefined || round.view <= ROUND_RETENTION) return
    const oldest = Round(round.epoch, round.view - ROUND_RETENTION)
    for (const ref of this.draft.cachedBefore(oldest, EXPIRED_ROWS_MAX)) this.draft.add({ tag: "expired", ref })
  }

  #want(digest: Digest, change: 1 | -1): void {
    const key = bytesKey(digest)
    const callers = (this.state.wanted.get(key)?.callers ?? 0) + change
    const wanted = new Map(this.state.wanted)
    if (callers > 0) wanted.set(key, { digest, callers })
    else wanted.delete(key)
    this.#update({ wanted })
  }

  /** The requests that should be under way: the lowest gap, the newest certificate, callers, older certificates. */
  #desired(gap: Gap | undefined): ReadonlyArray<BlockRequest> {
    const block = (digest: Digest): BlockRequest => ({ tag: "block", digest })
    const desired: Array<BlockRequest> = []
    if (gap !== undefined) {
      desired.push(block(gap.digest))
      const end = Math.min(gap.high, gap.low + REPAIR_HEIGHTS_MAX)
      for (let height = gap.low; height < end; height++) desired.push({ tag: "finalized", height: Height(height) })
    }
    const [newest, ...older] = this.#awaitedByRound().toReversed()
    if (newest !== undefined) desired.push(block(newest.proposal.payload))
    for (const { digest } of this.state.wanted.values()) {
      if (this.draft.byDigest(digest) === undefined) desired.push(block(digest))
    }
    for (const { proposal } of older) desired.push(block(proposal.payload))
    return desired
  }

  #fetch(gap: Gap | undefined): void {
    const fetching = new Map<string, BlockRequest>()
    for (const request of this.#desired(gap)) {
      if (fetching.size < FETCHES_MAX) fetching.set(requestKey(request), request)
    }
    for (const [key, request] of this.state.fetching) {
      if (!fetching.has(key)) this.effects.push({ tag: "abandon", key, request })
    }
    for (const [key, request] of fetching) {
      if (!this.state.fetching.has(key)) this.effects.push({ tag: "fetch", key, request })
    }
    this.#update({ fetching })
  }
}
