/** Limits of the command. */

/** Validators of a devnet: they share one process. */
export const VALIDATORS_MAX = 16
/** Transfers per second that may be asked for. */
export const LOAD_PER_SECOND_MAX = 100_000
/** Time that a request waits for a validator that restarts. */
export const RESTART_WAIT_MS = 5_000
/** Time in which all validators of a bounded run must stand at its last block. */
export const SETTLE_MS_MAX = 15_000
/** Development accounts that are for people: `coppice transfer` signs with their keys. */
export const PEOPLE = 16
/** Development accounts that the load comes from. */
export const LOAD_ACCOUNTS = 64
/** Transfers that a devnet's leader puts into one block: four validators in one process verify it well within a view. */
export const BLOCK_TRANSFERS_MAX = 1_000
/** Time in which a process under torture must come up, go on, and flush. */
export const CHILD_START_MS_MAX = 30_000
/** Share of kills that must hit a flush, or a torture shows nothing. */
export const KILLS_INSIDE_SHARE = 0.8
/** Kills of one torture. */
export const KILLS_MAX = 100_000
/** Seeds of one simulation. */
export const SEEDS_MAX = 1_000_000
/** Decisions of consensus that are shown of a failed seed. */
export const SHOWN_SCHEDULE_MAX = 60
/** Runs in which a failed seed's schedule is shrunk. */
export const SHRINK_RUNS_MAX = 100
/** Calls before the first difference that a replay shows. */
export const REPLAY_CALLS_SHOWN = 5
