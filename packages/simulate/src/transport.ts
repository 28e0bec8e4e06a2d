/**
 * Block exchange between the marshals of one process, with seeded latency and loss.
 *
 * Invariant: only bytes cross; a node that is detached neither asks nor answers.
 */
import { bytesKey, decode, encode, keyBytes } from "@coppice/codec"
import { type BlockRequest, type BlockTransport, blockRequestCodec, RequestFailed } from "@coppice/consensus"
import { Effect, Random } from "effect"

/** Behaviour of every link. A lost message is never answered. */
export interface LinkOptions {
  readonly latencyMs: { readonly min: number; readonly max: number }
  /** Chance that a request, or an answer, is lost, 0 to 1. */
  readonly lossChance: number
}

/** One node's blame of another. */
export interface Blame {
  readonly by: Uint8Array
  readonly peer: Uint8Array
  readonly reason: string
}

/** Answers requests of peers. */
export type Serve = (request: BlockRequest) => Effect.Effect<Uint8Array | undefined>

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
}

/** Creates a network without nodes. Latency and loss come from Effect's Random, delays from its Clock. */
export const makeBlockNetwork = ({ latencyMs, lossChance }: LinkOptions): BlockNetwork => {
  const attached = new Map<string, Serve>()
  const blames: Array<Blame> = []

  /** Takes its time; never ends when the message is lost, or either end went off the network meanwhile. */
  const pass = Effect.fnUntraced(function* (ends: ReadonlyArray<readonly [string, Serve]>) {
    const isLost = (yield* Random.next) < lossChance
    yield* Effect.sleep(yield* Random.nextBetween(latencyMs.min, latencyMs.max))
    if (isLost || ends.some(([key, serve]) => attached.get(key) !== serve)) return yield* Effect.never
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
        const ends = [[own, self] as const, [key, serve] as const]
        yield* pass(ends)
        const bytes = yield* serve(decode(blockRequestCodec, encode(blockRequestCodec, request)))
        yield* pass(ends)
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
  }
}
