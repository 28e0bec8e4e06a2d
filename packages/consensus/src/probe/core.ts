/**
 * Finding a floor: the pure core.
 *
 *   somebody waits --> the committee is asked --> f + 1 replies that can be judged --> the newest of them is the floor
 *                       ^                  |
 *                       '-- retry: replies forgotten
 *   attached, and nobody waits --> service, for ever: requests are answered, replies are of no interest
 *
 * Terms: a *reply* is a response that holds a good certificate, one per peer and round of asking. *f* is how many of the
 * committee that is asked may be faulty.
 *
 * Invariant: f + 1 replies include one of an honest validator, so the floor is at least as new as what that one knew; that
 * more replies agree on an older one means nothing. Who was counted is not read again (F60), and nobody is judged by a
 * certificate whose committee is not known. Same events, same actions.
 */
import { bytesKey } from "@coppice/codec"
import { compareRounds, type Finalization } from "@coppice/verify/certificate"
import { PEERS_REMEMBERED_MAX, PROBE_SERVE_MS } from "../limits.ts"
import { committeeAsked, judgeResponse, messageKind, type ProbeRules } from "./messages.ts"

/** What happens to a probe. */
export type ProbeEvent =
  /** Somebody waits for a floor. */
  | { readonly type: "wanted" }
  /** Who wanted the floor has it, or gave up. */
  | { readonly type: "unwanted" }
  /** A peer's message, sent of its own accord or as the answer to a request. `newest`: what is known here to be final. */
  | {
      readonly type: "received"
      readonly from: Uint8Array
      readonly bytes: Uint8Array
      readonly nowMs: number
      readonly newest: Finalization | undefined
    }
  /** Nothing was decided in time. */
  | { readonly type: "overdue" }
  /** There is a marshal that knows what is final. */
  | { readonly type: "attached" }

/** What is to be done, in order. */
export type ProbeAction =
  /** Ask each of them; if nothing is decided in time, that is `overdue`. What was asked before is of no interest any more. */
  | { readonly type: "ask"; readonly peers: ReadonlyArray<Uint8Array> }
  /** Nobody waits, or it is decided: nothing more is asked. */
  | { readonly type: "rest" }
  | { readonly type: "found"; readonly floor: Finalization }
  /** The peer is proven wrong. */
  | { readonly type: "block"; readonly reason: string }
  /** Answer the request that was received. */
  | { readonly type: "answer"; readonly finalization: Finalization }

/** The core's memory. */
export interface ProbeCore {
  readonly rules: ProbeRules
  phase: "discovery" | "service"
  waiting: number
  isAttached: boolean
  floor: Finalization | undefined
  /** By peer. At most as many as the committee has members. */
  readonly replies: Map<string, Finalization>
  /** When peers were answered last, the one answered longest ago first. */
  readonly answeredMs: Map<string, number>
}

/** A probe that nobody has asked for a floor. Throws Error when the committee that is to be asked is not known. */
export const createProbe = (rules: ProbeRules): ProbeCore => {
  committeeAsked(rules)
  return {
    rules,
    phase: "discovery",
    waiting: 0,
    isAttached: false,
    floor: undefined,
    replies: new Map(),
    answeredMs: new Map(),
  }
}

/** Replies that decide: more than the faulty can give. */
export const repliesNeeded = (rules: ProbeRules): number => {
  const { n, quorum } = committeeAsked(rules)
  return n - quorum + 1
}

type Actions = ReadonlyArray<ProbeAction>

/** Takes one event and returns what is to be done about it, in order. */
export const stepProbe = (core: ProbeCore, event: ProbeEvent): Actions => {
  switch (event.type) {
    case "wanted":
      return ++core.waiting === 1 && core.floor === undefined ? ask(core) : []
    case "unwanted":
      return --core.waiting === 0 ? rest(core) : []
    case "overdue":
      return core.waiting > 0 && core.floor === undefined ? ask(core) : []
    case "attached":
      core.isAttached = true
      return core.waiting === 0 ? rest(core) : []
    case "received":
      return receive(core, event)
  }
}

const ask = ({ rules, replies }: ProbeCore): Actions => {
  replies.clear()
  return [{ type: "ask", peers: committeeAsked(rules).keys }]
}

const rest = (core: ProbeCore): Actions => {
  core.replies.clear()
  if (core.isAttached) core.phase = "service"
  return [{ type: "rest" }]
}

type Received = ProbeEvent & { readonly type: "received" }

const receive = (core: ProbeCore, event: Received): Actions => {
  const isDiscovery = core.phase === "discovery"
  if (isDiscovery && (core.floor !== undefined || core.replies.has(bytesKey(event.from)))) return []
  const kind = messageKind(event.bytes)
  if (kind === undefined) return [{ type: "block", reason: "no message of a probe" }]
  // Who does not know yet what is final answers nobody. Certificates cost signature checks: not for nobody.
  if (kind === "request") return isDiscovery ? [] : serve(core, event)
  return isDiscovery && core.waiting > 0 ? take(core, event) : []
}

const take = (core: ProbeCore, { from, bytes }: Received): Actions => {
  const { rules, replies } = core
  const judgement = judgeResponse(rules, from, bytes)
  if (judgement.tag === "ignored") return []
  if (judgement.tag === "refused") return [{ type: "block", reason: judgement.reason }]
  replies.set(bytesKey(from), judgement.finalization)
  core.floor = decide(core)
  return core.floor === undefined ? [] : [{ type: "found", floor: core.floor }, { type: "rest" }]
}

/** The newest reply, once there are enough that can still be judged: a committee may have gone out of sight meanwhile. */
const decide = ({ rules, replies }: ProbeCore): Finalization | undefined => {
  const judged = [...replies.values()].filter(({ proposal }) => rules.committeeOf(proposal.round.epoch) !== undefined)
  if (judged.length < repliesNeeded(rules)) return undefined
  return judged.reduce((a, b) => (compareRounds(b.proposal.round, a.proposal.round) > 0 ? b : a))
}

const serve = ({ answeredMs }: ProbeCore, { from, nowMs, newest }: Received): Actions => {
  if (newest === undefined) return []
  const peer = bytesKey(from)
  if (nowMs < (answeredMs.get(peer) ?? Number.NEGATIVE_INFINITY) + PROBE_SERVE_MS) return []
  answeredMs.delete(peer)
  answeredMs.set(peer, nowMs)
  if (answeredMs.size > PEERS_REMEMBERED_MAX) answeredMs.delete(answeredMs.keys().next().value!)
  return [{ type: "answer", finalization: newest }]
}
