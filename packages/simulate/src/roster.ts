/**
 * The nodes of a simulation that are up: they are asked, with a deadline or none, and told, over links.
 *
 *   ask:   work with a node ----> its result, or undefined: it is down, failed, was too slow, or left
 *   tell:  carried over a link, then work with a node that nobody waits for
 *
 * Terms: an *incarnation* is a node from its join to its leave; what is under way with it lives in its own scope.
 *
 * Invariant: deadlines come in order, so one fiber keeps them all. Nobody waits for a node that has left. A defect of a
 * node's work ends the simulation by `fatal`.
 */
import type { Block, ValidatorNode } from "@coppice/consensus"
import { Cause, Clock, Deferred, Effect, Exit, Queue, Random, Scope } from "effect"
import type { Runs, SimulatedConsensusOptions, VerdictsDiverged } from "./consensus.ts"

interface Incarnation<B extends Block> {
  readonly node: ValidatorNode<B>
  readonly runs: Runs
  readonly scope: Scope.Closeable
  /** Ends the wait for each answer that has not come. */
  readonly waits: Set<() => void>
}

/** What is asked of a node may go on until a time. */
export interface Deadline {
  readonly atMs: number
  readonly isOver: () => boolean
  readonly end: () => void
}

/** The nodes that are up. */
export class Roster<B extends Block> {
  /** What ends the simulation, whatever it is at. */
  readonly fatal = Deferred.makeUnsafe<never, VerdictsDiverged>()
  readonly #options: Pick<SimulatedConsensusOptions<B>, "links" | "schedule">
  readonly #scope: Scope.Scope
  readonly #nodes: Array<Incarnation<B> | undefined>
  readonly #deadlines = Effect.runSync(Queue.unbounded<Deadline>())

  constructor(
    count: number,
    options: Pick<SimulatedConsensusOptions<B>, "links" | "schedule">,
    scope: Scope.Scope,
    deadlines: Queue.Queue<Deadline>,
  ) {
    this.#options = options
    this.#scope = scope
    this.#deadlines = deadlines
    this.#nodes = Array.from({ length: count }, () => undefined)
  }

  /** Indexes of all nodes, up or down. */
  get indexes(): Iterable<number> {
    return this.#nodes.keys()
  }

  /** A node is up: it is asked and told from now on. One that was up before it leaves. */
  readonly join = Effect.fnUntraced(
    { self: this },
    function* (this: Roster<B>, index: number, node: ValidatorNode<B>, runs: Runs = (work) => work) {
      yield* this.leave(index)
      this.#nodes[index] = { node, runs, scope: yield* Scope.fork(this.#scope), waits: new Set() }
    },
  )

  /** A node is down: what was under way with it is interrupted, and nobody waits for it. */
  leave(index: number): Effect.Effect<void> {
    return Effect.suspend(() => {
      const incarnation = this.#nodes[index]
      this.#nodes[index] = undefined
      if (incarnation === undefined) return Effect.void
      for (const end of [...incarnation.waits]) end()
      return Effect.uninterruptible(Scope.close(incarnation.scope, Exit.void))
    })
  }

  /** Asks a node; undefined when it is down, fails or does not answer in time. */
  ask<A>(index: number, deadlineMs: number, work: (node: ValidatorNode<B>) => Effect.Effect<A, unknown>) {
    const answer = Deferred.makeUnsafe<A | undefined>()
    const settled = (value: A | undefined): void => void Deferred.doneUnsafe(answer, Effect.succeed(value))
    return Effect.flatMap(this.begin(index, deadlineMs, work, settled), (isUp) =>
      isUp ? Deferred.await(answer) : Effect.succeed(undefined),
    )
  }

  /** Carries a message: true when it has arrived, false when it is lost. */
  carry(from: number, to: number): Effect.Effect<boolean> {
    const { links, schedule } = this.#options
    if (links !== undefined) return links.carry(from, to)
    const { min, max } = schedule.latencyMs
    return Effect.flatMap(Random.nextBetween(min, max), (ms) => Effect.as(Effect.sleep(ms), true))
  }

  /** The other nodes that are up; the node itself where there are none. */
  others(index: number): ReadonlyArray<number> {
    const others = [...this.#nodes.keys()].filter((other) => other !== index && this.#nodes[other] !== undefined)
    return others.length === 0 ? [index] : others
  }

  /** Tells every node that is up. */
  tellAll(from: ReadonlyArray<number>, what: (node: ValidatorNode<B>) => Effect.Effect<void, unknown>) {
    return Effect.forEach(this.#nodes.keys(), (index) => this.tell(from, index, what), { discard: true })
  }

  /** Tells a node something that any of some nodes can send. */
  tell(
    from: ReadonlyArray<number>,
    index: number,
    what: (node: ValidatorNode<B>) => Effect.Effect<void, unknown>,
  ): Effect.Effect<void> {
    const { links } = this.#options
    const sender = from.find((other) => other !== index && links?.isOpen(other, index) !== false) ?? from[0]!
    const late = (node: ValidatorNode<B>) =>
      Effect.flatMap(this.carry(sender, index), (arrives) => (arrives ? what(node) : Effect.void))
    return Effect.asVoid(this.begin(index, Number.POSITIVE_INFINITY, late, () => {}))
  }

  /**
   * Begins work with a node; false when it is down. `settled` hears its result once: undefined when it failed, its time
   * was up, or the node left before. That a node stops is its own affair; a defect ends the simulation.
   */
  begin<A>(
    index: number,
    deadlineMs: number,
    work: (node: ValidatorNode<B>) => Effect.Effect<A, unknown>,
    settled: (result: A | undefined) => void,
  ) {
    return Effect.suspend(() => {
      const incarnation = this.#nodes[index]
      if (incarnation === undefined) return Effect.succeed(false)
      const { node, runs, scope, waits } = incarnation
      return Effect.map(Effect.forkIn(runs(work(node)), scope), (fiber) => {
        const settle = (result: A | undefined): void => {
          if (waits.delete(end)) settled(result)
        }
        const end = (): void => settle(undefined)
        waits.add(end)
        fiber.addObserver((exit) => {
          if (Exit.isFailure(exit)) this.#failed(exit.cause)
          settle(Exit.isSuccess(exit) ? exit.value : undefined)
        })
        if (deadlineMs === Number.POSITIVE_INFINITY) return true
        const timesOut = (): void => {
          end()
          fiber.interruptUnsafe()
        }
        const isOver = (): boolean => fiber.pollUnsafe() !== undefined
        Queue.offerUnsafe(this.#deadlines, { atMs: deadlineMs, isOver, end: timesOut })
        return true
      })
    })
  }

  /** Ends what takes too long, until interrupted. */
  get keepsDeadlines(): Effect.Effect<never> {
    return Effect.gen({ self: this }, function* () {
      for (;;) {
        const { atMs, isOver, end } = yield* Queue.take(this.#deadlines)
        if (isOver()) continue
        yield* Effect.sleep(Math.max(0, atMs - (yield* Clock.currentTimeMillis)))
        if (!isOver()) end()
      }
    })
  }

  /** A defect of this work ends the simulation. */
  guarded<A, E>(work: Effect.Effect<A, E>): Effect.Effect<A, E> {
    return Effect.tapCause(work, (cause) => Effect.sync(() => this.#failed(cause)))
  }

  #failed(cause: Cause.Cause<unknown>): void {
    if (Cause.hasDies(cause)) Deferred.doneUnsafe(this.fatal, Effect.die(Cause.squash(cause)))
  }
}
