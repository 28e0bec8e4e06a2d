/** Rows of a marshal in plain maps: the durable side of the core, without bytes. */
import { bytesEqual, bytesKey } from "@coppice/codec"
import type { Digest } from "@coppice/crypto"
import type { TestBlock } from "@coppice/simulate/chain"
import { compareRounds, type Finalization, type Floor, Height, Round, roundKey } from "../src/index.ts"
import type { CachedRef, CacheKind, FinalizedRef, Row, RowReader } from "../src/marshal/rows.ts"

export class MemoryRows implements RowReader<TestBlock> {
  readonly finalized = new Map<Height, TestBlock>()
  readonly finalizations = new Map<Height, Finalization>()
  readonly cached = new Map<string, { readonly ref: CachedRef; readonly block: TestBlock }>()
  readonly awaited = new Map<string, Finalization>()
  progress: Height | undefined
  roundFloor = Round(0, 0)
  floor: Floor | undefined
  pendingFloor: Finalization | undefined
  retained = Height(0)

  constructor(genesis: TestBlock) {
    this.finalized.set(genesis.height, genesis)
  }

  apply(rows: ReadonlyArray<Row<TestBlock>>): void {
    for (const row of rows) this.#apply(row)
  }

  #apply(row: Row<TestBlock>): void {
    if (row.tag === "finalized") this.finalized.set(row.block.height, row.block)
    else if (row.tag === "finalization") this.finalizations.set(row.height, row.finalization)
    else if (row.tag === "cached") {
      const { kind, round, block } = row
      this.cached.set(`${kind}/${roundKey(round)}`, { ref: { kind, round, digest: block.digest }, block })
    } else if (row.tag === "expired") this.cached.delete(`${row.ref.kind}/${roundKey(row.ref.round)}`)
    else if (row.tag === "awaited") this.awaited.set(roundKey(row.finalization.proposal.round), row.finalization)
    else if (row.tag === "settled") this.awaited.delete(roundKey(row.round))
    else if (row.tag === "progress") this.progress = row.height
    else if (row.tag === "roundFloor") this.roundFloor = row.round
    else if (row.tag === "floor") this.floor = row.floor
    else if (row.tag === "pendingFloor") this.pendingFloor = row.finalization
    else if (row.tag === "retained") this.retained = row.from
    else {
      this.finalized.delete(row.ref.height)
      this.finalizations.delete(row.ref.height)
    }
  }

  finalizedAt(height: Height): TestBlock | undefined {
    return this.finalized.get(height)
  }

  isFinalized(height: Height): boolean {
    return this.finalized.has(height)
  }

  finalizedFrom(height: Height): TestBlock | undefined {
    return this.#sorted().find((block) => block.height >= height)
  }

  finalizedBelow(height: Height, limit: number): ReadonlyArray<FinalizedRef> {
    return this.#sorted()
      .filter((block) => block.height < height)
      .slice(0, limit)
  }

  #sorted(): ReadonlyArray<TestBlock> {
    return [...this.finalized.values()].sort((a, b) => a.height - b.height)
  }

  hasFinalization(height: Height): boolean {
    return this.finalizations.has(height)
  }

  cachedAt(kind: CacheKind, round: Round): TestBlock | undefined {
    return this.cached.get(`${kind}/${roundKey(round)}`)?.block
  }

  byDigest(digest: Digest): TestBlock | undefined {
    const known = [...this.finalized.values(), ...[...this.cached.values()].map(({ block }) => block)]
    return known.find((block) => bytesEqual(block.digest, digest))
  }

  cachedBefore(round: Round, limit: number): ReadonlyArray<CachedRef> {
    return [...this.cached.values()]
      .map(({ ref }) => ref)
      .filter((ref) => compareRounds(ref.round, round) < 0)
      .sort((a, b) => compareRounds(a.round, b.round))
      .slice(0, limit)
  }

  /** Digests of all blocks, for comparisons. */
  digests(): ReadonlyArray<string> {
    return [...this.finalized.values()].map(({ digest }) => bytesKey(digest))
  }
}
