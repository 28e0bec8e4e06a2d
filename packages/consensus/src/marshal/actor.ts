/**
 * The marshal's Effect shell: one fiber that takes what waits, runs a turn of the core, writes its rows, then acts.
 *
 *   callers, acks, fetches --> inbox --> step --> storage.write --> replies, deliveries, fetches --> inbox
 *
 * Invariant: nothing is answered, delivered or fetched on the strength of rows that are not durable. A failed read or
 * write ends the marshal and becomes no verdict and no ack (CONS-20); whoever waits learns `MarshalStopped`.
 */
import { bytesKey } from "@coppice/codec"
import type { Height } from "@coppice/verify/certificate"
import { Cause, Deferred, Effect, Exit, FiberMap, Queue } from "effect"
import type { Block } from "../block.ts"
import { type MarshalFailure, MarshalStopped } from "../errors.ts"
import { MAILBOX_REQUESTS_MAX } from "../limits.ts"
import type { Ack, ExecutorPort } from "../port.ts"
import { step } from "./core.ts"
import { fetchAnswer } from "./fetch.ts"
import type { MarshalOptions } from "./marshal.ts"
import { type Measure, measureIn } from "./metrics.ts"
import { PeerBook } from "./peers.ts"
import type { MarshalEffect, MarshalEvent, MarshalState } from "./state.ts"
import { isReadFailure, type MarshalStore, reading } from "./store.ts"
import { Subscriptions } from "./subscriptions.ts"
import type { BlockRequest } from "./transport.ts"

/** Who waits until the turn of an event is durable. */
interface Caller<B extends Block> {
  readonly event: MarshalEvent<B>
  readonly answer: (outcome: Exit.Exit<void, MarshalStopped>) => void
}

/** What waits for a turn, and its caller if it has one. A failure ends the marshal instead. */
export type InboxItem<B extends Block> =
  | { readonly event: MarshalEvent<B>; readonly caller: Caller<B> | undefined }
  | { readonly failure: MarshalFailure }

/** What turns use beside the actor itself. */
interface TurnTools {
  readonly fetches: FiberMap.FiberMap<string, void>
  readonly measure: Measure
}

/** One running marshal. */
export class Actor<B extends Block> {
  readonly options: MarshalOptions<B>
  readonly pendingAcksMax: number
  readonly store: MarshalStore<B>
  readonly stopped = Deferred.makeUnsafe<void, MarshalFailure>()
  state: MarshalState
  executor: ExecutorPort<B> | undefined
  readonly #inbox: Queue.Queue<InboxItem<B>>
  /** Callers whose event is in the inbox or in a turn, `MAILBOX_REQUESTS_MAX` at most, and those who wait for a place. */
  readonly #inside = new Set<Caller<B>>()
  readonly #outside = new Set<Caller<B>>()
  readonly #subscriptions = new Subscriptions<B>()
  readonly #book = new PeerBook()
  #ended: MarshalStopped | undefined

  constructor(
    options: MarshalOptions<B>,
    pendingAcksMax: number,
    store: MarshalStore<B>,
    state: MarshalState,
    inbox: Queue.Queue<InboxItem<B>>,
  ) {
    this.options = options
    this.pendingAcksMax = pendingAcksMax
    this.store = store
    this.state = state
    this.#inbox = inbox
  }

  /** The actor's life. Ends the fetches it started. */
  get run(): Effect.Effect<void> {
    return Effect.scoped(this.#turns).pipe(
      Effect.onExit((exit) => Effect.sync(() => this.#end(exit))),
      Effect.ignore,
    )
  }

  /**
   * Sends an event; succeeds when its turn is durable. At most `MAILBOX_REQUESTS_MAX` of these wait inside. Interruption
   * takes back an event that waits outside.
   */
  request(event: MarshalEvent<B>): Effect.Effect<void, MarshalStopped> {
    return Effect.callback((answer) => {
      if (this.#ended !== undefined) return answer(Effect.fail(this.#ended))
      const caller: Caller<B> = { event, answer }
      if (this.#inside.size < MAILBOX_REQUESTS_MAX) return this.#admit(caller)
      this.#outside.add(caller)
      return Effect.sync(() => void this.#outside.delete(caller))
    })
  }

  /** Sends an event whose turn nobody waits for. */
  tell(event: MarshalEvent<B>): void {
    this.#offer({ event, caller: undefined })
  }

  /** A read that storage may fail: the failure stops the marshal, and the reader is left waiting for its own end. */
  query<A>(read: () => A): Effect.Effect<A> {
    return Effect.suspend(() => {
      const found = this.#read(read)
      return found === undefined ? Effect.never : Effect.succeed(found.value)
    })
  }

  /** Waits for a block under a key, and asks peers for it meanwhile when there is a request. */
  subscribe(
    key: string,
    look: () => B | undefined,
    request: BlockRequest | undefined,
  ): Effect.Effect<B, MarshalStopped> {
    const tell = (tag: "wanted" | "unwanted"): void => {
      if (request !== undefined) this.tell({ tag, request })
    }
    return Effect.callback((resume) => {
      if (this.#ended !== undefined) return resume(Effect.fail(this.#ended))
      // The subscriber of a failed read is told with everybody else that the marshal ended.
      const held = this.#read(look)?.value
      if (held !== undefined) return resume(Effect.succeed(held))
      tell("wanted")
      return this.#subscriptions.join(key, { resume, left: () => tell("unwanted") })
    })
  }

  /** How many callers wait for a block. */
  get subscriptions(): number {
    return this.#subscriptions.open
  }

  /** What a read gives; undefined when it fails, which ends the marshal. */
  #read<A>(read: () => A): { readonly value: A } | undefined {
    try {
      return { value: read() }
    } catch (failure) {
      if (!isReadFailure(failure)) throw failure
      this.#offer({ failure })
      return undefined
    }
  }

  #admit(caller: Caller<B>): void {
    this.#inside.add(caller)
    this.#offer({ event: caller.event, caller })
  }

  /** The place of a caller goes to the one who has waited longest outside. */
  #answer(caller: Caller<B>): void {
    this.#inside.delete(caller)
    for (const next of this.#outside) {
      this.#outside.delete(next)
      this.#admit(next)
      break
    }
    caller.answer(Exit.void)
  }

  #offer(item: InboxItem<B>): void {
    if (this.#ended === undefined) Queue.offerUnsafe(this.#inbox, item)
  }

  readonly #turns = Effect.gen({ self: this }, function* () {
    const tools: TurnTools = {
      fetches: yield* FiberMap.make<string, void>(),
      measure: measureIn(yield* Effect.context<never>()),
    }
    for (;;) {
      const items = yield* Queue.takeAll(this.#inbox)
      const events: Array<MarshalEvent<B>> = []
      for (const item of items) {
        if ("failure" in item) return yield* Effect.fail(item.failure)
        events.push(item.event)
      }
      const turn = yield* reading(() => step(this.state, events, this.store, this.pendingAcksMax))
      if (turn.tag === "failed") return yield* Effect.fail(turn.failure)
      if (turn.rows.length > 0) yield* this.store.write(turn.rows)
      this.state = turn.state
      for (const item of items) if ("caller" in item && item.caller !== undefined) this.#answer(item.caller)
      tools.measure.stands(this.state, this.subscriptions, turn.rows)
      for (const effect of turn.effects) if (yield* this.#perform(effect, tools)) return
    }
  })

  /** Succeeds with true when the marshal is to stop. Does what needs no fiber before it returns. */
  #perform(effect: MarshalEffect<B>, { fetches, measure }: TurnTools): Effect.Effect<boolean> {
    switch (effect.tag) {
      case "known":
        this.#subscriptions.wake(effect.key, effect.block)
        return Effect.succeed(false)
      case "deliver":
        return this.#deliver(effect.block, measure)
      case "fetch":
        return Effect.as(FiberMap.run(fetches, effect.key, this.#fetched(effect.key, effect.request)), false)
      case "abandon":
        return Effect.as(FiberMap.remove(fetches, effect.key), false)
      case "continue":
        this.tell({ tag: "continued" })
        return Effect.succeed(false)
      case "stop":
        return Effect.succeed(true)
    }
  }

  #fetched(key: string, request: BlockRequest): Effect.Effect<void> {
    const { transport } = this.options
    const peers = Effect.map(transport.peers, (all) => {
      const targets = this.state.fetching.get(key)?.targets
      return targets === undefined ? all : all.filter((peer) => targets.has(bytesKey(peer)))
    })
    return Effect.map(fetchAnswer(this.options, { transport, book: this.#book, peers }, request), (answer) =>
      this.tell({ tag: "fetched", request, answer }),
    )
  }

  #deliver(block: B, measure: Measure): Effect.Effect<boolean> {
    return Effect.match(this.executor!.finalized(block, this.#ack(block.height)), {
      onFailure: () => true,
      onSuccess: () => {
        measure.delivered()
        return false
      },
    })
  }

  #ack(height: Height): Ack {
    let isUsed = false
    const use = (tag: "acknowledged" | "cancelled") => () => {
      if (isUsed) throw new Error(`ack of height ${height} was used twice`)
      isUsed = true
      this.tell({ tag, height })
    }
    return { acknowledge: use("acknowledged"), cancel: use("cancelled") }
  }

  #end(exit: Exit.Exit<void, MarshalFailure>): void {
    const failure = Exit.isFailure(exit) ? Cause.findErrorOption(exit.cause) : undefined
    this.#ended = new MarshalStopped({ cause: failure?._tag === "Some" ? failure.value : undefined })
    const refusal = Exit.fail(this.#ended)
    for (const callers of [this.#inside, this.#outside]) {
      for (const caller of callers) caller.answer(refusal)
      callers.clear()
    }
    this.#subscriptions.refuse(refusal)
    const isInterrupted = Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause)
    Deferred.doneUnsafe(this.stopped, isInterrupted ? Effect.void : exit)
  }
}
