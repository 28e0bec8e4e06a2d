/**
 * A turn under way: the state as it stands, the rows and effects so far.
 *
 * Invariant: nothing outside sees any of it before the turn's rows are durable; a turn that fails leaves nothing.
 */
import type { Digest } from "@coppice/crypto"
import { Height, type Round } from "@coppice/verify/certificate"
import type { Block } from "../block.ts"
import { ConflictingFinalized, type MarshalFailure } from "../errors.ts"
import type { Draft } from "./draft.ts"
import { laterRound, type MarshalEffect, type MarshalState } from "./state.ts"

/** Unwinds a turn. Never leaves the core. */
export class Failed {
  readonly failure: MarshalFailure
  constructor(failure: MarshalFailure) {
    this.failure = failure
  }
}

/** Two blocks that cannot both be final. */
export const conflicting = (height: Height, known: Digest, other: Digest): Failed =>
  new Failed(new ConflictingFinalized({ height, known, conflicting: other }))

/** One turn's scratch. */
export class Work<B extends Block> {
  state: MarshalState
  readonly before: MarshalState
  readonly draft: Draft<B>
  readonly effects: Array<MarshalEffect<B>> = []
  readonly pendingAcksMax: number
  /** Blocks that peers gave without a certificate. */
  readonly fetched: Array<B> = []
  isStopping = false

  constructor(state: MarshalState, draft: Draft<B>, pendingAcksMax: number) {
    this.state = state
    this.before = state
    this.draft = draft
    this.pendingAcksMax = pendingAcksMax
  }

  update(change: Partial<MarshalState>): void {
    this.state = { ...this.state, ...change }
  }

  /** First height that no acknowledgement or floor covers. */
  get unprocessed(): Height {
    const { processed } = this.state
    return processed === undefined ? Height(0) : Height(processed + 1)
  }

  /** Records that everything up to a height is done with. Never goes back (CONS-16). */
  progress(height: Height): void {
    if (height < this.unprocessed) return
    const round = this.draft.finalizedAt(height)?.context.round
    this.update({ processed: height })
    if (round !== undefined) this.raiseRound(round)
    this.draft.add({ tag: "progress", height })
  }

  raiseRound(round: Round): void {
    this.update({ roundFloor: laterRound(this.state.roundFloor, round) })
  }

  /** Tells those who wait under a key. */
  known(key: string, block: B): void {
    this.effects.push({ tag: "known", key, block })
  }
}
