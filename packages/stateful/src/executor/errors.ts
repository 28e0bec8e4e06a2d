/**
 * Errors of the executor, each with the evidence a person needs.
 *
 * Terms: a *fatal* error stops the executor, or keeps it from starting: outstanding requests fail with `ExecutorStopped`
 * that carries it, no ack is released any more, the disk is left for the next start.
 *
 * Invariant: nothing here ever becomes the verdict `false`. A local fault is not evidence about a block.
 */
import type { ConflictingFinalized, Height } from "@coppice/consensus"
import type { Digest } from "@coppice/crypto"
import type { SyncTarget } from "@coppice/qmdb"
import { Data } from "effect"

/** Where a state and a block header disagree: the first member that differs, in declared order. */
export interface TargetMismatch {
  readonly member: string
  /** What the header commits to. */
  readonly expected: SyncTarget
  /** What execution gave. */
  readonly actual: SyncTarget
}

/** The application proposed a block whose header does not commit to the state it sealed (F1). Its state machine is broken. */
export class ProposalCommitmentMismatch extends Data.TaggedError("ProposalCommitmentMismatch")<
  TargetMismatch & { readonly height: Height; readonly digest: Digest }
> {}

/** The application proposed a block that is not a child of the parent it was given, or that embeds another context. */
export class ProposalHeaderMismatch extends Data.TaggedError("ProposalHeaderMismatch")<{
  readonly field: "parent" | "height" | "context"
  readonly height: Height
  readonly digest: Digest
}> {}

/** Executing a finalized block gave a state its header does not commit to (F24). Databases are untouched. */
export class FinalizedCommitmentMismatch extends Data.TaggedError("FinalizedCommitmentMismatch")<
  TargetMismatch & { readonly height: Height; readonly digest: Digest }
> {}

/** `apply` refused a finalized block. */
export class FinalizedBlockRejected extends Data.TaggedError("FinalizedBlockRejected")<{
  readonly height: Height
  readonly digest: Digest
}> {}

/** The `finalized` hook failed (F31). The block is durable and is not acknowledged. */
export class FinalizedHookFailed extends Data.TaggedError("FinalizedHookFailed")<{
  readonly height: Height
  readonly digest: Digest
  readonly cause: unknown
}> {}

/** A hook failed, threw, used a batch of another branch, or returned a state that it did not seal itself. */
export class ApplicationFault extends Data.TaggedError("ApplicationFault")<{
  readonly hook: "propose" | "verify" | "apply"
  /** Height of the block under execution. */
  readonly height: Height
  readonly cause: unknown
}> {}

/** A finalized block below the tip that no row vouches for, or that was already delivered in this lifetime (F19). */
export class FinalizedBelowTip extends Data.TaggedError("FinalizedBelowTip")<{
  readonly height: Height
  readonly digest: Digest
  readonly tip: Height
}> {}

/** A finalized block skips heights (F22). */
export class FinalizedGap extends Data.TaggedError("FinalizedGap")<{
  readonly expected: Height
  readonly actual: Height
}> {}

/** A finalized block is no child of the tip (F22). */
export class FinalizedParentMismatch extends Data.TaggedError("FinalizedParentMismatch")<{
  readonly height: Height
  /** The tip. */
  readonly expected: Digest
  /** The parent that the block claims. */
  readonly actual: Digest
}> {}

/** More finalized blocks were delivered and not yet acknowledged than the marshal promised. */
export class AckWindowExceeded extends Data.TaggedError("AckWindowExceeded")<{
  readonly height: Height
  readonly allowed: number
}> {}

/** The set refused to apply a finalized state, `StaleBatch` among others (F62). Databases are untouched. */
export class ApplyFailed extends Data.TaggedError("ApplyFailed")<{
  readonly height: Height
  readonly digest: Digest
  readonly cause: unknown
}> {}

/** A flush failed: memory is ahead of the disk for good (F29). */
export class FlushFailed extends Data.TaggedError("FlushFailed")<{
  readonly durable: Height
  readonly applied: Height
  readonly cause: unknown
}> {}

/** Forgetting old heights failed: the set is dead, or marshal could not let go of its blocks. */
export class PruneFailed extends Data.TaggedError("PruneFailed")<{
  /** Oldest height that was to stay in the set. */
  readonly height: Height
  readonly durable: Height
  readonly cause: unknown
}> {}

/** Scratch failed: what was spilled cannot be read any more. Nothing durable is touched; a restart replays. */
export class SpillFailed extends Data.TaggedError("SpillFailed")<{ readonly cause: unknown }> {}

/** Something other than the application broke its contract: ancestry, block source or the executor itself. */
export class ExecutorDefect extends Data.TaggedError("ExecutorDefect")<{
  readonly operation: string
  readonly cause: unknown
}> {}

/** Every error that stops the executor, or keeps it from starting. */
export type FatalError =
  | ProposalCommitmentMismatch
  | ProposalHeaderMismatch
  | FinalizedCommitmentMismatch
  | FinalizedBlockRejected
  | FinalizedHookFailed
  | ApplicationFault
  | FinalizedBelowTip
  | ConflictingFinalized
  | FinalizedGap
  | FinalizedParentMismatch
  | AckWindowExceeded
  | ApplyFailed
  | FlushFailed
  | PruneFailed
  | SpillFailed
  | ExecutorDefect
