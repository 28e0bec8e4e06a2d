/**
 * Who gets the thread next, where finalization shares it with any number of hooks that compute.
 *
 *   paced fiber yields --> first in, first out --> one slice --> the event loop turns --> one slice --> ...
 *                                |
 *                          stands still as long as an urgent fiber is ready to run, or somebody holds the pace
 *
 * Terms: *paced* fibers run the hooks of requests: speculative work. *Urgent* fibers carry a finalized block on. A *task* is
 * what a fiber does from one yield to the next; whoever runs in slices makes it `SLICE_MS` long at most.
 *
 * Invariant: an urgent fiber waits for no paced one. An event from outside, a write that has become durable say, waits for
 * one task at most, however many fibers are paced. A task that never yields cannot be taken off the thread. Nobody holds
 * the pace while they wait for anything but their turn, so speculation goes on.
 */
import type { Clock, Scheduler } from "effect"

/** Ends a hold. To end it twice is fine. */
export type Release = () => void

/** Paced tasks that together are shorter than this may share a turn of the event loop. */
const SHARED_NANOS = 1_000_000n

/** See the head of this file. */
export class Pace {
  /** For fibers that run hooks of requests. */
  readonly paced: Scheduler.Scheduler
  /** For fibers that carry a finalized block on. */
  readonly urgent: Scheduler.Scheduler
  readonly #clock: Clock.Clock
  readonly #turns: Scheduler.SchedulerDispatcher
  readonly #waiting: Array<() => void> = []
  #holds = 0
  /** What paced tasks have taken of this turn of the event loop. */
  #usedNanos = 0n
  #isTurning = false

  /** Paces fibers that would otherwise run on `scheduler`. */
  constructor(scheduler: Scheduler.Scheduler, clock: Clock.Clock) {
    this.#clock = clock
    this.#turns = scheduler.makeDispatcher()
    const over = (run: (task: () => void) => () => void): Scheduler.Scheduler => ({
      executionMode: scheduler.executionMode,
      shouldYield: (fiber) => scheduler.shouldYield(fiber),
      makeDispatcher: () => {
        const own = scheduler.makeDispatcher()
        return {
          scheduleTask: (task, priority) => own.scheduleTask(run(task), priority),
          flush: () => own.flush(),
        }
      },
    })
    this.paced = over((task) => () => this.#admit(task))
    this.urgent = over((task) => {
      const release = this.hold()
      return () => {
        try {
          task()
        } finally {
          release()
        }
      }
    })
  }

  /** No paced task runs until the hold ends. */
  hold(): Release {
    let isHeld = true
    this.#holds++
    return () => {
      if (!isHeld) return
      isHeld = false
      this.#holds--
      if (this.#holds === 0 && this.#waiting.length > 0) this.#turn()
    }
  }

  #admit(task: () => void): void {
    if (this.#waiting.length === 0 && this.#isFree) this.#run(task)
    else {
      this.#waiting.push(task)
      if (this.#holds === 0) this.#turn()
    }
  }

  get #isFree(): boolean {
    return this.#holds === 0 && this.#usedNanos < SHARED_NANOS
  }

  #run(task: () => void): void {
    const before = this.#clock.monotonicTimeNanosUnsafe()
    task()
    this.#usedNanos += this.#clock.monotonicTimeNanosUnsafe() - before
    if (this.#usedNanos > 0n) this.#turn()
  }

  /** Goes on when the event loop has turned. */
  #turn(): void {
    if (this.#isTurning) return
    this.#isTurning = true
    this.#turns.scheduleTask(() => {
      this.#isTurning = false
      this.#usedNanos = 0n
      while (this.#waiting.length > 0 && this.#isFree) this.#run(this.#waiting.shift()!)
      if (this.#waiting.length > 0 && this.#holds === 0) this.#turn()
    }, 0)
  }
}
