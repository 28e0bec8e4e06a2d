/**
 * The marshal's Effect shell: one fiber that takes what waits, runs a turn of the core, writes its rows, then acts.
 *
 *   callers, acks, fetches --> inbox --> step --> storage.write --> replies, deliveries, fetches --> inbox
 *
 * Invariant: nothing is answered, delivered or fetched on the strength of rows that are not durable. A failed read or
 * write ends the marshal and becomes no verdict and no ack (CONS-20); whoever waits learns `MarshalStopped`.
 */
import { bytesKey } from "@coppice/codec"
import type { Digest } from "@coppice/crypto"
import { Storage } from "@coppice/storage"
import type { Height } from "@coppice/verify/certificate"
import { Cause, Deferred, Effect, Exit, FiberMap, Metric, Queue, Semaphore } from "effect"
import { anchorOf, type Block, encodeBlock } from "../block.ts"
import { CorruptRow, InvalidFinalization, type MarshalFailure, MarshalStopped } from "../errors.ts"
import { CHAIN_ID_BYTES_MAX, MAILBOX_REQUESTS_MAX, PENDING_ACKS_LIMIT, PENDING_ACKS_MAX } from "../limits.ts"
import type { Ack, Ancestry, ExecutorPort } from "../port.ts"
import { step } from "./core.ts"
import { fetchAnswer } from "./fetch.ts"
import type { Marshal, MarshalOptions } from "./marshal.ts"
import { acksPending, blocksDelivered, fetchesPending, processedHeight, tipHeight } from "./metrics.ts"
import { initialState, type MarshalEffect, type MarshalEvent, type MarshalState } from "./state.ts"
import { type MarshalStore, openStore, reading } from "./store.ts"

/** What waits for a turn; `done` completes once the turn is durable. A failure ends the marshal instead. */
type Item<B extends Block> =
  | { readonly event: MarshalEvent<B>; readonly done: Deferred.Deferred<void, MarshalStopped> | undefined }
  | { readonly failure: MarshalFailure }

class Actor<B extends Block> {
  readonly options: MarshalOptions<B>
  readonly pendingAcksMax: number
  readonly store: MarshalStore<B>
  readonly stopped = Deferred.makeUnsafe<void, MarshalFailure>()
  state: MarshalState
  executor: ExecutorPort<B> | undefined
  readonly #inbox: Queue.Queue<Item<B>>
  readonly #requests = Semaphore.makeUnsafe(MAILBOX_REQUESTS_MAX)
  readonly #replies = new Set<Deferred.Deferred<void, MarshalStopped>>()
  readonly #waiters = new Map<string, Set<Deferred.Deferred<B, MarshalStopped>>>()
  #ended: MarshalStopped | undefined

  constructor(
    options: MarshalOptions<B>,
    pendingAcksMax: number,
    store: MarshalStore<B>,
    state: MarshalState,
    inbox: Queue.Queue<Item<B>>,
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

  /** A read that storage may fail: the failure stops the marshal, and the reader is left waiting for its own end. */
  query<A>(read: () => A): Effect.Effect<A> {
    return Effect.catch(reading(read), (failure) => {
      this.#offer({ failure })
      return Effect.never
    })
  }

  subscribe(digest: Digest, supply: "wait" | "fetch"): Effect.Effect<B, MarshalStopped> {
    return Effect.flatMap(
      this.query(() => this.store.byDigest(digest)),
      (held) => (held === undefined ? this.#awaitBlock(digest, supply) : Effect.succeed(held)),
    )
  }

  #awaitBlock(digest: Digest, supply: "wait" | "fetch"): Effect.Effect<B, MarshalStopped> {
    const key = bytesKey(digest)
    const tell = (tag: "wanted" | "unwanted") => {
      if (supply === "fetch") this.#offer({ event: { tag, digest }, done: undefined })
    }
    const join = Effect.sync(() => {
      const waiter = Deferred.makeUnsafe<B, MarshalStopped>()
      const waiters = this.#waiters.get(key)
      if (waiters === undefined) this.#waiters.set(key, new Set([waiter]))
      else waiters.add(waiter)
      tell("wanted")
      return waiter
    })
    const leave = (waiter: Deferred.Deferred<B, MarshalStopped>) =>
      Effect.sync(() => {
        const waiters = this.#waiters.get(key)
        if (waiters?.delete(waiter) && waiters.size === 0) this.#waiters.delete(key)
        tell("unwanted")
      })
    return Effect.suspend(() =>
      this.#ended === undefined ? Effect.acquireUseRelease(join, Deferred.await, leave) : Effect.fail(this.#ended),
    )
  }

  #offer(item: Item<B>): void {
    if (this.#ended === undefined) Queue.offerUnsafe(this.#inbox, item)
  }

  get #turns() {
    const actor = this
    return Effect.gen(function* () {
      const fetches = yield* FiberMap.make<string, void>()
      for (;;) {
        const items = yield* Queue.takeAll(actor.#inbox)
        const stops = yield* actor.#turn(items, fetches)
        if (stops) return
      }
    })
  }

  readonly #turn = Effect.fnUntraced(
    { self: this },
    function* (this: Actor<B>, items: ReadonlyArray<Item<B>>, fetches: FiberMap.FiberMap<string, void>) {
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
      yield* this.#measure
      for (const effect of turn.effects) if (yield* this.#perform(effect, fetches)) return true
      return false
    },
  )

  get #measure() {
    return Effect.all([
      Metric.update(tipHeight, this.state.tip.height),
      Metric.update(processedHeight, this.state.processed ?? 0),
      Metric.update(acksPending, this.state.pending.length),
      Metric.update(fetchesPending, this.state.fetching.size),
    ])
  }

  /** Succeeds with true when the marshal is to stop. */
  #perform(effect: MarshalEffect<B>, fetches: FiberMap.FiberMap<string, void>): Effect.Effect<boolean> {
    switch (effect.tag) {
      case "known":
        return Effect.sync(() => this.#wake(effect.block))
      case "deliver":
        return this.#deliver(effect.block)
      case "fetch": {
        const { request, key } = effect
        const fetched = Effect.map(fetchAnswer(this.options, this.options.transport, request), (answer) =>
          this.#offer({ event: { tag: "fetched", request, answer }, done: undefined }),
        )
        return Effect.as(FiberMap.run(fetches, key, fetched), false)
      }
      case "abandon":
        return Effect.as(FiberMap.remove(fetches, effect.key), false)
      case "continue":
        return Effect.sync(() => {
          this.#offer({ event: { tag: "continued" }, done: undefined })
          return false
        })
      case "stop":
        return Effect.succeed(true)
    }
  }

  #wake(block: B): boolean {
    const key = bytesKey(block.digest)
    for (const waiter of this.#waiters.get(key) ?? []) Deferred.doneUnsafe(waiter, Effect.succeed(block))
    this.#waiters.delete(key)
    return false
  }

  #deliver(block: B): Effect.Effect<boolean> {
    return this.executor!.finalized(block, this.#ack(block.height)).pipe(
      Effect.andThen(Metric.update(blocksDelivered, 1)),
      Effect.as(false),
      Effect.catchTag("ExecutorStopped", () => Effect.succeed(true)),
    )
  }

  #ack(height: Height): Ack {
    let isUsed = false
    const use = (tag: "acknowledged" | "cancelled") => () => {
      if (isUsed) throw new Error(`ack of height ${height} was used twice`)
      isUsed = true
      this.#offer({ event: { tag, height }, done: undefined })
    }
    return { acknowledge: use("acknowledged"), cancel: use("cancelled") }
  }

  #end(exit: Exit.Exit<void, MarshalFailure>): void {
    const failure = Exit.isFailure(exit) ? Cause.findErrorOption(exit.cause) : undefined
    this.#ended = new MarshalStopped({ cause: failure?._tag === "Some" ? failure.value : undefined })
    const refusal = Effect.fail(this.#ended)
    for (const done of this.#replies) Deferred.doneUnsafe(done, refusal)
    for (const waiters of this.#waiters.values()) for (const waiter of waiters) Deferred.doneUnsafe(waiter, refusal)
    this.#replies.clear()
    this.#waiters.clear()
    const isInterrupted = Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause)
    Deferred.doneUnsafe(this.stopped, isInterrupted ? Effect.void : exit)
  }
}

const ancestryOf = <B extends Block>(start: B, parentOf: (block: B) => Effect.Effect<B | undefined>): Ancestry<B> => {
  let last: B | undefined
  let isOver = false
  return {
    next: Effect.suspend(() => {
      if (isOver) return Effect.succeed(undefined)
      return Effect.map(last === undefined ? Effect.succeed(start) : parentOf(last), (block) => {
        isOver = block === undefined
        last = block
        return block
      })
    }),
  }
}

const publicFace = <B extends Block>(actor: Actor<B>): Marshal<B> => {
  const { store, options } = actor
  const parentOf = (block: B): Effect.Effect<B | undefined> =>
    block.height === 0
      ? Effect.succeed(undefined)
      : Effect.catch(actor.subscribe(block.parent, "fetch"), () => Effect.never)
  return {
    pendingAcksMax: actor.pendingAcksMax,
    finalizedAt: (height) => actor.query(() => store.finalizedAt(height)),
    byDigest: (digest) => actor.query(() => store.byDigest(digest)),
    parentOf,
    processedHeight: Effect.sync(() => actor.state.processed),
    start: (executor, { deliverAfter }) =>
      Effect.suspend(() => {
        if (actor.executor !== undefined) throw new Error("the marshal was started twice")
        actor.executor = executor
        return actor.request({ tag: "start", after: deliverAfter })
      }),
    stopped: Deferred.await(actor.stopped),
    proposed: (round, block) => actor.request({ tag: "cached", kind: "verified", round, block }),
    verified: (round, block) => actor.request({ tag: "cached", kind: "verified", round, block }),
    notarized: (round, block) => actor.request({ tag: "cached", kind: "notarized", round, block }),
    verifiedAt: (round) => actor.query(() => store.cachedAt("verified", round)),
    report: (finalization) =>
      Effect.suspend((): Effect.Effect<void, InvalidFinalization | MarshalStopped> => {
        const { round, payload } = finalization.proposal
        return options.verify(finalization)
          ? actor.request({ tag: "finalization", finalization })
          : Effect.fail(new InvalidFinalization({ round, payload }))
      }),
    finalizationAt: (height) => actor.query(() => store.finalizationAt(height)),
    tip: Effect.sync(() => actor.state.tip),
    newestFinalization: Effect.sync(() => actor.state.newest),
    highestRound: actor.query(() => store.highestRound()),
    subscribe: (digest, supply) => actor.subscribe(digest, supply),
    ancestry: (start) => ancestryOf(start, parentOf),
    serve: (request) =>
      actor.query(() => {
        if (request.tag === "finalized") return store.finalizedBytes(request.height)
        const block = store.byDigest(request.digest)
        return block === undefined ? undefined : encodeBlock(options.codec, block)
      }),
  }
}

const loadState = <B extends Block>(store: MarshalStore<B>, genesis: B): MarshalState => {
  const { processed, highest, awaited } = store.load()
  const block = highest === undefined ? genesis : store.finalizedAt(highest.height)
  if (block === undefined) {
    throw new CorruptRow({ map: "finalized", key: new Uint8Array(0), reason: `no block at height ${highest?.height}` })
  }
  const finalizedRound = highest?.finalization.proposal.round ?? genesis.context.round
  return initialState({ ...anchorOf(block), finalizedRound }, processed, highest?.finalization, awaited)
}

const requireOptions = <B extends Block>({ chainId, genesis }: MarshalOptions<B>, pendingAcksMax: number): void => {
  const bytes = new TextEncoder().encode(chainId).length
  if (bytes === 0 || bytes > CHAIN_ID_BYTES_MAX) throw new RangeError(`chain id: ${bytes} bytes is outside`)
  if (genesis.height !== 0) throw new RangeError(`genesis: height ${genesis.height} is outside`)
  if (!Number.isInteger(pendingAcksMax) || pendingAcksMax < 1 || pendingAcksMax > PENDING_ACKS_LIMIT) {
    throw new RangeError(`pendingAcksMax: ${pendingAcksMax} is outside 1..${PENDING_ACKS_LIMIT}`)
  }
}

/**
 * Opens the marshal's environment, creating it for a new chain, and runs the marshal until the scope closes.
 *
 * Shape: the environment is `Storage`, opened with `MARSHAL_MAPS` and used by nothing else.
 * Errors: `ForeignEnvironment` when it is another chain's; nothing is written then. RangeError on options out of bounds.
 * Cancellation: closing the scope stops at once; what was not durable is delivered or asked for again after a restart.
 */
export const makeMarshal = Effect.fn("Consensus.makeMarshal")(function* <B extends Block>(options: MarshalOptions<B>) {
  const pendingAcksMax = options.pendingAcksMax ?? PENDING_ACKS_MAX
  requireOptions(options, pendingAcksMax)
  const storage = yield* Storage
  const store = yield* openStore(storage, options.codec, options.chainId, options.genesis)
  const state = yield* reading(() => loadState(store, options.genesis))
  const inbox = yield* Queue.unbounded<Item<B>>()
  const actor = new Actor(options, pendingAcksMax, store, state, inbox)
  yield* Effect.forkScoped(actor.run)
  return publicFace(actor)
})
