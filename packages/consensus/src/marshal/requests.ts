/**
 * What peers should be asked for: computed afresh each turn from what is missing, wanted and hinted at.
 *
 *   pending floor > lowest gap > newest certificate > callers > hints > older certificates       the first `FETCHES_MAX`
 *
 * Invariant: a request is under way as long as something asks for it and it has room, never longer; giving one up leaves
 * its callers waiting (CONS-17). Only what a certificate or a caller vouches for is asked for (CONS-19).
 */
import { compareRounds, Height } from "@coppice/verify/certificate"
import type { Block } from "../block.ts"
import { FETCHES_MAX, HINT_TARGETS_MAX, HINTS_MAX, REPAIR_HEIGHTS_MAX } from "../limits.ts"
import { arrive, awaitedByRound, type Gap, takeFinalization } from "./finality.ts"
import { type Answer, type Fetching, type Hint, requestKey } from "./state.ts"
import type { BlockRequest } from "./transport.ts"
import type { Work } from "./work.ts"

/** Takes in a peer's checked answer. */
export const takeAnswer = <B extends Block>(work: Work<B>, request: BlockRequest, answer: Answer<B>): void => {
  const { block, finalization } = answer
  const fetching = new Map(work.state.fetching)
  fetching.delete(requestKey(request))
  work.update({ fetching })
  arrive(work, block)
  if (finalization === undefined) work.fetched.push(block)
  else takeFinalization(work, finalization)
}

/** A fetched ancestor that is not final yet is certified under its embedded round: it is kept there for the next reader. */
export const keepFetched = <B extends Block>(work: Work<B>): void => {
  for (const block of work.fetched) {
    const { round } = block.context
    const key = requestKey({ tag: "block", digest: block.digest })
    const isWanted = work.state.wanted.has(key) || work.state.hints.has(key)
    if (!isWanted || work.draft.isFinalized(block.height)) continue
    if (work.draft.cachedAt("notarized", round) === undefined) {
      work.draft.add({ tag: "cached", kind: "notarized", round, block })
    }
  }
}

/** Counts a caller in or out. */
export const want = <B extends Block>(work: Work<B>, request: BlockRequest, change: 1 | -1): void => {
  const key = requestKey(request)
  const callers = (work.state.wanted.get(key)?.callers ?? 0) + change
  const wanted = new Map(work.state.wanted)
  if (callers > 0) wanted.set(key, { request, callers })
  else wanted.delete(key)
  work.update({ wanted })
}

/** Takes in a hint; one for the same thing adds its peers. The oldest gives way beyond the limit. */
export const takeHint = <B extends Block>(work: Work<B>, hint: Hint): void => {
  const key = requestKey(hint.request)
  const known = work.state.hints.get(key)
  const all = hint.targets && [...(known?.targets ?? []), ...hint.targets]
  const targets = all && new Set([...new Set(all)].slice(-HINT_TARGETS_MAX))
  const hints = new Map(work.state.hints).set(key, { ...hint, targets })
  if (hints.size > HINTS_MAX) hints.delete(hints.keys().next().value!)
  work.update({ hints })
}

const isHeld = <B extends Block>({ draft }: Work<B>, request: BlockRequest): boolean =>
  request.tag === "block" ? draft.byDigest(request.digest) !== undefined : draft.hasFinalization(request.height)

/** Whether a hint has nothing left to bring. */
const isSpent = <B extends Block>(work: Work<B>, { request, round }: Hint): boolean =>
  (request.tag === "finalized" && request.height < work.unprocessed) ||
  (round !== undefined && compareRounds(round, work.state.roundFloor) <= 0) ||
  isHeld(work, request)

const dropSpentHints = <B extends Block>(work: Work<B>): void => {
  if (work.state.hints.size === 0) return
  const left = [...work.state.hints].filter(([, hint]) => !isSpent(work, hint))
  if (left.length < work.state.hints.size) work.update({ hints: new Map(left) })
}

/** What should be under way, most urgent first. A request for all peers comes before one for some. */
const desired = <B extends Block>(work: Work<B>, gap: Gap | undefined): ReadonlyArray<Fetching> => {
  const wishes: Array<Fetching> = []
  const ask = (request: BlockRequest, targets?: ReadonlySet<string>) => void wishes.push({ request, targets })
  const { pendingFloor, wanted, hints } = work.state
  if (pendingFloor !== undefined) ask({ tag: "block", digest: pendingFloor.proposal.payload })
  if (gap !== undefined) {
    ask({ tag: "block", digest: gap.digest })
    const end = Math.min(gap.high, gap.low + REPAIR_HEIGHTS_MAX)
    for (let height = gap.low; height < end; height++) ask({ tag: "finalized", height: Height(height) })
  }
  const [newest, ...older] = awaitedByRound(work).toReversed()
  if (newest !== undefined) ask({ tag: "block", digest: newest.proposal.payload })
  for (const { request } of wanted.values()) {
    if (request.tag === "finalized" ? !work.draft.isFinalized(request.height) : !isHeld(work, request)) ask(request)
  }
  for (const { request, targets } of hints.values()) ask(request, targets)
  for (const { proposal } of older) ask({ tag: "block", digest: proposal.payload })
  return wishes
}

/** Starts and abandons requests until those under way are those that should be. */
export const fetch = <B extends Block>(work: Work<B>, gap: Gap | undefined): void => {
  dropSpentHints(work)
  const before = work.state.fetching
  const wishes = desired(work, gap)
  if (wishes.length === 0 && before.size === 0) return
  const fetching = new Map<string, Fetching>()
  for (const wish of wishes) {
    const key = requestKey(wish.request)
    if (fetching.size < FETCHES_MAX && !fetching.has(key)) fetching.set(key, wish)
  }
  for (const [key, { request }] of before) {
    if (!fetching.has(key)) work.effects.push({ tag: "abandon", key, request })
  }
  for (const [key, { request }] of fetching) {
    if (!before.has(key)) work.effects.push({ tag: "fetch", key, request })
  }
  work.update({ fetching })
}
