/**
 * A world around the executor's core: it carries out the core's actions on a model of the database set, and watches.
 *
 * Terms: a *truth* is what the test decided about a block: which hooks accept it. A *live* state is one that a real set
 * would still let somebody use: not closed, and descending from the tip.
 *
 * Invariant: every broken rule throws `Violation` at the action that broke it. The world never helps the core: a job that
 * was cancelled may still settle, exactly as a promise would.
 */
import { type Anchor, anchorOf, type Block, type ConsensusContext, Height, Round, View } from "@coppice/consensus"
import { Location } from "@coppice/merkle"
import type { SyncTarget } from "@coppice/qmdb"
import { type Core, type CoreLimits, createCore, step as realStep } from "../../src/executor/core.ts"
import type { FatalError } from "../../src/executor/errors.ts"
import type { AckId, Action, Event, JobId, Outcome, RequestId, Work } from "../../src/executor/protocol.ts"
import type { PruneSchedule } from "../../src/executor/pruning.ts"

/** What is wrong with a block. */
export type Fault =
  /** Execution gives another state than the header says. */
  | "bad-root"
  /** Neither `verify` nor `apply` accepts it. */
  | "not-executable"
  /** `verify` refuses it although it executes: a rule that only the verdict knows. */
  | "refused"
  /** Its height is not its parent's plus one. */
  | "bad-height"
  /** Its round is not later than its parent's. */
  | "bad-round"

/** A block of the tree. */
export interface WorldBlock extends Block {
  readonly name: string
  readonly fault: Fault | undefined
}

/** A sealed state of the model. */
export interface WorldState {
  readonly bytes: number
  readonly of: WorldBlock
  readonly parent: WorldState | undefined
  readonly wrong: boolean
  closed: boolean
}

/** A rule of the specification was broken. */
export class Violation extends Error {}

const violated = (rule: string): never => {
  throw new Violation(rule)
}

const digestOf = (name: string): Uint8Array => {
  const digest = new Uint8Array(32)
  digest.set(new TextEncoder().encode(name).subarray(0, 32))
  return digest
}

const LEADER = new Uint8Array(32).fill(7)

/** Context of an attempt at `view` to build on a block. */
export const contextOn = (parent: WorldBlock, view: number): ConsensusContext => ({
  round: Round(0, view),
  leader: LEADER,
  parent: { view: View(parent.context.round.view), digest: parent.digest },
})

/** The block everything starts from. */
export const GENESIS: WorldBlock = {
  name: "genesis",
  fault: undefined,
  height: Height(0),
  parent: new Uint8Array(32),
  digest: digestOf("genesis"),
  context: { round: Round(0, 0), leader: LEADER, parent: { view: View(0), digest: new Uint8Array(32) } },
}

/** A child of a block, proposed at `view`. */
export const childOf = (parent: WorldBlock, name: string, view: number, fault?: Fault): WorldBlock => {
  const context = contextOn(parent, fault === "bad-round" ? parent.context.round.view : view)
  const height = Height(parent.height + (fault === "bad-height" ? 2 : 1))
  return { name, fault, height, parent: parent.digest, digest: digestOf(name), context }
}

const TARGET: SyncTarget = { root: new Uint8Array(32), start: Location(0), end: Location(1) }

type Step = typeof realStep<WorldBlock, WorldState>
type WorldCore = Core<WorldBlock, WorldState>

/** What a world starts with. */
export interface WorldOptions {
  readonly limits?: Partial<CoreLimits>
  readonly pendingAcksMax?: number
  readonly schedule?: PruneSchedule
  readonly covered?: boolean
  readonly start?: WorldBlock
  readonly step?: Step
  readonly bytes?: (block: WorldBlock) => number
}

/** See the head of this file. */
export class CoreWorld {
  readonly core: WorldCore
  readonly blocks = new Map<string, WorldBlock>()
  readonly jobs = new Map<JobId, Work<WorldBlock, WorldState>>()
  readonly cancelled = new Map<JobId, Work<WorldBlock, WorldState>>()
  readonly verdicts = new Map<RequestId, boolean>()
  readonly proposals = new Map<RequestId, WorldBlock | undefined>()
  readonly candidates = new Map<RequestId, WorldBlock>()
  /** Requests whose data the test falsified: what their answer says about the real block does not count. */
  readonly deceived = new Set<RequestId>()
  readonly acked: Height[] = []
  readonly hooked: Height[] = []
  readonly applied: WorldState[] = []
  readonly flushes: Anchor[] = []
  readonly recovered: number[] = []
  /** Verifications that are never answered. */
  readonly dropped: RequestId[] = []
  readonly prunes: Array<{ readonly set: number; readonly marshal: number }> = []
  readonly log: string[] = []
  stopped: { readonly error: FatalError | undefined } | undefined
  tip: WorldState
  durable: Height
  readonly #states = new Set<WorldState>()
  readonly #judged = new Set<WorldBlock>()
  readonly #finalized = new Map<number, WorldBlock>()
  readonly #acks = new Map<AckId, WorldBlock>()
  readonly #options: WorldOptions
  readonly #pendingAcksMax: number
  readonly #start: number
  #nextId = 1
  #isComplete: boolean

  constructor(options: WorldOptions = {}) {
    this.#options = options
    this.#isComplete = options.covered !== true
    this.#pendingAcksMax = options.pendingAcksMax ?? 16
    const start = options.start ?? GENESIS
    this.blocks.set(start.name, start)
    this.tip = { bytes: 0, of: start, parent: undefined, wrong: false, closed: false }
    this.durable = this.#start = start.height
    this.#finalized.set(start.height, start)
    this.core = createCore({
      anchor: anchorOf(start),
      state: this.tip,
      limits: {
        pendingEntriesMax: 1000,
        pendingBytesMax: 1e9,
        verificationsMax: 1000,
        heldVerificationsMax: 1000,
        proposalsMax: 1000,
        spilledEntriesMax: 1000,
        spilledBytesMax: 1e9,
        ...options.limits,
      },
      pendingAcksMax: this.#pendingAcksMax,
      schedule: options.schedule,
      covered: options.covered ?? false,
      mismatch: (state, block) =>
        state.wrong || state.of !== block ? { member: "toy", expected: TARGET, actual: TARGET } : undefined,
    })
  }

  /** Adds a child of a block to the tree. */
  grow(parent: WorldBlock, name: string, view: number, fault?: Fault): WorldBlock {
    const block = childOf(parent, name, view, fault)
    this.blocks.set(name, block)
    return block
  }

  parentOf(block: WorldBlock): WorldBlock | undefined {
    for (const other of this.blocks.values()) if (same(other.digest, block.parent)) return other
    return undefined
  }

  /** Ancestors of a block, itself first. */
  *path(block: WorldBlock): Generator<WorldBlock> {
    for (let at: WorldBlock | undefined = block; at !== undefined; at = this.parentOf(at)) yield at
  }

  verify(block: WorldBlock, context: ConsensusContext = block.context): RequestId {
    const request = this.#nextId++
    this.candidates.set(request, block)
    this.send({ type: "request", request, kind: "verify", context })
    return request
  }

  propose(parent: WorldBlock, view: number): RequestId {
    const request = this.#nextId++
    this.send({ type: "request", request, kind: "propose", context: contextOn(parent, view) })
    return request
  }

  leave(request: RequestId) {
    this.send({ type: "left", request })
    for (const work of this.jobs.values()) {
      if ("request" in work && work.request === request) violated("INV-33 a caller who left has no job")
    }
  }

  finalize(block: WorldBlock, row?: Uint8Array): AckId {
    const ack = this.#nextId++
    this.#acks.set(ack, block)
    this.send({ type: "finalized", block, ack, row })
    return ack
  }

  /** The plan of a synced set is complete. */
  complete() {
    this.#isComplete = true
    this.send({ type: "complete" })
  }

  /** Blocks whose acks are neither released nor cancelled. */
  get unacked(): ReadonlyArray<WorldBlock> {
    return [...this.#acks.values()]
  }

  /** States that are neither closed nor applied. */
  get live(): ReadonlyArray<WorldState> {
    return [...this.#states].filter((state) => !state.closed)
  }

  /** The running job of a kind, for a block or request if given. */
  job(kind: Work<WorldBlock, WorldState>["kind"], subject?: WorldBlock | RequestId): JobId {
    for (const [job, work] of this.jobs) {
      if (work.kind !== kind) continue
      if (subject === undefined) return job
      if ("request" in work && work.request === subject) return job
      if ("block" in work && work.block === subject) return job
    }
    throw new Error(`no running ${kind} job for ${typeof subject === "object" ? subject.name : subject}`)
  }

  /** Whether such a job is running. */
  runs(kind: Work<WorldBlock, WorldState>["kind"], subject?: WorldBlock | RequestId): boolean {
    try {
      this.job(kind, subject)
      return true
    } catch {
      return false
    }
  }

  settle(job: JobId, outcome: Outcome<WorldBlock, WorldState>) {
    const work = this.jobs.get(job)
    this.jobs.delete(job)
    this.cancelled.delete(job)
    if (work?.kind === "finalized" && outcome.kind === "done") this.#hookDone(work.block)
    if (outcome.kind === "durable") this.durable = outcome.anchor.height
    this.send({ type: "settled", job, outcome })
  }

  /** Hands a block, or the end, to a pull or fetch. */
  give(job: JobId, block: WorldBlock | undefined) {
    this.settle(job, { kind: "block", block })
  }

  /** Settles a job as a sound environment would. `proposed` is the block that a proposal builds. */
  finish(job: JobId, proposed?: WorldBlock) {
    const work = this.jobs.get(job) ?? this.cancelled.get(job)
    if (work === undefined) throw new Error(`job ${job} neither runs nor was cancelled`)
    switch (work.kind) {
      case "pull":
        return this.give(job, this.#pulled(work.request))
      case "fetch":
        return this.give(job, this.parentOf(work.block))
      case "canonical":
        return this.give(job, this.#finalized.get(work.height))
      case "flush":
        return this.settle(job, { kind: "durable", anchor: anchorOf(this.tip.of) })
      case "finalized":
      case "prune":
        return this.settle(job, { kind: "done" })
      case "spill":
        return this.settle(job, { kind: "spilled", bytes: work.states.map(({ bytes }) => bytes / 4) })
      case "propose": {
        if (proposed === undefined) return this.settle(job, { kind: "declined" })
        if (this.jobs.has(job)) this.#judged.add(proposed)
        return this.settle(job, { kind: "proposed", block: proposed, state: this.seal(work.state, proposed) })
      }
      case "verify":
      case "apply":
        return this.#finishExecution(job, work)
    }
  }

  #finishExecution(job: JobId, work: Extract<Work<WorldBlock, WorldState>, { readonly kind: "verify" | "apply" }>) {
    const { fault } = work.block
    if (fault === "not-executable" || (work.kind === "verify" && fault === "refused")) {
      return this.settle(job, { kind: "declined" })
    }
    if (work.kind === "verify" && fault !== "bad-root" && this.jobs.has(job)) this.#judged.add(work.block)
    this.settle(job, { kind: "sealed", state: this.seal(work.state, work.block) })
  }

  /** Executes a block over a state. */
  seal(parent: WorldState, block: WorldBlock, wrong = block.fault === "bad-root"): WorldState {
    if (parent.closed) violated(`INV-36 ${block.name} was executed over a closed state`)
    const state = { bytes: this.#options.bytes?.(block) ?? 1, of: block, parent, wrong, closed: false }
    this.#states.add(state)
    return state
  }

  /** Serves pulls, fetches and look-ups until none is left. */
  serve() {
    for (;;) {
      const open = [...this.jobs].find(([, { kind }]) => kind === "pull" || kind === "fetch" || kind === "canonical")
      if (open === undefined) return
      this.finish(open[0])
    }
  }

  /** Settles every job until none is left. */
  drain() {
    for (let turns = 0; this.jobs.size > 0; turns++) {
      if (turns > 10_000) violated("the core never comes to rest")
      this.finish(this.jobs.keys().next().value!)
    }
  }

  send(event: Event<WorldBlock, WorldState>) {
    this.log.push(describe(event))
    const step = this.#options.step ?? realStep
    for (const action of step(this.core, event)) {
      this.log.push(`  ${describe(action)}`)
      this.#perform(action)
    }
    if (this.stopped === undefined) this.#watch()
  }

  #pulled(request: RequestId): WorldBlock | undefined {
    const open = this.core.requests.get(request)!
    if (open.kind === "verify" && open.candidate === undefined) return this.candidates.get(request)
    const child = open.candidate
    for (const block of this.blocks.values()) {
      if (same(block.digest, child?.parent ?? open.context.parent.digest)) return block
    }
    return undefined
  }

  #perform(action: Action<WorldBlock, WorldState>) {
    if (this.stopped !== undefined && action.type !== "close") violated(`${action.type} after the end`)
    switch (action.type) {
      case "run":
        return this.#run(action.job, action.work)
      case "cancel":
        if (!this.jobs.has(action.job)) violated("only a running job is cancelled")
        this.cancelled.set(action.job, this.jobs.get(action.job)!)
        this.jobs.delete(action.job)
        return
      case "apply":
        return this.#apply(action.state, action.anchor)
      case "close":
        return this.#close(action.state)
      case "proposal":
        this.proposals.set(action.request, action.block)
        return
      case "verdict":
        return this.#verdict(action.request, action.valid)
      case "drop":
        this.dropped.push(action.request)
        return
      case "acknowledge":
        return this.#acknowledge(action.ack)
      case "recovered":
        this.recovered.push(action.blocks)
        return
      case "stop":
        this.stopped = { error: action.error }
        this.#acks.clear()
        this.jobs.clear()
        return
    }
  }

  #run(job: JobId, work: Work<WorldBlock, WorldState>) {
    if ("state" in work) {
      if (work.state.closed) violated(`INV-36 ${work.kind} over a closed state`)
      for (let at: WorldState | undefined = work.state; at !== undefined && at !== this.tip; at = at.parent) {
        if (at.closed || at.parent === undefined) violated("INV-37 un-applied ancestors stay reachable")
      }
    }
    if (work.kind === "flush") {
      for (const { kind } of this.jobs.values()) if (kind === "flush") violated("INV-29 one flush at a time")
    }
    if (work.kind === "spill") {
      for (const { kind } of this.jobs.values()) if (kind === "spill") violated("one spill at a time")
      if (work.states.length === 0 || work.states.some(({ closed }) => closed)) violated("what is spilled lives")
    }
    if (work.kind === "prune") this.#prune(work)
    if (work.kind === "apply") {
      for (const other of this.jobs.values()) {
        if (other.kind === "apply" && other.block === work.block) violated("INV-32 one replay of a block at a time")
      }
    }
    this.jobs.set(job, work)
  }

  #prune({ set, marshal }: Extract<Work<WorldBlock, WorldState>, { readonly kind: "prune" }>) {
    for (const { kind } of this.jobs.values()) if (kind === "prune") violated("INV-30 one prune at a time")
    if (!this.#isComplete) violated("§10.7 §14.2 a prune that is due in the handover runs after the plan is complete")
    if (set > this.durable) violated("INV-30 a prune past what is durable")
    if (set > this.durable - this.#pendingAcksMax) violated("INV-12 a prune into the rewind window")
    if (marshal > set) violated("INV-31 marshal keeps less than the set")
    if (set <= (this.prunes.at(-1)?.set ?? 0)) violated("prunes go forward")
    this.prunes.push({ set, marshal })
  }

  #apply(state: WorldState, anchor: Anchor) {
    if (state.closed) violated("F62 a closed state was applied")
    if (state.parent !== this.tip) violated("INV-5 the applied state is a child of the tip")
    if (anchor.height !== this.tip.of.height + 1) violated("INV-5 the tip rises by one")
    if (state.wrong || !same(anchor.digest, state.of.digest)) violated("INV-6 the tip is the state of its block")
    this.tip = state
    this.applied.push(state)
    this.#finalized.set(anchor.height, state.of)
    for (const work of this.jobs.values()) {
      if ("state" in work && !this.#descends(work.state)) {
        violated(`INV-36 a ${work.kind} job still runs over a losing state`)
      }
    }
    for (const other of this.#states) if (!this.#descends(other)) other.closed = true
    for (const done of this.applied) this.#states.delete(done)
  }

  #descends(state: WorldState): boolean {
    for (let at: WorldState | undefined = state; at !== undefined; at = at.parent) if (at === this.tip) return true
    return false
  }

  #close(state: WorldState) {
    if (this.applied.includes(state)) violated("an applied state was closed")
    if (state.closed) return
    for (const work of this.jobs.values()) {
      if (!("state" in work)) continue
      for (let at: WorldState | undefined = work.state; at !== undefined; at = at.parent) {
        if (at === state) violated(`INV-37 the base of a running ${work.kind} job was closed`)
      }
    }
    for (const other of this.#states) {
      for (let at: WorldState | undefined = other; at !== undefined; at = at.parent) {
        if (at === state) other.closed = true
      }
    }
  }

  #verdict(request: RequestId, valid: boolean) {
    if (this.verdicts.has(request)) violated("a request was answered twice")
    this.verdicts.set(request, valid)
    const block = this.candidates.get(request)!
    const final = this.#finalized.get(block.height)
    if (valid) {
      if (final !== block && !this.#judged.has(block)) violated(`INV-15 ${block.name} was voted for without a verdict`)
      return
    }
    if (!this.deceived.has(request) && !this.isRefusable(block))
      violated(`INV-13 INV-14 ${block.name} is valid and not excluded, yet was answered false`)
  }

  /** Whether `false` is right about a block: provably invalid, or excluded by what is finalized. */
  isRefusable(block: WorldBlock): boolean {
    if (block.fault === "refused") return true
    for (const at of this.path(block)) {
      if (at.fault !== undefined && at.fault !== "refused") return true
      const final = this.#finalized.get(at.height)
      if (final !== undefined && final !== at) return true
    }
    return false
  }

  #acknowledge(ack: AckId) {
    const block = this.#acks.get(ack) ?? violated("an ack was released twice")
    this.#acks.delete(ack)
    if (block.height > this.durable) violated(`INV-9 INV-10 ${block.name} was acknowledged before it was durable`)
    if (block.height < (this.acked.at(-1) ?? 0)) violated("INV-8 acks are released in height order")
    if (this.acked.at(-1) !== block.height && block.height > 0 && !this.hooked.includes(block.height)) {
      violated("INV-16 the hook runs before the ack")
    }
    this.acked.push(block.height)
  }

  #hookDone(block: WorldBlock) {
    if (block.height > this.durable) violated("the finalized hook ran before its block was durable")
    if (block.height <= (this.hooked.at(-1) ?? -1)) violated("INV-16 hooks run once and in height order")
    this.hooked.push(block.height)
  }

  #watch() {
    const { core } = this
    const { pendingEntriesMax, spilledEntriesMax, spilledBytesMax } = core.options.limits
    const { pending } = core
    if (pending.heldSize > pendingEntriesMax) violated("F65 more entries than the budget allows")
    if (pending.size - pending.heldSize > spilledEntriesMax) violated("F65 more spilled entries than the limit")
    if (pending.scratchBytes > spilledBytesMax) violated("F65 more bytes in scratch than the limit")
    const entries = [...pending.values()]
    const sum = (of: (entry: (typeof entries)[number]) => number): number => entries.reduce((n, e) => n + of(e), 0)
    if (sum(({ bytes }) => bytes) !== pending.bytes) violated("F65 the bytes of memory are those of the entries")
    if (sum(({ scratchBytes }) => scratchBytes) !== pending.scratchBytes)
      violated("F65 the bytes of scratch are theirs")
    for (const entry of core.pending.values()) {
      if (entry.state.closed) violated(`the pending state of ${entry.state.of.name} is closed`)
      if (entry.state.wrong) violated("INV-1 a pending state matches its block's targets")
      const parent = entry.parent === core.tip.key ? core.tip : core.pending.get(entry.parent)
      if (parent === undefined) violated("INV-2 INV-4 the parent of an entry is pending or the tip")
      else if (parent.state !== entry.state.parent) violated("an entry's state was forked from its parent's")
      if (entry.anchor.round.view <= core.tip.anchor.round.view) violated("INV-3 entries are of later rounds")
    }
    for (const { id, wait } of core.requests.values()) {
      if (wait?.on === "flight" && core.flights.get(wait.key)?.waiters.has(id) !== true) {
        violated("INV-32 a replay knows who waits for it")
      }
    }
    const winner = core.finalizing[0]
    if (winner !== undefined && !this.runs("apply", winner.block)) violated("INV-42 a finalization waits for nobody")
    if (core.tip.anchor.height > core.durable.height && !this.runs("flush")) violated("applied state is being flushed")
    const acked = Math.max(this.acked.at(-1) ?? 0, this.#start)
    if (this.durable - acked > this.#pendingAcksMax)
      violated("INV-11 durable further ahead of the acks than the window")
    const next = core.unacked[0]
    if (next !== undefined && next.block.height <= core.durable.height && !this.runs("finalized")) {
      violated("INV-42 an ack of a durable block waits for its hook only")
    }
  }

  /** What must hold when nothing runs any more. */
  checkRest() {
    const { core } = this
    if (core.jobs.size + core.flights.size > 0) violated("at rest there are no jobs and no replays")
    if (core.finalizing.length + this.#acks.size > 0) violated("INV-42 at rest every finalized block is acknowledged")
    const pending = new Set([...core.pending.values()].map(({ state }) => state))
    for (const state of this.live) if (!pending.has(state)) violated(`the state of ${state.of.name} leaked`)
    for (const request of core.requests.values()) {
      const on = request.wait?.on
      if (on === "room" && core.pending.heldSize < core.options.limits.pendingEntriesMax) violated("F65 there is room")
      if (on !== "source" && on !== "room") violated(`request ${request.id} waits for ${on} and nothing will come`)
    }
  }
}

const same = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0

const describe = (thing: Event<WorldBlock, WorldState> | Action<WorldBlock, WorldState>): string =>
  JSON.stringify(thing, (key, value) => {
    if (value instanceof Uint8Array) return undefined
    if (key === "context" || key === "round" || key === "leader") return undefined
    if (value !== null && typeof value === "object" && "name" in value) return value.name
    if (value !== null && typeof value === "object" && "of" in value) return `state of ${value.of.name}`
    return value
  })

/** A world with a chain g <- a <- b <- c, and a2, b2 beside. Rounds grow from left to right. */
export const forked = (options: WorldOptions = {}) => {
  const world = new CoreWorld(options)
  const a = world.grow(GENESIS, "a", 1)
  const a2 = world.grow(GENESIS, "a2", 2)
  const b = world.grow(a, "b", 3)
  const b2 = world.grow(a2, "b2", 4)
  const c = world.grow(b, "c", 5)
  return { world, a, a2, b, b2, c }
}

/** Verifies a block to its end. */
export const verified = (world: CoreWorld, block: WorldBlock): boolean | undefined => {
  const request = world.verify(block)
  world.serve()
  while (world.runs("apply")) {
    world.finish(world.job("apply"))
    world.serve()
  }
  world.finish(world.job("verify", block))
  return world.verdicts.get(request)
}

/** Which fatal error ended a world. */
export const tagOf = (world: CoreWorld): string | undefined => world.stopped?.error?._tag

/** Key of a pending block. */
export const keyNamed = (world: CoreWorld, name: string): string =>
  [...world.core.pending.values()].find(({ state }) => state.of.name === name)!.key
