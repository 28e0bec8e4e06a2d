/** Limits of the storage package. */

/** Shortest key in bytes. LMDB has no empty key. */
export const KEY_BYTES_MIN = 1
/** Longest key in bytes: what LMDB accepts with its default page size. */
export const KEY_BYTES_MAX = 1978
/** Longest value in bytes. A longer one would make lmdb-js grow the buffer that all reads of the process share. */
export const VALUE_BYTES_MAX = 16 * 1024 * 1024
/** Maps in one environment. */
export const MAPS_MAX = 64
/** Changes in one write batch. */
export const BATCH_CHANGES_MAX = 4_194_304
/** Writes of one handle that may wait for their turn. */
export const WRITES_PENDING_MAX = 1024
/** Address space that an LMDB environment reserves at first, in bytes. It is no limit: the map grows. */
export const MAP_BYTES_START = 2 ** 33
/** Keys that one background job brings into memory. It holds a thread that a write may need. */
export const PREFETCH_KEYS_PER_JOB = 4096
/** How long closing may wait for LMDB once a write has failed, in milliseconds. */
export const CLOSE_MS_MAX = 5000
