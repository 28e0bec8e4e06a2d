/**
 * Block exchange between the marshals of one process, over links that take time and lose messages.
 *
 * Invariant: only bytes cross; a node that is detached neither asks nor answers.
 */
import { bytesKey, decode, encode, keyBytes } from "@coppice/codec"
import { type BlockRequest, type BlockTransport, blockRequestCodec, RequestFailed } from "@coppice/consensus"
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

/** A network of nodes named by identity keys. */
export interface BlockNetwork {
  /** One node's view of the network, attached or not. */
  readonly transport: (self: Uint8Array) => BlockTransport
  /** Lets the others reach a node. Replaces what was attached under the same key. */
  readonly attach: (self: Uint8Array, serve: Serve) => void
  /** Takes a node off the network: its requests under way are never answered, and it answers none. */
  readonly detach: (self: Uint8Array) => void
  /** All blames so far. */
  readonly blames: () => ReadonlyArray<Blame>
  /** Requests that were answered with bytes so far. */
  readonly answered: () => number
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
  const attached = new Map<string, Serve>()
  const blames: Array<Blame> = []
  let answered = 0

  /** Takes its time; never ends when the message is lost, or either end went off the network meanwhile. */
  const pass = Effect.fnUntraced(function* (from: Uint8Array, to: Uint8Array, ends: ReadonlyMap<string, Serve>) {
    const hasArrived = yield* crossing(from, to)
    if (!hasArrived || [...ends].some(([key, serve]) => attached.get(key) !== serve)) return yield* Effect.never
  })

  const transport = (identity: Uint8Array): BlockTransport => {
    const own = bytesKey(identity)
    return {
      peers: Effect.sync(() => [...attached.keys()].filter((key) => key !== own).map(keyBytes)),
      request: Effect.fnUntraced(function* (peer, request) {
        const key = bytesKey(peer)
        const serve = attached.get(key)
        if (serve === undefined) return yield* new RequestFailed({ reason: "unreachable" })
        const self = attached.get(own)
        if (self === undefined) return yield* new RequestFailed({ reason: "off the network" })
        const ends = new Map([
          [own, self],
          [key, serve],
        ])
        yield* pass(identity, peer, ends)
        const bytes = yield* serve(decode(blockRequestCodec, encode(blockRequestCodec, request)), identity)
        yield* pass(peer, identity, ends)
        if (bytes !== undefined) answered++
        return bytes?.slice()
      }),
      blame: (peer, reason) => Effect.sync(() => void blames.push({ by: identity, peer, reason })),
    }
  }
  return {
    transport,
    attach: (self, serve) => void attached.set(bytesKey(self), serve),
    detach: (self) => void attached.delete(bytesKey(self)),
    blames: () => blames,
    answered: () => answered,
  }
}
