/**
 * What a marshal keeps, as logical rows, and how the core reads them back.
 *
 *   finalized      height -> block            finalizations  height -> certificate of that height, if it has its own
 *   verified       round -> block             notarized      round -> block
 *   awaited        round -> certificate whose block is not held yet
 *   progress       the processed height      roundFloor     the round that it, or a floor, has reached
 *   floor          the installed floor        pendingFloor   certificate of a floor whose block is not held yet
 *   retained       height below which final blocks are removed
 *
 * Terms: a *cached* block is one in `verified` or `notarized`: accepted by this node or by a quorum, not final yet.
 *
 * Invariant: only provably final blocks are in `finalized`, one per height, linked by parent digest (CONS-12). Delivery
 * reads it without looking for a certificate.
 */
import type { Digest } from "@coppice/crypto"
import type { Finalization, Height, Round } from "@coppice/verify/certificate"
import type { Block } from "../block.ts"
import type { Floor } from "./state.ts"

/** Why a block is cached: this node is about to vote for it, or a quorum did. An equivocating leader makes them differ. */
export type CacheKind = "verified" | "notarized"

/** Names one cached block. */
export interface CachedRef {
  readonly kind: CacheKind
  readonly round: Round
  readonly digest: Digest
}

/** Names one final block. */
export interface FinalizedRef {
  readonly height: Height
  readonly digest: Digest
}

/** One change of the marshal's environment. The rows of a turn are one atomic write. */
export type Row<B extends Block> =
  | { readonly tag: "finalized"; readonly block: B }
  | { readonly tag: "finalization"; readonly height: Height; readonly finalization: Finalization }
  | { readonly tag: "cached"; readonly kind: CacheKind; readonly round: Round; readonly block: B }
  | { readonly tag: "expired"; readonly ref: CachedRef }
  | { readonly tag: "awaited"; readonly finalization: Finalization }
  | { readonly tag: "settled"; readonly round: Round }
  | { readonly tag: "progress"; readonly height: Height }
  | { readonly tag: "roundFloor"; readonly round: Round }
  | { readonly tag: "floor"; readonly floor: Floor }
  | { readonly tag: "pendingFloor"; readonly finalization: Finalization | undefined }
  | { readonly tag: "retained"; readonly from: Height }
  | { readonly tag: "pruned"; readonly ref: FinalizedRef }

/** Synchronous reads of what is durable. Throws `StorageError` or `CorruptRow`. */
export interface RowReader<B extends Block> {
  readonly finalizedAt: (height: Height) => B | undefined
  /** Whether a height is finalized here, without reading the block. */
  readonly isFinalized: (height: Height) => boolean
  /** The final block of the lowest height from the given one on. */
  readonly finalizedFrom: (height: Height) => B | undefined
  /** Final blocks below a height, lowest first, at most `limit`. */
  readonly finalizedBelow: (height: Height, limit: number) => ReadonlyArray<FinalizedRef>
  readonly hasFinalization: (height: Height) => boolean
  readonly cachedAt: (kind: CacheKind, round: Round) => B | undefined
  /** Any block held of that digest. */
  readonly byDigest: (digest: Digest) => B | undefined
  /** Cached blocks of rounds before the given one, oldest first, at most `limit`. */
  readonly cachedBefore: (round: Round, limit: number) => ReadonlyArray<CachedRef>
}
