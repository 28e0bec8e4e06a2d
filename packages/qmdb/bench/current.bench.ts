/**
 * What proofs of the present cost: a block of a `current` database against the same block of `any`, and the proofs.
 *
 * Both databases hold the same million keys, have churned alike, and execute every block one after the other in one process.
 */
import { alternate, type Bench, type Context, type Figure, figure } from "@coppice/bench"
import { Bytes } from "@coppice/codec"
import { nodeHasher } from "@coppice/crypto/node"
import { checkKeyValue, currentFormat, type KeyValueClaim } from "@coppice/verify"
import { type CurrentReader, Qmdb } from "../src/index.ts"
import { keyArrays, keysOf, load, openDatabase, openEnvironment, picks } from "./support/chain.ts"
import { comparedBlocks } from "./support/pair.ts"

const KEYS = 1_000_000

const spec = Qmdb.current({ key: Bytes(32), value: Bytes(32) })

const against = {
  subject: { name: "current", spec },
  base: { name: "any", spec: Qmdb.any({ key: Bytes(32), value: Bytes(32) }) },
}

const PROOFS = 1_000

/** Key proofs of the stored state, made and checked. */
const proofs = async (context: Context): Promise<ReadonlyArray<Figure>> => {
  const keys = keysOf(KEYS)
  const pick = picks(3)
  const { storage, close } = await openEnvironment(context.directory())
  const database = await openDatabase(storage, true, spec)
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
  { name: "qmdb::current/execute+seal/updates=32768", run: comparedBlocks(against, 32_768, 30) },
  { name: "qmdb::current/execute+seal/updates=1024", run: comparedBlocks(against, 1_024, 100) },
  { name: "qmdb::current/proofs", run: proofs },
]
