/**
 * Iterating an ordered database of a million keys: page after page of entries, through storage alone and through layers
 * that have touched every tenth key. What its blocks cost is in families.bench.ts.
 */
import { alternate, type Bench, type Context, type Figure, figure } from "@coppice/bench"
import { ENTRIES_MAX, type Layer, type OrderedReads } from "../src/index.ts"
import { keysOf } from "./support/chain.ts"
import { kinds, Running } from "./support/kinds.ts"

const KEYS = 1_000_000
const LAYERS = 16
const LAYER_WRITES = 6_250

type Reads = OrderedReads<Uint8Array, Uint8Array>

/** Reads the next page at each call: it begins where the one before ended. There are more than all rounds take. */
const pager = (reads: Reads, reverse: boolean) => {
  let bound: Uint8Array | undefined
  return (): void => {
    const entries = reads.entries({ [reverse ? "end" : "start"]: bound, reverse })
    if (entries.length !== ENTRIES_MAX) throw new Error(`a page of ${entries.length} entries`)
    const [last] = entries.at(-1)!
    bound = reverse ? last : reads.next(last)
  }
}

const run = async (context: Context): Promise<ReadonlyArray<Figure>> => {
  const running = await Running.start(context, kinds.ordered, keysOf(KEYS), KEYS)
  const { database } = running
  let tip: Layer = database.tip
  const base: Reads = database.openBatch(tip)
  for (let round = 0; round < LAYERS; round++) {
    running.choose(LAYER_WRITES)
    tip = running.execute(round, tip)
  }
  const layers: Reads = database.openBatch(tip)
  const figures: Array<Figure> = []
  for (const reverse of [false, true]) {
    const direction = reverse ? "down" : "up"
    const subjects = { base: { run: pager(base, reverse) }, layers: { run: pager(layers, reverse) } }
    const timings = await alternate(subjects, { rounds: 60, warmup: 6 })
    const each = { unit: "us", per: ENTRIES_MAX } as const
    const against = { name: "storage alone", timing: timings.base }
    figures.push(figure(`qmdb::ordered/iterate ${direction}`, timings.base, each))
    figures.push(figure(`qmdb::ordered/iterate ${direction},layers=${LAYERS}`, timings.layers, { ...each, against }))
  }
  await running.close()
  return figures
}

/** See the head of this file. */
export const benches: ReadonlyArray<Bench> = [{ name: "qmdb::ordered/iterate", run }]
