/**
 * What proofs of the present cost: a block of a `current` database against the same block of `any`, and the proofs.
 *
 * Both databases hold the same million keys, have churned alike, and execute every block one after the other in one process.
 */
import { alternate, type Bench, type Context, type Figure, figure } from "@coppice/bench"
import { Bytes } from "@coppice/codec"
import { nodeHasher } from "@coppice/crypto/node"
import type { StorageShape } from "@coppice/storage"
import { checkKeyValue, currentFormat, type KeyValueClaim } from "@coppice/verify"
import { type CurrentReader, Qmdb } from "../src/index.ts"
import {
  block,
  type Database,
  execute,
  flush,
  type Keys,
  keyArrays,
  keysOf,
  load,
  openDatabase,
  openEnvironment,
  picks,
  type Spec,
} from "./support/chain.ts"

const KEYS = 1_000_000
const CHURN_BLOCKS = 15
const CHURN_UPDATES = 32_768

const spec = Qmdb.current({ key: Bytes(32), value: Bytes(32) })
const plain = Qmdb.any({ key: Bytes(32), value: Bytes(32) })

const valueOf = (round: number): Uint8Array => new Uint8Array(32).fill(round)

interface Subject {
  readonly storage: StorageShape
  readonly database: Database
  readonly close: () => Promise<void>
}

const opened = async (context: Context, declared: Spec): Promise<Subject> => {
  const { storage, close } = await openEnvironment(context.directory())
  return { storage, close, database: await openDatabase(storage, true, declared) }
}

/** Databases of both families with the same history. */
const churned = async (context: Context, keys: Keys, pick: (below: number) => number) => {
  const current = await opened(context, spec)
  const any = await opened(context, plain)
  const both = [current, any]
  for (const { database, storage } of both) {
    context.note(`loading ${keys.count} keys`)
    await load(database, storage, keys)
  }
  const targets = keyArrays(CHURN_UPDATES)
  for (let round = 0; round < CHURN_BLOCKS; round++) {
    keys.fill(targets, pick)
    for (const { database, storage } of both) await block(database, storage, targets, valueOf(round))
  }
  return { current, any, close: () => Promise.all(both.map(({ close }) => close())) }
}

/** Execute and seal of both, the same updates in each round. */
const blocks =
  (updates: number, rounds: number) =>
  async (context: Context): Promise<ReadonlyArray<Figure>> => {
    const keys = keysOf(KEYS)
    const pick = picks(1)
    const { current, any, close } = await churned(context, keys, pick)
    const targets = keyArrays(updates)
    let filled = -1
    const subject = ({ database, storage }: Subject) => ({
      prepare: async (round: number) => {
        if (database.layers > 0) await flush(database, storage)
        if (round !== filled) keys.fill(targets, pick)
        filled = round
      },
      run: (round: number) => database.apply(execute(database, targets, valueOf(round))),
    })
    const timings = await alternate({ current: subject(current), any: subject(any) }, { rounds, warmup: 4 })
    await close()
    const target = { on: "ratio", required: 2, aim: 1.4 } as const
    const against = { name: "any", timing: timings.any }
    return [figure(`qmdb::current/execute+seal/updates=${updates}`, timings.current, { unit: "ms", against, target })]
  }

const PROOFS = 1_000

/** Key proofs of the stored state, made and checked. */
const proofs = async (context: Context): Promise<ReadonlyArray<Figure>> => {
  const keys = keysOf(KEYS)
  const pick = picks(3)
  const { storage, close, database } = await opened(context, spec)
  context.note(`loading ${KEYS} keys`)
  await load(database, storage, keys)
  const reader = database.reader as CurrentReader<Uint8Array, Uint8Array>
  const format = currentFormat({ key: Bytes(32), value: Bytes(32) })
  const targets = keyArrays(PROOFS)
  let claims: ReadonlyArray<KeyValueClaim<Uint8Array, Uint8Array>> = []
  const { made, checked } = await alternate(
    {
      made: {
        prepare: () => keys.fill(targets, pick),
        run: () => {
          claims = targets.map((key) => ({ key, value: reader.get(key)!, proof: reader.proveKey(key)! }))
        },
      },
      checked: {
        run: () => {
          const root = reader.target.canonical!
          for (const claim of claims) {
            const rejection = checkKeyValue(nodeHasher, format, claim, root)
            if (rejection !== undefined) throw new Error(`a proof is refused: ${rejection._tag}`)
          }
        },
      },
    },
    { rounds: 20, warmup: 3 },
  )
  await close()
  const each = { unit: "us", per: PROOFS } as const
  return [figure("qmdb::current/prove key", made, each), figure("qmdb::current/check key proof", checked, each)]
}

/** See the head of this file. */
export const benches: ReadonlyArray<Bench> = [
  { name: "qmdb::current/execute+seal/updates=32768", run: blocks(32_768, 30) },
  { name: "qmdb::current/execute+seal/updates=1024", run: blocks(1_024, 100) },
  { name: "qmdb::current/proofs", run: proofs },
]
