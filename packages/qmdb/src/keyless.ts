/**
 * The `keyless` database: values in the order in which they came, named by their locations.
 *
 *   append --> KeylessBatch --seal--> Layer --apply--> tip --flush--> storage
 *
 * Terms: the *floor* is set by batches and only rises; no state needs a value below it.
 *
 * Invariant: roots, operations and proofs equal Commonware's, byte for byte (spec qmdb §1 to §3, §6, §7).
 */
import type { Location } from "@coppice/merkle"
import type { StorageError } from "@coppice/storage"
import { type FormatOptions, keylessFormat } from "@coppice/verify"
import type { Effect } from "effect"
import type { KeylessBatch } from "./internal/keyless-batch.ts"
import { keylessFamily } from "./internal/keyless-family.ts"
import { logSpec } from "./internal/log-spec.ts"
import type { LogReader } from "./log-reader.ts"
import type { MemberSpec } from "./member.ts"

/** Reads of the newest applied state. Synchronous; every call sees one state whole. */
export interface KeylessReader<V> extends LogReader {
  /**
   * Value at a location, also below the floor; of a commit its metadata. Undefined where nothing stands. Errors: throws
   * `LocationPruned`.
   */
  readonly get: (location: Location) => V | undefined
  readonly getMany: (locations: ReadonlyArray<Location>) => ReadonlyArray<V | undefined>
  /** Brings what `get` of these locations will read into memory, without blocking. */
  readonly prefetch: (locations: ReadonlyArray<Location>) => Effect.Effect<void, StorageError>
}

/** Declares a `keyless` database. */
export const keyless = <V>(options: FormatOptions<V>): MemberSpec<KeylessBatch<V>, KeylessReader<V>> => {
  const format = keylessFormat(options)
  const { family, encoding, value } = format
  return logSpec(`keyless/full/${family.name}/${encoding}/${value.codec.name}`, keylessFamily(format))
}
