/**
 * What the workloads of all databases share: numbers, digests, and a database over which batches are applied one by one.
 *
 * Each batch is flushed to storage before the next one opens, so that the root comes from what was read back.
 */
import { createHash } from "node:crypto"
import { nobleHasher } from "@coppice/crypto"
import { type Layer, MEMBER_MAPS, type MemberHome, type MemberSpec } from "@coppice/qmdb"
import { makeMemoryDisk } from "@coppice/storage"
import { Effect } from "effect"
import type { Workload } from "./rows.ts"

/** A number as eight bytes, the most significant first; it wraps at 2^64. */
export const be8 = (n: number | bigint): Buffer => {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64BE(BigInt.asUintN(64, BigInt(n)))
  return bytes
}

const sha256 = (...parts: ReadonlyArray<Uint8Array>): Uint8Array => {
  const hash = createHash("sha256")
  for (const part of parts) hash.update(part)
  return hash.digest()
}

/** `key(i)` of the published workloads. */
export const key = (i: number): Uint8Array => sha256(be8(i))
/** `val(i, salt)` of the published workloads. */
export const value = (i: number, salt: number): Uint8Array => sha256(be8(i), be8(salt + 1))
/** `colliding(p, x)` of the published workloads. */
export const colliding = (prefix: number, x: number): Uint8Array =>
  Buffer.concat([Buffer.from([prefix]), Buffer.alloc(23), be8(x)])

/** The whole numbers below `n`. */
export const below = (n: number): ReadonlyArray<number> => Array.from({ length: n }, (_, i) => i)

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

const rootOf = <B, R>(spec: MemberSpec<B, R>, batches: ReadonlyArray<(batch: B) => void>) =>
  Effect.gen(function* () {
    const disk = makeMemoryDisk({ chance: () => 0 })
    const storage = yield* disk.open("database", MEMBER_MAPS)
    const home: MemberHome = { storage, member: 0, incarnation: 0, hasher: nobleHasher, rewindCommits: 4 }
    yield* storage.write(spec.create(home))
    const database = spec.open(home)
    for (const write of batches) {
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

/** The workload that applies the batches of a seed, in order, and returns the database's root. */
export const databaseWorkload = <B, R>(
  spec: MemberSpec<B, R>,
  batches: (seed: number) => ReadonlyArray<(batch: B) => void>,
): Workload => {
  return (seed) => Effect.runPromise(Effect.scoped(rootOf(spec, batches(seed))))
}
