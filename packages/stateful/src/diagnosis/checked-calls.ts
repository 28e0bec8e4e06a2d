/**
 * The legal order of calls, asserted while they are made.
 *
 *   engine --> order.port(port) --> executor --> order.application(application) --> hooks
 *     ^                                                        |
 *     '---- a legal call, drawn by a test ---- order.legal() <-+
 *
 * Terms: an *illegal call* is one that `call-order.ts` does not allow in the state that its request, delivery or run is in.
 * A *walk* is a sequence of calls, each drawn from those that are legal when it is made.
 *
 * Invariant: an illegal call throws in the face of its maker, and is kept: a maker that swallows it hides nothing. Legal
 * calls pass unchanged. For development: every call on a batch costs a look into a table.
 */
import { bytesEqual } from "@coppice/codec"
import type { Ack, Block, ExecutorPort } from "@coppice/consensus"
import { Effect, Exit } from "effect"
import type { Application, Hook, HookTools } from "../application.ts"
import type { Batches, Databases } from "../database-set.ts"
import { runHook } from "../hooks.ts"
import { CALLS_WALKED_MAX } from "../limits.ts"
import { interceptCalls } from "./batches.ts"
import {
  CALL_ORDER,
  type Call,
  follow,
  IN_HEIGHT_ORDER,
  MAKERS,
  type Machine,
  type MachineName,
  type Maker,
  startOf,
} from "./call-order.ts"

type Ordered = (typeof IN_HEIGHT_ORDER)[number]

const isOrdered = (call: Call): call is Ordered => (IN_HEIGHT_ORDER as ReadonlyArray<Call>).includes(call)

/** A call that is not legal where it was made. */
export class IllegalCall extends Error {
  readonly _tag = "IllegalCall"
  readonly machine: MachineName
  readonly state: string
  readonly call: Call
  readonly maker: (typeof MAKERS)[Call]

  constructor(machine: MachineName, state: string, call: Call, of: string) {
    super(`the ${MAKERS[call]} may not ${call}: ${of} is ${state}`)
    this.machine = machine
    this.state = state
    this.call = call
    this.maker = MAKERS[call]
  }
}

/** A call that is legal now. `of` numbers requests and runs from 0, in the order they were made; a delivery's is its height. */
export interface LegalCall {
  readonly machine: MachineName
  readonly of: number
  readonly state: string
  readonly call: Call
}

class Position {
  readonly #order: CallOrder
  readonly #machine: MachineName
  readonly #of: string
  state: string

  constructor(order: CallOrder, machine: MachineName, of: string) {
    this.#order = order
    this.#machine = machine
    this.#of = of
    this.state = startOf(machine)
  }

  move(call: Call): void {
    const next = follow(this.#machine, this.state, call)
    if (next === undefined) this.#order.refuse(new IllegalCall(this.#machine, this.state, call, this.#of))
    this.state = next
  }
}

/** Positions of one machine that have not ended, the newest of them, by the order in which they were made. */
class Positions {
  made = 0
  readonly #open = new Map<number, Position>()

  add(position: Position): Position {
    for (const [of, { state }] of this.#open) {
      if (state !== "ended" && this.#open.size < CALLS_WALKED_MAX) break
      this.#open.delete(of)
    }
    this.#open.set(this.made++, position)
    return position
  }

  entries(): Iterable<readonly [number, Position]> {
    return this.#open
  }
}

/** Where the calls of one executor's lifetime stand. */
export class CallOrder {
  /** Illegal calls so far, in order. */
  readonly illegal: Array<IllegalCall> = []
  readonly #window: number
  readonly #deliveries = new Map<number, { readonly block: Block; readonly position: Position }>()
  readonly #requests = new Positions()
  readonly #runs = new Positions()
  readonly #last: Partial<Record<Ordered, number>> = {}

  /** `window`: finalized blocks that may be delivered and not yet acknowledged. */
  constructor(window: number) {
    this.#window = window
  }

  /** Keeps an illegal call and throws it. */
  refuse(illegal: IllegalCall): never {
    this.illegal.push(illegal)
    throw illegal
  }

  /**
   * Every call that some of `makers` may make now, the first ones of a new request and a new delivery among them. Deliveries
   * begin at the height `first`.
   */
  legal(makers: ReadonlyArray<Maker>, first = 1): ReadonlyArray<LegalCall> {
    const found: LegalCall[] = []
    const list = (machine: MachineName, of: number, state: string): void => {
      for (const call of Object.keys((CALL_ORDER[machine] as Machine)[state]!) as ReadonlyArray<Call>) {
        if (makers.includes(MAKERS[call]) && this.#mayFollow(machine, of, state, call))
          found.push({ machine, of, state, call })
      }
    }
    for (const [of, { state }] of this.#requests.entries()) list("request", of, state)
    list("request", this.#requests.made, startOf("request"))
    for (const [height, { position }] of this.#deliveries) list("delivery", height, position.state)
    const { deliver = first - 1 } = this.#last
    list("delivery", deliver + 1, startOf("delivery"))
    for (const [of, { state }] of this.#runs.entries()) list("run", of, state)
    return found
  }

  #mayFollow(machine: MachineName, of: number, state: string, call: Call): boolean {
    if (machine !== "delivery" || !isOrdered(call)) return true
    if (call === "deliver" && this.#deliveries.size >= this.#window) return false
    // What is never hooked comes before all that is: genesis.
    if (call === "acknowledge" && state === "delivered" && this.#last.hook !== undefined) return false
    const last = this.#last[call]
    if (last !== undefined) return of === last + 1
    return call === "deliver" || of === Math.min(...this.#deliveries.keys())
  }

  #inOrder(call: Ordered, height: number): void {
    const last = this.#last[call]
    if (last !== undefined && height !== last + 1) {
      this.refuse(new IllegalCall("delivery", `after height ${last}`, call, `the block of height ${height}`))
    }
    this.#last[call] = height
  }

  /** The port with its calls asserted, those of the engine and those of the executor. */
  port<B extends Block>(port: ExecutorPort<B>): ExecutorPort<B> {
    const asked = <A, E>(call: "propose" | "verify", answer: Effect.Effect<A, E>): Effect.Effect<A, E> =>
      Effect.suspend(() => {
        const position = this.#requests.add(new Position(this, "request", `a request to ${call}`))
        position.move(call)
        return Effect.onExit(answer, (exit) => Effect.sync(() => position.move(endOf(exit))))
      })
    return {
      propose: (context, ancestry) => asked("propose", port.propose(context, ancestry)),
      verify: (context, ancestry) => asked("verify", port.verify(context, ancestry)),
      finalized: (block, ack) => Effect.suspend(() => port.finalized(block, this.#deliver(block, ack))),
    }
  }

  #deliver(block: Block, ack: Ack): Ack {
    const { height } = block
    const known = this.#deliveries.get(height)
    const isRepeated = known !== undefined && bytesEqual(known.block.digest, block.digest)
    if (!isRepeated) this.#inOrder("deliver", height)
    const position = new Position(this, "delivery", `the block of height ${height}`)
    position.move("deliver")
    if (this.#deliveries.size >= this.#window && !isRepeated) {
      this.refuse(new IllegalCall("delivery", `one of ${this.#window} that wait for their ack`, "deliver", "the block"))
    }
    if (!isRepeated) this.#deliveries.set(height, { block, position })
    return {
      acknowledge: () => {
        position.move("acknowledge")
        if (!isRepeated) this.#inOrder("acknowledge", height)
        this.#deliveries.delete(height)
        ack.acknowledge()
      },
      cancel: () => {
        position.move("cancel")
        ack.cancel()
      },
    }
  }

  /** The application with its calls asserted: what it does with batches, and the order of its `finalized` hooks. */
  application<B extends Block, M extends Databases>(application: Application<B, M>): Application<B, M> {
    const run = <A>(
      name: string,
      inputs: readonly [Batches<M>, HookTools<M>],
      hook: (batches: Batches<M>, tools: HookTools<M>) => Hook<A>,
    ): Effect.Effect<A, unknown> => this.#run(name, inputs, hook)
    const { finalized } = application
    return {
      ...application,
      propose: (context, ancestry, ...inputs) =>
        run("propose", inputs, (batches, tools) => application.propose(context, ancestry, batches, tools)),
      verify: (context, ancestry, ...inputs) =>
        run("verify", inputs, (batches, tools) => application.verify(context, ancestry, batches, tools)),
      apply: (block, ...inputs) => run("apply", inputs, (batches, tools) => application.apply(block, batches, tools)),
      ...(finalized === undefined
        ? {}
        : {
            finalized: (block, ...state) =>
              Effect.suspend(() => {
                this.#inOrder("hook", block.height)
                const position = this.#deliveries.get(block.height)?.position
                position?.move("hook")
                return Effect.map(
                  runHook(() => finalized(block, ...state)),
                  () => position?.move("hooked"),
                )
              }),
          }),
    }
  }

  #run<M extends Databases, A>(
    name: string,
    [batches, tools]: readonly [Batches<M>, HookTools<M>],
    hook: (batches: Batches<M>, tools: HookTools<M>) => Hook<A>,
  ): Effect.Effect<A, unknown> {
    return Effect.suspend(() => {
      const position = this.#runs.add(new Position(this, "run", `a run of ${name}`))
      const given = interceptCalls({ batches, tools }, (_member, _method, _args, call) => {
        position.move("batch")
        return call()
      })
      const seal: HookTools<M>["seal"] = (of) =>
        Effect.suspend(() => {
          position.move("seal")
          return Effect.map(given.tools.seal(of), (sealed) => {
            position.move("sealed")
            return sealed
          })
        })
      const cancel = (): void => position.move("cancel")
      tools.signal.addEventListener("abort", cancel)
      return Effect.onExit(
        runHook(() => hook(given.batches, { ...given.tools, seal })),
        (exit) =>
          Effect.sync(() => {
            tools.signal.removeEventListener("abort", cancel)
            position.move(endOfRun(exit))
          }),
      )
    })
  }
}

const endOf = (exit: Exit.Exit<unknown, unknown>): Call => {
  if (Exit.isSuccess(exit)) return "answer"
  return Exit.hasInterrupts(exit) ? "leave" : "stop"
}

const endOfRun = (exit: Exit.Exit<unknown, unknown>): Call => {
  if (Exit.isFailure(exit)) return Exit.hasInterrupts(exit) ? "cancel" : "fail"
  return exit.value === undefined ? "decline" : "give"
}
