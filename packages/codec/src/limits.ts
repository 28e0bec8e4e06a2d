/**
 * Limits of the codec, in one place.
 *
 * Every length and count that arrives from outside is compared with a limit before anything is allocated for it. Most
 * limits are chosen by the caller, per codec; these are the ones that the format itself sets.
 */

/** Longest varint: ten groups of seven bits hold 64 bits. Source: spec merkle §6.4. */
export const VARINT_BYTES_MAX = 10

/** Longest byte string: its length is a varint below 2^32. Source: spec qmdb §1.1. */
export const BLOB_BYTES_MAX = 0xffff_ffff

/** Most items of a list: its count is a varint below 2^32. Source: spec merkle §6.4. */
export const LIST_COUNT_MAX = 0xffff_ffff

/** First size of a writer's buffer when the caller does not say. */
export const WRITER_BYTES_START = 64

/** Largest buffer that `encode` keeps for its next call. */
export const WRITER_BYTES_KEPT_MAX = 64 * 1024
