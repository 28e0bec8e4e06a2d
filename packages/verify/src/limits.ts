/** Limits that every reader and writer of operations keeps, since operations are hashed. */

/** Longest application key in bytes. */
export const KEY_BYTES_MAX = 1024
/** Longest encoded value in bytes. */
export const VALUE_BYTES_MAX = 1 << 20
/** Longest operation in bytes: tag, two keys behind their lengths, a value, and the floor of a commit. */
export const OPERATION_BYTES_MAX = 1 + 2 * (KEY_BYTES_MAX + 2) + VALUE_BYTES_MAX + 10
