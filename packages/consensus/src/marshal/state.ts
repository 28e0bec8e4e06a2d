/**
 * What the marshal's core remembers, what happens to it, and what it asks for.
 *
 * Terms: *pending* = delivered, and its acknowledgement not recorded yet. A *floor* is the final block that a node began
 * with instead of genesis; a *pending floor* is one whose block is not here yet.
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

/** Where delivery stands. */
export interface Delivery {
  /** Height of the next block to deliver. */
  readonly next: Height
  /** Digest of the block below it; undefined when this node never knew that one. */
  readonly below: Digest | undefined
}

/** The final block that this node began with instead of genesis. */
export interface Floor {
  readonly height: Height
  /** Round of the certificate that named it. */
  readonly round: Round
}

/** A request that nobody waits for. */
export interface Hint {
  readonly request: BlockRequest
  /** The only peers to ask, by key; all of them when undefined. */
  readonly targets: ReadonlySet<string> | undefined
  /** Pointless once the round floor has reached it; undefined for a height. */
  readonly round: Round | undefined
}

/** A request under way, and the only peers to put it to; all of them when undefined. */
export interface Fetching {
  readonly request: BlockRequest
  readonly targets: ReadonlySet<string> | undefined
}

/** A request that callers wait for. */
export interface Want {
  readonly request: BlockRequest
  readonly callers: number
}

/** Everything a marshal remembers between turns. Immutable. */
export interface MarshalState {
  /** Highest height whose acknowledgement is durable. */
  readonly processed: Height | undefined
  /** Undefined before the start. */
  readonly delivery: Delivery | undefined
  /** Lowest height above the processed one whose final block is not held. */
  readonly missing: Height
  readonly pending: ReadonlyArray<PendingAck>
  readonly tip: TipUpdate
  readonly newest: Finalization | undefined
  /** Every certificate of this round or an earlier one is of a processed block, or of the floor. */
  readonly roundFloor: Round
  readonly floor: Floor | undefined
  /** A floor whose block is not held: until it is, nothing is repaired, delivered or recorded as acknowledged. */
  readonly pendingFloor: Finalization | undefined
  /** Final blocks below this height are being removed, or were. */
  readonly retained: Height
  /** Whether some of them may be left. */
  readonly isPruning: boolean
  /** Certificates whose block is not held, by round. */
  readonly awaited: ReadonlyMap<string, Finalization>
  /** What callers want fetched, by `requestKey`. */
  readonly wanted: ReadonlyMap<string, Want>
  /** What was hinted at, by `requestKey`, oldest first. */
  readonly hints: ReadonlyMap<string, Hint>
  readonly fetching: ReadonlyMap<string, Fetching>
}

/** What happens to a marshal. Certificates are verified and blocks checked against their request before they get here. */
export type MarshalEvent<B extends Block> =
  /** Delivery begins after a block, or, without one, where the acknowledgements and the floor left it. */
  | { readonly tag: "start"; readonly after: Anchor | undefined }
  | { readonly tag: "cached"; readonly kind: CacheKind; readonly round: Round; readonly block: B }
  | { readonly tag: "finalization" | "floor"; readonly finalization: Finalization }
  | { readonly tag: "fetched"; readonly request: BlockRequest; readonly answer: Answer<B> }
  | { readonly tag: "acknowledged" | "cancelled"; readonly height: Height }
  | { readonly tag: "wanted" | "unwanted"; readonly request: BlockRequest }
  | { readonly tag: "hinted"; readonly hint: Hint }
  | { readonly tag: "prune"; readonly below: Height }
  | { readonly tag: "continued" }

/** A checked answer of a peer. */
export interface Answer<B extends Block> {
  readonly block: B
  readonly finalization: Finalization | undefined
}

/** What a turn asks of the shell, in order, once its rows are durable. */
export type MarshalEffect<B extends Block> =
  /** A block is here, for those who wait for it under this key: `digestKey`, `heightKey` or `notarizedKey`. */
  | { readonly tag: "known"; readonly key: string; readonly block: B }
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

/** Key of a block by digest. */
export const digestKey = (digest: Digest): string => `block/${bytesKey(digest)}`
/** Key of the final block of a height. */
export const heightKey = (height: Height): string => `finalized/${height}`
/** Key of the block that was notarized in a round. */
export const notarizedKey = (round: Round): string => `notarized/${roundKey(round)}`
/** Identity of a request among those under way: the key under which its answer is waited for. */
export const requestKey = (request: BlockRequest): string =>
  request.tag === "block" ? digestKey(request.digest) : heightKey(request.height)

/** The one of two finalizations that has the higher round. */
export const newer = (a: Finalization | undefined, b: Finalization): Finalization =>
  a === undefined || compareRounds(b.proposal.round, a.proposal.round) > 0 ? b : a

/** The later of two rounds. */
export const laterRound = (a: Round, b: Round): Round => (compareRounds(b, a) > 0 ? b : a)

/** What an environment says about the past. */
export interface Past {
  readonly tip: TipUpdate
  readonly processed: Height | undefined
  readonly roundFloor: Round
  readonly highest: Finalization | undefined
  readonly awaited: ReadonlyArray<Finalization>
  readonly floor: Floor | undefined
  readonly pendingFloor: Finalization | undefined
  readonly retained: Height
}

/** State of a marshal that has just opened its environment. */
export const initialState = (past: Past): MarshalState => {
  const { tip, processed, roundFloor, highest, awaited, floor, pendingFloor, retained } = past
  const known = pendingFloor === undefined ? awaited : [...awaited, pendingFloor]
  return {
    processed,
    delivery: undefined,
    missing: processed === undefined ? Height(0) : Height(processed + 1),
    pending: [],
    tip,
    newest: known.reduce(newer, highest),
    roundFloor,
    floor,
    pendingFloor,
    retained,
    isPruning: retained > 0,
    awaited: new Map(awaited.map((finalization) => [roundKey(finalization.proposal.round), finalization])),
    wanted: new Map(),
    hints: new Map(),
    fetching: new Map(),
  }
}
