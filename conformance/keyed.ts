/**
 * The workloads of the keyed databases: four batches, each over the applied database, values that name their batch.
 *
 * Each batch is flushed to storage before the next one opens, so that the root comes from what was read back.
 */
import { createHash } from "node:crypto"
import { Bytes } from "@coppice/codec"
import { nobleHasher } from "@coppice/crypto"
import { type KeyedBatch, type Layer, MEMBER_MAPS, type MemberHome, type MemberSpec, Qmdb } from "@coppice/qmdb"
import { makeMemoryDisk } from "@coppice/storage"
import { Effect } from "effect"
import type { Workload, Workloads } from "./rows.ts"

type Batch = KeyedBatch<Uint8Array, Uint8Array>

const be8 = (n: number): Buffer => {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64BE(BigInt(n))
  return bytes
}

const sha256 = (...parts: ReadonlyArray<Uint8Array>): Uint8Array => {
  const hash = createHash("sha256")
  for (const part of parts) hash.update(part)
  return hash.digest()
}

const key = (i: number): Uint8Array => sha256(be8(i))
const value = (i: number, salt: number): Uint8Array => sha256(be8(i), be8(salt + 1))
const colliding = (prefix: number, x: number): Uint8Array =>
  Buffer.concat([Buffer.from([prefix]), Buffer.alloc(23), be8(x)])

/** The four batches of a seed, as the published workload tells them. */
const batches = (seed: number): ReadonlyArray<(batch: Batch) => void> => {
  const n = (seed % 50) + 5
  const prefix = seed % 256
  const all = Array.from({ length: n }, (_, i) => i)
  const half = all.slice(0, Math.floor(n / 2))
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

const finish = <A>(work: Generator<unknown, A, void>): A => {
  for (;;) {
    const step = work.next()
    if (step.done === true) return step.value
  }
}

const seal = (sealing: Generator<Parameters<typeof nobleHasher.run>[0] | undefined, Layer, void>): Layer => {
  for (;;) {
    const step = sealing.next()
    if (step.done === true) return step.value
    if (step.value !== undefined) nobleHasher.run(step.value)
  }
}

const rootOf = <R>(spec: MemberSpec<Batch, R>, seed: number) =>
  Effect.gen(function* () {
    const disk = makeMemoryDisk({ chance: () => 0 })
    const storage = yield* disk.open("keyed", MEMBER_MAPS)
    const home: MemberHome = { storage, member: 0, incarnation: 0, hasher: nobleHasher, rewindCommits: 4 }
    yield* storage.write(spec.create(home))
    const database = spec.open(home)
    for (const write of batches(seed)) {
      const batch = database.openBatch(database.tip)
      write(batch)
      database.apply(seal(database.seal(batch)))
      const flush = finish(database.flush()!)
      yield* storage.write(flush.changes)
      flush.settled()
    }
    const { root, canonical } = database.tip.target
    return canonical ?? root
  })

const workload = <R>(spec: MemberSpec<Batch, R>): Workload => {
  return (seed) => Effect.runPromise(Effect.scoped(rootOf(spec, seed)))
}

/** `keyed/{any,current}/unordered/{mmr,mmb}/{fixed,variable}`. */
export const keyedWorkloads: Workloads = Object.fromEntries(
  (["mmr", "mmb"] as const).flatMap((family) =>
    (["fixed", "variable"] as const).flatMap((encoding) => {
      const options = { key: Bytes(32), value: Bytes(32), family, encoding }
      return [
        [`keyed/any/unordered/${family}/${encoding}`, workload(Qmdb.any(options))],
        [`keyed/current/unordered/${family}/${encoding}`, workload(Qmdb.current(options))],
      ]
    }),
  ),
)
