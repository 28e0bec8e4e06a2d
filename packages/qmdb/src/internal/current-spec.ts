/**
 * Descriptions of `current` databases with chunks of any size: the public one takes those that a real database may have.
 */
import { type CurrentFormatOptions, currentFormat } from "@coppice/verify"
import type { CurrentProofs, CurrentReader, OrderedCurrentReader } from "../current-reader.ts"
import type { MemberSpec } from "../member.ts"
import type { OrderedReader } from "../ordered-reader.ts"
import { currentFamily } from "./current-family.ts"
import type { CurrentProver } from "./current-proofs.ts"
import type { KeyedBatch } from "./keyed-batch.ts"
import { logSpec } from "./log-spec.ts"
import { ordered } from "./ordered.ts"
import type { OrderedBatch } from "./ordered-batch.ts"
import { unordered } from "./unordered.ts"

/** The description of an unordered `current` database. */
export type CurrentSpec<K, V> = MemberSpec<KeyedBatch<K, V>, CurrentReader<K, V>>

/** The description of an ordered `current` database. */
export type OrderedCurrentSpec<K, V> = MemberSpec<OrderedBatch<K, V>, OrderedCurrentReader<K, V>>

const proofsOf = <K, V>(prover: CurrentProver<K, V>): CurrentProofs<K> => {
  const { proveRange, proveOperation, proveKey, witness } = prover
  return { proveRange, proveOperation, proveKey, witness }
}

/** The description of a `current` database. Throws `RangeError` on a chunk size that is no power of two. */
export function currentSpec<K, V>(
  options: CurrentFormatOptions<K, V> & { readonly ordered: true },
): OrderedCurrentSpec<K, V>
/** The description of a `current` database. Throws `RangeError` on a chunk size that is no power of two. */
export function currentSpec<K, V>(options: CurrentFormatOptions<K, V>): CurrentSpec<K, V>
export function currentSpec<K, V>(options: CurrentFormatOptions<K, V>): CurrentSpec<K, V> | OrderedCurrentSpec<K, V> {
  const { key, value } = options
  const format = currentFormat(options)
  const { family, encoding, grafting } = format
  const order = format.ordered ? "ordered" : "unordered"
  const name = `current/${order}/${family.name}/${encoding}/${grafting.chunkBytes}/${key.name}/${value.name}`
  if (!format.ordered) return logSpec(name, currentFamily(format, unordered<K, V>(), proofsOf))
  const proofs = (prover: CurrentProver<K, V>, reader: OrderedReader<K, V>) => ({
    ...proofsOf(prover),
    proveAbsence: (absent: K) => prover.proveAbsence(absent, reader),
  })
  return logSpec(name, currentFamily(format, ordered<K, V>(), proofs))
}
