/**
 * The workloads of the keyed databases: four batches, each over the applied database, values that name their batch.
 */
import { Bytes } from "@coppice/codec"
import { type KeyedBatch, Qmdb } from "@coppice/qmdb"
import { below, colliding, databaseWorkload, key, value } from "./database.ts"
import type { Workloads } from "./rows.ts"

type Batch = KeyedBatch<Uint8Array, Uint8Array>

/** The four batches of a seed, as the published workload tells them. */
const batches = (seed: number): ReadonlyArray<(batch: Batch) => void> => {
  const n = (seed % 50) + 5
  const prefix = seed % 256
  const all = below(n)
  const half = below(Math.floor(n / 2))
  const dead = (i: number): boolean => (seed ^ i) % 5 === 0
  return [
    (batch) => {
      for (const i of all) batch.put(key(i), value(i, 1))
    },
    (batch) => {
      for (const i of all) if (dead(i)) batch.remove(key(i))
      for (const i of all) if (!dead(i)) batch.put(key(i), value(i, 2))
    },
    (batch) => {
      for (const i of all) if (dead(i)) batch.put(key(i), value(i, 3))
      for (const i of half) batch.put(colliding(prefix, 10_000 + i), value(i, 4))
    },
    (batch) => {
      for (const i of all) batch.put(key(i), value(i, 5))
      for (const i of half) {
        if (i % 2 === 1) batch.remove(colliding(prefix, 10_000 + i))
        else batch.put(colliding(prefix, 10_000 + i), value(i, 6))
      }
    },
  ]
}

/** `keyed/{any,current}/{unordered,ordered}/{mmr,mmb}/{fixed,variable}`. */
export const keyedWorkloads: Workloads = Object.fromEntries(
  (["mmr", "mmb"] as const).flatMap((family) =>
    (["fixed", "variable"] as const).flatMap((encoding) => {
      const options = { key: Bytes(32), value: Bytes(32), family, encoding }
      return [
        [`keyed/any/unordered/${family}/${encoding}`, databaseWorkload(Qmdb.any(options), batches)],
        [`keyed/any/ordered/${family}/${encoding}`, databaseWorkload(Qmdb.any({ ...options, ordered: true }), batches)],
        [`keyed/current/unordered/${family}/${encoding}`, databaseWorkload(Qmdb.current(options), batches)],
        [
          `keyed/current/ordered/${family}/${encoding}`,
          databaseWorkload(Qmdb.current({ ...options, ordered: true }), batches),
        ],
      ]
    }),
  ),
)
