/**
 * What an order of keys costs: a block of an ordered database against the same block of an unordered one, and iteration.
 */
import { type Bench, type Context, type Figure, figure, time } from "@coppice/bench"
import { Bytes } from "@coppice/codec"
import { ENTRIES_MAX, type OrderedReader, Qmdb } from "../src/index.ts"
import { keysOf, load, openDatabase, openEnvironment, type Spec } from "./support/chain.ts"
import { comparedBlocks } from "./support/pair.ts"

const KEYS = 1_000_000

const specOf = (ordered: boolean): Spec => Qmdb.any({ key: Bytes(32), value: Bytes(32), ordered })

const against = {
  subject: { name: "ordered", spec: specOf(true) },
  base: { name: "unordered", spec: specOf(false) },
}

/** Pages of entries one after the other, each read from storage. */
const iteration = async (context: Context): Promise<ReadonlyArray<Figure>> => {
  const keys = keysOf(KEYS)
  const { storage, close } = await openEnvironment(context.directory())
  const database = await openDatabase(storage, true, specOf(true))
  context.note(`loading ${KEYS} keys`)
  await load(database, storage, keys)
  const reader = database.reader as OrderedReader<Uint8Array, Uint8Array>
  const figures: Array<Figure> = []
  for (const [name, reverse] of [
    ["up", false],
    ["down", true],
  ] as const) {
    // A page begins where the one before it ended; there are more than all rounds take.
    let bound: Uint8Array | undefined
    const page = (): void => {
      const entries = reader.entries({ [reverse ? "end" : "start"]: bound, reverse })
      if (entries.length !== ENTRIES_MAX) throw new Error(`a page of ${entries.length} entries`)
      const [last] = entries.at(-1)!
      bound = reverse ? last : reader.next(last)
    }
    const timing = await time({ run: page }, { rounds: 30, warmup: 3 })
    figures.push(figure(`qmdb::ordered/iterate ${name}`, timing, { unit: "us", per: ENTRIES_MAX }))
  }
  await close()
  return figures
}

/** See the head of this file. */
export const benches: ReadonlyArray<Bench> = [
  { name: "qmdb::ordered/execute+seal/updates=32768", run: comparedBlocks(against, 32_768, 30) },
  { name: "qmdb::ordered/execute+seal/updates=1024", run: comparedBlocks(against, 1_024, 100) },
  { name: "qmdb::ordered/iterate", run: iteration },
]
