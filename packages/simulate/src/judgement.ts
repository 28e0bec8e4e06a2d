/**
 * The judgement of a world at rest: one chain, roots as committed, contents as the model says, equal logs, nothing held.
 *
 * Invariant: reads only; what is judged is what the nodes' databases and marshals hold.
 */
import { bytesEqual } from "@coppice/codec"
import { type Block, Height } from "@coppice/consensus"
import { Location, type LogReader, PROOF_OPS_MAX } from "@coppice/qmdb"
import { type Databases, type ExecutorStatus, memberNames, targetsEqual } from "@coppice/stateful"
import { Effect } from "effect"
import type { Subject } from "./subject.ts"
import type { World } from "./world-nodes.ts"

/** Judges one node against the chain, which it adds to where it is ahead of those before. */
const judgeNode = Effect.fnUntraced(function* <B extends Block, M extends Databases>(
  world: World<B, M>,
  subject: Subject<B, M>,
  index: number,
  chain: Array<B | undefined>,
) {
  const { set } = world.life(index)
  const { record } = world.watches[index]!
  const { marshal } = world.cluster.node(index)!
  const application = world.watches[index]!.commitments
  const names = memberNames(application.databases)
  const model = subject.model?.()
  const { height } = set.anchor
  const kept = world.parts.plan.pruning?.marshalBlocks ?? height
  for (let at = 1; at <= height; at++) {
    const block = yield* marshal.finalizedAt(Height(at))
    if (block === undefined && at >= record.first && at > set.durable.height - kept) {
      return [`P-12 node ${index} does not hold the final block ${at}`]
    }
    const known = chain[at] ?? block
    if (known === undefined) return [`P-12 nobody was given the final block ${at}`]
    chain[at] = known
    if (block !== undefined && !bytesEqual(known.digest, block.digest)) {
      return [`P-1 node ${index} holds another block at ${at}`]
    }
    model?.advance(known)
  }
  const last = chain[height]
  if (last === undefined) return []
  const committed = application.syncTargets(last)
  const row = set.row(Height(height))
  for (const name of names) {
    const isSame = row !== undefined && targetsEqual(row.targets[name], committed[name])
    if (!isSame) return [`P-6 node ${index} at ${height}: ${name} is not what the block commits to`]
  }
  const difference = set.use("read", (readers) => model?.difference(readers))
  return difference === undefined ? [] : [`P-12 node ${index} at ${height}: ${difference}`]
})

const readersOf = <B extends Block, M extends Databases>(world: World<B, M>, name: string): ReadonlyArray<LogReader> =>
  world.parts.validators.map((_, index) =>
    world.life(index).set.use("read", (all) => (all as unknown as Readonly<Record<string, LogReader>>)[name]!),
  )

/** Where the logs of one member differ, between the highest of their boundaries and the lowest of their ends. */
export const logViolations = (
  name: string,
  readers: ReadonlyArray<Pick<LogReader, "pruned" | "target" | "prove">>,
): ReadonlyArray<string> => {
  const from = Math.max(...readers.map(({ pruned }) => pruned))
  const to = Math.min(...readers.map(({ target }) => target.end))
  for (let at = from; at < to; ) {
    const count = Math.min(PROOF_OPS_MAX, to - at)
    const [first, ...others] = readers.map(({ prove }) => prove(Location(at), count).operations)
    for (const [i, operation] of first!.entries()) {
      const differs = others.findIndex((operations) => !bytesEqual(operations[i]!, operation))
      if (differs !== -1) return [`P-12 node ${differs + 1}: operation ${at + i} of ${name} differs from node 0's`]
    }
    at += first!.length
  }
  return []
}

/** What a node at rest must not hold: requests, unacknowledged blocks, states of no pending block, waiting callers (P-15). */
export const heldViolations = (
  index: number,
  { requests, unacked, pendingEntries }: Pick<ExecutorStatus, "requests" | "unacked" | "pendingEntries">,
  layers: number,
  subscriptions: number,
): ReadonlyArray<string> => {
  const found: Array<string> = []
  if (requests > 0) found.push(`P-15 node ${index} has ${requests} requests at rest`)
  if (unacked > 0) found.push(`P-15 node ${index} has ${unacked} unacknowledged blocks at rest`)
  if (layers > pendingEntries) found.push(`P-15 node ${index} holds ${layers} layers for ${pendingEntries} blocks`)
  if (subscriptions > 0) found.push(`P-15 node ${index} has ${subscriptions} callers that wait for a block at rest`)
  return found
}

/** What is against the properties of nodes that are all up, under a consensus that has stopped. */
export const judgeAtRest = Effect.fnUntraced(function* <B extends Block, M extends Databases>(
  world: World<B, M>,
  subject: Subject<B, M>,
) {
  const chain = [...world.final.chain]
  const found: Array<string> = []
  for (const index of world.parts.validators.keys()) {
    const { executor, set } = world.life(index)
    const { marshal } = world.cluster.node(index)!
    found.push(...(yield* judgeNode(world, subject, index, chain)))
    found.push(...heldViolations(index, yield* executor.status, set.layers, yield* marshal.subscriptions))
    const { record } = world.watches[index]!
    found.push(...record.unhooked(set.anchor.height))
    if (world.joins(index) && record.syncedAt === undefined) found.push(`P-16 node ${index} joined without state sync`)
  }
  for (const name of memberNames(world.watches[0]!.commitments.databases)) {
    const readers = readersOf(world, name)
    // A compact member keeps no log.
    if (readers.every(({ prove }) => prove !== undefined)) found.push(...logViolations(name, readers))
  }
  return found
})
