/** Limits of the merkle package. Each one is the bound of one loop, buffer or decoder. */

/** Largest node position: the last integer that a double holds exactly. It fixes the leaf maximum of each family. */
export const POSITION_MAX = Number.MAX_SAFE_INTEGER
/** Peaks of any tree. Spec merkle §8 allows 64; below 2^53 nodes there are at most 52. */
export const PEAKS_MAX = 52
/** Leaves in one append. Keeps the node buffer below 256 MiB and its offsets within 32 bits. */
export const APPEND_LEAVES_MAX = 4_194_304
/** Preimages in one hash job, so that a slice stays about a millisecond. */
export const HASH_JOB_PREIMAGES_MAX = 2_048
/** Bytes of input in one hash job, unless a single preimage is longer. */
export const HASH_JOB_BYTES_MAX = 262_144
/** Elements of one multi-proof: bounds what checking one costs. */
export const MULTI_PROOF_ELEMENTS_MAX = 4_096
/** Digests in a range proof: 51 and 50 siblings below the two largest peaks, and the 50 peaks beside them. */
export const RANGE_PROOF_DIGESTS_MAX = 151
