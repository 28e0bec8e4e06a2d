/**
 * A block of one kind of database against the same block of another.
 *
 * Both hold the same million keys, have churned alike, and execute every block one after the other in one process.
 */
import { alternate, type Context, type Figure, figure } from "@coppice/bench"
import type { StorageShape } from "@coppice/storage"
import {
  block,
  type Database,
  execute,
  flush,
  keyArrays,
  keysOf,
  load,
  openDatabase,
  openEnvironment,
  picks,
  type Spec,
} from "./chain.ts"

const KEYS = 1_000_000
const CHURN_BLOCKS = 15
const CHURN_UPDATES = 32_768

/** A kind of database by the name that figures give it. */
export interface Named {
  readonly name: string
  readonly spec: Spec
}

/** What is measured, and what it is measured against. */
export interface Pair {
  readonly subject: Named
  readonly base: Named
}

interface Opened {
  readonly storage: StorageShape
  readonly database: Database
  readonly close: () => Promise<void>
}

const valueOf = (round: number): Uint8Array => new Uint8Array(32).fill(round)

const opened = async (context: Context, { name, spec }: Named): Promise<Opened> => {
  const { storage, close } = await openEnvironment(context.directory())
  const database = await openDatabase(storage, true, spec)
  context.note(`loading ${KEYS} keys: ${name}`)
  await load(database, storage, keysOf(KEYS))
  return { storage, database, close }
}

/** Execute and seal of both, the same updates in each round. */
export const comparedBlocks =
  ({ subject, base }: Pair, updates: number, rounds: number) =>
  async (context: Context): Promise<ReadonlyArray<Figure>> => {
    const keys = keysOf(KEYS)
    const pick = picks(1)
    const [ours, theirs] = [await opened(context, subject), await opened(context, base)]
    const churned = keyArrays(CHURN_UPDATES)
    for (let round = 0; round < CHURN_BLOCKS; round++) {
      keys.fill(churned, pick)
      for (const { database, storage } of [ours, theirs]) await block(database, storage, churned, valueOf(round))
    }
    const targets = keyArrays(updates)
    let filled = -1
    const measured = ({ database, storage }: Opened) => ({
      prepare: async (round: number) => {
        if (database.layers > 0) await flush(database, storage)
        if (round !== filled) keys.fill(targets, pick)
        filled = round
      },
      run: (round: number) => database.apply(execute(database, targets, valueOf(round))),
    })
    const timings = await alternate({ ours: measured(ours), theirs: measured(theirs) }, { rounds, warmup: 4 })
    await Promise.all([ours.close(), theirs.close()])
    const target = { on: "ratio", required: 2, aim: 1.4 } as const
    const against = { name: base.name, timing: timings.theirs }
    const name = `qmdb::${subject.name}/execute+seal/updates=${updates}`
    return [figure(name, timings.ours, { unit: "ms", against, target })]
  }
