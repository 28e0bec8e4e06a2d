/** Limits of the ledger. */

/** Allocations of one chain. */
export const ALLOCATIONS_MAX = 100_000
/**
 * Newest operations of the receipts, and of the transfers, that are kept, unless the chain says otherwise: one a transfer
 * and one a block each, about 250 MB of both together.
 */
export const LOG_OPERATIONS_KEPT = 1 << 20
/** Accounts of one page. */
export const ACCOUNTS_PAGE_MAX = 100
/** Answers of the signature check that are remembered. */
export const SIGNATURES_KNOWN_MAX = 1 << 17
/** Headers between a proven state and its certificate. */
export const WITNESS_HEADERS_MAX = 64
/** Bytes of each part of a proof: a certificate of 1,024 validators is the largest. */
export const PROOF_PART_BYTES_MAX = 1 << 17
