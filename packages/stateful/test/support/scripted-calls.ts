/**
 * Engine, executor and application as puppets around an order of calls: each call is made when a test says so, by whoever
 * makes it in earnest, and no other is.
 *
 * Invariant: what it offers can be made. A seal that nobody waits for does not succeed, and a hook ends once.
 */
import { type Ack, anchorOf, ExecutorStopped, Height } from "@coppice/consensus"
import { Deferred, Effect, Fiber } from "effect"
import type { Batches, Readers, SealedSet } from "../../src/database-set.ts"
import { type Call, CallOrder, follow, type LegalCall, startOf } from "../../src/diagnosis/index.ts"
import type { HookTools } from "../../src/index.ts"
import type { ModelDatabases } from "./model-set.ts"
import { TOY_GENESIS, type ToyBlock, toyApplication } from "./toy-chain.ts"

type Sealed = SealedSet<ModelDatabases>

const CONTEXT = TOY_GENESIS.context
const NOWHERE = { next: Effect.succeed(undefined) }
const READERS = {} as Readers<ModelDatabases>
const SEALED = {} as Sealed
const BATCHES = Object.fromEntries(
  ["left", "right"].map((side) => [side, { get: () => 0, put: () => {} }]),
) as unknown as Batches<ModelDatabases>

/** Runs of hooks that are under way at a time. */
const RUNS_MAX = 3
const TURNS = 12

const settle = Effect.forEach(Array.from({ length: TURNS }), () => Effect.yieldNow, { discard: true })

/** A transition in words. */
export const words = ({ machine, state, call }: LegalCall): string => `${machine} ${state} ${call}`

/** A run of a hook: what it was given, and what it ends with. */
class Run {
  readonly result = Deferred.makeUnsafe<Sealed | undefined, unknown>()
  readonly abort = new AbortController()
  readonly seals: Array<Deferred.Deferred<Sealed>> = []
  given!: readonly [Batches<ModelDatabases>, HookTools<ModelDatabases>]
  fiber!: Fiber.Fiber<unknown, unknown>

  get hasEnded(): boolean {
    return this.fiber.pollUnsafe() !== undefined
  }
}

/** See the head of this file. */
export class ScriptedCalls {
  readonly order: CallOrder
  readonly #states = new Map<string, LegalCall>()
  readonly #questions: Array<Deferred.Deferred<boolean, ExecutorStopped>> = []
  /** Who waits for an answer, by request. */
  readonly #callers: Array<Fiber.Fiber<unknown, unknown>> = []
  readonly #waiting: Array<Fiber.Fiber<unknown, unknown>> = []
  readonly #acks = new Map<number, Ack>()
  readonly #hooks = new Map<number, Deferred.Deferred<void>>()
  readonly #runs: Array<Run> = []

  constructor(window: number) {
    this.order = new CallOrder(window)
  }

  /** The calls that are legal now and can be made. */
  get legal(): ReadonlyArray<LegalCall> {
    return this.order.legal(["engine", "executor", "application"]).filter((call) => this.#canBeMade(call))
  }

  /** The calls that can be made now although their table does not list them. */
  get strays(): ReadonlyArray<LegalCall> {
    return [...this.#states.values()].flatMap(({ machine, of, state }) => {
      const calls: ReadonlyArray<Call> =
        machine === "delivery" ? ["acknowledge", "cancel"] : ["batch", "seal", "give", "decline"]
      return calls
        .filter((call) => machine !== "request" && follow(machine, state, call) === undefined)
        .map((call) => ({ machine, of, state, call }))
        .filter((call) => this.#canBeMade(call))
    })
  }

  /** Makes one of some calls, and lets happen what follows from it. */
  readonly make = Effect.fnUntraced(
    { self: this },
    function* (this: ScriptedCalls, calls: ReadonlyArray<LegalCall>, chance: () => number) {
      const made = calls[Math.floor(chance() * calls.length)]!
      const { machine, of, state, call } = made
      yield* Effect.exit(this.#perform(made))
      yield* settle
      const next = follow(machine, state, call)
      if (next !== undefined) this.#states.set(`${machine} ${of}`, { ...made, state: next })
      if (this.#runs.filter((run) => !run.hasEnded).length < RUNS_MAX) yield* this.#begin
      return made
    },
  )

  /** Ends what is under way. */
  get end(): Effect.Effect<void> {
    return Fiber.interruptAll([...this.#callers, ...this.#waiting, ...this.#runs.map(({ fiber }) => fiber)])
  }

  #canBeMade({ machine, of, call }: LegalCall): boolean {
    if (machine !== "run") return true
    const run = this.#runs[of]!
    if (call === "sealed") return run.seals.length > 0
    return call === "batch" || call === "seal" || !run.hasEnded
  }

  readonly #application = () =>
    this.order.application(
      toyApplication({
        finalized: ({ height }) => Deferred.await(this.#hooks.get(height)!),
        apply: (_block, batches, tools) => {
          const run = this.#runs.at(-1)!
          run.given = [batches, tools]
          return Deferred.await(run.result)
        },
      }),
    )

  readonly #port = () => {
    const question = () => {
      const answer = Deferred.makeUnsafe<boolean, ExecutorStopped>()
      this.#questions.push(answer)
      return Deferred.await(answer)
    }
    return this.order.port<ToyBlock>({
      propose: () => Effect.as(Effect.suspend(question), undefined),
      verify: () => Effect.suspend(question),
      finalized: (block, ack) => Effect.sync(() => void this.#acks.set(block.height, ack)),
    })
  }

  #fork(work: Effect.Effect<unknown, unknown>) {
    return Effect.forkDetach(work, { startImmediately: true })
  }

  #perform({ machine, of, call }: LegalCall): Effect.Effect<unknown, unknown> {
    if (machine === "request") return this.#performOfRequest(of, call)
    return machine === "delivery" ? this.#performOfDelivery(of, call) : this.#performOfRun(this.#runs[of]!, call)
  }

  #performOfRequest(of: number, call: Call): Effect.Effect<unknown, unknown> {
    if (call === "answer") return Deferred.succeed(this.#questions[of]!, true)
    if (call === "stop") return Deferred.fail(this.#questions[of]!, new ExecutorStopped({ cause: undefined }))
    if (call === "leave") return Fiber.interrupt(this.#callers[of]!)
    const port = this.#port()
    const asked = call === "propose" ? port.propose(CONTEXT, NOWHERE) : port.verify(CONTEXT, NOWHERE)
    return Effect.map(this.#fork(asked), (fiber) => this.#callers.push(fiber))
  }

  #performOfDelivery(of: number, call: Call): Effect.Effect<unknown, unknown> {
    const block: ToyBlock = { ...TOY_GENESIS, height: Height(of) }
    if (call === "deliver") return this.#port().finalized(block, { acknowledge: () => {}, cancel: () => {} })
    if (call === "acknowledge") return Effect.sync(() => this.#acks.get(of)!.acknowledge())
    if (call === "cancel") return Effect.sync(() => this.#acks.get(of)!.cancel())
    if (call === "hooked") return Deferred.succeed(this.#hooks.get(of)!, undefined)
    this.#hooks.set(of, Deferred.makeUnsafe<void>())
    const hook = Effect.suspend(
      () => this.#application().finalized!(block, READERS, () => anchorOf(block)) as Effect.Effect<void, unknown>,
    )
    return Effect.map(this.#fork(hook), (fiber) => this.#waiting.push(fiber))
  }

  #performOfRun(run: Run, call: Call): Effect.Effect<unknown, unknown> {
    const [batches, tools] = run.given
    if (call === "batch") return Effect.sync(() => batches.left.put("key", 1))
    if (call === "seal") return this.#fork(tools.seal(batches))
    if (call === "sealed") return Deferred.succeed(run.seals.shift()!, SEALED)
    if (call === "give") return Deferred.succeed(run.result, SEALED)
    if (call === "decline") return Deferred.succeed(run.result, undefined)
    if (call === "fail") return Deferred.fail(run.result, "failed")
    return run.abort.signal.aborted ? Fiber.interrupt(run.fiber) : Effect.sync(() => run.abort.abort())
  }

  readonly #begin = Effect.gen({ self: this }, function* () {
    const run = new Run()
    const of = this.#runs.push(run) - 1
    const seal = () => {
      const sealed = Deferred.makeUnsafe<Sealed>()
      run.seals.push(sealed)
      return Deferred.await(sealed)
    }
    const hook = Effect.suspend(
      () =>
        this.#application().apply(TOY_GENESIS, BATCHES, {
          signal: run.abort.signal,
          seal: () => Effect.suspend(seal),
        }) as Effect.Effect<unknown, unknown>,
    )
    run.fiber = yield* this.#fork(hook)
    this.#states.set(`run ${of}`, { machine: "run", of, state: startOf("run"), call: "batch" })
  })
}
