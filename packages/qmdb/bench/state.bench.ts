/**
 * What does not grow: reads through many layers, opening after a long log, memory beside the keys.
 */
import {
  alternate,
  anonymousBytes,
  type Bench,
  type Context,
  type Figure,
  figure,
  inChild,
  timingOf,
} from "@coppice/bench"
import { nodeHasher as hasher } from "@coppice/crypto/node"
import type { StorageShape } from "@coppice/storage"
import type { KeyedBatch, Layer } from "../src/index.ts"
import { readHead } from "../src/internal/log-state.ts"
import { Space } from "../src/internal/space.ts"
import {
  block,
  type Database,
  execute,
  homeIn,
  type Keys,
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

/** Operations that a reopening must replay. */
const pendingOf = (storage: StorageShape): number => {
  const { size, checkpoint } = readHead(new Space(homeIn(storage)))
  return size - checkpoint
}

/** A database with a log of so many operations, left where the sweep has just ended a round: equal work for a reopening. */
const grown = async (context: Context, operations: number): Promise<string> => {
  const directory = context.directory()
  const keys = keysOf(OPEN_KEYS)
  const { storage, close } = await openEnvironment(directory)
  const database = await openDatabase(storage, true)
  await load(database, storage, keys)
  const pick = picks(3)
  const targets = keyArrays(32_768)
  context.note(`growing a log of ${operations} operations`)
  let least = Number.POSITIVE_INFINITY
  while (database.tip.target.end < operations || pendingOf(storage) > least) {
    keys.fill(targets, pick)
    await block(database, storage, targets, value)
    least = Math.min(least, pendingOf(storage))
  }
  await close()
  return directory
}

/** Time to open, read once and seal one batch. Closing is not part of it. */
const firstUse = async (directory: string, keys: Keys): Promise<number> => {
  const start = performance.now()
  const { storage, close } = await openEnvironment(directory)
  const database = await openDatabase(storage, false)
  database.reader.get(keys.at(1))
  execute(database, [keys.at(2)], value)
  const taken = performance.now() - start
  await close()
  return taken
}

const OPENINGS = 25

/** Opening, the first get and the first sealed batch, with a log ten times as long. */
const opening = async (context: Context): Promise<ReadonlyArray<Figure>> => {
  const keys = keysOf(OPEN_KEYS)
  const directories = [await grown(context, 10_000_000), await grown(context, 1_000_000)] as const
  const samples: [Array<number>, Array<number>] = [[], []]
  for (let round = 0; round < 2 * OPENINGS; round++) {
    const which = (round + Math.floor(round / 2)) % 2 === 0 ? 0 : 1
    const taken = await firstUse(directories[which], keys)
    if (round >= OPENINGS / 2) samples[which].push(taken)
  }
  const [long, short] = [timingOf(samples[0]), timingOf(samples[1])]
  const target = { on: "ratio", required: 1.5, aim: 1 } as const
  const against = { name: "log of 1M", timing: short }
  return [figure("qmdb::open+get+seal/log=10M", long, { unit: "ms", against, target })]
}

const RESIDENT_KEYS = 1_000_000
const RESIDENT_BLOCKS = 8

interface Resident {
  readonly directory: string
  readonly keys: number
}

const churn = async (database: Database, storage: StorageShape, count: number, updates: number): Promise<void> => {
  if (count === 0) return
  const keys = keysOf(count)
  const pick = picks(4)
  const targets = keyArrays(updates)
  for (let i = 0; i < RESIDENT_BLOCKS; i++) {
    keys.fill(targets, pick)
    await block(database, storage, targets, value)
  }
}

/** Loads so many keys into a fresh database and churns them; anonymous memory of the process then. For `inChild`. */
export const loaded = async ({ directory, keys }: Resident): Promise<number> => {
  const { storage, close } = await openEnvironment(directory)
  const database = await openDatabase(storage, true)
  await load(database, storage, keysOf(keys))
  await churn(database, storage, keys, 32_768)
  const bytes = await anonymousBytes()
  await close()
  return bytes
}

/** Opens the database and runs blocks of so many updates over it; anonymous memory of the process then. For `inChild`. */
export const opened = async (input: Resident & { readonly updates: number }): Promise<number> => {
  const { storage, close } = await openEnvironment(input.directory)
  const database = await openDatabase(storage, false)
  await churn(database, storage, input.keys, input.updates)
  const bytes = await anonymousBytes()
  await close()
  return bytes
}

/**
 * Memory beside an empty database, over the keys.
 *
 * The first figure is a node that was started on its state and executes blocks of 64 updates: what the keys themselves
 * cost. The others hold besides what the allocator and LMDB keep of large blocks, which does not grow with the keys.
 */
const memory = async (context: Context): Promise<ReadonlyArray<Figure>> => {
  const measure = async (keys: number) => {
    const input = { directory: context.directory(), keys }
    const load = await inChild<number>(import.meta.url, "loaded", input)
    const small = await inChild<number>(import.meta.url, "opened", { ...input, updates: 64 })
    return { load, small, large: await inChild<number>(import.meta.url, "opened", { ...input, updates: 32_768 }) }
  }
  const empty = await measure(0)
  const full = await measure(RESIDENT_KEYS)
  const target = { on: "p50", required: 64, aim: 16 } as const
  const figureOf = (name: string, bytes: number): Figure => ({ name, p50: bytes / RESIDENT_KEYS, unit: "B per key" })
  return [
    { ...figureOf("qmdb::resident/keys=1M,blocks=64", full.small - empty.small), target },
    figureOf("qmdb::resident/keys=1M,blocks=32768", full.large - empty.large),
    figureOf("qmdb::resident/keys=1M,after loading", full.load - empty.load),
  ]
}

/** See the head of this file. */
export const benches: ReadonlyArray<Bench> = [
  { name: "qmdb::get/layers=64", run: layers },
  { name: "qmdb::open+get+seal/log=10M", run: opening },
  { name: "qmdb::resident/keys=1M", run: memory },
]
