/** Limits of the consensus package. */

/** Finalized blocks delivered and not yet acknowledged, unless the composer of a node says otherwise. */
export const PENDING_ACKS_MAX = 16
/** Largest window of unacknowledged blocks that can be asked for: the executor keeps an undo record for each. */
export const PENDING_ACKS_LIMIT = 1024
/** Certificates kept while their block is being fetched; beyond it the lowest round gives way, its block is an ancestor. */
export const AWAITED_FINALIZATIONS_MAX = 64
/** Missing finalized heights asked for at once by height, lowest first. */
export const REPAIR_HEIGHTS_MAX = 16
/** Blocks waiting in one gap's downward walk before they are made durable. */
export const REPAIR_WALK_MAX = 256
/** Things hinted at and not fetched yet; beyond it the oldest gives way. */
export const HINTS_MAX = 64
/** Peers to ask on a hint; beyond it the newest stay. */
export const HINT_TARGETS_MAX = 64
/** Fetches under way at once. Others wait their turn. */
export const FETCHES_MAX = 64
/** Requests that one peer is asked to answer at once. */
export const PEER_REQUESTS_MAX = 8
/** Failures in a row that count against a peer: the more, the later it is asked. */
export const PEER_FAILURES_MAX = 8
/** Peers whose conduct is remembered; beyond it the one heard of longest ago is forgotten. */
export const PEERS_REMEMBERED_MAX = 1_024
/** How long a peer that lied is asked for nothing. */
export const PEER_BLAMED_MS = 600_000
/** Answer time of one peer before the next one is asked. */
export const FETCH_TIMEOUT_MS = 2_000
/** Pause after every peer was asked in vain, doubled each time from the first to the second figure, and jittered. */
export const FETCH_PAUSE_MS = 100
/** Longest pause between two rounds of asking. */
export const FETCH_PAUSE_MS_MAX = 5_000
/** Requests that callers may have in the marshal's mailbox; more of them wait outside. */
export const MAILBOX_REQUESTS_MAX = 256
/** Rounds of verified and notarized blocks kept below the round floor. */
export const ROUND_RETENTION = 64
/** Expired cached blocks, and pruned final ones, removed with one write. */
export const EXPIRED_ROWS_MAX = 64
/** Decoded blocks kept in memory. */
export const RECENT_BLOCKS_MAX = 64
/** Time after which a probe asks its whole committee again: longer than `PROBE_SERVE_MS`, so that who answered answers again. */
export const PROBE_RETRY_MS = 6_000
/** For how long a peer that was told what is final is told nothing more. Source: spec sync §18.4. */
export const PROBE_SERVE_MS = 5_000
/** Longest chain id in bytes of UTF-8. */
export const CHAIN_ID_BYTES_MAX = 64
