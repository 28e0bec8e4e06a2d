/** Limits that every reader and writer of operations keeps, since operations are hashed. */

/** Longest application key in bytes. */
export const KEY_BYTES_MAX = 1024
/** Longest encoded value in bytes. */
export const VALUE_BYTES_MAX = 1 << 20
