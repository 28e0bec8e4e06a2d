/**
 * How many requests there may be, and which of them work.
 *
 *   verification --> place free? at work : held      parked, waiting for room or for a place: no place is taken
 *                                                    as many held as may be: dropped, never answered
 *   proposal ------> at work                         as many open as may be: declined at once
 *
 * Terms: a verification is *at work* while a job or replay runs for it, and *held* otherwise.
 *
 * Invariant: at most `verificationsMax` verifications are at work, but for parked ones that go on, so one that is held delays
 * no other (INV-42); no proposal waits for a verification's place. Overload is no evidence against a block (INV-14).
 */
import type { Block, ConsensusContext } from "@coppice/consensus"
import type { RequestId, RequestKind, State } from "./protocol.ts"
import { advance, pull } from "./requests.ts"
import { type Core, emit, type Request } from "./state.ts"

const isAtWork = <B extends Block>({ kind, wait }: Request<B>): boolean =>
  kind === "verify" && wait !== undefined && wait.on !== "place" && wait.on !== "room" && wait.on !== "source"

const count = <B extends Block, S extends State>(core: Core<B, S>, which: (request: Request<B>) => boolean): number => {
  let found = 0
  for (const request of core.requests.values()) if (which(request)) found++
  return found
}

/** Places for verifications that are free. */
const placesLeft = <B extends Block, S extends State>(core: Core<B, S>): number =>
  core.options.limits.verificationsMax - count(core, isAtWork)

/**
 * Opens a request, which asks for its first ancestry block as soon as it has a place; or drops or declines it above its limit.
 * Cost: one pass over the requests.
 */
export const openRequest = <B extends Block, S extends State>(
  core: Core<B, S>,
  id: RequestId,
  kind: RequestKind,
  context: ConsensusContext,
) => {
  const { heldVerificationsMax, proposalsMax, verificationsMax } = core.options.limits
  const known = count(core, (other) => other.kind === kind)
  if (kind === "propose" && known >= proposalsMax) {
    return emit(core, { type: "proposal", request: id, block: undefined })
  }
  if (kind === "verify" && known >= verificationsMax + heldVerificationsMax) {
    core.dropped++
    return emit(core, { type: "drop", request: id })
  }
  const request: Request<B> = {
    id,
    kind,
    context,
    candidate: undefined,
    parent: undefined,
    missing: [],
    replayed: 0,
    wait: { on: "place" },
  }
  core.requests.set(id, request)
  if (kind === "propose") pull(core, request)
}

/**
 * Lets the requests that wait for room, or for a state that no source gave them, try again in order of their arrival; then
 * gives the places that are free to those that wait for one.
 */
export const wake = <B extends Block, S extends State>(core: Core<B, S>) => {
  for (const request of core.requests.values()) {
    const on = request.wait?.on
    if (on === "room" || (on === "source" && request.parent !== undefined)) advance(core, request)
  }
  let places = placesLeft(core)
  for (const request of core.requests.values()) {
    if (places <= 0) return
    if (request.wait?.on !== "place") continue
    places--
    pull(core, request)
  }
}
