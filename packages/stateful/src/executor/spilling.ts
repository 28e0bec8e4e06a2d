/**
 * Spilling: room that is made before anybody needs it.
 *
 *   held   0 ------------ half ------------ three quarters ------------ budget
 *                          \<--- spill jobs ----/                        \--> evict, then wait (budget.ts)
 *
 * Terms: to *spill* an entry is to move its operations and Merkle nodes to scratch, where they are still read. What stays in
 * memory, its index entries, still counts. Scratch is *full* when nothing became smaller by a spill: until the next flush
 * none is tried.
 *
 * Invariant: one job at a time, of `SPILL_BYTES` or one entry; it delays no verdict and no finalization. The oldest entries
 * go, which are the deepest common prefix of all branches: those that new blocks read least. Leaves stay, for they are what
 * new blocks stand on, unless a request waits for room and there is nothing else.
 */
import type { Block } from "@coppice/consensus"
import { SPILL_BYTES } from "../limits.ts"
import { bytesHeld } from "./budget.ts"
import { SpillFailed } from "./errors.ts"
import type { Entry, Key } from "./pending-tips.ts"
import type { Outcome, State, Work } from "./protocol.ts"
import { type Core, startJob, stop } from "./state.ts"

/** Shares of the budget at which spilling begins, and to which it goes. */
const FROM = 3 / 4
const TO = 1 / 2

/** Starts a spill when much of the budget is taken. Cost: a pass over the held entries when it is. */
export const startSpill = <B extends Block, S extends State>(core: Core<B, S>) => {
  if (core.spilling || core.scratchFull) return
  const { pendingEntriesMax, pendingBytesMax } = core.options.limits
  const fits = (share: number, entries: number, bytes: number): boolean =>
    core.pending.heldSize - entries <= share * pendingEntriesMax && bytesHeld(core) - bytes <= share * pendingBytesMax
  if (fits(FROM, 0, 0)) return
  const chosen = choose(core, (entries, bytes) => fits(TO, entries, bytes))
  if (chosen.length === 0) return
  core.spilling = true
  const states = chosen.map(({ state }) => state)
  startJob(core, { of: "spill", keys: chosen.map(({ key }) => key) }, { kind: "spill", states })
}

const choose = <B extends Block, S extends State>(
  core: Core<B, S>,
  suffices: (entries: number, bytes: number) => boolean,
): ReadonlyArray<Entry<S>> => {
  const { spilledEntriesMax, spilledBytesMax } = core.options.limits
  const { pending } = core
  const chosen: Array<Entry<S>> = []
  let bytes = 0
  const take = (isWanted: (entry: Entry<S>) => boolean): void => {
    for (const entry of pending.held()) {
      const isOver =
        pending.size - pending.heldSize + chosen.length >= spilledEntriesMax ||
        pending.scratchBytes + bytes + entry.bytes > spilledBytesMax
      if (isOver || bytes >= SPILL_BYTES || suffices(chosen.length, bytes)) return
      if (!isWanted(entry)) continue
      chosen.push(entry)
      bytes += entry.bytes
    }
  }
  take(({ children }) => children > 0)
  if (chosen.length === 0 && isAnyWaiting(core)) take(() => true)
  return chosen
}

const isAnyWaiting = <B extends Block, S extends State>(core: Core<B, S>): boolean => {
  for (const { wait } of core.requests.values()) if (wait?.on === "room") return true
  return false
}

/** The spill has settled: entries take less memory now. */
export const settleSpill = <B extends Block, S extends State>(
  core: Core<B, S>,
  keys: ReadonlyArray<Key>,
  { states }: Extract<Work<B, S>, { readonly kind: "spill" }>,
  outcome: Outcome<B, S>,
) => {
  core.spilling = false
  if (outcome.kind !== "spilled") {
    const cause = outcome.kind === "failed" ? outcome.cause : new Error(`settled with ${outcome.kind}`)
    return stop(core, new SpillFailed({ cause }))
  }
  const moved = keys.filter((key, i) => core.pending.spilled(key, states[i]!, outcome.bytes[i]!)).length
  core.spilled += moved
  core.scratchFull = moved === 0
}
