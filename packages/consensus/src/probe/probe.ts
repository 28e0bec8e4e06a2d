/**
 * Finding a floor: a new node asks a committee what is final, instead of trusting one certificate that it was handed.
 *
 *   probe A -- exchange(validator, request) --> transport ~~~> probe B.serve(request)
 *   probe A <-------- newest finalization ~~~~~~~~~~~~~~~~~~~~ marshal of B
 *
 * Terms: see core.ts.
 *
 * Invariant: every certificate that can become the floor is verified, so no reply can forge state; what liars can do is be
 * silent, or tell of an old block, and then f + 1 replies make up for it. One fiber asks, and only while somebody waits.
 */

import { encode } from "@coppice/codec"
import type { Finalization } from "@coppice/verify/certificate"
import { Clock, Deferred, Effect, FiberHandle, type Scope } from "effect"
import type { Block } from "../block.ts"
import { PROBE_RETRY_MS } from "../limits.ts"
import type { Marshal } from "../marshal/marshal.ts"
import type { BlockTransport, RequestFailed } from "../marshal/transport.ts"
import { createProbe, type ProbeAction, type ProbeCore, type ProbeEvent, repliesNeeded, stepProbe } from "./core.ts"
import { PROBE_REQUEST, type ProbeRules, probeResponseCodec } from "./messages.ts"

/** The network as a probe sees it. Peers are named by their identity keys. */
export interface ProbeTransport {
  /** Sends a peer a message. Undefined: it answers nothing. May stay pending; interruption abandons it. */
  readonly exchange: (peer: Uint8Array, message: Uint8Array) => Effect.Effect<Uint8Array | undefined, RequestFailed>
  readonly blame: BlockTransport["blame"]
}

/** What a probe is made of. */
export interface ProbeOptions extends ProbeRules {
  readonly transport: ProbeTransport
  /**
   * Time after which everybody is asked again, above 0; `PROBE_RETRY_MS` when not given. Honest peers refuse to answer twice
   * within `PROBE_SERVE_MS`.
   */
  readonly retryMs?: number
}

/** A running probe. It lives as long as its scope. */
export interface Probe {
  /**
   * The newest finalization that a sample of the committee knows: f + 1 replies. Waits as long as it takes; the same one for
   * everybody who waits, and for whoever asks later.
   *
   * Dies with Error on a node that serves others and never had to look for one: nothing would be found any more. People are
   * warned each time that everybody is asked again. Cancellation: when the last one who waits gives up, nothing more is asked.
   */
  readonly floor: Effect.Effect<Finalization>
  /** From now on this node answers others, once nobody here waits for a floor. To be called when the floor was used. */
  readonly attach: (marshal: Pick<Marshal<Block>, "newestFinalization">) => Effect.Effect<void>
  /**
   * Takes a peer's message and answers it. Undefined: it is no request, this node looks for a floor itself, nothing is final
   * here yet, or the peer had its answer less than `PROBE_SERVE_MS` ago.
   */
  readonly serve: (message: Uint8Array, from: Uint8Array) => Effect.Effect<Uint8Array | undefined>
}

class OpenProbe implements Probe {
  readonly #options: ProbeOptions
  readonly #retryMs: number
  readonly #core: ProbeCore
  readonly #asking: FiberHandle.FiberHandle
  readonly #found = Deferred.makeUnsafe<Finalization>()
  #newest: Marshal<Block>["newestFinalization"] = Effect.succeed(undefined)

  constructor(options: ProbeOptions, asking: FiberHandle.FiberHandle) {
    const { retryMs = PROBE_RETRY_MS } = options
    if (!(retryMs > 0)) throw new Error(`probe: asking again after ${retryMs} ms`)
    this.#options = options
    this.#retryMs = retryMs
    this.#core = createProbe(options)
    this.#asking = asking
  }

  readonly floor: Probe["floor"] = Effect.suspend(() => {
    const { phase, floor } = this.#core
    if (floor !== undefined) return Effect.succeed(floor)
    if (phase === "service") throw new Error("probe: a node that serves others looks for no floor")
    return Effect.acquireUseRelease(
      this.#take({ type: "wanted" }),
      () => Deferred.await(this.#found),
      () => this.#take({ type: "unwanted" }),
    )
  })

  readonly attach: Probe["attach"] = ({ newestFinalization }) =>
    Effect.suspend(() => {
      this.#newest = newestFinalization
      return Effect.asVoid(this.#take({ type: "attached" }))
    })

  readonly serve: Probe["serve"] = Effect.fnUntraced({ self: this }, function* (this: OpenProbe, bytes, from) {
    const answer = yield* this.#receive(from, bytes)
    return answer && encode(probeResponseCodec, answer)
  })

  readonly #receive = Effect.fnUntraced(
    { self: this },
    function* (this: OpenProbe, from: Uint8Array, bytes: Uint8Array) {
      const [newest, nowMs] = [yield* this.#newest, yield* Clock.currentTimeMillis]
      return yield* this.#take({ type: "received", from, bytes, nowMs, newest })
    },
  )

  /** Gives what a request that was received is to be answered with. */
  #take(event: ProbeEvent): Effect.Effect<Finalization | undefined> {
    return Effect.suspend(() => {
      const actions = stepProbe(this.#core, event)
      const answer = actions.find(({ type }) => type === "answer")
      const peer = event.type === "received" ? event.from : undefined
      return Effect.as(
        Effect.forEach(actions, (action) => this.#perform(action, peer), { discard: true }),
        answer?.type === "answer" ? answer.finalization : undefined,
      )
    })
  }

  #perform(action: ProbeAction, peer: Uint8Array | undefined): Effect.Effect<void> {
    switch (action.type) {
      case "ask":
        return Effect.asVoid(FiberHandle.run(this.#asking, this.#ask(action.peers)))
      case "rest":
        return FiberHandle.clear(this.#asking)
      case "found":
        return Effect.asVoid(Deferred.succeed(this.#found, action.floor))
      case "block":
        return this.#options.transport.blame(peer!, action.reason)
      case "answer":
        return Effect.void
    }
  }

  /** Asks every peer at once, and again when nothing is decided in time. A node of the committee gets nothing from itself. */
  #ask(peers: ReadonlyArray<Uint8Array>): Effect.Effect<void> {
    const { transport } = this.#options
    const replies = Effect.forEach(
      peers,
      (peer) =>
        Effect.matchEffect(transport.exchange(peer, PROBE_REQUEST), {
          onFailure: () => Effect.void,
          onSuccess: (bytes) => (bytes === undefined ? Effect.void : Effect.asVoid(this.#receive(peer, bytes))),
        }),
      { concurrency: "unbounded", discard: true },
    )
    const overdue = Effect.suspend(() => {
      const [replied, needed] = [this.#core.replies.size, repliesNeeded(this.#options)]
      const asking = Effect.logWarning("no floor yet: too few of the committee reply, asking again", {
        replied,
        needed,
      })
      return Effect.asVoid(Effect.andThen(asking, this.#take({ type: "overdue" })))
    })
    const inTime = Effect.raceFirst(Effect.andThen(replies, Effect.never), Effect.sleep(this.#retryMs))
    return Effect.asVoid(Effect.andThen(inTime, overdue))
  }
}

/**
 * Makes a probe that asks for nothing yet. Dies with Error when the committee of `minimumEpoch` is not known, or `retryMs` is
 * not above 0.
 */
export const makeProbe = (options: ProbeOptions): Effect.Effect<Probe, never, Scope.Scope> =>
  Effect.map(FiberHandle.make(), (asking) => new OpenProbe(options, asking))
