/**
 * What a block of each kind of database costs beside the same block of `any`: execute and seal, and with the durable flush.
 * An ordered `current` database is compared with an ordered `any`, so that no figure holds two causes.
 *
 * A kind that rewrites updates random keys of a million. One that does not is given new keys or values, over a million
 * operations: it resolves nothing, moves nothing and hashes half as much, so its blocks are those of `any` less that.
 */
import type { Bench } from "@coppice/bench"
import { type Kind, kinds } from "./support/kinds.ts"
import { comparedBlocks } from "./support/pair.ts"

const target = { on: "ratio", required: 2, aim: 1.4 } as const

const named = <B, R>({ name }: Kind<B, R>, run: Bench["run"]): Bench => ({ name: `qmdb::${name}/blocks`, run })

const overAny = <B, R>(kind: Kind<B, R>): Bench => named(kind, comparedBlocks({ kind, other: kinds.any }))

const { any: unordered, ordered, current, currentOrdered } = kinds

/** See the head of this file. */
export const benches: ReadonlyArray<Bench> = [
  named(ordered, comparedBlocks({ kind: ordered, other: unordered, target })),
  named(current, comparedBlocks({ kind: current, other: unordered, target })),
  named(currentOrdered, comparedBlocks({ kind: currentOrdered, other: ordered, target })),
  overAny(kinds.immutable),
  overAny(kinds.keyless),
  overAny(kinds.compactImmutable),
  overAny(kinds.compactKeyless),
]
