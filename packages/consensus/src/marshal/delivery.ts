/**
 * Delivery: where it begins, its window, and how far it is acknowledged.
 *
 *   durable rows:  [x][x][x][x][x][ ]
 *                   ^processed  ^next          between them: delivered, at most `pendingAcksMax`
 *
 * Invariant: heights are consecutive within a lifetime, at most `pendingAcksMax` blocks are out (CONS-13), and progress
 * covers the contiguous acknowledged prefix alone (CONS-14).
 */
import { bytesEqual } from "@coppice/codec"
import { Height } from "@coppice/verify/certificate"
import type { Anchor, Block } from "../block.ts"
import { AnchorMismatch, DeliveryHole } from "../errors.ts"
import { missingFrom } from "./finality.ts"
import { conflicting, Failed, type Work } from "./work.ts"

/** Begins delivery after a block, or where the acknowledgements and the floor left it. */
export const start = <B extends Block>(work: Work<B>, after: Anchor | undefined): void => {
  if (after === undefined) {
    const next = work.unprocessed
    const below = next === 0 ? undefined : work.draft.finalizedAt(Height(next - 1))?.digest
    work.update({ delivery: { next, below } })
    return
  }
  const held = work.draft.finalizedAt(after.height)
  if (held !== undefined && !bytesEqual(held.digest, after.digest)) {
    throw new Failed(new AnchorMismatch({ height: after.height, finalized: held.digest, anchor: after.digest }))
  }
  const { processed } = work.state
  const next = Height(after.height + 1)
  const missing = missingFrom(work, next)
  if (processed !== undefined && missing <= processed) {
    throw new Failed(new DeliveryHole({ anchor: after.height, missing, processed }))
  }
  work.update({ delivery: { next, below: after.digest }, missing })
  if (after.height > 0) work.progress(after.height)
  work.raiseRound(after.round)
}

/** Notes an acknowledgement. One that a floor voided is nobody's any more. */
export const acknowledge = <B extends Block>(work: Work<B>, height: Height): void => {
  const pending = work.state.pending.map((ack) => (ack.height === height ? { height, acknowledged: true } : ack))
  work.update({ pending })
}

/** Takes the acknowledged prefix off the window; one progress row covers all of it (M2, M4). */
export const foldAcks = <B extends Block>(work: Work<B>): void => {
  const { pending } = work.state
  const open = pending.findIndex(({ acknowledged }) => !acknowledged)
  const ready = open === -1 ? pending.length : open
  if (ready === 0) return
  work.update({ pending: pending.slice(ready) })
  work.progress(pending[ready - 1]!.height)
}

/** Fills the window. */
export const deliver = <B extends Block>(work: Work<B>): void => {
  for (;;) {
    const { delivery, missing, pending } = work.state
    if (delivery === undefined || delivery.next >= missing || pending.length >= work.pendingAcksMax) return
    const { next, below } = delivery
    const block = work.draft.finalizedAt(next)!
    if (below !== undefined && !bytesEqual(block.parent, below)) {
      throw conflicting(Height(next - 1), below, block.parent)
    }
    work.update({
      delivery: { next: Height(next + 1), below: block.digest },
      pending: [...pending, { height: next, acknowledged: false }],
    })
    work.effects.push({ tag: "deliver", block })
  }
}
