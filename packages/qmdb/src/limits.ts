/** Limits of the database package. */

export { PROOF_OPS_MAX } from "@coppice/verify"

/** Writes in one batch. */
export const BATCH_WRITES_MAX = 1 << 20
/** Bytes of keys and values that one open batch holds, with eight for each value; replaced values count while a mark may ask for them. */
export const BATCH_BYTES_MAX = 1 << 27
/** Keys that an open batch remembers having looked up; beyond them a key is looked up each time it is read. */
export const LOOKED_UP_KEYS_MAX = 1 << 16
/** Bytes of those keys. */
export const LOOKED_UP_BYTES_MAX = 1 << 22
/** Keys whose slots a database guesses, at eight bytes each: a power of two. */
export const SLOTS_GUESSED_MAX = 1 << 16
/**
 * Bytes of rows of operations of one length that a database has in memory, of its log and of spilled layers each, unless a
 * single row is longer.
 */
export const LOG_ROWS_BYTES_MAX = 1 << 18
/** Bytes of memory that stay from the encoding of one key or value for the next. */
export const SCRATCH_BYTES_KEPT_MAX = 1 << 16
/** Bytes of the operations of one layer, which include every operation that its floor moved. */
export const LAYER_OPERATION_BYTES_MAX = 1 << 30
/** Keys that can be active in one database: a slot number has 30 bits. */
export const SLOTS_MAX = 2 ** 30
/** Operations whose index changes may be missing from the stored index, and so are replayed at open. */
export const INDEX_REPLAY_OPS_MAX = 1 << 18
/** Entries returned with one page. */
export const ENTRIES_MAX = 4096
/** Bytes of keys and values returned with one page, unless a single entry is longer. */
export const ENTRIES_BYTES_MAX = 1 << 22
/** Bytes of operations returned with one range proof, unless a single one is longer. */
export const PROOF_BYTES_MAX = 1 << 22
/** Bytes of a chunk of activity bits: a proof of one operation carries its chunk whole. */
export const CHUNK_BYTES_MAX = 4096
/** Un-flushed layers of one database, spilled ones among them: a stall of finality of ten thousand views is no reason to stop. */
export const LAYERS_MAX = 1 << 15
/** Commits of one database that keep undo records at most. */
export const REWIND_COMMITS_MAX = 4096
/** Operations whose rows one write of a prune removes: about 2 MiB. */
export const TRIM_OPERATIONS_MAX = 1 << 15
