/** Limits of the stateful package. */

/** Members of one set: a member's number is one byte of its storage keys, and block headers stay small. */
export const MEMBERS_MAX = 8
/** Longest member or application name in bytes. */
export const NAME_BYTES_MAX = 64
/** Longest chain id in bytes of UTF-8. */
export const CHAIN_ID_BYTES_MAX = 64
/** Longest format text of a member in bytes of UTF-8. */
export const FORMAT_BYTES_MAX = 4096
/** Most finalized heights that keep a row and undo records. */
export const REWIND_HEIGHTS_MAX = 4096

/** Longest turn of sealing, flushing or executing before the event loop runs again. Source: design §5. */
export const SLICE_MS = 8
/** Most steps of one turn, so that work takes turns in virtual time too, where the clock stands still. */
export const SLICE_STEPS_MAX = 256

/** Bytes of all transactions of a standard block, unless the application says otherwise. */
export const BLOCK_BODY_BYTES_MAX = 2 * 1024 * 1024
/** Transactions of a standard block, unless the application says otherwise. */
export const BLOCK_TRANSACTIONS_MAX = 32_768
/** Un-finalized ancestors that a proposal looks through for transactions it must not repeat; with more of them it is empty. */
export const ANCESTRY_BLOCKS_MAX = 64

/** Transactions in a mempool, unless its owner says otherwise. */
export const MEMPOOL_TRANSACTIONS_MAX = 65_536
/** Bytes of the transactions in a mempool, unless its owner says otherwise. */
export const MEMPOOL_BYTES_MAX = 64 * 1024 * 1024
/** Bytes of one transaction in a mempool, unless its owner says otherwise. */
export const MEMPOOL_TRANSACTION_BYTES_MAX = 64 * 1024
/** Transactions of one sender in a mempool, unless its owner says otherwise. */
export const MEMPOOL_SENDER_TRANSACTIONS_MAX = 1024
/** Finalized transactions that a mempool remembers in order to refuse them, unless its owner says otherwise. */
export const MEMPOOL_REMEMBERED_MAX = 65_536
/** Rejections after which a mempool forgets a transaction, unless its owner says otherwise. */
export const MEMPOOL_REJECTIONS_MAX = 3

/** Pending blocks whose whole state an executor holds in memory, unless its owner says otherwise. */
export const PENDING_ENTRIES_MAX = 1024
/** Bytes of memory of all un-flushed states of an executor, unless its owner says otherwise. */
export const PENDING_BYTES_MAX = 256 * 1024 * 1024
/** Verifications at work in an executor, unless its owner says otherwise. */
export const VERIFICATIONS_MAX = 256
/** Verifications that an executor, or a join, holds while nothing can be done for them, unless its owner says otherwise. */
export const HELD_VERIFICATIONS_MAX = 1024
/** Open proposals of an executor, unless its owner says otherwise: an engine asks for one at a time. */
export const PROPOSALS_MAX = 16
/** Pending blocks that an executor spills, unless its owner says otherwise: more than ten thousand views without finality. */
export const SPILLED_ENTRIES_MAX = 14_336
/** Bytes of pending blocks in scratch, unless the executor's owner says otherwise. */
export const SPILLED_BYTES_MAX = 8 * 1024 * 1024 * 1024
/** Bytes of states after which one spill takes no further one. Source: design §4. */
export const SPILL_BYTES = 2 * 1024 * 1024
/** Bytes that a spill leaves free on the volume of scratch: the flush that ends a stall needs room. */
export const SCRATCH_BYTES_FREE_MIN = 1024 * 1024 * 1024
/** Blocks that one recovery holds while it walks back; a longer walk goes on in further windows of this length. */
export const RECOVERY_BLOCKS_MAX = 256

/** Newest requests, and newest runs of hooks, whose legal calls a walk in development can draw. */
export const CALLS_WALKED_MAX = 256
/** Text of the calls in one divergence bundle; a longer record is cut. */
export const DIVERGENCE_CALLS_BYTES_MAX = 16 * 1024 * 1024
/** Bytes of one execution's operations on one member in a divergence bundle; what comes after them is left out. */
export const DIVERGENCE_OPERATIONS_BYTES_MAX = 1024 * 1024
/** Bytes of the operations of all copied states in a divergence bundle; a member that does not fit is left out. */
export const DIVERGENCE_STATE_BYTES_MAX = 8 * 1024 * 1024
/** Bytes of a file that is read as a divergence bundle. None that is written within the limits above is as long. */
export const DIVERGENCE_FILE_BYTES_MAX = 256 * 1024 * 1024
/** Longest that a hook waits for its divergence bundle: then its result is passed on without one. */
export const DIVERGENCE_MS_MAX = 10_000
/** Divergence bundles that one executor's lifetime writes: peers decide how many bad blocks there are. */
export const DIVERGENCE_FILES_MAX = 16
