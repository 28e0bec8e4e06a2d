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
import { Cause, Deferred, Effect, Exit, FiberMap, Metric, Queue, Semaphore } from "effect"
import type { Block } from "../block.ts"
import { type MarshalFailure, MarshalStopped } from "../errors.ts"
import { MAILBOX_REQUESTS_MAX } from "../limits.ts"
import type { Ack, ExecutorPort } from "../port.ts"
import { step } from "./core.ts"
import { fetchAnswer } from "./fetch.ts"
import type { MarshalOptions } from "./marshal.ts"
import { type Measure, marshalMetrics, measureIn } from "./metrics.ts"
import { PeerBook } from "./peers.ts"
import type { MarshalEffect, MarshalEvent, MarshalState } from "./state.ts"
import { type MarshalStore, reading } from "./store.ts"
import { Subscriptions } from "./subscriptions.ts"
import type { BlockRequest } from "./transport.ts"

/** What waits for a turn; `done` completes once the turn is durable. A failure ends the marshal instead. */
export type InboxItem<B extends Block> =
  | { readonly event: MarshalEvent<B>; readonly done: Deferred.Deferred<void, MarshalStopped> | undefined }
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
  readonly #requests = Semaphore.makeUnsafe(MAILBOX_REQUESTS_MAX)
  readonly #replies = new Set<Deferred.Deferred<void, MarshalStopped>>()
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

  /** Sends an event; succeeds when its turn is durable. At most `MAILBOX_REQUESTS_MAX` of these wait inside. */
  request(event: MarshalEvent<B>): Effect.Effect<void, MarshalStopped> {
    return this.#requests.withPermit(
      Effect.suspend(() => {
        if (this.#ended !== undefined) return Effect.fail(this.#ended)
        const done = Deferred.makeUnsafe<void, MarshalStopped>()
        this.#replies.add(done)
        this.#offer({ event, done })
        return Deferred.await(done)
      }),
    )
  }

  /** Sends an event whose turn nobody waits for. */
  tell(event: MarshalEvent<B>): void {
    this.#offer({ event, done: undefined })
  }

  /** A read that storage may fail: the failure stops the marshal, and the reader is left waiting for its own end. */
  query<A>(read: () => A): Effect.Effect<A> {
    return Effect.catch(reading(read), (failure) => {
      this.#offer({ failure })
      return Effect.never
    })
  }

  /** Waits for a block under a key, and asks peers for it meanwhile when there is a request. */
  subscribe(
    key: string,
    look: () => B | undefined,
    request: BlockRequest | undefined,
  ): Effect.Effect<B, MarshalStopped> {
    const tell = (tag: "wanted" | "unwanted") => () => {
      if (request !== undefined) this.tell({ tag, request })
    }
    // The subscriber of a failed read is told with everybody else that the marshal ended.
    const looking = Effect.catch(reading(look), (failure) => {
      this.#offer({ failure })
      return Effect.succeed(undefined)
    })
    return Effect.suspend(() =>
      this.#ended === undefined
        ? this.#subscriptions.wait(key, looking, tell("wanted"), tell("unwanted"))
        : Effect.fail(this.#ended),
    )
  }

  /** How many callers wait for a block. */
  get subscriptions(): number {
    return this.#subscriptions.open
  }

  #offer(item: InboxItem<B>): void {
    if (this.#ended === undefined) Queue.offerUnsafe(this.#inbox, item)
  }

  get #turns() {
    const actor = this
    return Effect.gen(function* () {
      const tools: TurnTools = {
        fetches: yield* FiberMap.make<string, void>(),
        measure: measureIn(yield* Effect.context<never>()),
      }
      for (;;) {
        const items = yield* Queue.takeAll(actor.#inbox)
        const stops = yield* actor.#turn(items, tools)
        if (stops) return
      }
    })
  }

  readonly #turn = Effect.fnUntraced(
    { self: this },
    function* (this: Actor<B>, items: ReadonlyArray<InboxItem<B>>, { fetches, measure }: TurnTools) {
      const events: Array<MarshalEvent<B>> = []
      for (const item of items) {
        if ("failure" in item) return yield* Effect.fail(item.failure)
        events.push(item.event)
      }
      const turn = yield* reading(() => step(this.state, events, this.store, this.pendingAcksMax))
      if (turn.tag === "failed") return yield* Effect.fail(turn.failure)
      if (turn.rows.length > 0) yield* this.store.write(turn.rows)
      this.state = turn.state
      for (const item of items) {
        if ("failure" in item || item.done === undefined) continue
        this.#replies.delete(item.done)
        Deferred.doneUnsafe(item.done, Effect.void)
      }
      measure(this.state, this.subscriptions, turn.rows)
      for (const effect of turn.effects) if (yield* this.#perform(effect, fetches)) return true
      return false
    },
  )

  /** Succeeds with true when the marshal is to stop. */
  #perform(effect: MarshalEffect<B>, fetches: FiberMap.FiberMap<string, void>): Effect.Effect<boolean> {
    switch (effect.tag) {
      case "known":
        return Effect.sync(() => {
          this.#subscriptions.wake(effect.key, effect.block)
          return false
        })
      case "deliver":
        return this.#deliver(effect.block)
      case "fetch":
        return Effect.as(FiberMap.run(fetches, effect.key, this.#fetched(effect.key, effect.request)), false)
      case "abandon":
        return Effect.as(FiberMap.remove(fetches, effect.key), false)
      case "continue":
        return Effect.sync(() => {
          this.tell({ tag: "continued" })
          return false
        })
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

  #deliver(block: B): Effect.Effect<boolean> {
    return this.executor!.finalized(block, this.#ack(block.height)).pipe(
      Effect.andThen(Metric.update(marshalMetrics.blocksDelivered, 1)),
      Effect.as(false),
      Effect.catchTag("ExecutorStopped", () => Effect.succeed(true)),
    )
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
    for (const done of this.#replies) Deferred.doneUnsafe(done, refusal)
    this.#subscriptions.refuse(refusal)
    this.#replies.clear()
    const isInterrupted = Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause)
    Deferred.doneUnsafe(this.stopped, isInterrupted ? Effect.void : exit)
  }
}
