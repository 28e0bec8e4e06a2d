/**
 * The shell of simulated consensus: asks nodes what the script plans, and tells them what came of it.
 *
 *   plan --> leader proposes --> candidate to every node, after its latency --> verdicts
 *        --> a quorum accepts in time: notarized, told to all --> the script finalizes: certificates, told to all
 *
 * Terms: a *candidate* is a block as a leader announces it to some. Nodes are asked and told by roster.ts.
 *
 * Invariant: a view waits for no node beyond its deadline, and a node that is down or slow costs nothing but its vote.
 * Verdicts that come after a quorum change nothing, but until the view's deadline they too must agree; a refusal that comes
 * when the block has lost to a final one says no more than that.
 */
import { bytesEqual } from "@coppice/codec"
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
import { Clock, Deferred, Effect, Queue, type Scope, Semaphore } from "effect"
import { note } from "./audit.ts"
import {
  type ConsensusStatistics,
  type Runs,
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
import { type Deadline, Roster } from "./roster.ts"
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
  refused: 0,
  rejected: 0,
  declined: 0,
  blindVotes: 0,
  restarts: 0,
}

/** A block as it is announced to some nodes. */
interface Candidate<B extends Block> {
  readonly context: ConsensusContext
  readonly block: B
  /** The block as a node has it: read once by each that was sent its bytes. */
  readonly receivedBy: (index: number) => B
  /** An honest block under its own context: its leader votes for it too. */
  readonly isGood: boolean
}

/** What a leader announces, and to whom. */
interface Turn<B extends Block> {
  readonly candidates: ReadonlyArray<Candidate<B>>
  readonly candidateFor: (index: number) => Candidate<B> | undefined
  /** When it goes out; at once when not given. */
  readonly atMs?: number
}

/** The candidate that a quorum accepted, and who did. */
interface Elected<B extends Block> {
  readonly candidate: Candidate<B>
  readonly voters: ReadonlyArray<number>
}

/** Time before the end of a view at which a late leader sends. */
const LATE_MS = 12

const short = (bytes: Uint8Array): string =>
  Array.from(bytes.subarray(0, 4), (byte) => byte.toString(16).padStart(2, "0")).join("")

class Simulation<B extends Block> {
  statistics = NO_STATISTICS
  /** The nodes that are up. */
  readonly roster: Roster<B>
  readonly #options: SimulatedConsensusOptions<B>
  readonly #scope: Scope.Scope
  readonly #participants: Participants
  readonly #setting: OracleSetting
  readonly #controls: ReadonlyArray<Semaphore.Semaphore>
  #newest: Finalization | undefined
  /** Views whose blocks are final, as far as they were decided here; the last one is the highest. */
  readonly #finalViews = new Set<number>()
  #finalView = 0
  #isRunning = false

  constructor(options: SimulatedConsensusOptions<B>, scope: Scope.Scope, deadlines: Queue.Queue<Deadline>) {
    requireSchedule(options.schedule)
    const { validators } = options
    this.#options = options
    this.#scope = scope
    this.#participants = createParticipants(validators.map(({ publicKey }) => publicKey))
    this.roster = new Roster(validators.length, options, scope, deadlines)
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
    function* (this: Simulation<B>, index: number, node: ValidatorNode<B>, runs?: Runs) {
      yield* this.roster.join(index, node, runs)
      const newest = this.#newest
      if (newest === undefined) return
      yield* this.roster.tell(this.roster.others(index), index, ({ marshal }) => marshal.report(newest))
    },
  )

  get run(): Effect.Effect<never, VerdictsDiverged> {
    return Effect.suspend(() => {
      if (this.#isRunning) throw new Error("the simulation is running already")
      this.#isRunning = true
      return Effect.raceFirst(this.#views(), Deferred.await(this.roster.fatal))
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
    for (const index of this.roster.indexes) {
      // A node may lose its power while it is asked: then its marshal never answers.
      const known = yield* this.roster.ask(index, Number.POSITIVE_INFINITY, ({ marshal }) =>
        Effect.all([marshal.highestRound, marshal.newestFinalization]),
      )
      if (known === undefined) continue
      const [round, finalization] = known
      if (compareRounds(round, highest) > 0) highest = round
      if (finalization !== undefined) this.#learn(finalization)
    }
    const newest = this.#newest
    const view = highest.view + 1
    if (newest === undefined) {
      const root = { view: 0, parentView: 0, digest: genesis.digest, height: 0, isSplit: false, voters: [] }
      return startOracle(seed, root, view)
    }
    for (const index of this.roster.indexes) {
      yield* this.roster.tell(this.roster.others(index), index, ({ marshal }) => marshal.report(newest))
    }
    const { round, parentView, payload } = newest.proposal
    const height = yield* this.#heightOf(payload)
    const root = { view: round.view, parentView, digest: payload, height, isSplit: false, voters: [] }
    return startOracle(seed, root, view)
  })

  readonly #heightOf = Effect.fnUntraced({ self: this }, function* (this: Simulation<B>, digest: Uint8Array) {
    for (;;) {
      for (const index of this.roster.indexes) {
        const block = yield* this.roster.ask(index, Number.POSITIVE_INFINITY, ({ marshal }) => marshal.byDigest(digest))
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
      const turn = yield* this.#propose(plan, deadlineMs)
      if (turn === undefined) {
        this.#count({ declined: 1 })
        return [nullified, undefined] as const
      }
      if (turn.atMs !== undefined) yield* Effect.sleep(Math.max(0, turn.atMs - (yield* Clock.currentTimeMillis)))
      const elected = yield* this.#vote(plan, turn, deadlineMs)
      if (elected === undefined) {
        this.#count({ rejected: 1 })
        return [nullified, turn.candidates[0]] as const
      }
      const { candidate, voters } = elected
      const { digest, height } = candidate.block
      const outcome: ViewOutcome = { tag: "notarized", digest, height, voters }
      return [outcome, candidate] as const
    },
  )

  readonly #propose = Effect.fnUntraced(
    { self: this },
    function* (this: Simulation<B>, plan: ViewPlan, deadlineMs: number) {
      const { validators } = this.#options
      const context: ConsensusContext = {
        round: Round(EPOCH, plan.view),
        leader: validators[plan.leader]!.publicKey,
        parent: { view: View(plan.parent.view), digest: plan.parent.digest },
      }
      const block = yield* this.roster.ask(plan.leader, deadlineMs, (node) =>
        Effect.tap(proposeBlock(node, context), (made) => this.#leaves(plan.leader, node, context, made)),
      )
      if (block === undefined) return undefined
      const good = this.#candidate(context, plan.leader, block)
      const turn = plan.misbehaves === undefined ? undefined : yield* this.#misbehave(plan, good, deadlineMs)
      if (turn !== undefined) this.#count({ corrupted: 1 })
      const honest: Turn<B> = { candidates: [good], candidateFor: () => good }
      return turn ?? honest
    },
  )

  #leaves(
    index: number,
    node: ValidatorNode<B>,
    { round }: ConsensusContext,
    block: B | undefined,
  ): Effect.Effect<void> {
    const { leaves } = this.#options
    return block === undefined || leaves === undefined
      ? Effect.void
      : leaves(index, node, { round, digest: block.digest })
  }

  #candidate(context: ConsensusContext, leader: number, block: B, isGood = true): Candidate<B> {
    const { codec, validators } = this.#options
    const bytes = encodeBlock(codec, block)
    const received = validators.map((_, index) => (isGood && index === leader ? block : undefined))
    return { context, block, receivedBy: (index) => (received[index] ??= decodeBlock(codec, bytes)), isGood }
  }

  /** The turn of a corrupt leader; undefined when it has nothing to do wrong with. */
  readonly #misbehave = Effect.fnUntraced(
    { self: this },
    function* (this: Simulation<B>, { leader, misbehaves }: ViewPlan, good: Candidate<B>, deadlineMs: number) {
      const { how, victims } = misbehaves!
      const { context, block } = good
      const some = (other: Candidate<B> | undefined): Turn<B> => ({
        candidates: other === undefined ? [good] : [good, other],
        candidateFor: (index) => (victims.includes(index) ? other : good),
      })
      if (how === "late") return { ...some(good), candidates: [good], atMs: deadlineMs - LATE_MS }
      if (how === "withheld") return some(undefined)
      if (how === "two parents") {
        const parent = { ...context.parent, view: View(context.parent.view + 1) }
        return some({ ...good, context: { ...context, parent }, isGood: false })
      }
      if (how === "two blocks") {
        const other = yield* this.roster.ask(leader, deadlineMs, ({ executor, marshal }) =>
          Effect.flatMap(marshal.subscribe(context.parent.digest, "fetch"), (parent) =>
            executor.propose(context, marshal.ancestry(parent)),
          ),
        )
        return other === undefined || bytesEqual(other.digest, block.digest)
          ? undefined
          : some(this.#candidate(context, leader, other))
      }
      const bad = this.#candidate(context, leader, this.#options.corrupt!(block, how), false)
      return { candidates: [bad], candidateFor: () => bad } satisfies Turn<B>
    },
  )

  /**
   * The candidate that a quorum accepts, and who; undefined once all have answered, or the time is up. Later votes are
   * compared as well.
   *
   * Errors: `VerdictsDiverged` when nodes that were told the same judge it differently; the run fails with it when that
   * shows after a quorum.
   */
  readonly #vote = Effect.fnUntraced(
    { self: this },
    function* (this: Simulation<B>, { leader, view, blind }: ViewPlan, turn: Turn<B>, deadlineMs: number) {
      const elected = Deferred.makeUnsafe<Elected<B> | undefined, VerdictsDiverged>()
      const voters = [...this.roster.indexes].filter(
        (index) => index !== leader && turn.candidateFor(index) !== undefined,
      )
      let awaited = voters.length
      // A leader's own vote for a block that it made bad says nothing about honest verdicts.
      const tallies = new Map(
        turn.candidates.map((candidate) => [
          candidate,
          { accepted: candidate.isGood ? [leader] : [], refused: [] as Array<number> },
        ]),
      )
      const count = (candidate: Candidate<B>): void => {
        const { accepted, refused } = tallies.get(candidate)!
        if (accepted.length > 0 && refused.length > 0) {
          const diverged = new VerdictsDiverged({ view, digest: candidate.block.digest, accepted, refused })
          if (!Deferred.doneUnsafe(elected, Effect.fail(diverged))) {
            Deferred.doneUnsafe(this.roster.fatal, Effect.fail(diverged))
          }
        } else if (accepted.length >= this.#participants.quorum) {
          Deferred.doneUnsafe(elected, Effect.succeed({ candidate, voters: [...accepted] }))
        } else if (awaited === 0) Deferred.doneUnsafe(elected, Effect.succeed(undefined))
      }
      const voted = (index: number, candidate: Candidate<B>, vote: boolean | undefined): void => {
        awaited--
        const { accepted, refused } = tallies.get(candidate)!
        if (vote === true) accepted.push(index)
        if (vote === true && index === blind) this.#count({ blindVotes: 1 })
        if (vote === false && !this.#hasLost(view)) {
          refused.push(index)
          this.#count({ refused: 1 })
        }
        count(candidate)
      }
      // A validator alone is a quorum before anybody else is asked.
      for (const candidate of turn.candidates) count(candidate)
      for (const index of voters) {
        const candidate = turn.candidateFor(index)!
        const { context, receivedBy } = candidate
        const asked = (node: ValidatorNode<B>) =>
          Effect.gen({ self: this }, function* () {
            if (!(yield* this.roster.carry(leader, index))) return yield* Effect.never
            const block = receivedBy(index)
            const vote = index === blind || (yield* verifyBlock(node, context, block))
            if (vote && index !== blind) yield* this.#leaves(index, node, context, block)
            return (yield* this.roster.carry(index, leader)) ? vote : yield* Effect.never
          })
        const heard = (vote: boolean | undefined): void => voted(index, candidate, vote)
        if (!(yield* this.roster.begin(index, deadlineMs, asked, heard))) heard(undefined)
      }
      return yield* Deferred.await(elected)
    },
  )

  /** Whether the block of a view can never be final: a later one is, that does not descend from it. */
  #hasLost(view: number): boolean {
    return view < this.#finalView && !this.#finalViews.has(view)
  }

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
      for (const certified of verdict.becameFinal) {
        this.#finalViews.add(certified.view)
        this.#finalView = certified.view
      }
      const finalizedAtOnceMax = Math.max(this.statistics.finalizedAtOnceMax, verdict.becameFinal.length)
      this.statistics = { ...this.statistics, finalizedAtOnceMax }
      const payload = candidate === undefined ? "none" : short(candidate.block.digest)
      yield* note(`view ${plan.view} on ${plan.parent.view} ${plan.fate} ${outcome.tag} ${payload}`)
      if (isNotarized && candidate !== undefined) {
        const { context, receivedBy } = candidate
        const withheld = plan.misbehaves?.how === "withheld" ? plan.misbehaves.victims : []
        const stores =
          (index: number) =>
          ({ marshal }: ValidatorNode<B>) =>
            marshal.notarized(context.round, receivedBy(index))
        for (const index of this.roster.indexes) {
          if (!withheld.includes(index)) yield* this.roster.tell([plan.leader], index, stores(index))
        }
      }
      for (const certified of verdict.finalizes) {
        const finalization = this.#sign(certified)
        this.#learn(finalization)
        yield* this.roster.tellAll(certified.voters, ({ marshal }) => marshal.report(finalization))
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
      Effect.forkIn(this.#controls[index]!.withPermit(this.roster.guarded(work)), this.#scope, {
        startImmediately: true,
      })
    if (plan.goesDown !== undefined) {
      this.#count({ restarts: 1 })
      yield* note(`down ${plan.goesDown}`)
      yield* inTurn(plan.goesDown, Effect.andThen(this.roster.leave(plan.goesDown), control.down(plan.goesDown)))
    }
    for (const index of plan.comeUp) yield* inTurn(index, control.up(index))
  })

  #count(change: Partial<ConsensusStatistics>): void {
    const counted = { ...this.statistics }
    for (const [name, by] of Object.entries(change)) counted[name as keyof ConsensusStatistics] += by
    this.statistics = counted
  }
}

/**
 * Creates a simulation without nodes. What it has under way ends with the scope.
 *
 * Errors: RangeError on a schedule that makes no sense.
 */
export const makeSimulatedConsensus = <B extends Block>(
  options: SimulatedConsensusOptions<B>,
): Effect.Effect<SimulatedConsensus<B>, never, Scope.Scope> =>
  Effect.gen(function* () {
    const scope = yield* Effect.scope
    const simulation = new Simulation(options, scope, yield* Queue.unbounded<Deadline>())
    yield* Effect.forkIn(simulation.roster.keepsDeadlines, scope)
    return {
      join: (index, node, runs) => simulation.join(index, node, runs),
      leave: (index) => simulation.roster.leave(index),
      run: simulation.run,
      statistics: Effect.sync(() => simulation.statistics),
    }
  })
