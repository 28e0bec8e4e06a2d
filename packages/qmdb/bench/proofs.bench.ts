/**
 * Proofs a second, of every kind: made from a stored database, and checked with the hasher of Node and with noble, which is
 * what a browser has.
 *
 * Each is asked for at a random place of a million keys or operations. Operations are checked from their encoded bytes.
 */
import { alternate, type Bench, type Context, type Figure, type Timing } from "@coppice/bench"
import { Bytes } from "@coppice/codec"
import { type Hasher, nobleHasher } from "@coppice/crypto"
import { nodeHasher } from "@coppice/crypto/node"
import {
  checkCompactAnswer,
  checkExclusion,
  checkKeyValue,
  checkOperations,
  currentFormat,
  decodeOperation,
  immutableFormat,
  keyedFormat,
  keylessFormat,
  type OperationFormat,
} from "@coppice/verify"
import { Location, type LogReader } from "../src/index.ts"
import { keyArrays, keysOf, picks } from "./support/chain.ts"
import { type Kind, kinds, Running } from "./support/kinds.ts"

const KEYS = 1_000_000
const PROOFS = 200
const RANGE_OPERATIONS = 64

const options = { key: Bytes(32), value: Bytes(32) }

/** A kind of proof: how one is made for a random place, and why one is refused. */
interface Proving<P> {
  readonly name: string
  readonly make: (key: Uint8Array, pick: (below: number) => number) => P
  readonly check: (hasher: Hasher, proof: P) => unknown
}

const rate = (name: string, timing: Timing, peer?: { readonly name: string; readonly timing: Timing }): Figure => ({
  name,
  p50: (PROOFS * 1000) / timing.p50,
  unit: "per s",
  ...(peer && { against: peer.name, ratio: timing.p50 / peer.timing.p50 }),
})

const measured = async <P>({ name, make, check }: Proving<P>, absent: boolean): Promise<ReadonlyArray<Figure>> => {
  const keys = keysOf(KEYS + PROOFS)
  const pick = picks(3)
  const targets = keyArrays(PROOFS)
  const place = absent ? (below: number) => below - 1 - pick(PROOFS) : (below: number) => pick(below - PROOFS)
  let proofs: ReadonlyArray<P> = []
  const checking = (hasher: Hasher) => () => {
    for (const proof of proofs) {
      const rejection = check(hasher, proof)
      if (rejection !== undefined) throw new Error(`${name}: a proof is refused: ${JSON.stringify(rejection)}`)
    }
  }
  const prepare = (): void => keys.fill(targets, place)
  const made = {
    prepare,
    run: () => {
      proofs = targets.map((key) => make(key, pick))
    },
  }
  made.run()
  const subjects = { made, node: { run: checking(nodeHasher) }, noble: { run: checking(nobleHasher) } }
  const timings = await alternate(subjects, { rounds: 30, warmup: 3 })
  const against = { name: "node hasher", timing: timings.node }
  return [
    rate(`qmdb::proof/${name}/make`, timings.made),
    rate(`qmdb::proof/${name}/check,node`, timings.node),
    rate(`qmdb::proof/${name}/check,noble`, timings.noble, against),
  ]
}

/** Ranges of so many operations of a log, against its operations root. */
const ranges = <V, O>(
  name: string,
  format: OperationFormat<V, O>,
  reader: LogReader,
  length: number,
): Proving<ReturnType<LogReader["prove"]>> => ({
  name,
  make: (_, pick) => reader.prove(Location(1 + pick(reader.target.end - length)), length),
  check: (hasher, { start, operations, proof }) => {
    const claim = { start, operations: operations.map((each) => decodeOperation(format, each)), proof }
    return checkOperations(hasher, format, claim, reader.target.root)
  },
})

const over =
  <B, R>(kind: Kind<B, R>, measure: (reader: R) => Promise<ReadonlyArray<Figure>>) =>
  async (context: Context): Promise<ReadonlyArray<Figure>> => {
    const running = await Running.start(context, kind, keysOf(KEYS), KEYS)
    const figures = await measure(running.database.reader)
    await running.close()
    return figures
  }

const anyProofs = over(kinds.any, (reader) => {
  const proving = ranges(`${RANGE_OPERATIONS} operations`, keyedFormat(options), reader, RANGE_OPERATIONS)
  return measured(proving, false)
})

const currentProofs = over(kinds.currentOrdered, async (reader) => {
  const format = currentFormat({ ...options, ordered: true })
  const { canonical } = reader.target
  const present: Proving<Parameters<typeof checkKeyValue<Uint8Array, Uint8Array>>[2]> = {
    name: "current key",
    make: (key) => ({ key, value: reader.get(key)!, proof: reader.proveKey(key)! }),
    check: (hasher, claim) => checkKeyValue(hasher, format, claim, canonical!),
  }
  const absent: Proving<Parameters<typeof checkExclusion<Uint8Array, Uint8Array>>[2]> = {
    name: "current absence",
    make: (key) => ({ key, proof: reader.proveAbsence(key)! }),
    check: (hasher, claim) => checkExclusion(hasher, format, claim, canonical!),
  }
  return [...(await measured(present, false)), ...(await measured(absent, true))]
})

const keylessProofs = over(kinds.keyless, (reader) =>
  measured(ranges("keyless value", keylessFormat({ value: options.value }), reader, 1), false),
)

const immutableProofs = over(kinds.immutable, (reader) =>
  measured(ranges("immutable value", immutableFormat(options), reader, 1), false),
)

const compactProofs = over(kinds.compactKeyless, (reader) => {
  const format = keylessFormat({ value: options.value })
  const proving: Proving<ReturnType<typeof reader.commit>> = {
    name: "compact commit",
    make: () => reader.commit(),
    check: (hasher, { record, peaks, commit, proof, root }) => {
      const { size } = record
      return checkCompactAnswer(hasher, format, { size, peaks, commit, proof }, { root, size })
    },
  }
  return measured(proving, false)
})

/** See the head of this file. */
export const benches: ReadonlyArray<Bench> = [
  { name: "qmdb::proof/operations", run: anyProofs },
  { name: "qmdb::proof/current", run: currentProofs },
  { name: "qmdb::proof/keyless", run: keylessProofs },
  { name: "qmdb::proof/immutable", run: immutableProofs },
  { name: "qmdb::proof/compact", run: compactProofs },
]
