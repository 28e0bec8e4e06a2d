/**
 * Block exchange between the marshals of one process, with seeded latency and loss.
 *
 * Invariant: only bytes cross; a node that is detached neither asks nor answers.
 */
import type { BlockRequest, BlockTransport } from "@coppice/consensus"
import type { Effect } from "effect"

/** Behaviour of every link. A lost message is never answered. */
export interface LinkOptions {
  readonly latencyMs: { readonly min: number; readonly max: number }
  /** Chance that a request or its answer is lost, 0 to 1. */
  readonly lossChance: number
}

/** A network of nodes named by identity keys. */
export interface BlockNetwork {
  /** One node's view of the network, attached or not. */
  readonly transport: (self: Uint8Array) => BlockTransport
  /** Lets the others reach a node. Replaces what was attached under the same key. */
  readonly attach: (self: Uint8Array, serve: (request: BlockRequest) => Effect.Effect<Uint8Array | undefined>) => void
  /** Takes a node off the network; its requests under way are never answered. */
  readonly detach: (self: Uint8Array) => void
  /** Blames so far: who was blamed, by whom, why. */
  readonly blames: () => ReadonlyArray<{ readonly by: Uint8Array; readonly peer: Uint8Array; readonly reason: string }>
}

/** Creates a network without nodes. Latency and loss come from Effect's Random, delays from its Clock. */
export declare const makeBlockNetwork: (options: LinkOptions) => BlockNetwork
