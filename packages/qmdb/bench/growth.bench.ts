/**
 * What an update costs as a database grows: blocks of 1,024 over ten thousand, a million and five million keys, in turn.
 *
 * A few picks of a small database name a key twice; what a block costs is divided by the keys that it writes.
 */
import { type Bench, type Context, type Figure, figure, timingOf } from "@coppice/bench"
import { keysOf } from "./support/chain.ts"
import { kinds, Running } from "./support/kinds.ts"

const SIZES = [
  { name: "10k", keys: 10_000 },
  { name: "1M", keys: 1_000_000 },
  { name: "5M", keys: 5_000_000 },
] as const
const UPDATES = 1_024
const CHURN_BLOCKS = 200
const ROUNDS = 150

const run = async (context: Context): Promise<ReadonlyArray<Figure>> => {
  const keys = keysOf(SIZES.at(-1)!.keys)
  const start = async ({ name, keys: count }: (typeof SIZES)[number]) => {
    const running = await Running.start(context, kinds.any, keys, count)
    await running.churn(CHURN_BLOCKS, UPDATES)
    return { name, keys: count, running, samples: [] as Array<number> }
  }
  const small = await start(SIZES[0])
  const databases = [small, await start(SIZES[1]), await start(SIZES[2])]
  for (let round = 0; round < ROUNDS; round++) {
    for (let i = 0; i < databases.length; i++) {
      const { running, samples } = databases[(round + i) % databases.length]!
      running.choose(UPDATES)
      const from = performance.now()
      running.apply(running.execute(round))
      samples.push(performance.now() - from)
      await running.flush()
    }
  }
  const distinct = ({ keys }: { readonly keys: number }): number => keys * (1 - (1 - 1 / keys) ** UPDATES)
  const figures = databases.map((each) => {
    const against = { name: "10k keys", timing: timingOf(small.samples), per: distinct(small) }
    const target = { on: "ratio", required: 2.5, aim: 1.5 } as const
    const beside = each === small ? {} : { against, target }
    return figure(`qmdb::growth/keys=${each.name}`, timingOf(each.samples), {
      unit: "us",
      per: distinct(each),
      ...beside,
    })
  })
  for (const { running } of databases) await running.close()
  return figures
}

/** See the head of this file. */
export const benches: ReadonlyArray<Bench> = [{ name: "qmdb::growth/keys=5M", run }]
