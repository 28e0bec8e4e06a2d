/**
 * The shell of simulated consensus: asks nodes what the script plans, and tells them what came of it.
 *
 *   plan --> leader proposes --> candidate to every node, after its latency --> verdicts
 *        --> a quorum accepts in time: notarized, told to all --> the script finalizes: certificates, told to all
 *
 * Terms: an *incarnation* is a node from its join to its leave; what is under way with it lives in its own scope.
 *
 * Invariant: a view waits for no node beyond its deadline, and a node that is down or slow costs nothing but its vote.
 * Verdicts that come after the view's end change nothing.
 */
import {
  attestFinalization,
  type Block,
  type ConsensusContext,
  compareRounds,
  decodeBlock,
  encodeBlock,
  type Finalization,
  type Proposal,
  proposeBlock,
  Round,
  type ValidatorNode,
  View,
  verifyBlock,
} from "@coppice/consensus"
import { assemble, createParticipants, type Participants } from "@coppice/crypto"
import { Cause, Clock, Deferred, Effect, Exit, Fiber, Option, Queue, Random, Scope, Semaphore } from "effect"
import { note } from "./audit.ts"
import {
  type ConsensusStatistics,
  type SimulatedConsensus,
  type SimulatedConsensusOptions,
  VerdictsDiverged,
} from "./consensus.ts"
import {
  type Certified,
  endView,
  type OracleSetting,
  planView,
  startOracle,
  type Verdict,
  type ViewOutcome,
  type ViewPlan,
} from "./oracle.ts"
import { requireSchedule } from "./schedule.ts"

const EPOCH = 0

const NO_STATISTICS: ConsensusStatistics = {
  views: 0,
  notarized: 0,
  nullified: 0,
  split: 0,
  forks: 0,
  finalizations: 0,
  finalizedBlocks: 0,
  finalizedAtOnceMax: 0,
  corrupted: 0,
  rejected: 0,
  declined: 0,
  restarts: 0,
}

interface Incarnation<B extends Block> {
  readonly node: ValidatorNode<B>
  readonly scope: Scope.Closeable
}

/** A view under way. */
interface Candidate<B extends Block> {
  readonly context: ConsensusContext
  readonly block: B
  readonly bytes: Uint8Array
  readonly isCorrupted: boolean
}

const short = (bytes: Uint8Array): string =>
  Array.from(bytes.subarray(0, 4), (byte) => byte.toString(16).padStart(2, "0")).join("")

class Simulation<B extends Block> {
  statistics = NO_STATISTICS
  readonly #options: SimulatedConsensusOptions<B>
  readonly #scope: Scope.Scope
  readonly #participants: Participants
  readonly #setting: OracleSetting
  readonly #nodes: Array<Incarnation<B> | undefined>
  readonly #controls: ReadonlyArray<Semaphore.Semaphore>
  readonly #fatal = Deferred.makeUnsafe<never, VerdictsDiverged>()
  #newest: Finalization | undefined
  #isRunning = false

  constructor(options: SimulatedConsensusOptions<B>, scope: Scope.Scope) {
    requireSchedule(options.schedule)
    const { validators } = options
    this.#options = options
    this.#scope = scope
    this.#participants = createParticipants(validators.map(({ publicKey }) => publicKey))
    this.#nodes = validators.map(() => undefined)
    this.#controls = validators.map(() => Semaphore.makeUnsafe(1))
    this.#setting = {
      nodes: validators.length,
      downMax: validators.length - this.#participants.quorum,
      schedule: options.schedule,
      canCorrupt: options.corrupt !== undefined,
      canRestart: options.control !== undefined,
      allows: options.allows ?? (() => true),
    }
  }

  readonly join = Effect.fnUntraced(
    { self: this },
    function* (this: Simulation<B>, index: number, node: ValidatorNode<B>) {
      yield* this.leave(index)
      this.#nodes[index] = { node, scope: yield* Scope.fork(this.#scope) }
      const newest = this.#newest
      if (newest !== undefined) yield* this.#tell(index, ({ marshal }) => marshal.report(newest))
    },
  )

  leave(index: number): Effect.Effect<void> {
    return Effect.suspend(() => {
      const incarnation = this.#nodes[index]
      this.#nodes[index] = undefined
      return incarnation === undefined ? Effect.void : Scope.close(incarnation.scope, Exit.void)
    })
  }

  get run(): Effect.Effect<never, VerdictsDiverged> {
    return Effect.suspend(() => {
      if (this.#isRunning) throw new Error("the simulation is running already")
      this.#isRunning = true
      return Effect.raceFirst(this.#views(), Deferred.await(this.#fatal))
    })
  }

  readonly #views = Effect.fnUntraced({ self: this }, function* (this: Simulation<B>) {
    let state = yield* this.#resume()
    for (;;) {
      const startMs = yield* Clock.currentTimeMillis
      const [plan, planned] = planView(state, this.#setting)
      yield* this.#restart(plan)
      const [outcome, candidate] = yield* this.#view(plan, startMs + this.#options.schedule.viewTimeoutMs)
      const [verdict, ended] = endView(planned, this.#setting, plan, outcome)
      state = ended
      yield* this.#conclude(plan, outcome, verdict, candidate)
      const spentMs = (yield* Clock.currentTimeMillis) - startMs
      yield* Effect.sleep(Math.max(0, this.#options.schedule.viewMs - spentMs))
    }
  })

  /** Where to go on: on the newest finalized block that a node knows, above every round that a node holds. */
  readonly #resume = Effect.fnUntraced({ self: this }, function* (this: Simulation<B>) {
    const { genesis, seed } = this.#options
    let highest = genesis.context.round
    for (const incarnation of this.#nodes) {
      if (incarnation === undefined) continue
      const { marshal } = incarnation.node
      const [round, finalization] = [yield* marshal.highestRound, yield* marshal.newestFinalization]
      if (compareRounds(round, highest) > 0) highest = round
      if (finalization !== undefined) this.#learn(finalization)
    }
    const newest = this.#newest
    const view = highest.view + 1
    if (newest === undefined) {
      const root = { view: 0, parentView: 0, digest: genesis.digest, height: 0, isSplit: false, voters: [] }
      return startOracle(seed, root, view)
    }
    yield* this.#tellAll(({ marshal }) => marshal.report(newest))
    const { round, parentView, payload } = newest.proposal
    const height = yield* this.#heightOf(payload)
    const root = { view: round.view, parentView, digest: payload, height, isSplit: false, voters: [] }
    return startOracle(seed, root, view)
  })

  readonly #heightOf = Effect.fnUntraced({ self: this }, function* (this: Simulation<B>, digest: Uint8Array) {
    for (;;) {
      for (const incarnation of this.#nodes) {
        const block = incarnation === undefined ? undefined : yield* incarnation.node.marshal.byDigest(digest)
        if (block !== undefined) return block.height
      }
      yield* Effect.sleep(this.#options.schedule.viewMs)
    }
  })

  #learn(finalization: Finalization): void {
    const known = this.#newest?.proposal.round
    if (known === undefined || compareRounds(finalization.proposal.round, known) > 0) this.#newest = finalization
  }

  readonly #view = Effect.fnUntraced(
    { self: this },
    function* (this: Simulation<B>, plan: ViewPlan, deadlineMs: number) {
      const nullified: ViewOutcome = { tag: "nullified" }
      if (plan.fate === "silent") return [nullified, undefined] as const
      const candidate = yield* this.#propose(plan, deadlineMs)
      if (candidate === undefined) {
        this.#count({ declined: 1 })
        return [nullified, undefined] as const
      }
      const voters = yield* this.#vote(plan, candidate, deadlineMs)
      if (voters.length < this.#participants.quorum) {
        this.#count({ rejected: 1 })
        return [nullified, candidate] as const
      }
      const { digest, height } = candidate.block
      const outcome: ViewOutcome = { tag: "notarized", digest, height, voters }
      return [outcome, candidate] as const
    },
  )

  readonly #propose = Effect.fnUntraced(
    { self: this },
    function* (this: Simulation<B>, plan: ViewPlan, deadlineMs: number) {
      const { validators, corrupt, codec } = this.#options
      const context: ConsensusContext = {
        round: Round(EPOCH, plan.view),
        leader: validators[plan.leader]!.publicKey,
        parent: { view: View(plan.parent.view), digest: plan.parent.digest },
      }
      const fiber = yield* this.#fork(plan.leader, deadlineMs, (node) => proposeBlock(node, context))
      const honest = fiber === undefined ? undefined : answerOf(yield* Fiber.await(fiber))
      if (honest === undefined) return undefined
      const isCorrupted = plan.corrupts && corrupt !== undefined
      if (isCorrupted) this.#count({ corrupted: 1 })
      const block = isCorrupted ? corrupt(honest, plan.leader) : honest
      const candidate: Candidate<B> = { context, block, bytes: encodeBlock(codec, block), isCorrupted }
      return candidate
    },
  )

  /** The nodes that accept the candidate, once they are a quorum, all have answered, or the time is up. */
  readonly #vote = Effect.fnUntraced(
    { self: this },
    function* (this: Simulation<B>, plan: ViewPlan, candidate: Candidate<B>, deadlineMs: number) {
      const { context, block, bytes, isCorrupted } = candidate
      const votes = yield* Queue.unbounded<readonly [number, boolean | undefined]>()
      let awaited = 0
      for (const index of this.#nodes.keys()) {
        if (index === plan.leader) continue
        const fiber = yield* this.#fork(index, deadlineMs, (node) =>
          Effect.andThen(this.#latency, () => verifyBlock(node, context, decodeBlock(this.#options.codec, bytes))),
        )
        if (fiber === undefined) continue
        awaited++
        fiber.addObserver((exit) => Queue.offerUnsafe(votes, [index, answerOf(exit)]))
      }
      // A leader's own vote for a block that it corrupted says nothing about honest verdicts.
      const accepted = isCorrupted ? [] : [plan.leader]
      const refused: Array<number> = []
      while (awaited-- > 0 && accepted.length < this.#participants.quorum) {
        const [index, vote] = yield* Queue.take(votes)
        if (vote === true) accepted.push(index)
        if (vote === false) refused.push(index)
        if (accepted.length > 0 && refused.length > 0) {
          return yield* new VerdictsDiverged({ view: plan.view, digest: block.digest, accepted, refused })
        }
      }
      return accepted
    },
  )

  readonly #conclude = Effect.fnUntraced(
    { self: this },
    function* (
      this: Simulation<B>,
      plan: ViewPlan,
      outcome: ViewOutcome,
      verdict: Verdict,
      candidate: Candidate<B> | undefined,
    ) {
      const isNotarized = outcome.tag === "notarized"
      const isSplit = isNotarized && plan.fate === "split"
      this.#count({
        views: 1,
        notarized: isNotarized ? 1 : 0,
        nullified: !isNotarized || isSplit ? 1 : 0,
        split: isSplit ? 1 : 0,
        forks: verdict.isFork ? 1 : 0,
        finalizations: verdict.finalizes.length,
        finalizedBlocks: verdict.becameFinal.length,
      })
      const finalizedAtOnceMax = Math.max(this.statistics.finalizedAtOnceMax, verdict.becameFinal.length)
      this.statistics = { ...this.statistics, finalizedAtOnceMax }
      const payload = candidate === undefined ? "none" : short(candidate.block.digest)
      yield* note(`view ${plan.view} on ${plan.parent.view} ${plan.fate} ${outcome.tag} ${payload}`)
      if (isNotarized && candidate !== undefined) {
        const { context, bytes } = candidate
        yield* this.#tellAll(({ marshal }) => marshal.notarized(context.round, decodeBlock(this.#options.codec, bytes)))
      }
      for (const certified of verdict.finalizes) {
        const finalization = this.#sign(certified)
        this.#learn(finalization)
        yield* this.#tellAll(({ marshal }) => marshal.report(finalization))
      }
    },
  )

  #sign(certified: Certified): Finalization {
    const { ed25519, chainId, validators } = this.#options
    const proposal: Proposal = {
      round: Round(EPOCH, certified.view),
      parentView: View(certified.parentView),
      payload: certified.digest,
    }
    const attestations = certified.voters.map((index) => {
      const { secret, publicKey } = validators[index]!
      return attestFinalization(ed25519, secret, this.#participants.indexOf(publicKey)!, chainId, proposal)
    })
    return { proposal, certificate: assemble(attestations, this.#participants.n)! }
  }

  readonly #restart = Effect.fnUntraced({ self: this }, function* (this: Simulation<B>, plan: ViewPlan) {
    const { control } = this.#options
    if (control === undefined) return
    const inTurn = (index: number, work: Effect.Effect<void>) =>
      Effect.forkIn(this.#controls[index]!.withPermit(this.#guarded(work)), this.#scope, { startImmediately: true })
    if (plan.goesDown !== undefined) {
      this.#count({ restarts: 1 })
      yield* note(`down ${plan.goesDown}`)
      yield* inTurn(plan.goesDown, Effect.andThen(this.leave(plan.goesDown), control.down(plan.goesDown)))
    }
    for (const index of plan.comeUp) yield* inTurn(index, control.up(index))
  })

  get #latency(): Effect.Effect<void> {
    const { min, max } = this.#options.schedule.latencyMs
    return Effect.flatMap(Random.nextBetween(min, max), (ms) => Effect.sleep(ms))
  }

  #tellAll(what: (node: ValidatorNode<B>) => Effect.Effect<void, unknown>): Effect.Effect<void> {
    return Effect.forEach(this.#nodes.keys(), (index) => this.#tell(index, what), { discard: true })
  }

  #tell(index: number, what: (node: ValidatorNode<B>) => Effect.Effect<void, unknown>): Effect.Effect<void> {
    const late = (node: ValidatorNode<B>) => Effect.andThen(this.#latency, what(node))
    return Effect.asVoid(this.#fork(index, Number.POSITIVE_INFINITY, late))
  }

  /**
   * Starts work with a node, for as long as it is up and until a deadline; undefined when it is down. That a node stops is
   * its own affair; a defect ends the simulation.
   */
  #fork<A>(index: number, deadlineMs: number, work: (node: ValidatorNode<B>) => Effect.Effect<A, unknown>) {
    return Effect.gen({ self: this }, function* () {
      const incarnation = this.#nodes[index]
      if (incarnation === undefined) return undefined
      const withinMs = deadlineMs - (yield* Clock.currentTimeMillis)
      const bounded = Effect.timeoutOption(work(incarnation.node), Math.max(0, withinMs))
      return yield* Effect.forkIn(this.#guarded(bounded), incarnation.scope)
    })
  }

  #guarded<A, E>(work: Effect.Effect<A, E>): Effect.Effect<A, E> {
    return Effect.tapCause(work, (cause) =>
      Effect.sync(() => {
        if (Cause.hasDies(cause)) Deferred.doneUnsafe(this.#fatal, Effect.die(Cause.squash(cause)))
      }),
    )
  }

  #count(change: Partial<ConsensusStatistics>): void {
    const counted = { ...this.statistics }
    for (const [name, by] of Object.entries(change)) counted[name as keyof ConsensusStatistics] += by
    this.statistics = counted
  }
}

/** The answer of ended work: undefined when it failed, was interrupted, ran out of time, or had none. */
const answerOf = <A>(exit: Exit.Exit<Option.Option<A>, unknown>): A | undefined =>
  Exit.isSuccess(exit) ? Option.getOrUndefined(exit.value) : undefined

/**
 * Creates a simulation without nodes. What it has under way ends with the scope.
 *
 * Errors: RangeError on a schedule that makes no sense.
 */
export const makeSimulatedConsensus = <B extends Block>(
  options: SimulatedConsensusOptions<B>,
): Effect.Effect<SimulatedConsensus<B>, never, Scope.Scope> =>
  Effect.map(Effect.scope, (scope) => {
    const simulation = new Simulation(options, scope)
    return {
      join: (index, node) => simulation.join(index, node),
      leave: (index) => simulation.leave(index),
      run: simulation.run,
      statistics: Effect.sync(() => simulation.statistics),
    }
  })
