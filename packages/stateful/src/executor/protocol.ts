/**
 * What goes into the executor's core and what comes out.
 *
 *   Event ---> core ---> Action[]
 *     ^                     |
 *     +---- settled <--- run(job)          every job settles at most once; a cancelled one need not settle at all
 *
 * Terms: a *request* is one proposal or verification; a *job* is work that takes time, named by a number that is never used
 * twice, so a result that comes too late is recognised and refused; an *action* is what the shell carries out at once, in
 * the order given. `S` is a sealed state, opaque but for its size.
 *
 * Invariant: plain data, no promises, no callbacks. The same core runs in production and in simulation.
 */
import type { Anchor, Block, ConsensusContext, Height } from "@coppice/consensus"
import type { Digest } from "@coppice/crypto"
import type { FatalError } from "./errors.ts"

/** Names one job; rises by one with each. */
export type JobId = number
/** Names one request; chosen by the shell, never used twice. */
export type RequestId = number
/** Names the ack of one delivery; chosen by the shell, never used twice. */
export type AckId = number

/** What the core knows of a sealed state. */
export interface State {
  /** Bytes of memory held until it is flushed or closed, when it is new. */
  readonly bytes: number
}

/** Which of the two questions a request asks. */
export type RequestKind = "propose" | "verify"

/** Work of a job. */
export type Work<B extends Block, S extends State> =
  /** Take the next block of the request's ancestry. Settles with `block`. */
  | { readonly kind: "pull"; readonly request: RequestId }
  /** Fetch the parent of a block, in one attempt. Settles with `block`. */
  | { readonly kind: "fetch"; readonly block: B }
  /** Look up the finalized block at a height. Settles with `block`. */
  | { readonly kind: "canonical"; readonly height: Height }
  /** Run `propose` over the parent's state. Settles with `proposed` or `declined`. */
  | {
      readonly kind: "propose"
      readonly request: RequestId
      readonly context: ConsensusContext
      readonly parent: B
      readonly state: S
    }
  /** Run `verify` over the parent's state. Settles with `sealed` or `declined`. */
  | {
      readonly kind: "verify"
      readonly request: RequestId
      readonly context: ConsensusContext
      readonly block: B
      readonly parent: B
      readonly state: S
    }
  /** Run `apply` over the parent's state. Settles with `sealed` or `declined`. */
  | {
      readonly kind: "apply"
      readonly block: B
      readonly state: S
      readonly purpose: "recovery" | "finalization"
    }
  /** Run the `finalized` hook. Settles with `done`. */
  | { readonly kind: "finalized"; readonly block: B }
  /** Make everything applied durable. Settles with `durable`. */
  | { readonly kind: "flush" }
  /** Forget what is older than these heights, in the set first. Settles with `done`. */
  | { readonly kind: "prune"; readonly set: Height; readonly marshal: Height }
  /** Move most of these states to scratch. Settles with `spilled`. */
  | { readonly kind: "spill"; readonly states: ReadonlyArray<S> }

/** How a job ended. Any job may also end in `failed`. */
export type Outcome<B extends Block, S extends State> =
  /** Undefined: the source has ended. */
  | { readonly kind: "block"; readonly block: B | undefined }
  | { readonly kind: "proposed"; readonly block: B; readonly state: S }
  | { readonly kind: "sealed"; readonly state: S }
  /** `propose` cannot build; `verify` and `apply` found the block invalid. */
  | { readonly kind: "declined" }
  | { readonly kind: "done" }
  | { readonly kind: "durable"; readonly anchor: Anchor }
  /** Bytes of memory that each of the states takes now. */
  | { readonly kind: "spilled"; readonly bytes: ReadonlyArray<number> }
  | { readonly kind: "failed"; readonly cause: unknown }

/** What happens to the core. */
export type Event<B extends Block, S extends State> =
  | {
      readonly type: "request"
      readonly request: RequestId
      readonly kind: RequestKind
      readonly context: ConsensusContext
    }
  /** The caller of a request is gone. */
  | { readonly type: "left"; readonly request: RequestId }
  | { readonly type: "settled"; readonly job: JobId; readonly outcome: Outcome<B, S> }
  /** Consensus delivered a finalized block. `row`: the digest the set keeps for that height, if any. */
  | { readonly type: "finalized"; readonly block: B; readonly ack: AckId; readonly row: Digest | undefined }
  /** The plan of a synced set is complete: from now on the set may be pruned. */
  | { readonly type: "complete" }
  /** An action could not be carried out. */
  | { readonly type: "fault"; readonly error: FatalError }
  | { readonly type: "shutdown" }

/**
 * What the core wants done, at once and in order. The shell may put off to the end of the turn what others hear:
 * answers, acks and `stop`, in their own order.
 */
export type Action<B extends Block, S extends State> =
  | { readonly type: "run"; readonly job: JobId; readonly work: Work<B, S> }
  /** The job's result is not wanted any more. The batches of a hook are closed before the next action. */
  | { readonly type: "cancel"; readonly job: JobId }
  /** Make the state the new tip. The set closes everything that does not descend from it. */
  | { readonly type: "apply"; readonly state: S; readonly anchor: Anchor }
  /** Drop a pending state, and everything over it. */
  | { readonly type: "close"; readonly state: S }
  /** Answer a proposal. Undefined: no proposal. */
  | { readonly type: "proposal"; readonly request: RequestId; readonly block: B | undefined }
  /** Answer a verification. */
  | { readonly type: "verdict"; readonly request: RequestId; readonly valid: boolean }
  /** Never answer a verification: as many as may be are held. It is forgotten; its caller hears of the end alone. */
  | { readonly type: "drop"; readonly request: RequestId }
  | { readonly type: "acknowledge"; readonly ack: AckId }
  /** A request has the state of its parent back, after waiting for the replay of so many blocks. */
  | { readonly type: "recovered"; readonly request: RequestId; readonly blocks: number }
  /**
   * The end: cancel every job, fail every open request with `ExecutorStopped`, cancel every ack not acknowledged. Only
   * `close` follows.
   * `error` is undefined on a clean shutdown.
   */
  | { readonly type: "stop"; readonly error: FatalError | undefined }
