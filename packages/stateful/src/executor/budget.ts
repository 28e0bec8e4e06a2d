/**
 * The pending budget: how many speculative states are held, and what goes when it is full.
 *
 *   much --> spill (spilling.ts)
 *   full --> evict the least recently used leaf --> still full --> the new work waits
 *
 * Terms: *room* is place for the result of one more hook. Results of running hooks count as if they were here. A request
 * *stands* on the nearest ancestor of its block whose state is here.
 *
 * Invariant: full never means `false`. What is evicted comes back by replay; what is kept: every ancestor of a kept entry
 * (only leaves go), the base of every running job, and the newest certified block. Finalization asks for no room (F65).
 *
 * No request loses what it stands on to a request of an earlier round. So the one of the latest round goes ahead until it
 * ends or waits, then the next: two requests that do not fit together never replay and evict in turns for ever.
 */
import { bytesKey } from "@coppice/codec"
import { type Block, compareRounds } from "@coppice/consensus"
import type { Key } from "./pending-tips.ts"
import type { State } from "./protocol.ts"
import { type Core, closeState, type Request } from "./state.ts"

/** Bytes of memory of all states that are not durable, pending and applied. */
export const bytesHeld = <B extends Block, S extends State>(core: Core<B, S>): number =>
  core.applied.reduce((sum, { bytes }) => sum + bytes, core.pending.bytes)

const isFull = <B extends Block, S extends State>(core: Core<B, S>, running: number): boolean =>
  core.pending.heldSize + running >= core.options.limits.pendingEntriesMax ||
  bytesHeld(core) >= core.options.limits.pendingBytesMax

/**
 * Makes room for the result of a hook over `base`, by eviction if need be. False: the hook must wait.
 * Cost: one pass over the jobs; over requests and pending entries too when full.
 */
export const makeRoom = <B extends Block, S extends State>(
  core: Core<B, S>,
  base: Key,
  request: Request<B>,
): boolean => {
  const bases = [...core.jobs.values()].flatMap((job) => job.base ?? [])
  if (!isFull(core, bases.length)) return true
  const kept = new Set<Key>([base, ...bases])
  for (const other of core.requests.values()) if (isAhead(other, request)) kept.add(standOf(other))
  if (core.certified !== undefined) kept.add(bytesKey(core.certified.digest))
  while (isFull(core, bases.length)) {
    const leaf = core.pending.evictable((key) => kept.has(key))
    if (leaf === undefined) return false
    core.pending.evict(leaf)
    core.evicted++
    closeState(core, leaf.state)
  }
  return true
}

const isAhead = <B extends Block>(a: Request<B>, b: Request<B>): boolean => {
  const order = compareRounds(a.context.round, b.context.round)
  return order > 0 || (order === 0 && a.id < b.id)
}

const standOf = <B extends Block>({ missing, context }: Request<B>): Key =>
  bytesKey(missing.at(-1)?.parent ?? context.parent.digest)
