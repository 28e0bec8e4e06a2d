/**
 * A database on LMDB that executes blocks, as a node would, with every part of a block timed apart.
 *
 *   execute (puts) -> seal -> apply -> plan -> durable write -> settled
 *
 * Terms: a *block* is a batch of updates with its flush. The *floor* of a block is the time that a hasher takes for the
 * same preimages and nothing else.
 */
import { hash } from "node:crypto"
import { Bytes } from "@coppice/codec"
import { DIGEST_BYTES, type Hasher, type HashJob } from "@coppice/crypto"
import { nodeHasher } from "@coppice/crypto/node"
import type { StorageShape } from "@coppice/storage"
import { openLmdb } from "@coppice/storage/lmdb"
import { Effect, Exit, Scope } from "effect"
import {
  type Flush,
  type KeyedBatch,
  type KeyedReader,
  type Layer,
  MEMBER_MAPS,
  type Member,
  type MemberHome,
  type MemberSpec,
  Qmdb,
} from "../../src/index.ts"

/** The database of all benchmarks: digests to 32-byte values, as the published peers have it. */
export type Database = Member<KeyedBatch<Uint8Array, Uint8Array>, KeyedReader<Uint8Array, Uint8Array>>

const any = Qmdb.any({ key: Bytes(32), value: Bytes(32) })

/** The value that the blocks of a round write. */
export const valueOf = (round: number): Uint8Array => new Uint8Array(32).fill(round)

/** Many keys in one buffer: a million small arrays would make every collection of garbage slow, and not by our doing. */
export interface Keys {
  readonly count: number
  /** Key number `i`, a digest, as a view. */
  readonly at: (i: number) => Uint8Array
  /** Keys `from .. to`. */
  readonly range: (from: number, to: number) => ReadonlyArray<Uint8Array>
  /** Fills arrays of 32 bytes with keys that `pick` chooses. The same arrays serve every block, so they cost no collection. */
  readonly fill: (targets: ReadonlyArray<Uint8Array>, pick: (below: number) => number) => void
}

/** Arrays for the keys of a block. */
export const keyArrays = (count: number): ReadonlyArray<Uint8Array> =>
  Array.from({ length: count }, () => new Uint8Array(DIGEST_BYTES))

/** Keys `0 .. count`. */
export const keysOf = (count: number): Keys => {
  const bytes = Buffer.alloc(count * DIGEST_BYTES)
  const number = Buffer.alloc(8)
  for (let i = 0; i < count; i++) {
    number.writeUInt32BE(i, 4)
    bytes.write(hash("sha256", number, "latin1" as "hex"), i * DIGEST_BYTES, "latin1")
  }
  const at = (i: number): Uint8Array => new Uint8Array(bytes.buffer, bytes.byteOffset + i * DIGEST_BYTES, DIGEST_BYTES)
  return {
    count,
    at,
    range: (from, to) => Array.from({ length: to - from }, (_, i) => at(from + i)),
    fill: (targets, pick) => {
      for (const target of targets) {
        const from = pick(count) * DIGEST_BYTES
        bytes.copy(target, 0, from, from + DIGEST_BYTES)
      }
    },
  }
}

/** Pseudo-random numbers below `below`, the same in every run. */
export const picks = (seed: number) => {
  let state = seed
  return (below: number): number => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) % below
  }
}

/** An open environment that is closed by hand. */
export interface Opened {
  readonly storage: StorageShape
  readonly close: () => Promise<void>
}

/** Opens an environment on LMDB. */
export const openEnvironment = async (directory: string): Promise<Opened> => {
  const scope = await Effect.runPromise(Scope.make())
  const options = { directory, maps: MEMBER_MAPS, mapBytes: 2 ** 33 }
  const storage = await Effect.runPromise(Scope.provide(openLmdb(options), scope))
  return { storage, close: () => Effect.runPromise(Scope.close(scope, Exit.void)) }
}

/** A place for the database in an environment. */
export const homeIn = (storage: StorageShape, hasher: Hasher = nodeHasher): MemberHome => ({
  storage,
  member: 0,
  incarnation: 0,
  hasher,
  rewindCommits: 17,
})

/** Opens a database, creating it first where there is none. */
export const openMember = async <B, R>(storage: StorageShape, fresh: boolean, spec: MemberSpec<B, R>) => {
  if (fresh) await Effect.runPromise(storage.write(spec.create(homeIn(storage))))
  return spec.open(homeIn(storage))
}

/** Opens the database of all benchmarks. */
export const openDatabase = (storage: StorageShape, fresh: boolean): Promise<Database> =>
  openMember(storage, fresh, any)

/** Runs a generator of hash jobs to its end, giving each job to `run`. */
export const drive = <A>(work: Generator<HashJob | undefined, A, void>, run: (job: HashJob) => unknown): A => {
  for (;;) {
    const step = work.next()
    if (step.done === true) return step.value
    if (step.value !== undefined) run(step.value)
  }
}

/** Puts new values under keys and seals. */
export const execute = (database: Database, keys: ReadonlyArray<Uint8Array>, value: Uint8Array): Layer => {
  const batch = database.openBatch(database.tip)
  for (const key of keys) batch.put(key, value)
  return drive(database.seal(batch), nodeHasher.run)
}

/** Plans a flush of what is applied. */
export const planFlush = <B, R>(database: Member<B, R>): Flush => drive(database.flush()!, () => undefined)

/** Makes what is applied durable. */
export const flush = async <B, R>(database: Member<B, R>, storage: StorageShape): Promise<void> => {
  const planned = planFlush(database)
  await Effect.runPromise(storage.write(planned.changes))
  planned.settled()
}

/** Executes, seals, applies and flushes one block. */
export const block = async (
  database: Database,
  storage: StorageShape,
  keys: ReadonlyArray<Uint8Array>,
  value: Uint8Array,
): Promise<void> => {
  database.apply(execute(database, keys, value))
  await flush(database, storage)
}

/** Fills a fresh database, `perBlock` keys a block. */
export const load = async (database: Database, storage: StorageShape, keys: Keys, perBlock = 32_768): Promise<void> => {
  const value = new Uint8Array(32).fill(7)
  for (let i = 0; i < keys.count; i += perBlock) {
    await block(database, storage, keys.range(i, Math.min(keys.count, i + perBlock)), value)
  }
}

/** Copies of the hash jobs of sealing these updates, which leave no trace: the preimages of a floor. */
export const preimagesOf = (
  database: Database,
  keys: ReadonlyArray<Uint8Array>,
  value: Uint8Array,
): ReadonlyArray<HashJob> => {
  const batch = database.openBatch(database.tip)
  for (const key of keys) batch.put(key, value)
  const jobs: Array<HashJob> = []
  const layer = drive(database.seal(batch), (job) => {
    nodeHasher.run(job)
    const { count } = job
    jobs.push({
      count,
      input: job.input.slice(0, job.inputOffsets[count]),
      inputOffsets: job.inputOffsets.slice(0, count + 1),
      output: new Uint8Array(count * DIGEST_BYTES),
      outputOffsets: new Uint32Array(count).map((_, i) => i * DIGEST_BYTES),
    })
  })
  database.close(layer)
  // What the closed layer left in the indexes goes with the next seal: here, so that no measured block pays for it.
  database.close(drive(database.seal(database.openBatch(database.tip)), nodeHasher.run))
  return jobs
}
