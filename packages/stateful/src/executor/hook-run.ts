/**
 * One run of a hook: what it borrows, and how all of it is given back.
 *
 *   open batches --> hook (Effect or promise) --> seal --> result taken      the rest is closed
 *                        |
 *                     cancelled --> signal aborted, batches and everything sealed closed, at once
 *
 * Terms: a run is *over* once its result was taken or it was cancelled. A promise cannot be stopped: what it still does
 * with its batches after the run is over meets `StaleBatch`, and what it seals is closed.
 *
 * Invariant: every batch and every sealed state of a run is closed or handed to the core, exactly one of the two.
 */
import { StaleBatch } from "@coppice/qmdb"
import { Effect, Exit, type Fiber } from "effect"
import type { HookTools } from "../application.ts"
import type { Batches, DatabaseSet, Databases, SealedSet } from "../database-set.ts"

/** Starts an effect in a fiber of its own, at once. */
export type Fork = <A, E>(effect: Effect.Effect<A, E>) => Fiber.Fiber<A, E>

/** See the head of this file. */
export class HookRun<M extends Databases> {
  readonly batches: Batches<M>
  readonly tools: HookTools<M>
  readonly #set: DatabaseSet<M>
  readonly #fork: Fork
  readonly #abort = new AbortController()
  readonly #sealed = new Set<SealedSet<M>>()
  #over = false

  /** Opens batches over a state. Throws `StaleBatch`. */
  constructor(set: DatabaseSet<M>, parent: SealedSet<M>, fork: Fork) {
    this.#set = set
    this.#fork = fork
    this.batches = set.openBatches(parent)
    const { height } = set.durable
    this.tools = { seal: (batches) => this.#seal(batches), signal: this.#abort.signal, durableHeight: height }
  }

  // Sealing has a fiber that nobody interrupts: an interruption between the moment the set holds the state and the moment
  // this run knows of it would lose the state. Closing the batches ends a seal soon enough.
  #seal(batches: Batches<M>): Effect.Effect<SealedSet<M>, unknown> {
    if (batches !== this.batches) return Effect.die(new TypeError("a hook seals the batches it was given"))
    return Effect.callback((resume) => {
      const fiber = this.#fork(this.#set.seal(batches))
      fiber.addObserver((exit) => resume(Exit.isSuccess(exit) ? this.#keep(exit.value) : exit))
    })
  }

  #keep(sealed: SealedSet<M>): Effect.Effect<SealedSet<M>, StaleBatch> {
    if (!this.#over) {
      this.#sealed.add(sealed)
      return Effect.succeed(sealed)
    }
    this.#set.close(sealed)
    return Effect.fail(new StaleBatch("seal", sealed.id))
  }

  /**
   * Ends the run with its result; undefined is one too. To be called where nothing can come between it and the use of the
   * result. Throws TypeError when the state was not sealed by this run's own tools.
   */
  take(state: SealedSet<M> | undefined): void {
    if (state !== undefined && !this.#sealed.delete(state)) {
      this.cancel()
      throw new TypeError("a hook returns the state that its own tools sealed")
    }
    this.#finish()
  }

  /** Ends the run without a result. Cancelling twice, or after `take`, is fine. */
  cancel(): void {
    if (this.#over) return
    this.#finish()
    this.#abort.abort()
  }

  #finish(): void {
    this.#over = true
    this.#set.closeBatches(this.batches)
    for (const sealed of this.#sealed) this.#set.close(sealed)
    this.#sealed.clear()
  }
}
