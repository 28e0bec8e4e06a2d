/**
 * What storage on LMDB costs: durable writes, the event loop while a batch is handed over, and reads.
 *
 * Method: every write is durable when its time ends, on the disk of the checkout. The three kinds of write call that
 * lmdb-js has run side by side on the same bytes, each in an environment of its own; ours is the first of them behind
 * the port. Reads are of keys in random order, from pages that are in memory.
 */
import { alternate, type Bench, type Context, type Figure, figure, stall, time, timingOf } from "@coppice/bench"
import { Effect, Exit, Scope } from "effect"
import { type Database, open } from "lmdb"
import type { Change, StorageShape } from "../src/index.ts"
import { openLmdb } from "../src/lmdb.ts"

const MAPS = ["log", "nodes", "keys"]
const PAGE_BYTES = 4080

/** Opens storage for the length of a bench. */
const withStorage = async <A>(context: Context, use: (storage: StorageShape) => Promise<A>): Promise<A> => {
  const scope = Scope.makeUnsafe()
  const opened = Scope.provide(openLmdb({ directory: context.directory(), maps: MAPS }), scope)
  try {
    return await use(await Effect.runPromise(opened))
  } finally {
    await Effect.runPromise(Scope.close(scope, Exit.void))
  }
}

/** A stream of 32-bit numbers. */
const numbers = (seed: number): (() => number) => {
  let state = seed
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return (state ^ (state >>> 16)) >>> 0
  }
}

const key32 = (n: number): Uint8Array => {
  const next = numbers(n)
  return new Uint8Array(Uint32Array.from({ length: 8 }, next).buffer)
}

const rowKey = (n: number): Uint8Array => {
  const key = new Uint8Array(20)
  new DataView(key.buffer).setBigUint64(12, BigInt(n))
  return key
}

const page = new Uint8Array(PAGE_BYTES).fill(7)

/** Appends after `at`: pages of a log and half as many of nodes, as a packed flush has them. */
const appended = (at: number, pages: number): ReadonlyArray<Change> =>
  Array.from({ length: pages }, (_, i) => ({
    tag: "put",
    map: i % 3 === 2 ? "nodes" : "log",
    key: rowKey(at + i),
    value: page,
  }))

const write = (storage: StorageShape, changes: ReadonlyArray<Change>) => Effect.runPromise(storage.write(changes))

type Call = "batch" | "transaction" | "transactionSync"

/** lmdb-js as it is, written by one of its calls. */
const plain = (context: Context, call: Call) => {
  const binary = { encoding: "binary", keyEncoding: "binary" } as const
  const root = open<Uint8Array, Uint8Array>({ path: context.directory(), ...binary, overlappingSync: false, maxDbs: 8 })
  const maps = new Map<string, Database<Uint8Array, Uint8Array>>()
  for (const name of MAPS) maps.set(name, root.openDB({ name, ...binary }))
  const write = (changes: ReadonlyArray<Change>): unknown => {
    const puts = () => {
      for (const change of changes) if (change.tag === "put") maps.get(change.map)!.put(change.key, change.value)
    }
    return root[call](puts)
  }
  return { write, close: () => root.close() }
}

const CALLS: ReadonlyArray<Call> = ["batch", "transaction", "transactionSync"]

/** The same batches through the port and through each call of lmdb-js. */
const calls = (name: string, pages: number, rounds: number): Bench => ({
  name: `storage::lmdb/${name}`,
  run: (context) =>
    withStorage(context, async (storage) => {
      const peers = CALLS.map((call) => ({ call, ...plain(context, call) }))
      const stalls = new Map<string, Array<number>>()
      const measured = (who: string, run: (changes: ReadonlyArray<Change>) => unknown) => {
        let changes: ReadonlyArray<Change> = []
        stalls.set(who, [])
        return {
          prepare: (round: number) => {
            changes = appended(round * pages, pages)
          },
          run: async () => {
            stalls.get(who)!.push(await stall(async () => run(changes)))
          },
        }
      }
      const subjects = {
        ours: measured("ours", (changes) => write(storage, changes)),
        ...Object.fromEntries(peers.map(({ call, write }) => [call, measured(call, write)])),
      }
      const timings = await alternate<string>(subjects, { rounds, warmup: 3 })
      for (const { close } of peers) await close()
      const figures = CALLS.map((call) =>
        figure(`storage::lmdb/${name} against=${call}`, timings["ours"]!, {
          unit: "ms",
          against: { name: `lmdb-js ${call}`, timing: timings[call]! },
        }),
      )
      const stopped = [...stalls].map(
        ([who, samples]): Figure => ({
          name: `storage::lmdb/${name}/stall of=${who}`,
          p50: timingOf(samples).p50,
          unit: "ms",
        }),
      )
      return [...figures, ...stopped]
    }),
})

const OVER = 1_000_000
const OVERWRITTEN = 32_768

/** One row per key: what a layout costs that writes keys where they lie. */
const overwrite: Bench = {
  name: "storage::lmdb/overwrite/keys=1M",
  run: (context) =>
    withStorage(context, async (storage) => {
      const put = (n: number, value: number): Change => ({
        tag: "put",
        map: "keys",
        key: key32(n),
        value: new Uint8Array(Uint32Array.of(value).buffer),
      })
      context.note(`writing ${OVER} keys`)
      for (let at = 0; at < OVER; at += 50_000) {
        await write(
          storage,
          Array.from({ length: 50_000 }, (_, i) => put(at + i, 0)),
        )
      }
      const next = numbers(1)
      let changes: ReadonlyArray<Change> = []
      const stalls: Array<number> = []
      const timing = await time(
        {
          prepare: (round) => {
            changes = Array.from({ length: OVERWRITTEN }, () => put(next() % OVER, round))
          },
          run: async () => {
            stalls.push(await stall(() => write(storage, changes)))
          },
        },
        { rounds: 12, warmup: 3 },
      )
      const single = await time(
        { run: (round) => write(storage, [put(next() % OVER, round)]) },
        { rounds: 60, warmup: 5 },
      )
      return [
        figure("storage::lmdb/overwrite/keys=1M rows=32768", timing, { unit: "ms" }),
        { name: "storage::lmdb/overwrite/keys=1M rows=32768 stall", p50: timingOf(stalls).p50, unit: "ms" },
        figure("storage::lmdb/overwrite/keys=1M rows=1, after the above", single, { unit: "ms" }),
      ]
    }),
}

const READS = 20_000

/** Reads of rows that are in memory. */
const reads: Bench = {
  name: "storage::lmdb/read",
  run: (context) =>
    withStorage(context, async (storage) => {
      const pages = 20_000
      const keys = 200_000
      for (let at = 0; at < pages; at += 2000) await write(storage, appended(at, 2000))
      const short = Array.from({ length: keys }, (_, i) => key32(i))
      const value = new Uint8Array(4)
      for (let at = 0; at < keys; at += 50_000) {
        await write(
          storage,
          short.slice(at, at + 50_000).map((key) => ({ tag: "put", map: "keys", key, value })),
        )
      }
      const next = numbers(3)
      const shortKeys = Array.from({ length: READS }, () => short[next() % keys]!)
      const absentKeys = shortKeys.map((key) => key.with(0, 1 ^ key[0]!))
      const pageKeys = Array.from({ length: READS }, () => {
        const n = next() % pages
        return rowKey(n - (n % 3))
      })
      const target = new Uint8Array(PAGE_BYTES)
      const over = (each: ReadonlyArray<Uint8Array>, read: (key: Uint8Array) => unknown) => ({
        run: () => {
          for (const key of each) read(key)
        },
      })
      const timings = await alternate(
        {
          "get, 32 bytes to 4": over(shortKeys, (key) => storage.get("keys", key)),
          "getInto, 32 bytes to 4": over(shortKeys, (key) => storage.getInto("keys", key, target)),
          "get, 32 bytes absent": over(absentKeys, (key) => storage.get("keys", key)),
          "get, 20 bytes to 4080": over(pageKeys, (key) => storage.get("log", key)),
          "getInto, 20 bytes to 4080": over(pageKeys, (key) => storage.getInto("log", key, target)),
          "prefetch then getInto, 32 bytes to 4": {
            run: async () => {
              await Effect.runPromise(storage.prefetch("keys", shortKeys))
              for (const key of shortKeys) storage.getInto("keys", key, target)
            },
          },
          "scan, 32 bytes to 4": { run: () => storage.scan("keys", { limit: READS }) },
        },
        { rounds: 15, warmup: 3 },
      )
      return Object.entries(timings).map(([name, timing]) =>
        figure(`storage::lmdb/read/${name}`, timing, { unit: "ns", per: READS }),
      )
    }),
}

/** The benchmarks of storage on LMDB. */
export const benches: ReadonlyArray<Bench> = [
  calls("append/pages=3750", 3750, 20),
  calls("append/pages=2083", 2083, 20),
  calls("append/pages=1", 1, 100),
  overwrite,
  reads,
]
