/**
 * What a block of each kind of database costs beside the same block of `any`: execute and seal, and with the durable flush.
 *
 * A kind that rewrites updates random keys of a million. One that does not is given new keys or values, over a million
 * operations: it resolves nothing, moves nothing and hashes half as much, so its blocks are those of `any` less that.
 */
import type { Bench } from "@coppice/bench"
import { type Kind, kinds } from "./support/kinds.ts"
import { comparedBlocks } from "./support/pair.ts"

const target = { on: "ratio", required: 2, aim: 1.4 } as const

const bench = <B, R>(kind: Kind<B, R>): Bench => ({
  name: `qmdb::${kind.name}/blocks`,
  run: comparedBlocks({ kind, other: kinds.any, ...(kind.rewrites && { target }) }),
})

/** See the head of this file. */
export const benches: ReadonlyArray<Bench> = [
  bench(kinds.ordered),
  bench(kinds.current),
  bench(kinds.currentOrdered),
  bench(kinds.immutable),
  bench(kinds.keyless),
  bench(kinds.compactImmutable),
  bench(kinds.compactKeyless),
]
