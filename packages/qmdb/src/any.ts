/**
 * The `any` database, unordered: a key had a value at some point of the log.
 *
 *   put/remove --> KeyedBatch --seal--> Layer --apply--> tip --flush--> storage
 *
 * Terms: see member.ts. The *floor* is the location below which no operation is active.
 *
 * Invariant: roots, operations and proofs equal Commonware's, byte for byte (spec qmdb §1 to §4, §7).
 */
import type { Codec } from "@coppice/codec"
import type { FamilyName } from "@coppice/merkle"
import { type Encoding, keyedFormat } from "@coppice/verify"
import type { KeyedBatch } from "./internal/keyed-batch.ts"
import { keyedFamily } from "./internal/keyed-family.ts"
import { logSpec } from "./internal/log-spec.ts"
import { sealUnordered } from "./internal/seal-unordered.ts"
import type { KeyedReader } from "./keyed-reader.ts"
import type { MemberSpec } from "./member.ts"

/** How an `any` database is declared. */
export interface AnyOptions<K, V> {
  readonly key: Codec<K>
  readonly value: Codec<V>
  /** Merkle family; MMB when not given. */
  readonly family?: FamilyName
  /** Operation encoding; fixed when both codecs have one size, else variable. */
  readonly encoding?: Encoding
}

/** Declares an `any` database, unordered. */
export const any = <K, V>(options: AnyOptions<K, V>): MemberSpec<KeyedBatch<K, V>, KeyedReader<K, V>> => {
  const { key, value } = options
  const format = keyedFormat(options)
  const name = `any/unordered/${format.family.name}/${format.encoding}/${key.name}/${value.name}`
  return logSpec(name, keyedFamily(format, sealUnordered, undefined))
}
