/** Limits of the storage package. */

/** Longest key in bytes: what LMDB accepts with its default page size. */
export const KEY_BYTES_MAX = 1978
/** Longest value in bytes. */
export const VALUE_BYTES_MAX = 64 * 1024 * 1024
/** Maps in one environment. */
export const MAPS_MAX = 64
/** Changes in one write batch. */
export const BATCH_CHANGES_MAX = 4_194_304
/** Address space that an LMDB environment reserves at first, in bytes. It is no limit: the map grows. */
export const MAP_BYTES_START = 2 ** 33
