/**
 * Goal: no order of events breaks an invariant of the executor's core.
 * Method: a list of random numbers grows a block tree with faults in it and picks one event after the other: requests,
 * results in any order, results of cancelled jobs, ended sources, callers who leave, finalizations, flushes. `CoreWorld`
 * judges every action against INV-1 to INV-9, INV-13 to INV-16, INV-36, INV-37 and INV-42, and against the truth about
 * every block. Then everything is answered, and nothing may be left over. Canaries: broken cores that must be caught.
 */
import { Height } from "@coppice/consensus"
import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { type Core, step } from "../src/executor/core.ts"
import type { Action, Event, Work } from "../src/executor/protocol.ts"
import { pruneSchedule } from "../src/executor/pruning.ts"
import {
  CoreWorld,
  type Fault,
  GENESIS,
  Violation,
  type WorldBlock,
  type WorldOptions,
  type WorldState,
} from "./support/core-world.ts"

type Step = NonNullable<WorldOptions["step"]>
type WorldCore = Core<WorldBlock, WorldState>
type WorldEvent = Event<WorldBlock, WorldState>
type WorldAction = Action<WorldBlock, WorldState>
type WorldWork = Work<WorldBlock, WorldState>
type WorldApply = Extract<WorldAction, { readonly type: "apply" }>

const FAULTS: ReadonlyArray<Fault | undefined> = [
  ...Array<undefined>(30).fill(undefined),
  "bad-root",
  "not-executable",
  "refused",
  "bad-height",
  "bad-round",
]

const ACKS = 4
const SCHEDULE = pruneSchedule({ interval: 1, marshalBlocks: ACKS + 2 }, { rewindHeights: ACKS + 1 }, 0)

/** What a run met, to tell that the property is not vacuous. */
interface Seen {
  verdicts: number
  refused: number
  pruned: number
  replayed: number
  evicted: number
  spilled: number
  late: number
  waited: number
  queued: number
  forgot: number
}

/** A run: the world and the choices that drive it. */
class Run {
  readonly world: CoreWorld
  late = 0
  waited = 0
  queued = 0
  /** Some runs finalize nothing until their end, so that the budget fills. */
  readonly finalizes: boolean
  #view = 1
  #finalHead = GENESIS
  readonly #choices: Iterator<number>
  readonly #blocks: WorldBlock[] = [GENESIS]

  constructor(choices: ReadonlyArray<number>, options: WorldOptions) {
    this.#choices = choices[Symbol.iterator]()
    const pendingEntriesMax = 1 + ((this.#next() ?? 0) % 8)
    const verificationsMax = 1 + ((this.#next() ?? 0) % 8)
    const spilledEntriesMax = (this.#next() ?? 0) % 8
    const limits = { pendingEntriesMax, verificationsMax, spilledEntriesMax }
    this.world = new CoreWorld({ limits, pendingAcksMax: ACKS, schedule: SCHEDULE, ...options })
    this.finalizes = (this.#next() ?? 0) % 4 > 0
    while (this.world.stopped === undefined) {
      const kind = this.#next()
      if (kind === undefined) break
      this.#event(kind)
      for (const { wait } of this.world.core.requests.values()) {
        if (wait?.on === "room") this.waited++
        if (wait?.on === "place") this.queued++
      }
    }
  }

  #next(): number | undefined {
    const { value, done } = this.#choices.next()
    return done === true ? undefined : value
  }

  #pick<A>(from: ReadonlyArray<A>): A {
    return from[(this.#next() ?? 0) % from.length]!
  }

  #event(kind: number) {
    const { world } = this
    const roll = kind % 32
    if (roll < 4) return this.#grow()
    if (roll < 9) return this.#ask()
    if (roll < 27) return this.#settle()
    if (roll < 28) return this.#settleLate()
    if (roll < 29) {
      const open = [...world.core.requests.keys()]
      if (open.length > 0) world.leave(this.#pick(open))
      return
    }
    if (this.finalizes) return this.#finalize()
  }

  #grow() {
    const recent = this.#blocks.slice(-6)
    const parent = this.#pick(recent)
    const view = this.#view++
    this.#blocks.push(this.world.grow(parent, `b${view}`, view, this.#pick(FAULTS)))
  }

  #ask() {
    const block = this.#pick(this.#blocks.slice(-10))
    if ((this.#next() ?? 0) % 4 === 0) return this.world.propose(block, this.#view++)
    return this.world.verify(block)
  }

  #settle() {
    const { world } = this
    const jobs = [...world.jobs]
    if (jobs.length === 0) return
    const [job, work] = this.#pick(jobs)
    const ended = (this.#next() ?? 0) % 12 === 0
    if (ended && (work.kind === "pull" || work.kind === "fetch" || work.kind === "canonical")) {
      return world.give(job, undefined)
    }
    if (work.kind !== "propose" || ended) return world.finish(job)
    const view = work.context.round.view
    const block = world.grow(work.parent, `p${view}.${this.#blocks.length}`, view)
    this.#blocks.push(block)
    world.finish(job, block)
  }

  #settleLate() {
    const { world } = this
    const alive = [...world.cancelled].filter(([, work]) => !("state" in work) || !work.state.closed)
    if (alive.length === 0) return
    const [job, work] = this.#pick(alive)
    if (work.kind === "pull") return
    this.late++
    world.finish(job)
  }

  /** Consensus finalizes a valid child of what it finalized last. */
  #finalize() {
    const { world } = this
    if (world.unacked.length >= ACKS) return
    const children = this.#blocks.filter(
      (block) => world.parentOf(block) === this.#finalHead && (block.fault === undefined || block.fault === "refused"),
    )
    if (children.length === 0) return
    this.#finalHead = this.#pick(children)
    world.finalize(this.#finalHead)
  }
}

const run = (choices: ReadonlyArray<number>, options: WorldOptions = {}): Seen => {
  const { world, late, waited, queued } = new Run(choices, options)
  if (world.stopped !== undefined)
    throw new Violation(`stopped with ${world.stopped.error?._tag}: ${world.stopped.error}`)
  world.drain()
  world.checkRest()
  return {
    verdicts: world.verdicts.size,
    refused: [...world.verdicts.values()].filter((valid) => !valid).length,
    pruned: world.core.forksPruned,
    replayed: world.core.replayed,
    evicted: world.core.evicted,
    spilled: world.core.spilled,
    late,
    waited,
    queued,
    forgot: world.prunes.length,
  }
}

/** Another seed, another search: `FC_SEED=7`. What is found is printed with its seed and path. */
const seed = Number(process.env["FC_SEED"] ?? 42)

const choices = fc.array(fc.nat({ max: 65_535 }), { minLength: 100, maxLength: 1500, size: "max" })

describe("every order of events", () => {
  test("keeps INV-1 to INV-6, INV-8, INV-9, INV-13 to INV-16, INV-36, INV-37 and INV-42, and nothing is left over", () => {
    const total: Seen = {
      verdicts: 0,
      refused: 0,
      pruned: 0,
      replayed: 0,
      evicted: 0,
      spilled: 0,
      late: 0,
      waited: 0,
      queued: 0,
      forgot: 0,
    }
    fc.assert(
      fc.property(choices, (list) => {
        const seen = run(list)
        for (const key of Object.keys(total) as Array<keyof Seen>) total[key] += seen[key]
      }),
      { numRuns: 400, seed },
    )
    for (const [what, count] of Object.entries(total))
      expect(count, `${what}: the property is vacuous`).toBeGreaterThan(100)
  })

  test("gives the same actions twice for the same events", () => {
    fc.assert(
      fc.property(choices, (list) => {
        const logs = [0, 1].map(() => new Run(list, {}).world.log)
        expect(logs[0]).toEqual(logs[1])
      }),
      { numRuns: 20, seed },
    )
  })
})

/** A core whose events and actions pass through somebody who breaks a rule. */
const broken =
  (
    breaks: (core: WorldCore, event: WorldEvent, actions: ReadonlyArray<WorldAction>) => ReadonlyArray<WorldAction>,
  ): Step =>
  (core, event) =>
    breaks(core, event, step(core, event))

/** A core that gives certain work out differently, or more of it. */
const working =
  <K extends WorldWork["kind"]>(
    kind: K,
    gives: (work: Extract<WorldWork, { readonly kind: K }>, core: WorldCore) => ReadonlyArray<WorldWork>,
  ): Step =>
  (core, event) =>
    step(core, event).flatMap((action): ReadonlyArray<WorldAction> => {
      if (action.type !== "run" || action.work.kind !== kind) return [action]
      const given = gives(action.work as Extract<WorldWork, { readonly kind: K }>, core)
      return given.map((work, i) => ({ type: "run", job: i === 0 ? action.job : -action.job, work }))
    })

/** A core that applies something else than it should. */
const applying = (applies: (apply: WorldApply) => ReadonlyArray<WorldApply>): Step =>
  broken((_core, _event, actions) =>
    actions.flatMap((action): ReadonlyArray<WorldAction> => (action.type === "apply" ? applies(action) : [action])),
  )

/** A core that takes the second of two blocks that can be acknowledged before the first. */
const lateAcks = (): Step => {
  const held = new WeakMap<WorldCore, WorldAction>()
  return broken((core, _event, actions) =>
    actions.flatMap((action) => {
      if (action.type !== "acknowledge") return [action]
      const first = held.get(core)
      held.delete(core)
      if (first !== undefined) return [action, first]
      if (core.unacked.length === 0) return [action]
      held.set(core, action)
      return []
    }),
  )
}

const CANARIES: ReadonlyArray<readonly [string, RegExp, Step]> = [
  [
    "takes a replayed block for a verified one",
    /INV-15/,
    (core, event) => {
      for (const entry of core.pending.values()) entry.origin = "verified"
      return step(core, event)
    },
  ],
  [
    "acknowledges before the flush",
    /INV-9/,
    broken((_core, event, actions) =>
      event.type === "finalized" ? [...actions, { type: "acknowledge", ack: event.ack }] : actions,
    ),
  ],
  [
    "acknowledges without the hook",
    /INV-16|INV-42/,
    broken((core, _event, actions) =>
      actions.map((action) =>
        action.type === "run" && action.work.kind === "finalized"
          ? { type: "acknowledge", ack: core.unacked[0]!.ack }
          : action,
      ),
    ),
  ],
  [
    "lets losing hooks run on",
    /INV-36/,
    (core, event) => {
      const hooks = new Set([...core.jobs].filter(([, { base }]) => base !== undefined).map(([job]) => job))
      const actions = step(core, event)
      if (!actions.some(({ type }) => type === "apply")) return actions
      return actions.filter((action) => action.type !== "cancel" || !hooks.has(action.job))
    },
  ],
  [
    "answers false when data is missing",
    /INV-13/,
    broken((core, _event, actions) => {
      const parked = [...core.requests.values()].find(({ kind, wait }) => kind === "verify" && wait?.on === "source")
      if (parked === undefined) return actions
      core.requests.delete(parked.id)
      return [...actions, { type: "verdict", request: parked.id, valid: false }]
    }),
  ],
  [
    "answers false when the budget is full",
    /INV-13/,
    broken((core, _event, actions) => {
      const waiting = [...core.requests.values()].find(({ kind, wait }) => kind === "verify" && wait?.on === "room")
      if (waiting === undefined) return actions
      core.requests.delete(waiting.id)
      return [...actions, { type: "verdict", request: waiting.id, valid: false }]
    }),
  ],
  [
    "forgets to close states",
    /leaked/,
    broken((_core, _event, actions) => actions.filter(({ type }) => type !== "close")),
  ],
  [
    "evicts the ancestor of a kept entry",
    /INV-37|is closed/,
    broken((core, _event, actions) => {
      const inner = [...core.pending.values()].find(({ children }) => children > 0)
      return inner === undefined ? actions : [...actions, { type: "close", state: inner.state }]
    }),
  ],
  [
    "spills more than it may",
    /F65 more spilled/,
    (core, event) => {
      const { limits } = core.options
      const { spilledEntriesMax } = limits
      Object.assign(limits, { spilledEntriesMax: 1000 })
      const actions = step(core, event)
      Object.assign(limits, { spilledEntriesMax })
      return actions
    },
  ],
  [
    "takes the size of a spilled state for that of a newer one",
    /F65 the bytes/,
    (core, event) => {
      const actions = step(core, event)
      for (const entry of core.pending.values()) if (entry.scratchBytes > 0) entry.bytes = 0
      return actions
    },
  ],
  [
    "keeps losing branches",
    /INV-2|INV-3|is closed/,
    (core, event) => {
      const before = [...core.pending.values()]
      const actions = step(core, event)
      for (const { key, anchor, parent, state, origin } of before) {
        const isTip = key === core.tip.key
        if (!isTip && core.pending.get(key) === undefined) core.pending.insert({ key, anchor, parent, state, origin })
      }
      return actions
    },
  ],
  [
    "makes finalization wait for a running hook",
    /INV-42/,
    (core, event) => {
      if (event.type === "finalized" && [...core.jobs.values()].some(({ work }) => work.kind === "verify")) {
        core.finalizing.push({ block: event.block, key: "", ack: event.ack, row: undefined, hook: false })
        return []
      }
      return step(core, event)
    },
  ],
  [
    "caches a replayed state that its block does not commit to",
    /INV-1 /,
    (core, event) => {
      const isReplay = event.type === "settled" && core.jobs.get(event.job)?.work.kind === "apply"
      if (!isReplay) return step(core, event)
      const { mismatch } = core.options
      Object.assign(core.options, { mismatch: () => undefined })
      const actions = step(core, event)
      Object.assign(core.options, { mismatch })
      return actions
    },
  ],
  ["applies a state twice", /INV-5 the applied/, applying((apply) => [apply, apply])],
  [
    "skips a height",
    /INV-5 the tip/,
    applying((apply) => [{ ...apply, anchor: { ...apply.anchor, height: Height(apply.anchor.height + 1) } }]),
  ],
  [
    "calls what it applies by another name",
    /INV-6/,
    applying((apply) => [{ ...apply, anchor: { ...apply.anchor, digest: GENESIS.digest } }]),
  ],
  ["acknowledges a block before the one below", /INV-8/, lateAcks()],
  ["flushes twice at once", /INV-29/, working("flush", (work) => [work, work])],
  ["prunes twice at once", /INV-30 one prune/, working("prune", (work) => [work, work])],
  [
    "prunes what is not durable",
    /INV-30 a prune past/,
    working("prune", (work, { durable }) => [{ ...work, set: Height(durable.height + 1) }]),
  ],
  [
    "prunes what it may have to go back to",
    /INV-12/,
    working("prune", (work, { durable }) => [{ ...work, set: durable.height }]),
  ],
  [
    "lets marshal forget more than the set",
    /INV-31/,
    working("prune", (work) => [{ ...work, marshal: Height(work.set + 1) }]),
  ],
  [
    "prunes backwards",
    /prunes go forward/,
    working("prune", (work) => [{ ...work, set: Height(0), marshal: Height(0) }]),
  ],
  ["replays a block twice at once", /INV-32/, working("apply", (work) => [work, work])],
  [
    "works on for a caller who left",
    /INV-33/,
    broken((_core, event, actions) =>
      event.type === "left" ? actions.filter(({ type }) => type !== "cancel") : actions,
    ),
  ],
  [
    "answers twice",
    /answered twice/,
    broken((_core, _event, actions) =>
      actions.flatMap(
        (action): ReadonlyArray<WorldAction> => (action.type === "verdict" ? [action, action] : [action]),
      ),
    ),
  ],
  [
    "holds more than it may",
    /F65 more entries/,
    (core, event) => {
      const { limits } = core.options
      const { pendingEntriesMax } = limits
      Object.assign(limits, { pendingEntriesMax: 1000 })
      const actions = step(core, event)
      Object.assign(limits, { pendingEntriesMax })
      return actions
    },
  ],
]

describe("canaries", () => {
  test.each(CANARIES)("a core that %s is caught", (_name, rule, mutant) => {
    const outcome = fc.check(
      fc.property(choices, (list) => {
        run(list, { step: mutant })
      }),
      { numRuns: 300, endOnFailure: true, seed },
    )
    expect(outcome.failed).toBe(true)
    expect(String(outcome.errorInstance)).toMatch(rule)
  })
})
