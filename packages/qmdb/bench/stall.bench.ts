/**
 * How long a block keeps the event loop from turning: sealing and flushing in slices, as a set of databases does.
 *
 * Beside it, in the same rounds: the same slices of hashing alone, which is what the machine and its other users make of
 * eight milliseconds.
 */
import { type Bench, type Context, type Figure, figure, stall, timingOf } from "@coppice/bench"
import type { HashJob } from "@coppice/crypto"
import { nodeHasher } from "@coppice/crypto/node"
import { Effect } from "effect"
import { keyArrays, keysOf, load, openDatabase, openEnvironment, picks, preimagesOf } from "./support/chain.ts"

const KEYS = 1_000_000
const UPDATES = 32_768
const BLOCKS = 30
const CHURN_BLOCKS = 10
const SLICE_MS = 8

const turn = (): Promise<void> => Effect.runPromise(Effect.yieldNow)

/** Runs a generator in slices of `SLICE_MS`. */
const inSlices = async <A>(work: Generator<HashJob | undefined, A, void>): Promise<A> => {
  for (;;) {
    const end = performance.now() + SLICE_MS
    do {
      const step = work.next()
      if (step.done === true) return step.value
      if (step.value !== undefined) nodeHasher.run(step.value)
    } while (performance.now() < end)
    await turn()
  }
}

function* hashing(jobs: ReadonlyArray<HashJob>): Generator<HashJob, void, void> {
  yield* jobs
}

const run = async ({ directory, note }: Context): Promise<ReadonlyArray<Figure>> => {
  const keys = keysOf(KEYS)
  const { storage, close } = await openEnvironment(directory())
  const database = await openDatabase(storage, true)
  note(`loading ${KEYS} keys`)
  await load(database, storage, keys)
  const pick = picks(6)
  const targets = keyArrays(UPDATES)
  keys.fill(targets, pick)
  const jobs = preimagesOf(database, targets, new Uint8Array(32))
  const ours: Array<number> = []
  const alone: Array<number> = []
  for (let n = 0; n < CHURN_BLOCKS + BLOCKS; n++) {
    keys.fill(targets, pick)
    const batch = database.openBatch(database.tip)
    const value = new Uint8Array(32).fill(n)
    for (const key of targets) batch.put(key, value)
    await turn()
    const longest = await stall(async () => {
      database.apply(await inSlices(database.seal(batch)))
      const flush = await inSlices(database.flush()!)
      await Effect.runPromise(storage.write(flush.changes))
      flush.settled()
    })
    const without = await stall(() => inSlices(hashing(jobs)))
    if (n < CHURN_BLOCKS) continue
    ours.push(longest)
    alone.push(without)
  }
  await close()
  const target = { on: "p50", required: 25, aim: 8 } as const
  const worst = Math.max(...ours)
  return [
    {
      name: `qmdb::stall/longest of ${BLOCKS} blocks, updates=${UPDATES}`,
      p50: worst,
      unit: "ms",
      against: "hashing alone in slices",
      ratio: worst / Math.max(...alone),
      target,
    },
    figure(`qmdb::stall/of a block, updates=${UPDATES}`, timingOf(ours), {
      unit: "ms",
      against: { name: "hashing alone in slices", timing: timingOf(alone) },
      target,
    }),
  ]
}

/** The benchmark of the event loop. */
export const benches: ReadonlyArray<Bench> = [{ name: `qmdb::stall/updates=${UPDATES}`, run }]
