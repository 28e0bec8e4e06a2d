/**
 * One turn's rows over what is durable.
 *
 * Invariant: a read through the draft sees what the environment will hold once the turn's rows are written, plus the blocks
 * that arrived in the turn and are not stored yet. What the turn removes it still sees: removing comes last.
 */
import { bytesKey } from "@coppice/codec"
import type { Digest } from "@coppice/crypto"
import { compareRounds, type Height, type Round, roundKey } from "@coppice/verify/certificate"
import type { Block } from "../block.ts"
import type { CachedRef, CacheKind, FinalizedRef, Row, RowReader } from "./rows.ts"

/** A turn's overlay. Discarded with the turn, whether its rows were written or not. */
export class Draft<B extends Block> implements RowReader<B> {
  readonly #base: RowReader<B>
  readonly #rows: Array<Row<B>> = []
  readonly #finalized = new Map<Height, B>()
  readonly #certified = new Set<Height>()
  readonly #cached = new Map<string, B>()
  readonly #blocks = new Map<string, B>()

  constructor(base: RowReader<B>) {
    this.#base = base
  }

  /** The rows so far, in order. */
  get rows(): ReadonlyArray<Row<B>> {
    return this.#rows
  }

  /** Makes an arrived block findable by digest during this turn without storing it. */
  hold(block: B): void {
    this.#blocks.set(bytesKey(block.digest), block)
  }

  add(row: Row<B>): void {
    this.#rows.push(row)
    if (row.tag === "finalized") this.#finalized.set(row.block.height, row.block)
    if (row.tag === "finalization") this.#certified.add(row.height)
    if (row.tag === "cached") this.#cached.set(`${row.kind}/${roundKey(row.round)}`, row.block)
    if (row.tag === "finalized" || row.tag === "cached") this.hold(row.block)
  }

  finalizedAt(height: Height): B | undefined {
    return this.#finalized.get(height) ?? this.#base.finalizedAt(height)
  }

  isFinalized(height: Height): boolean {
    return this.#finalized.has(height) || this.#base.isFinalized(height)
  }

  finalizedFrom(height: Height): B | undefined {
    let lowest = this.#base.finalizedFrom(height)
    for (const block of this.#finalized.values()) {
      if (block.height >= height && (lowest === undefined || block.height < lowest.height)) lowest = block
    }
    return lowest
  }

  /** Durable ones only: what this turn adds below is seen by the next. */
  finalizedBelow(height: Height, limit: number): ReadonlyArray<FinalizedRef> {
    return this.#base.finalizedBelow(height, limit)
  }

  hasFinalization(height: Height): boolean {
    return this.#certified.has(height) || this.#base.hasFinalization(height)
  }

  cachedAt(kind: CacheKind, round: Round): B | undefined {
    return this.#cached.get(`${kind}/${roundKey(round)}`) ?? this.#base.cachedAt(kind, round)
  }

  byDigest(digest: Digest): B | undefined {
    return this.#blocks.get(bytesKey(digest)) ?? this.#base.byDigest(digest)
  }

  /** Durable ones only: what this turn adds is newer than anything that expires. */
  cachedBefore(round: Round, limit: number): ReadonlyArray<CachedRef> {
    return this.#base.cachedBefore(round, limit).filter((ref) => compareRounds(ref.round, round) < 0)
  }
}
