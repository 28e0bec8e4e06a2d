/**
 * The workloads of immutable and keyless databases: three batches, floor unchanged, no metadata.
 */
import { Blob, Bytes } from "@coppice/codec"
import { type AppendBatch, Qmdb, type SetBatch } from "@coppice/qmdb"
import { be8, below, colliding, databaseWorkload, key, value } from "./database.ts"
import type { Workloads } from "./rows.ts"

type Sets = SetBatch<Uint8Array, Uint8Array>
type Appends = AppendBatch<Uint8Array>

const sizeOf = (seed: number): number => (seed % 30) + 5

const sets = (seed: number): ReadonlyArray<(batch: Sets) => void> => {
  const n = sizeOf(seed)
  return [
    (batch) => {
      for (const i of below(n)) batch.set(key(i), value(i, 1))
    },
    (batch) => {
      for (const i of below(n)) batch.set(key(n + i), value(n + i, 2))
    },
    (batch) => {
      for (const i of below(Math.floor(n / 2))) batch.set(colliding(seed % 256, 10_000 + i), value(i, 3))
    },
  ]
}

const appends = (seed: number): ReadonlyArray<(batch: Appends) => void> => {
  const n = sizeOf(seed)
  const all = (count: number, x: (i: number) => bigint) => (batch: Appends) => {
    for (const i of below(count)) batch.append(be8(x(i)))
  }
  return [
    all(n, (i) => BigInt(seed + i)),
    all(n, (i) => BigInt(seed + n + i)),
    all(Math.floor(n / 2), (i) => ~BigInt(seed) + BigInt(i)),
  ]
}

const variants = (["mmr", "mmb"] as const).flatMap((family) =>
  (["fixed", "variable"] as const).map((encoding) => ({ family, encoding })),
)

/** `{immutable,keyless}/{full,compact}/{mmr,mmb}/{fixed,variable}`. */
export const unkeyedWorkloads: Workloads = Object.fromEntries(
  variants.flatMap(({ family, encoding }) => {
    const immutable = { key: Bytes(32), value: Bytes(32), family, encoding }
    const keyless = { value: encoding === "fixed" ? Bytes(8) : Blob(8), family, encoding }
    return [
      [`immutable/full/${family}/${encoding}`, databaseWorkload(Qmdb.immutable(immutable), sets)],
      [`immutable/compact/${family}/${encoding}`, databaseWorkload(Qmdb.compactImmutable(immutable), sets)],
      [`keyless/full/${family}/${encoding}`, databaseWorkload(Qmdb.keyless(keyless), appends)],
      [`keyless/compact/${family}/${encoding}`, databaseWorkload(Qmdb.compactKeyless(keyless), appends)],
    ]
  }),
)
