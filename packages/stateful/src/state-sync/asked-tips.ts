/**
 * What a sync was asked for, to judge what it comes out with.
 *
 * Invariant: holds the newest recorded tip and the newer ones, two at most: the start or what replaced it, and the one sent last.
 */
import { bytesKey } from "@coppice/codec"
import type { Height } from "@coppice/consensus"
import type { DatabaseSet, Databases } from "../database-set.ts"
import { targetsEqual } from "../targets.ts"
import { SyncedElsewhere, SyncedTargetMismatch } from "./errors.ts"
import type { SyncTip } from "./port.ts"

/** See the head of this file. */
export class AskedTips<M extends Databases> {
  readonly #tips = new Map<string, SyncTip<M>>()

  /** Remembers a tip that the sync is given. */
  ask(tip: SyncTip<M>): SyncTip<M> {
    this.#tips.set(bytesKey(tip.anchor.digest), tip)
    return tip
  }

  /** The tip of a height is recorded: the sync must not come out below it. */
  recorded(height: Height): void {
    for (const [key, { anchor }] of this.#tips) if (anchor.height < height) this.#tips.delete(key)
  }

  /** Why a set is not what was asked for: at another block (INV-24), or not at that block's targets (F49). */
  misplaced(set: DatabaseSet<M>): SyncedElsewhere | SyncedTargetMismatch | undefined {
    const { digest, height } = set.anchor
    const tip = this.#tips.get(bytesKey(digest))
    if (tip === undefined) return new SyncedElsewhere({ height, digest })
    for (const member of Object.keys(tip.targets)) {
      const [expected, actual] = [tip.targets[member]!, set.tip.targets[member]!]
      if (!targetsEqual(expected, actual)) return new SyncedTargetMismatch({ member, height, expected, actual })
    }
    return undefined
  }
}
