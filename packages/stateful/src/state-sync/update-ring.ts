/**
 * The newest tip that a sync has not taken yet: a ring of one.
 *
 * Invariant: an offer replaces what waits; each update is taken once.
 */
import { Effect } from "effect"
import type { Databases } from "../database-set.ts"
import type { SyncUpdate, SyncUpdates } from "./port.ts"

/** See the head of this file. */
export class UpdateRing<M extends Databases> implements SyncUpdates<M> {
  #update: SyncUpdate<M> | undefined
  #wake: (() => void) | undefined

  /** Puts an update in place of the one that waits. */
  offer(update: SyncUpdate<M>): void {
    this.#update = update
    this.#wake?.()
  }

  readonly poll = (): SyncUpdate<M> | undefined => {
    const update = this.#update
    this.#update = undefined
    return update
  }

  readonly next: Effect.Effect<SyncUpdate<M>> = Effect.callback<void>((resume) => {
    if (this.#update !== undefined) return resume(Effect.void)
    this.#wake = () => resume(Effect.void)
    return Effect.sync(() => {
      this.#wake = undefined
    })
  }).pipe(Effect.flatMap(() => Effect.suspend(() => Effect.succeed(this.poll()!))))
}
