/**
 * The `any` database: a key had a value at some point of the log.
 *
 *   put/remove --> KeyedBatch --seal--> Layer --apply--> tip --flush--> storage
 *
 * Terms: see member.ts. The *floor* is the location below which no operation is active. In an *ordered* database the active
 * keys form a ring: the update of each says which key comes next, and batches and readers know neighbours and ranges.
 *
 * Invariant: roots, operations and proofs equal Commonware's, byte for byte (spec qmdb §1 to §5, §7).
 */
import type { Codec } from "@coppice/codec"
import type { FamilyName } from "@coppice/merkle"
import { type Encoding, keyedFormat } from "@coppice/verify"
import type { KeyedBatch } from "./internal/keyed-batch.ts"
import { keyedFamily } from "./internal/keyed-family.ts"
import { logSpec } from "./internal/log-spec.ts"
import { ordered } from "./internal/ordered.ts"
import type { OrderedBatch } from "./internal/ordered-batch.ts"
import { unordered } from "./internal/unordered.ts"
import type { KeyedReader } from "./keyed-reader.ts"
import type { MemberSpec } from "./member.ts"
import type { OrderedReader } from "./ordered-reader.ts"

/** How an `any` database is declared. */
export interface AnyOptions<K, V> {
  readonly key: Codec<K>
  readonly value: Codec<V>
  /** Whether keys are in order, for neighbours and ranges; false when not given. */
  readonly ordered?: boolean
  /** Merkle family; MMB when not given. */
  readonly family?: FamilyName
  /** Operation encoding; fixed when both codecs have one size, else variable. */
  readonly encoding?: Encoding
}

/** Declares an `any` database. */
export function any<K, V>(
  options: AnyOptions<K, V> & { readonly ordered: true },
): MemberSpec<OrderedBatch<K, V>, OrderedReader<K, V>>
/** Declares an `any` database. */
export function any<K, V>(options: AnyOptions<K, V>): MemberSpec<KeyedBatch<K, V>, KeyedReader<K, V>>
export function any<K, V>(
  options: AnyOptions<K, V>,
): MemberSpec<OrderedBatch<K, V>, OrderedReader<K, V>> | MemberSpec<KeyedBatch<K, V>, KeyedReader<K, V>> {
  const { key, value } = options
  const format = keyedFormat(options)
  const order = format.ordered ? "ordered" : "unordered"
  const name = `any/${order}/${format.family.name}/${format.encoding}/${key.name}/${value.name}`
  return format.ordered
    ? logSpec(name, keyedFamily(format, ordered<K, V>(), undefined))
    : logSpec(name, keyedFamily(format, unordered<K, V>(), undefined))
}
