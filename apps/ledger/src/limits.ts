/** Limits of the ledger. */

/** Allocations of one chain. */
export const ALLOCATIONS_MAX = 100_000
/** Answers of the signature check that are remembered. */
export const SIGNATURES_KNOWN_MAX = 1 << 17
/** Bytes of a submitted transfer as JSON. */
export const SUBMISSION_BYTES_MAX = 4096
