/**
 * The pending budget: how many speculative states are held, and what goes when it is full.
 *
 *   full --> evict the least recently used leaf --> still full --> the new work waits
 *
 * Terms: *room* is place for the result of one more hook. Results of running hooks count as if they were here.
 *
 * Invariant: full never means `false`. What is evicted comes back by replay; what is kept: every ancestor of a kept entry
 * (only leaves go), the base of every running job, the newest certified block, and every block whose finalization is under
 * way. Finalization asks for no room (F65).
 */
import { bytesKey } from "@coppice/codec"
import type { Block } from "@coppice/consensus"
import type { Key } from "./pending-tips.ts"
import type { State } from "./protocol.ts"
import { type Core, closeState } from "./state.ts"

/** Bytes of all states that are not durable, pending and applied. */
export const bytesHeld = <B extends Block, S extends State>(core: Core<B, S>): number =>
  core.applied.reduce((sum, { bytes }) => sum + bytes, core.pending.bytes)

const isFull = <B extends Block, S extends State>(core: Core<B, S>, running: number): boolean =>
  core.pending.size + running >= core.options.limits.pendingEntriesMax ||
  bytesHeld(core) >= core.options.limits.pendingBytesMax

/**
 * Makes room for the result of a hook over `base`, by eviction if need be. False: the hook must wait.
 * Cost: one pass over the pending entries per eviction.
 */
export const makeRoom = <B extends Block, S extends State>(core: Core<B, S>, base: Key): boolean => {
  let running = 0
  const kept = new Set<Key>([base])
  for (const job of core.jobs.values()) {
    if (job.base === undefined) continue
    kept.add(job.base)
    running++
  }
  for (const { key } of core.finalizing) kept.add(key)
  if (core.certified !== undefined) kept.add(bytesKey(core.certified.digest))
  while (isFull(core, running)) {
    const leaf = core.pending.evictable((key) => kept.has(key))
    if (leaf === undefined) return false
    core.pending.evict(leaf)
    core.evicted++
    closeState(core, leaf.state)
  }
  return true
}
