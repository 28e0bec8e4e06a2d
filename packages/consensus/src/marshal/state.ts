/**
 * What the marshal's core remembers, what happens to it, and what it asks for.
 *
 * Terms: *contiguous* = the height up to which finalized blocks are held without a gap. *Pending* = delivered, and its
 * acknowledgement not recorded yet.
 *
 * Invariant: a state is immutable; it replaces the one before only when the rows of its turn are durable.
 */
import { bytesKey } from "@coppice/codec"
import type { Digest } from "@coppice/crypto"
import type { Finalization } from "@coppice/verify/certificate"
import { compareRounds, Height, type Round, roundKey } from "@coppice/verify/certificate"
import type { Anchor, Block } from "../block.ts"
import type { MarshalFailure } from "../errors.ts"
import type { TipUpdate } from "../port.ts"
import type { CacheKind, Row } from "./rows.ts"
import type { BlockRequest } from "./transport.ts"

/** A delivered block whose acknowledgement is not recorded yet. */
interface PendingAck {
  readonly height: Height
  readonly acknowledged: boolean
}

/** Everything a marshal remembers between turns. Immutable. */
export interface MarshalState {
  /** Highest height whose acknowledgement is durable. */
  readonly processed: Height | undefined
  /** Last delivered block, or the executor's anchor; undefined before the start. */
  readonly delivered: Anchor | undefined
  readonly contiguous: Height
  readonly pending: ReadonlyArray<PendingAck>
  readonly tip: TipUpdate
  readonly newest: Finalization | undefined
  /** Certificates whose block is not held, by round. */
  readonly awaited: ReadonlyMap<string, Finalization>
  /** Digests that callers want fetched, with the number of callers. */
  readonly wanted: ReadonlyMap<string, { readonly digest: Digest; readonly callers: number }>
  readonly fetching: ReadonlyMap<string, BlockRequest>
}

/** What happens to a marshal. Certificates are verified and blocks checked against their request before they get here. */
export type MarshalEvent<B extends Block> =
  | { readonly tag: "start"; readonly after: Anchor }
  | { readonly tag: "cached"; readonly kind: CacheKind; readonly round: Round; readonly block: B }
  | { readonly tag: "finalization"; readonly finalization: Finalization }
  | { readonly tag: "fetched"; readonly request: BlockRequest; readonly answer: Answer<B> }
  | { readonly tag: "acknowledged" | "cancelled"; readonly height: Height }
  | { readonly tag: "wanted" | "unwanted"; readonly digest: Digest }
  | { readonly tag: "continued" }

/** A checked answer of a peer. */
export interface Answer<B extends Block> {
  readonly block: B
  readonly finalization: Finalization | undefined
}

/** What a turn asks of the shell, in order, once its rows are durable. */
export type MarshalEffect<B extends Block> =
  | { readonly tag: "known"; readonly block: B }
  | { readonly tag: "deliver"; readonly block: B }
  | { readonly tag: "fetch" | "abandon"; readonly key: string; readonly request: BlockRequest }
  /** The turn left work over: take another one at once, with the event `continued`. */
  | { readonly tag: "continue" }
  /** An ack was cancelled: stop without failure. */
  | { readonly tag: "stop" }

/** Outcome of a turn. A failure voids the rest: nothing is written, the marshal is over. */
export type Turn<B extends Block> =
  | {
      readonly tag: "turn"
      readonly state: MarshalState
      readonly rows: ReadonlyArray<Row<B>>
      readonly effects: ReadonlyArray<MarshalEffect<B>>
    }
  | { readonly tag: "failed"; readonly failure: MarshalFailure }

/** Identity of a request among those under way. */
export const requestKey = (request: BlockRequest): string =>
  request.tag === "block" ? `block/${bytesKey(request.digest)}` : `finalized/${request.height}`

/** The one of two finalizations that has the higher round. */
export const newer = (a: Finalization | undefined, b: Finalization): Finalization =>
  a === undefined || compareRounds(b.proposal.round, a.proposal.round) > 0 ? b : a

/** State of a marshal that has just opened its environment. */
export const initialState = (
  tip: TipUpdate,
  processed: Height | undefined,
  highest: Finalization | undefined,
  awaited: ReadonlyArray<Finalization>,
): MarshalState => ({
  processed,
  delivered: undefined,
  contiguous: processed ?? Height(0),
  pending: [],
  tip,
  newest: awaited.reduce(newer, highest),
  awaited: new Map(awaited.map((finalization) => [roundKey(finalization.proposal.round), finalization])),
  wanted: new Map(),
  fetching: new Map(),
})
