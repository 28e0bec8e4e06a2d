/**
 * What a block costs: against hashing alone, against plain LMDB, against a Merkle Patricia trie.
 *
 * Every block updates random keys of a database of a million, after churn, so that the log, the floor and the free pages
 * of LMDB are those of a chain that has run. Times are of the same rounds in the same process.
 */
import { alternate, type Bench, type Context, type Figure, figure, timingOf } from "@coppice/bench"
import { nodeHasher, opensslHasher } from "@coppice/crypto/node"
import { makeMemoryDisk, type StorageShape } from "@coppice/storage"
import { openLmdb } from "@coppice/storage/lmdb"
import { MerklePatriciaTrie } from "@ethereumjs/mpt"
import { Effect, Exit, Scope } from "effect"
import { INDEX_REPLAY_OPS_MAX, MEMBER_MAPS } from "../src/index.ts"
import { readHead } from "../src/internal/log-state.ts"
import { Space } from "../src/internal/space.ts"
import {
  block,
  type Database,
  execute,
  flush,
  homeIn,
  keyArrays,
  keysOf,
  load,
  openDatabase,
  openEnvironment,
  picks,
  preimagesOf,
  valueOf,
} from "./support/chain.ts"

const KEYS = 1_000_000
const CHURN_BLOCKS = 15

const elapsed = async (work: () => unknown): Promise<number> => {
  const start = performance.now()
  await work()
  return performance.now() - start
}

const filled = async (context: Context, updates: number) => {
  const keys = keysOf(KEYS)
  const { storage, close } = await openEnvironment(context.directory())
  const database = await openDatabase(storage, true)
  context.note(`loading ${KEYS} keys`)
  await load(database, storage, keys)
  const pick = picks(1)
  const targets = keyArrays(updates)
  for (let round = 0; round < CHURN_BLOCKS; round++) {
    keys.fill(targets, pick)
    await block(database, storage, targets, valueOf(round))
  }
  return { keys, storage, close, database, pick, targets }
}

/** Execute and seal over the fastest hasher on the same preimages. */
const hashFloor =
  (updates: number, rounds: number) =>
  async (context: Context): Promise<ReadonlyArray<Figure>> => {
    const { keys, storage, close, database, pick, targets } = await filled(context, updates)
    const ours: Array<number> = []
    const floors = { node: [] as Array<number>, openssl: [] as Array<number> }
    for (let round = 0; round < rounds; round++) {
      keys.fill(targets, pick)
      const value = valueOf(round)
      const jobs = preimagesOf(database, targets, value)
      floors.node.push(await elapsed(() => jobs.forEach((job) => void nodeHasher.run(job))))
      floors.openssl.push(await elapsed(() => jobs.forEach((job) => void opensslHasher.run(job))))
      ours.push(await elapsed(() => database.apply(execute(database, targets, value))))
      await flush(database, storage)
    }
    await close()
    const floor = [timingOf(floors.node), timingOf(floors.openssl)].reduce((a, b) => (a.p50 < b.p50 ? a : b))
    const target = { on: "ratio", required: 4, aim: 1.5 } as const
    const name = `qmdb::execute+seal/updates=${updates}`
    return [figure(name, timingOf(ours), { unit: "ms", against: { name: "hash floor", timing: floor }, target })]
  }

const openPlain = async (directory: string) => {
  const scope = await Effect.runPromise(Scope.make())
  const options = { directory, maps: ["rows"], mapBytes: 2 ** 33 }
  const storage: StorageShape = await Effect.runPromise(Scope.provide(openLmdb(options), scope))
  const put = (keys: ReadonlyArray<Uint8Array>, value: Uint8Array) =>
    Effect.runPromise(storage.write(keys.map((key) => ({ tag: "put" as const, map: "rows", key, value }))))
  return { put, close: () => Effect.runPromise(Scope.close(scope, Exit.void)) }
}

/** Fails loudly when the figures were bought with an index that is not written. */
const requireSwept = (storage: StorageShape, database: Database): void => {
  const { size, checkpoint } = readHead(new Space(homeIn(storage)))
  const pending = size - checkpoint
  if (size !== database.tip.target.end || pending > INDEX_REPLAY_OPS_MAX + 2 * 65_537) {
    throw new Error(`${pending} operations wait for the sweep, at most ${INDEX_REPLAY_OPS_MAX} may`)
  }
}

/** Execute, seal and durable flush against one durable batch of plain LMDB over the same keys. */
const durable =
  (updates: number, rounds: number) =>
  async (context: Context): Promise<ReadonlyArray<Figure>> => {
    const { keys, storage, close, database, pick, targets } = await filled(context, updates)
    const plain = await openPlain(context.directory())
    context.note("loading plain LMDB")
    for (let i = 0; i < KEYS; i += 32_768) await plain.put(keys.range(i, Math.min(KEYS, i + 32_768)), valueOf(0))
    for (let round = 0; round < CHURN_BLOCKS; round++) {
      keys.fill(targets, pick)
      await plain.put(targets, valueOf(round))
    }
    const timings = await alternate(
      {
        ours: { run: (round) => block(database, storage, targets, valueOf(round)) },
        plain: { run: (round) => plain.put(targets, valueOf(round)), prepare: () => keys.fill(targets, pick) },
      },
      { rounds, warmup: 2 },
    )
    requireSwept(storage, database)
    await plain.close()
    await close()
    const target = { on: "ratio", required: 1, aim: 0.5 } as const
    const against = { name: "plain LMDB", timing: timings.plain }
    return [figure(`qmdb::execute+seal+flush/updates=${updates}`, timings.ours, { unit: "ms", against, target })]
  }

const TRIE_KEYS = 100_000
const TRIE_UPDATES = 1_024

/** Updates with their root, in memory, against a Merkle Patricia trie. */
const trie = async (context: Context): Promise<ReadonlyArray<Figure>> => {
  const keys = keysOf(TRIE_KEYS)
  const memory = makeMemoryDisk({ chance: () => 0 })
  const scope = await Effect.runPromise(Scope.make())
  const storage = await Effect.runPromise(Scope.provide(memory.open("bench", MEMBER_MAPS), scope))
  const database = await openDatabase(storage, true)
  await load(database, storage, keys)
  const patricia = new MerklePatriciaTrie()
  context.note(`loading ${TRIE_KEYS} keys into the trie`)
  for (let i = 0; i < TRIE_KEYS; i++) await patricia.put(keys.at(i), valueOf(7))
  const pick = picks(2)
  const targets = keyArrays(TRIE_UPDATES)
  const prepare = (): void => keys.fill(targets, pick)
  const timings = await alternate(
    {
      ours: { prepare, run: (round) => database.apply(execute(database, targets, valueOf(round))) },
      trie: {
        prepare,
        run: async (round) => {
          for (const key of targets) await patricia.put(key, valueOf(round))
          return patricia.root()
        },
      },
    },
    { rounds: 20, warmup: 3 },
  )
  await Effect.runPromise(Scope.close(scope, Exit.void))
  const target = { on: "ratio", required: 1 / 15, aim: 1 / 40 } as const
  const against = { name: "@ethereumjs/mpt", timing: timings.trie }
  return [figure("qmdb::update/keys=100k,memory", timings.ours, { unit: "us", per: TRIE_UPDATES, against, target })]
}

/** See the head of this file. */
export const benches: ReadonlyArray<Bench> = [
  { name: "qmdb::execute+seal/updates=32768", run: hashFloor(32_768, 30) },
  { name: "qmdb::execute+seal+flush/updates=32768", run: durable(32_768, 50) },
  { name: "qmdb::execute+seal+flush/updates=1024", run: durable(1_024, 100) },
  { name: "qmdb::update/keys=100k,memory", run: trie },
]
