/**
 * What a validator does between an engine's question and the executor's answer.
 *
 *   propose:  stored for this round? reuse it : parent --> executor.propose --> durable --> the block
 *   verify:   context, parent link, height --> executor.verify --> durable --> true
 *
 * Terms: the *embedded context* is the one a block carries; the engine's is the one it asks under.
 *
 * Invariant: a block is durable here before anything is said that could count as a vote for it (CONS-11). The executor
 * sees only candidates whose embedded context is the engine's: it trusts that context when it replays.
 */
import { bytesEqual } from "@coppice/codec"
import { type ConsensusContext, compareRounds } from "@coppice/verify/certificate"
import { Effect } from "effect"
import type { Block } from "./block.ts"
import type { RunningMarshal } from "./marshal/marshal.ts"
import type { ExecutorPort } from "./port.ts"

/** The parts of a validator that an engine talks to. */
export interface ValidatorNode<B extends Block> {
  readonly executor: ExecutorPort<B>
  readonly marshal: RunningMarshal<B>
}

/** Whether two contexts are the same attempt. */
export const contextsEqual = (a: ConsensusContext, b: ConsensusContext): boolean =>
  compareRounds(a.round, b.round) === 0 &&
  bytesEqual(a.leader, b.leader) &&
  a.parent.view === b.parent.view &&
  bytesEqual(a.parent.digest, b.parent.digest)

const extendsParent = <B extends Block>(block: B, parent: B): boolean =>
  block.height === parent.height + 1 && bytesEqual(block.parent, parent.digest)

/**
 * The block this node proposes under `context`, durable; undefined: it declines its turn.
 *
 * After a restart the block stored for the round is proposed again if its context is the same, else the turn is declined:
 * a second block for one round would be equivocation. Interruption abandons the proposal.
 */
export const proposeBlock = Effect.fn("Consensus.propose")(function* <B extends Block>(
  { executor, marshal }: ValidatorNode<B>,
  context: ConsensusContext,
) {
  const stored = yield* marshal.verifiedAt(context.round)
  if (stored !== undefined) return contextsEqual(stored.context, context) ? stored : undefined
  const parent = yield* marshal.subscribe(context.parent.digest, "fetch")
  const block = yield* executor.propose(context, marshal.ancestry(parent))
  if (block === undefined) return undefined
  if (!contextsEqual(block.context, context) || !extendsParent(block, parent)) {
    throw new Error(`the executor proposed a block of height ${block.height} that is not for the context it was given`)
  }
  yield* marshal.proposed(context.round, block)
  return block
})

/**
 * Whether this node votes for `candidate` under `context`; true only once the candidate is durable.
 *
 * Stays pending to abstain. `false` means invalid for this context, provably.
 */
export const verifyBlock = Effect.fn("Consensus.verify")(function* <B extends Block>(
  { executor, marshal }: ValidatorNode<B>,
  context: ConsensusContext,
  candidate: B,
) {
  if (!contextsEqual(candidate.context, context)) return false
  const parent = yield* marshal.subscribe(context.parent.digest, "fetch")
  if (!extendsParent(candidate, parent)) return false
  const isValid = yield* executor.verify(context, marshal.ancestry(candidate))
  if (isValid) yield* marshal.verified(context.round, candidate)
  return isValid
})
