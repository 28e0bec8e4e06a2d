/**
 * What a sync was asked for, to judge what it comes out with.
 *
 * Terms: the *least* is the highest of the start and what was recorded: a set below it would lack what is acknowledged.
 *
 * Invariant: only tips from the least on are held: it, and the one that was sent last.
 */
import { bytesEqual, bytesKey } from "@coppice/codec"
import type { Height } from "@coppice/consensus"
import type { DatabaseSet, Databases } from "../database-set.ts"
import { targetsEqual } from "../targets.ts"
import { SyncedElsewhere, SyncedTargetMismatch } from "./errors.ts"
import type { SyncTip } from "./port.ts"

/** See the head of this file. */
export class AskedTips<M extends Databases> {
  readonly #tips = new Map<string, SyncTip<M>>()
  #least = 0

  /** Remembers a tip that the sync is given. */
  ask(tip: SyncTip<M>): void {
    const { digest, height } = tip.anchor
    if (height >= this.#least) this.#tips.set(bytesKey(digest), tip)
  }

  /** The tip of a height is recorded, or the one to start at: the sync must not come out below it. */
  recorded(height: Height): void {
    this.#least = Math.max(this.#least, height)
    for (const [key, { anchor }] of this.#tips) if (anchor.height < this.#least) this.#tips.delete(key)
  }

  /** Why a set is not what was asked for. */
  misplaced(set: DatabaseSet<M>): SyncedElsewhere | SyncedTargetMismatch | undefined {
    return misplacedFrom(this.#tips.get(bytesKey(set.anchor.digest)), set)
  }
}

/** Why a set is not at a tip: at another block (INV-24), or not at that block's targets (F49). */
export const misplacedFrom = <M extends Databases>(
  tip: SyncTip<M> | undefined,
  { anchor, tip: { targets } }: DatabaseSet<M>,
): SyncedElsewhere | SyncedTargetMismatch | undefined => {
  const { digest, height } = anchor
  if (tip === undefined || !bytesEqual(tip.anchor.digest, digest)) return new SyncedElsewhere({ height, digest })
  for (const member of Object.keys(tip.targets)) {
    const [expected, actual] = [tip.targets[member]!, targets[member]!]
    if (!targetsEqual(expected, actual)) return new SyncedTargetMismatch({ member, height, expected, actual })
  }
  return undefined
}
