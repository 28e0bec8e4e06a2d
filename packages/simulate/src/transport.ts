/**
 * What marshals and probes of one process ask each other, over links that take time and lose messages.
 *
 * Invariant: only bytes cross; a node that is detached neither asks nor answers.
 */
import { bytesKey, decode, encode, keyBytes } from "@coppice/codec"
import {
  type BlockRequest,
  type BlockTransport,
  blockRequestCodec,
  type Probe,
  type ProbeTransport,
  RequestFailed,
} from "@coppice/consensus"
import { Effect, Random } from "effect"
import type { LinkOptions } from "./links.ts"

/** Carries one message from one identity to another: true when it has arrived, false when it is lost. */
export type Crossing = (from: Uint8Array, to: Uint8Array) => Effect.Effect<boolean>

/** One node's blame of another. */
export interface Blame {
  readonly by: Uint8Array
  readonly peer: Uint8Array
  readonly reason: string
}

/** Answers requests of peers. `asker` is the identity key of the peer. */
export type Serve = (request: BlockRequest, asker: Uint8Array) => Effect.Effect<Uint8Array | undefined>

/** Answers messages of peers' probes. */
export type ServeProbe = Probe["serve"]

/** A network of nodes named by identity keys. */
export interface BlockNetwork {
  /** One node's view of the network, attached or not. */
  readonly transport: (self: Uint8Array) => BlockTransport
  /** The same for its probe. */
  readonly probeTransport: (self: Uint8Array) => ProbeTransport
  /**
   * Lets the others reach a node. Replaces what was attached under the same key. Probes are answered nothing when `serveProbe`
   * is not given.
   */
  readonly attach: (self: Uint8Array, serve: Serve, serveProbe?: ServeProbe) => void
  /** Takes a node off the network: its requests under way are never answered, and it answers none. */
  readonly detach: (self: Uint8Array) => void
  /** All blames so far. */
  readonly blames: () => ReadonlyArray<Blame>
  /** Requests that were answered with bytes so far. */
  readonly answered: () => number
}

interface Attached {
  readonly serve: Serve
  readonly serveProbe: ServeProbe
}

/** Links that all behave alike: latency and loss come from Effect's Random. */
const alike =
  ({ latencyMs: { min, max }, lossChance }: LinkOptions): Crossing =>
  () =>
    Effect.gen(function* () {
      const isLost = (yield* Random.next) < lossChance
      yield* Effect.sleep(yield* Random.nextBetween(min, max))
      return !isLost
    })

/** Creates a network without nodes, over links that are all alike or over a crossing of one's own. */
export const makeBlockNetwork = (links: LinkOptions | Crossing): BlockNetwork => {
  const crossing = typeof links === "function" ? links : alike(links)
  const attached = new Map<string, Attached>()
  const blames: Array<Blame> = []
  let answered = 0

  /** Takes its time; never ends when the message is lost, or either end went off the network meanwhile. */
  const pass = Effect.fnUntraced(function* (from: Uint8Array, to: Uint8Array, areThere: () => boolean) {
    const hasArrived = yield* crossing(from, to)
    if (!hasArrived || !areThere()) return yield* Effect.never
  })

  /** There and back again. */
  const exchange = Effect.fnUntraced(function* (
    self: Uint8Array,
    peer: Uint8Array,
    serve: (served: Attached) => Effect.Effect<Uint8Array | undefined>,
  ) {
    const [from, to] = [bytesKey(self), bytesKey(peer)]
    const [own, other] = [attached.get(from), attached.get(to)]
    if (other === undefined) return yield* new RequestFailed({ reason: "unreachable" })
    if (own === undefined) return yield* new RequestFailed({ reason: "off the network" })
    const areThere = () => attached.get(from) === own && attached.get(to) === other
    yield* pass(self, peer, areThere)
    const bytes = yield* serve(other)
    yield* pass(peer, self, areThere)
    return bytes?.slice()
  })

  const blame =
    (by: Uint8Array): BlockTransport["blame"] =>
    (peer, reason) =>
      Effect.sync(() => void blames.push({ by, peer, reason }))

  return {
    transport: (self) => ({
      peers: Effect.sync(() => [...attached.keys()].filter((key) => key !== bytesKey(self)).map(keyBytes)),
      request: (peer, request) =>
        Effect.tap(
          exchange(self, peer, ({ serve }) =>
            serve(decode(blockRequestCodec, encode(blockRequestCodec, request)), self),
          ),
          (bytes) =>
            Effect.sync(() => {
              if (bytes !== undefined) answered++
            }),
        ),
      blame: blame(self),
    }),
    probeTransport: (self) => ({
      exchange: (peer, message) => exchange(self, peer, ({ serveProbe }) => serveProbe(message.slice(), self)),
      blame: blame(self),
    }),
    attach: (self, serve, serveProbe = () => Effect.succeed(undefined)) =>
      void attached.set(bytesKey(self), { serve, serveProbe }),
    detach: (self) => void attached.delete(bytesKey(self)),
    blames: () => blames,
    answered: () => answered,
  }
}
