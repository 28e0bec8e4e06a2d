/**
 * What does not grow: reads through many layers, opening after a long log, memory beside the keys.
 */
import { alternate, anonymousBytes, type Bench, type Context, type Figure, figure, inChild } from "@coppice/bench"
import { nodeHasher as hasher } from "@coppice/crypto/node"
import type { KeyedBatch, Layer } from "../src/index.ts"
import {
  block,
  type Database,
  execute,
  keyArrays,
  keysOf,
  load,
  openDatabase,
  openEnvironment,
  picks,
} from "./support/chain.ts"

const value = new Uint8Array(32).fill(9)

const LAYERS = 64
const LAYER_UPDATES = 256
const GETS = 2_000

/** One read through 64 pending layers against one. */
const layers = async (context: Context): Promise<ReadonlyArray<Figure>> => {
  const keys = keysOf(400_000)
  const { storage, close } = await openEnvironment(context.directory())
  const database = await openDatabase(storage, true)
  const stored = 300_000
  await load(database, storage, { ...keys, count: stored })
  const deepest = keys.range(0, LAYER_UPDATES)
  const first: Layer = execute(database, deepest, value)
  let last = first
  for (let i = 1; i < LAYERS; i++) {
    const batch = database.openBatch(last)
    for (const key of keys.range(i * LAYER_UPDATES, (i + 1) * LAYER_UPDATES)) batch.put(key, value)
    last = sealOver(database, batch)
  }
  const through = { one: database.openBatch(first), many: database.openBatch(last) }
  const groups = {
    "deepest layer": Array.from({ length: GETS }, (_, i) => deepest[i % deepest.length]!),
    base: keys.range(stored - GETS, stored),
    absent: keys.range(stored, stored + GETS),
  }
  const read = (batch: KeyedBatch<Uint8Array, Uint8Array>, wanted: ReadonlyArray<Uint8Array>) => () => {
    for (const key of wanted) batch.get(key)
  }
  const figures: Array<Figure> = []
  for (const [group, wanted] of Object.entries(groups)) {
    const subjects = { many: { run: read(through.many, wanted) }, one: { run: read(through.one, wanted) } }
    const timings = await alternate(subjects, { rounds: 60, warmup: 20 })
    const against = { name: "1 layer", timing: timings.one }
    const target = { on: "ratio", required: 2, aim: 1.2 } as const
    const name = `qmdb::get/layers=${LAYERS},in=${group}`
    figures.push(figure(name, timings.many, { unit: "ns", per: GETS, against, target }))
  }
  await close()
  return figures
}

const sealOver = (database: Database, batch: KeyedBatch<Uint8Array, Uint8Array>): Layer => {
  const sealing = database.seal(batch)
  for (;;) {
    const step = sealing.next()
    if (step.done === true) return step.value
    if (step.value !== undefined) hasher.run(step.value)
  }
}

const OPEN_KEYS = 100_000

const grown = async (context: Context, operations: number): Promise<string> => {
  const directory = context.directory()
  const keys = keysOf(OPEN_KEYS)
  const { storage, close } = await openEnvironment(directory)
  const database = await openDatabase(storage, true)
  await load(database, storage, keys)
  const pick = picks(3)
  const targets = keyArrays(32_768)
  context.note(`growing a log of ${operations} operations`)
  while (database.tip.target.end < operations) {
    keys.fill(targets, pick)
    await block(database, storage, targets, value)
  }
  await close()
  return directory
}

/** Opening, the first get and the first sealed batch, with a log ten times as long. */
const opening = async (context: Context): Promise<ReadonlyArray<Figure>> => {
  const keys = keysOf(OPEN_KEYS)
  const first = async (directory: string): Promise<void> => {
    const { storage, close } = await openEnvironment(directory)
    const database = await openDatabase(storage, false)
    database.reader.get(keys.at(1))
    execute(database, [keys.at(2)], value)
    await close()
  }
  const long = await grown(context, 10_000_000)
  const short = await grown(context, 1_000_000)
  const subjects = { long: { run: () => first(long) }, short: { run: () => first(short) } }
  const timings = await alternate(subjects, { rounds: 15, warmup: 3 })
  const against = { name: "log of 1M", timing: timings.short }
  const target = { on: "ratio", required: 1.5, aim: 1 } as const
  return [figure("qmdb::open+get+seal/log=10M", timings.long, { unit: "ms", against, target })]
}

const RESIDENT_KEYS = 1_000_000

/** Anonymous memory of a process that holds a database of so many keys. For `inChild`. */
export const resident = async ({ directory, keys }: { readonly directory: string; readonly keys: number }) => {
  const { storage, close } = await openEnvironment(directory)
  const database = await openDatabase(storage, true)
  const pick = picks(4)
  await (async () => {
    const all = keysOf(RESIDENT_KEYS)
    await load(database, storage, { ...all, count: keys })
    const targets = keyArrays(32_768)
    for (let i = 0; keys > 0 && i < 8; i++) {
      all.fill(targets, pick)
      await block(database, storage, targets, value)
    }
  })()
  const bytes = await anonymousBytes()
  await close()
  return bytes
}

const memory = async (context: Context): Promise<ReadonlyArray<Figure>> => {
  const measure = (keys: number) =>
    inChild<number>(import.meta.url, "resident", { directory: context.directory(), keys })
  const empty = await measure(0)
  const full = await measure(RESIDENT_KEYS)
  const p50 = (full - empty) / RESIDENT_KEYS
  return [{ name: "qmdb::resident/keys=1M", p50, unit: "B per key", target: { on: "p50", required: 64, aim: 16 } }]
}

/** See the head of this file. */
export const benches: ReadonlyArray<Bench> = [
  { name: "qmdb::get/layers=64", run: layers },
  { name: "qmdb::open+get+seal/log=10M", run: opening },
  { name: "qmdb::resident/keys=1M", run: memory },
]
