/**
 * The `current` database: what `any` is, and proofs that a value is the one a key has now.
 *
 *   operations  0 1 1 0 1 ...    one bit each, 1 when the operation is active, 1 for the last commit
 *               \_ chunk _/      grafted onto the operations tree; canonical root = H(ops root, grafted root, last chunks)
 *
 * Terms: see member.ts and `@coppice/verify/grafting`. A header commits to the canonical root beside the operations root.
 *
 * Invariant: roots, operations and proofs equal Commonware's, byte for byte (spec qmdb §9, §10, §12).
 */
import { DIGEST_BYTES } from "@coppice/crypto"
import type { AnyOptions } from "./any.ts"
import { type CurrentSpec, currentSpec, type OrderedCurrentSpec } from "./internal/current-spec.ts"
import { CHUNK_BYTES_MAX } from "./limits.ts"

/** How a `current` database is declared. */
export interface CurrentOptions<K, V> extends AnyOptions<K, V> {
  /** Bytes of a chunk of activity bits, a power of two from 32 to `CHUNK_BYTES_MAX`; 32 when not given. */
  readonly chunkBytes?: number
}

/** Declares a `current` database. Throws `RangeError` on a chunk size that none may have. */
export function current<K, V>(options: CurrentOptions<K, V> & { readonly ordered: true }): OrderedCurrentSpec<K, V>
/** Declares a `current` database. Throws `RangeError` on a chunk size that none may have. */
export function current<K, V>(options: CurrentOptions<K, V>): CurrentSpec<K, V>
export function current<K, V>(options: CurrentOptions<K, V>): CurrentSpec<K, V> | OrderedCurrentSpec<K, V> {
  const { chunkBytes = DIGEST_BYTES } = options
  if (chunkBytes < DIGEST_BYTES || chunkBytes > CHUNK_BYTES_MAX) {
    throw new RangeError(`chunks of ${chunkBytes} bytes: from ${DIGEST_BYTES} to ${CHUNK_BYTES_MAX}`)
  }
  return currentSpec({ ...options, chunkBytes })
}
