/**
 * Errors in the words of the person who has to act.
 *
 * Invariant: every error of a node is here; one that is missing does not compile.
 */
import type { ListenFailed, NodeFailure, NodeOpenError, NoNode } from "./errors.ts"
import { toHex } from "./hex.ts"

/** What happened, without a full stop, and what to do about it. */
export interface Explanation {
  readonly what: string
  readonly advice: string
}

/** What an unknown failure says of itself, and of what caused it. */
const reasonOf = (cause: unknown): string => {
  if (!(cause instanceof Error)) return String(cause)
  if (cause.message !== "") return cause.message
  const { _tag: tag, reason } = cause as { readonly _tag?: unknown; readonly reason?: unknown }
  const name = typeof tag === "string" ? tag : cause.name
  const what = typeof reason === "string" ? `${name}, ${reason}` : name
  return cause.cause === undefined ? what : `${what} (${reasonOf(cause.cause)})`
}

const NOT_THIS_DIRECTORY =
  "Nothing was changed. Start with the right directory, or with another --data for a new chain."
const RESTORE = "Restore the node's directory from a backup, or delete it and let the node catch up from its peers."
const REPORT =
  "Nothing that was promised is lost; a restart may help. If it happens again, report it with this message."
const BROKEN_APPLICATION =
  "The application is not deterministic or differs from that of the other validators: compare versions."
const BROKEN_CONSENSUS =
  "More validators than tolerated are faulty, or two chains are mixed: stop, and compare with the others."

/** A format is refused as a whole: chains do not move from one to another. */
const anotherFormat = (where: string, { expected, actual }: Formats): Explanation => ({
  what: `${where} has format ${actual}, this program reads and writes format ${expected}`,
  advice:
    "Nothing was changed. Go on with the program that made it, or start a new chain in another --data directory: blocks and state of one format do not carry over to another.",
})

interface Formats {
  readonly expected: string
  readonly actual: string
}

/** Explains an error of a node. */
export const explain = (error: NodeOpenError | NodeFailure | ListenFailed | NoNode): Explanation => {
  switch (error._tag) {
    case "DirectoryLocked": {
      const { directory, holder } = error
      const who = holder === undefined ? "another process" : `process ${holder.pid} since ${holder.since}`
      const how = holder === undefined ? "it" : `it (\`kill ${holder.pid}\`; it is \`${holder.command}\`)`
      return { what: `${directory} is in use by ${who}`, advice: `Stop ${how} first, or use another --data directory.` }
    }
    case "DirectoryFailed":
      return {
        what: `cannot ${error.operation} ${error.path}: ${reasonOf(error.cause)}`,
        advice: "Check that the path exists, belongs to you and has space.",
      }
    case "NoNode":
      return {
        what: `there is no node in ${error.directory}`,
        advice: "Name the directory of a node, or of a devnet that has started.",
      }
    case "ConfigUnreadable":
      return { what: `${error.path} is unreadable: ${error.reason}`, advice: NOT_THIS_DIRECTORY }
    case "ForeignDirectory":
      if (error.field === "format") return anotherFormat(error.directory, error)
      return {
        what: `${error.directory} belongs to another ${error.field}: expected ${error.expected}, found ${error.actual}`,
        advice: NOT_THIS_DIRECTORY,
      }
    case "SecretExposed":
      return {
        what: `${error.path} has mode ${error.mode}: others than its owner may use the key`,
        advice: `Consider the key known to others; if it is not, run chmod 600 ${error.path}.`,
      }
    case "SecretUnreadable":
      return { what: `no secret key in ${error.path}: ${error.reason}`, advice: "Put the key back from your backup." }
    case "ForeignSet":
    case "ForeignEnvironment":
      if (error.field === "format") return anotherFormat("the environment", error)
      return {
        what: `the environment belongs to another ${error.field}: expected ${error.expected}, found ${error.actual}`,
        advice: NOT_THIS_DIRECTORY,
      }
    case "SetCorrupt":
      return { what: `the databases' root record is damaged at ${error.row}: ${error.reason}`, advice: RESTORE }
    case "CorruptRow":
      return {
        what: `the block store is damaged in ${error.map} at ${toHex(error.key)}: ${error.reason}`,
        advice: RESTORE,
      }
    case "MemberCorrupt":
      return { what: `database ${error.member} is damaged: ${error.detail}`, advice: RESTORE }
    case "GenesisTargetsMismatch":
      return {
        what: `the genesis block does not commit to fresh databases (member ${error.member})`,
        advice: "Return the targets that `genesis` is given; initial state is written by the first block.",
      }
    case "StateSyncUnfinished":
      return {
        what: "state sync began in this directory and did not end",
        advice: "Start the node with state sync: it goes on where it was cut off. Or start from an empty directory.",
      }
    case "InvalidFinalization":
      return {
        what: `the certificate of round ${error.round.epoch}/${error.round.view} is not one of this chain's validators`,
        advice: "Nothing was changed. Take the finalization to begin at from another source, and check the validators.",
      }
    case "StateSyncFailed":
      return {
        what: `state sync${error.member === undefined ? "" : ` of database ${error.member}`} failed: ${reasonOf(error.cause)}`,
        advice: "Start again: what was brought already is kept.",
      }
    case "FloorUncovered":
      return {
        what: `neither the final block of height ${error.height} nor the next is here to begin state sync at`,
        advice: RESTORE,
      }
    case "SyncedBelowRecorded":
    case "SyncedElsewhere":
    case "SyncedTargetMismatch":
      return { what: `state sync came out at a state it was not asked for (${error._tag})`, advice: REPORT }
    case "SyncPlanUnreadable":
      return { what: `the sync plan is unreadable: ${error.reason}`, advice: RESTORE }
    case "SyncAfterComplete":
    case "FloorRegressed":
    case "FloorConflict":
    case "CompleteRegressed":
      return { what: `the sync plan refuses (${error._tag})`, advice: RESTORE }
    case "RowMismatch":
      return {
        what: `height ${error.height} was executed with another block than the final one`,
        advice: BROKEN_CONSENSUS,
      }
    case "DeliveryHole":
      return {
        what: `the databases stand at height ${error.anchor}, of ${error.processed} processed blocks that of height ${error.missing} is gone`,
        advice: RESTORE,
      }
    case "AnchorMismatch":
      return { what: `height ${error.height}: the databases stand on a block that is not final`, advice: RESTORE }
    case "StorageBackupFailed":
    case "StorageOpenFailed":
    case "StorageReadFailed":
    case "StorageDead":
      return {
        what: `storage ${error.environment} failed: ${reasonOf(error.cause)}`,
        advice: "Check the disk, then restart.",
      }
    case "StorageWriteFailed": {
      const full = error.reason === "disk full"
      return {
        what: `writing ${error.environment} failed: ${full ? "the disk is full" : reasonOf(error.cause)}`,
        advice: full
          ? "Free some space and start again; nothing that was promised is lost."
          : "Check the disk, then restart.",
      }
    }
    case "StorageLimitExceeded":
      return { what: `${error.limit}: ${error.actual}, at most ${error.allowed} is allowed`, advice: REPORT }
    case "FlushFailed": {
      const { durable, applied, cause } = error
      return {
        what: `heights ${durable + 1} to ${applied} could not be made durable: ${reasonOf(cause)}`,
        advice: "Check disk and free space, then start again: the node stands at the last durable height.",
      }
    }
    case "PruneFailed":
      return {
        what: `forgetting what is older than height ${error.height} failed: ${reasonOf(error.cause)}`,
        advice: "Check disk and free space, then start again: nothing that is needed was forgotten.",
      }
    case "SpillFailed":
      return {
        what: `pending blocks could not be kept in scratch: ${reasonOf(error.cause)}`,
        advice: "Check disk and free space, then start again: nothing that is final was touched.",
      }
    case "ConflictingFinalized":
      return { what: `two different blocks are final at height ${error.height}`, advice: BROKEN_CONSENSUS }
    case "FinalizedBelowTip":
    case "FinalizedParentMismatch":
      return { what: `a final block at height ${error.height} is not on this chain`, advice: BROKEN_CONSENSUS }
    case "FinalizedGap":
      return { what: `a final block skips from ${error.expected} to ${error.actual}`, advice: REPORT }
    case "AckWindowExceeded":
      return { what: `more than ${error.allowed} blocks are unacknowledged at height ${error.height}`, advice: REPORT }
    case "ProposalCommitmentMismatch":
    case "FinalizedCommitmentMismatch":
      return {
        what: `height ${error.height}: member ${error.member} has another root than the block commits to`,
        advice: BROKEN_APPLICATION,
      }
    case "ProposalHeaderMismatch":
      return { what: `the application proposed a block with a wrong ${error.field}`, advice: BROKEN_APPLICATION }
    case "FinalizedBlockRejected":
      return { what: `the application rejects the final block of height ${error.height}`, advice: BROKEN_APPLICATION }
    case "FinalizedHookFailed":
      return {
        what: `the hook \`finalized\` failed at height ${error.height}: ${reasonOf(error.cause)}`,
        advice: "Fix the hook and start again: the block is durable and comes again.",
      }
    case "ApplicationFault":
      return {
        what: `the hook \`${error.hook}\` failed at height ${error.height}: ${reasonOf(error.cause)}`,
        advice: "Fix the application and start again.",
      }
    case "ApplyFailed":
      return { what: `height ${error.height} could not be applied: ${reasonOf(error.cause)}`, advice: REPORT }
    case "ExecutorDefect":
      return { what: `${error.operation} failed: ${reasonOf(error.cause)}`, advice: REPORT }
    case "ListenFailed": {
      const inUse = error.reason === "in use"
      return {
        what: `port ${error.port} on ${error.host} ${inUse ? "is in use" : `cannot be opened: ${reasonOf(error.cause)}`}`,
        advice: "Choose another with --port, or --port 0 for any free one.",
      }
    }
  }
}
