/**
 * What stands between one node of a world and its surroundings: it notes what passes, and lets trouble come in between.
 *
 *   consensus --> marshal(..) --> marshal --> port(..) --> executor --> application(..) --> the subject's application
 *             <-- leaves(..) --- what is said          <-- acks ---             <-- hooks
 *
 * Terms: see journal.ts for what is noted, troubles.ts for the points that are passed.
 *
 * Invariant: it outlives the incarnations of its node, and changes nothing that passes but by what the plan asks for.
 */
import type { Block, ExecutorPort, Finalization, Height, Marshal, Probe } from "@coppice/consensus"
import type { StartedExecutor } from "@coppice/node"
import {
  type Application,
  type Databases,
  memberNames,
  type ReadableSet,
  runHook,
  type SetSync,
  type SyncUpdate,
  targetsEqual,
} from "@coppice/stateful"
import { CallOrder, drawer } from "@coppice/stateful/diagnosis"
import { Effect } from "effect"
import type { Saying } from "./consensus.ts"
import type { FinalBlocks } from "./final-blocks.ts"
import { type Delivery, NodeRecord, pendingViolations } from "./journal.ts"
import type { Plan, SyncPoint } from "./plan.ts"
import type { Subject } from "./subject.ts"
import type { Troubles } from "./troubles.ts"

/** What a watch is made of. */
export interface WatchParts<B extends Block, M extends Databases> {
  readonly index: number
  readonly subject: Subject<B, M>
  readonly plan: Plan
  readonly seed: number
  readonly troubles: Troubles
  /** Takes the deliveries of all nodes, in order. */
  readonly deliveries: Array<Delivery<B>>
  /** Takes what becomes final. */
  readonly final: FinalBlocks<B>
  /** Whether hooks do what they should, whatever the plan says. */
  readonly isCalm: () => boolean
}

/** An executor that works, and the databases under it. */
export interface Life<B extends Block, M extends Databases> {
  readonly executor: Pick<StartedExecutor<B, M>["executor"], "status" | "pending">
  readonly set: ReadableSet<M>
}

/** Where the databases of one incarnation are. */
export interface Standing<M extends Databases> {
  /** Undefined until state sync has brought them. */
  set: Pick<ReadableSet<M>, "durable" | "row"> | undefined
  /** Whether the plan is complete that brings them. */
  isComplete: boolean
  /** Height that the sync has promised to cover. */
  covered: number
}

/** The watch of one node. */
export class NodeWatch<B extends Block, M extends Databases> {
  readonly record: NodeRecord
  readonly counted = { cancelled: 0, abstained: 0, spilled: 0, regrouped: 0 }
  /** Says what blocks commit to; no incarnation runs it. */
  readonly commitments: Application<B, M>
  readonly #parts: WatchParts<B, M>
  readonly #chance: () => number
  /** The order of calls, of every incarnation. */
  readonly #orders: Array<CallOrder> = []
  readonly #found: Array<string> = []

  constructor(parts: WatchParts<B, M>) {
    const { index, subject, seed } = parts
    this.#parts = parts
    this.record = new NodeRecord(`node ${index}`)
    this.commitments = subject.application(index)
    this.#chance = drawer(seed, `hooks ${index}`)
  }

  /** What is against the properties so far. */
  violations(): ReadonlyArray<string> {
    const illegal = this.#orders.flatMap((order) => order.illegal)
    return [...this.record.violations, ...this.#found, ...illegal.map(({ message }) => `IllegalCall ${message}`)]
  }

  /** Where the calls of a new incarnation stand. */
  order(pendingAcksMax: number): CallOrder {
    const order = new CallOrder(pendingAcksMax)
    this.#orders.push(order)
    return order
  }

  /** The application as an incarnation runs it. */
  application(incarnation: number): Application<B, M> {
    const { index, subject, plan, isCalm } = this.#parts
    const made = subject.application(index)
    const application: Application<B, M> = {
      ...made,
      finalized: (block, ...state) =>
        Effect.tap(
          runHook(() => made.finalized?.(block, ...state) ?? Effect.void),
          () => Effect.sync(() => this.record.hooks(incarnation, block.height)),
        ),
    }
    const { hooks } = plan
    if (hooks === undefined) return application
    const chance = this.#chance
    return {
      ...application,
      propose: (...asked) => {
        const declines = !isCalm() && chance() < hooks.declineChance
        return declines ? Effect.succeed(undefined) : application.propose(...asked)
      },
      verify: (...asked) =>
        Effect.gen({ self: this }, function* () {
          const [abstainDraw, waitDraw] = [chance(), chance()]
          yield* Effect.sleep(waitDraw * hooks.verifyMsMax)
          if (isCalm() || abstainDraw >= hooks.abstainChance) return yield* runHook(() => application.verify(...asked))
          this.counted.abstained++
          return yield* Effect.never
        }),
    }
  }

  /** The executor's port as the marshal and consensus have it. `look`: looks at the node once a block is delivered. */
  port(incarnation: number, port: ExecutorPort<B>, standing: Standing<M>, look: Effect.Effect<void>): ExecutorPort<B> {
    const { index, troubles, deliveries, final } = this.#parts
    const answered = (invariant: string, call: string) => (answer: unknown) => {
      if (standing.isComplete || answer === undefined) return
      this.#found.push(`${invariant} node ${index} answers when asked to ${call}, and its databases are not complete`)
    }
    return {
      propose: (context, ancestry) => {
        const proposed = port.propose(context, ancestry)
        return this.#after("asked to propose", this.#before(proposed, "has proposed", answered("INV-17", "propose")))
      },
      verify: (context, ancestry) => {
        const verified = this.#before(port.verify(context, ancestry), "has verified", answered("INV-22", "verify"))
        return Effect.onInterrupt(this.#after("asked to verify", verified), () =>
          Effect.sync(() => void this.counted.cancelled++),
        )
      },
      finalized: (block, ack) => {
        deliveries.push({ index, incarnation, block })
        final.delivered(block)
        const acknowledge = (): void => {
          this.#acknowledged(block, standing)
          const isHandedOver = standing.set !== undefined && !standing.isComplete
          if (isHandedOver && this.#passes("handed over block acknowledged")) return
          if (!troubles.passes(index, "block acknowledged")) ack.acknowledge()
        }
        const delivered = port.finalized(block, { acknowledge, cancel: ack.cancel })
        return this.#after("block delivered", Effect.andThen(delivered, look))
      },
    }
  }

  /** Looking for a floor as an incarnation does it: what it finds is noted. */
  floor(probe: Pick<Probe, "floor">): Effect.Effect<Finalization> {
    return Effect.suspend(() => {
      this.record.probes()
      return Effect.tap(probe.floor, (floor) => {
        this.record.finds(floor.proposal.round)
        return this.#pass("floor found")
      })
    })
  }

  /** State sync as an incarnation runs it: what it promises and where it comes out is noted. */
  sync(
    sync: SetSync<M>,
    marshal: Pick<Marshal<B>, "processedHeight" | "pendingAcksMax">,
    standing: Standing<M>,
  ): SetSync<M> {
    const noted = (tip: SyncUpdate<M>): SyncUpdate<M> => ({
      ...tip,
      recorded: () => {
        standing.covered = Math.max(standing.covered, tip.anchor.height)
        if (!this.#passes("tip recorded")) tip.recorded()
      },
    })
    const run: SetSync<M>["run"] = (start, newer) =>
      Effect.gen({ self: this }, function* () {
        yield* this.#pass("sync begun")
        const poll = () => {
          const tip = newer.poll()
          return tip && noted(tip)
        }
        const set = yield* sync.run(start, { poll, arrival: newer.arrival })
        const processed = (yield* marshal.processedHeight) ?? 0
        const least = Math.max(start.anchor.height, standing.covered)
        this.record.comesOut(set.anchor.height, least, processed, marshal.pendingAcksMax)
        standing.set = set
        yield* this.#pass("databases synced")
        return set
      })
    return { run }
  }

  /** The plan of an incarnation is complete, and durable at a height. */
  completes(standing: Standing<M>, height: Height): Effect.Effect<void> {
    return Effect.andThen(
      this.#pass("plan complete"),
      Effect.sync(() => {
        standing.isComplete = true
        this.record.completes(height)
      }),
    )
  }

  #passes(point: SyncPoint): boolean {
    return this.#parts.troubles.passes(this.#parts.index, point)
  }

  #pass(point: SyncPoint): Effect.Effect<void> {
    return this.#parts.troubles.pass(this.#parts.index, point)
  }

  /** Work that begins once a point is passed. */
  #after<A, E>(point: string, work: Effect.Effect<A, E>): Effect.Effect<A, E> {
    const { index, troubles } = this.#parts
    return Effect.suspend(() => (troubles.passes(index, point) ? Effect.never : work))
  }

  /** Work after which a point is passed, before anybody but `hears` learns what came of it. */
  #before<A, E>(work: Effect.Effect<A, E>, point: string, hears: (answer: A) => void = () => {}): Effect.Effect<A, E> {
    const { index, troubles } = this.#parts
    return Effect.flatMap(work, (answer) => {
      hears(answer)
      return troubles.passes(index, point) ? Effect.never : Effect.succeed(answer)
    })
  }

  /** The marshal as consensus has it. */
  marshal(marshal: Marshal<B>): Marshal<B> {
    const { final } = this.#parts
    return {
      ...marshal,
      proposed: (round, block) => this.#before(marshal.proposed(round, block), "proposal stored"),
      verified: (round, block) => {
        final.voted(block)
        return this.#before(marshal.verified(round, block), "vote stored")
      },
      notarized: (round, block) => this.#before(marshal.notarized(round, block), "notarized block stored"),
      report: (finalization) =>
        this.#before(marshal.report(finalization), "certificate stored", () => final.certified(finalization)),
    }
  }

  /** A proposal or a vote leaves the node, whose marshal must hold it (P-4, P-5). */
  leaves(marshal: Pick<Marshal<B>, "verifiedAt">, saying: Saying): Effect.Effect<void> {
    return Effect.map(marshal.verifiedAt(saying.round), (held) => this.record.says(saying, held?.digest))
  }

  /**
   * What is pending descends from what is final (P-8), what is durable stays within the ack window above marshal's progress
   * (P-7), and what executors hold within what they may: at most the results of running jobs come on top (F65).
   */
  look({ executor, set }: Life<B, M>, marshal: Marshal<B> | undefined): Effect.Effect<void> {
    const { index, plan } = this.#parts
    return Effect.gen({ self: this }, function* () {
      this.#found.push(...pendingViolations(index, yield* executor.pending))
      if (marshal !== undefined) {
        const before = set.durable.height
        const processed = (yield* marshal.processedHeight) ?? 0
        this.record.stands([before, set.durable.height], processed, marshal.pendingAcksMax)
      }
      const { pendingEntries, scratchEntries, requests } = yield* executor.status
      const held = pendingEntries - scratchEntries
      this.counted.spilled = Math.max(this.counted.spilled, scratchEntries)
      const { pendingEntriesMax = Number.POSITIVE_INFINITY } = plan.limits ?? {}
      if (held <= pendingEntriesMax + requests) return
      this.#found.push(`F65 node ${index} holds ${held} states in memory, ${pendingEntriesMax} are allowed`)
    })
  }

  /**
   * What is acknowledged is durable and hooked (P-5, INV-16), with the roots that its block commits to (P-6), or covered by a
   * sync that has yet to come out.
   */
  #acknowledged(block: B, { set, isComplete, covered }: Standing<M>): void {
    const durable = set?.durable.height
    this.record.acknowledges(block.height, block.context.round.view, { durable, isComplete, covered })
    if (set === undefined) return
    const { commitments } = this
    const [expected, row] = [commitments.syncTargets(block), set.row(block.height)]
    for (const name of memberNames(commitments.databases)) {
      if (row !== undefined && targetsEqual(row.targets[name], expected[name])) continue
      const { index } = this.#parts
      this.#found.push(`P-6 node ${index} at ${block.height}: ${name} is not what the block commits to`)
    }
  }
}
