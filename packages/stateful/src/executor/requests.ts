/**
 * Proposals and verifications.
 *
 *   pull ancestry --> find the parent's state --> run the hook --> check targets --> answer
 *                          |        ^
 *                     fetch|replay  | replayed: look again
 *
 * Terms: *refuse* = answer `false` or "no proposal": the request provably cannot lead on from the finalized tip. *Park* =
 * give no answer: data is missing, and its caller decides how long to wait. Three kinds of failure are never confused:
 * invalid is refused, incomplete is parked, cancelled has nobody to answer.
 *
 * Invariant: `true` comes from the application's own verdict in this process or from the finalized chain (INV-15); `false`
 * only from what no later data can change (INV-13, INV-14). Until a request's hook runs, `advance` may be called at any time
 * and any number of times: it compares what the request waits for with what it should wait for.
 */
import { bytesEqual, bytesKey } from "@coppice/codec"
import { type Block, compareRounds, contextsEqual, type Height } from "@coppice/consensus"
import { RECOVERY_BLOCKS_MAX } from "../limits.ts"
import { makeRoom } from "./budget.ts"
import { ApplicationFault, ExecutorDefect, ProposalCommitmentMismatch, ProposalHeaderMismatch } from "./errors.ts"
import type { Outcome, RequestId, State } from "./protocol.ts"
import { admit, cancelFlight, leaveFlight, startFlight } from "./replay.ts"
import {
  type Base,
  baseOf,
  type Core,
  cancelJob,
  closeState,
  emit,
  type Flight,
  follows,
  keyOf,
  must,
  nextHeight,
  noteCertified,
  type Request,
  startJob,
  stop,
} from "./state.ts"

/** Asks for the next ancestry block of a request. */
export const pull = <B extends Block, S extends State>(core: Core<B, S>, request: Request<B>) => {
  const job = startJob(core, { of: "request", request: request.id }, { kind: "pull", request: request.id })
  request.wait = { on: "pull", job }
}

/** Stops whatever a request waits for. */
export const release = <B extends Block, S extends State>(core: Core<B, S>, request: Request<B>) => {
  const { wait } = request
  request.wait = undefined
  if (wait === undefined) return
  if (wait.on === "flight") leaveFlight(core, wait.key, request.id)
  else if ("job" in wait) cancelJob(core, wait.job)
}

/** The caller is gone: nothing of the request stays but the ancestors it has replayed (INV-33, F5). */
export const leave = <B extends Block, S extends State>(core: Core<B, S>, id: RequestId) => {
  const request = core.requests.get(id)
  if (request === undefined) return
  release(core, request)
  core.requests.delete(id)
}

const answer = <B extends Block, S extends State>(core: Core<B, S>, request: Request<B>, valid: boolean) => {
  must(request.kind === "verify", "only a verification has a verdict")
  release(core, request)
  core.requests.delete(request.id)
  emit(core, { type: "verdict", request: request.id, valid })
}

const answerProposal = <B extends Block, S extends State>(
  core: Core<B, S>,
  request: Request<B>,
  block: B | undefined,
) => {
  release(core, request)
  core.requests.delete(request.id)
  emit(core, { type: "proposal", request: request.id, block })
}

/** Answers that the request cannot lead on from the finalized tip. */
export const refuse = <B extends Block, S extends State>(core: Core<B, S>, request: Request<B>) =>
  request.kind === "verify" ? answer(core, request, false) : answerProposal(core, request, undefined)

const park = <B extends Block>(request: Request<B>, at: B | undefined) => {
  request.wait = { on: "source", key: at && keyOf(at) }
}

/** A job of a request has settled. */
export const settleRequest = <B extends Block, S extends State>(
  core: Core<B, S>,
  request: Request<B>,
  outcome: Outcome<B, S>,
) => {
  const wait = request.wait
  must(wait !== undefined && "job" in wait, "a request with a job waits for it")
  request.wait = undefined
  if (outcome.kind === "block") return settleBlock(core, request, wait!.on, outcome.block)
  if (wait!.on !== "hook") {
    const cause = outcome.kind === "failed" ? outcome.cause : new Error(`settled with ${outcome.kind}`)
    return stop(core, new ExecutorDefect({ operation: wait!.on, cause }))
  }
  if (request.kind === "verify") settleVerify(core, request, outcome)
  else settlePropose(core, request, outcome)
}

const settleBlock = <B extends Block, S extends State>(
  core: Core<B, S>,
  request: Request<B>,
  on: NonNullable<Request<B>["wait"]>["on"],
  block: B | undefined,
) => {
  if (on === "canonical") {
    if (block === undefined) return park(request, undefined)
    return answer(core, request, bytesEqual(block.digest, request.candidate!.digest))
  }
  if (on === "fetch") return settleFetch(core, request, block)
  if (request.kind === "propose" && block === undefined) return refuse(core, request)
  if (block === undefined) return park(request, undefined)
  if (request.kind === "verify" && request.candidate === undefined) return judgeCandidate(core, request, block)
  settleParent(core, request, block)
}

const judgeCandidate = <B extends Block, S extends State>(core: Core<B, S>, request: Request<B>, candidate: B) => {
  request.candidate = candidate
  const { context } = candidate
  if (!contextsEqual(context, request.context) || !bytesEqual(candidate.parent, context.parent.digest)) {
    return answer(core, request, false)
  }
  if (isJudged(core, candidate)) return answer(core, request, true)
  const tip = core.tip.anchor
  if (candidate.height > tip.height) return pull(core, request)
  if (candidate.height === tip.height) return answer(core, request, bytesEqual(candidate.digest, tip.digest))
  const work = { kind: "canonical", height: candidate.height } as const
  request.wait = { on: "canonical", job: startJob(core, { of: "request", request: request.id }, work) }
}

/** Whether the application has found a pending block valid here. A replay is no verdict. */
const isJudged = <B extends Block, S extends State>(core: Core<B, S>, block: B): boolean => {
  const entry = core.pending.get(keyOf(block))
  if (entry === undefined || entry.origin === "replayed") return false
  core.pending.touch(entry.key)
  return true
}

const settleParent = <B extends Block, S extends State>(core: Core<B, S>, request: Request<B>, parent: B) => {
  const { candidate, context } = request
  if (!bytesEqual(parent.digest, context.parent.digest)) return refuse(core, request)
  if (candidate !== undefined && candidate.height !== parent.height + 1) return refuse(core, request)
  request.parent = parent
  noteCertified(core, parent)
  advance(core, request)
}

const settleFetch = <B extends Block, S extends State>(
  core: Core<B, S>,
  request: Request<B>,
  parent: B | undefined,
) => {
  const child = request.missing.at(-1)!
  if (parent === undefined) return park(request, child)
  if (!bytesEqual(parent.digest, child.parent) || parent.height + 1 !== child.height) return refuse(core, request)
  request.missing.push(parent)
  if (request.missing.length > RECOVERY_BLOCKS_MAX) request.missing.shift()
  advance(core, request)
}

/**
 * Brings a request whose parent is known as far as it can go now: to its hook, to the replay or the fetch of a missing
 * ancestor, to the wait for room, or to refusal. Leaves alone what it waits for already.
 */
export const advance = <B extends Block, S extends State>(core: Core<B, S>, request: Request<B>) => {
  const { candidate, missing } = request
  const parent = request.parent!
  if (candidate !== undefined && isJudged(core, candidate)) return answer(core, request, true)
  while (missing.length > 0 && baseOf(core, keyOf(missing.at(-1)!)) !== undefined) missing.pop()
  if (missing.length === 0) {
    const base = baseOf(core, keyOf(parent))
    if (base !== undefined) return execute(core, request, base)
    missing.push(parent)
  }
  const block = missing.at(-1)!
  const base = baseOf(core, bytesKey(block.parent))
  if (base !== undefined && !follows(block, base.anchor)) return refuse(core, request)
  const flight = core.flights.get(keyOf(block)) ?? core.flights.get(bytesKey(block.parent))
  if (flight !== undefined) return join(core, request, flight.key)
  if (base !== undefined) {
    if (!makeRoom(core, base.key, request)) return awaitRoom(core, request)
    return join(core, request, startFlight(core, block, base, "recovery").key)
  }
  // Its parent would have to be the tip or a block below it, and is neither pending nor the tip.
  if (block.height <= core.tip.anchor.height + 1) return refuse(core, request)
  fetch(core, request, block)
}

const join = <B extends Block, S extends State>(core: Core<B, S>, request: Request<B>, key: string) => {
  const { wait } = request
  if (wait?.on === "flight" && wait.key === key) return
  release(core, request)
  core.flights.get(key)!.waiters.add(request.id)
  request.replayed++
  request.wait = { on: "flight", key }
}

const awaitRoom = <B extends Block, S extends State>(core: Core<B, S>, request: Request<B>) => {
  release(core, request)
  request.wait = { on: "room" }
}

const fetch = <B extends Block, S extends State>(core: Core<B, S>, request: Request<B>, block: B) => {
  const { wait } = request
  const key = keyOf(block)
  // One attempt per missing block (F8): a source that has ended is not asked again.
  if ((wait?.on === "fetch" || wait?.on === "source") && wait.key === key) return
  release(core, request)
  const job = startJob(core, { of: "request", request: request.id }, { kind: "fetch", block })
  request.wait = { on: "fetch", job, key }
}

const execute = <B extends Block, S extends State>(core: Core<B, S>, request: Request<B>, base: Base<S>) => {
  const { candidate, context, id } = request
  const parent = request.parent!
  const leadsOn =
    candidate === undefined ? compareRounds(context.round, base.anchor.round) > 0 : follows(candidate, base.anchor)
  if (!leadsOn) return refuse(core, request)
  if (!makeRoom(core, base.key, request)) return awaitRoom(core, request)
  release(core, request)
  if (request.replayed > 0) emit(core, { type: "recovered", request: id, blocks: request.replayed })
  request.replayed = 0
  const common = { request: id, context, parent, state: base.state }
  const work =
    candidate === undefined
      ? ({ kind: "propose", ...common } as const)
      : ({ kind: "verify", block: candidate, ...common } as const)
  const job = startJob(core, { of: "request", request: id }, work, base.key)
  request.wait = { on: "hook", job, base: base.key }
}

const settleVerify = <B extends Block, S extends State>(
  core: Core<B, S>,
  request: Request<B>,
  outcome: Outcome<B, S>,
) => {
  const block = request.candidate!
  if (outcome.kind === "declined") return answer(core, request, false)
  if (outcome.kind !== "sealed") return fault(core, "verify", block.height, outcome)
  if (core.options.mismatch(outcome.state, block) !== undefined) {
    closeState(core, outcome.state)
    return answer(core, request, false)
  }
  answer(core, request, true)
  land(core, block, outcome.state, "verified")
}

const settlePropose = <B extends Block, S extends State>(
  core: Core<B, S>,
  request: Request<B>,
  outcome: Outcome<B, S>,
) => {
  const parent = request.parent!
  if (outcome.kind === "declined") return answerProposal(core, request, undefined)
  if (outcome.kind !== "proposed") return fault(core, "propose", nextHeight(parent), outcome)
  const { block, state } = outcome
  const { height, digest } = block
  const field = !bytesEqual(block.parent, parent.digest)
    ? "parent"
    : height !== parent.height + 1
      ? "height"
      : contextsEqual(block.context, request.context)
        ? undefined
        : "context"
  const mismatch = core.options.mismatch(state, block)
  if (field !== undefined || mismatch !== undefined) closeState(core, state)
  if (field !== undefined) return stop(core, new ProposalHeaderMismatch({ field, height, digest }))
  if (mismatch !== undefined) return stop(core, new ProposalCommitmentMismatch({ ...mismatch, height, digest }))
  answerProposal(core, request, block)
  land(core, block, state, "proposed")
}

const fault = <B extends Block, S extends State>(
  core: Core<B, S>,
  hook: ApplicationFault["hook"],
  height: Height,
  outcome: Outcome<B, S>,
) => {
  const cause = outcome.kind === "failed" ? outcome.cause : new Error(`settled with ${outcome.kind}`)
  stop(core, new ApplicationFault({ hook, height, cause }))
}

/** Caches a judged block; a replay of the same block is not needed any more. */
const land = <B extends Block, S extends State>(
  core: Core<B, S>,
  block: B,
  state: S,
  origin: "proposed" | "verified",
) => {
  admit(core, block, state, origin)
  const flight = core.flights.get(keyOf(block))
  if (flight === undefined) return
  cancelFlight(core, flight)
  resume(core, flight)
}

/** Lets the requests that waited for a replay look again. */
export const resume = <B extends Block, S extends State>(core: Core<B, S>, { waiters }: Flight<B>) => {
  for (const id of waiters) {
    const request = core.requests.get(id)!
    request.wait = undefined
    advance(core, request)
  }
}

/**
 * The tip has moved: every request looks at its place again. `lost` are those whose hook or replay forked a losing base.
 *
 * A verification of the winner ends `true`, of another block of that height `false`; the lost are refused; a request whose
 * ancestry is not resolved yet goes on from the new tip, or is refused when it turns out to lie on another branch (INV-13).
 */
export const retarget = <B extends Block, S extends State>(core: Core<B, S>, lost: ReadonlySet<RequestId>) => {
  const tip = core.tip.anchor
  for (const request of core.requests.values()) {
    const { candidate, parent, wait } = request
    if (candidate !== undefined && candidate.height === tip.height) {
      answer(core, request, bytesEqual(candidate.digest, tip.digest))
      continue
    }
    if (lost.has(request.id)) {
      refuse(core, request)
      continue
    }
    if (parent !== undefined && wait?.on !== "hook") advance(core, request)
  }
}
