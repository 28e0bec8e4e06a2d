/**
 * What a node says about itself, as plain JSON values.
 *
 * Invariant: all figures of one answer are read in one turn of the event loop: heights and roots belong together.
 */
import { ByteWriter, encode } from "@coppice/codec"
import { type Block, finalizationCodec, type Height } from "@coppice/consensus"
import type { SyncTarget } from "@coppice/qmdb"
import { type Databases, memberNames } from "@coppice/stateful"
import { Effect } from "effect"
import { toHex } from "./hex.ts"
import type { RunningNode } from "./node.ts"

/** Parts of an application that standard blocks come with; others may do without. */
interface WithHeader<B> {
  readonly blocks?: { readonly header: { readonly write: (writer: ByteWriter, block: B) => void } }
}

const targetView = ({ root, start, end, canonical }: SyncTarget) => ({
  root: toHex(root),
  start: Number(start),
  end: Number(end),
  ...(canonical === undefined ? undefined : { canonical: toHex(canonical) }),
})

/** A target in a line of text, for messages. */
export const targetText = ({ root, start, end, canonical }: SyncTarget): string =>
  `${toHex(root)} over ${start} to ${end}${canonical === undefined ? "" : `, canonical ${toHex(canonical)}`}`

/** What chain a node is on: nothing here changes while it runs. */
export const chainView = <B extends Block, M extends Databases>({
  config,
  participants,
  application: { databases },
}: RunningNode<B, M>) => ({
  chain: config.chain,
  application: config.application,
  genesis: config.genesis,
  validators: participants.keys.map(toHex),
  quorum: participants.quorum,
  members: memberNames(databases).map((name) => ({ name, format: databases[name]!.format })),
})

/** Status of a node. */
export const nodeStatus = <B extends Block, M extends Databases>(node: RunningNode<B, M>) =>
  Effect.gen(function* () {
    const { config, set, executor, marshal, application } = node
    const disk = node.disk()
    const tip = yield* marshal.tip
    const figures = yield* executor.status
    const { anchor, durable } = set
    return {
      chain: config.chain,
      application: config.application,
      validator: config.validator,
      height: Number(anchor.height),
      digest: toHex(anchor.digest),
      durable: { height: Number(durable.height), digest: toHex(durable.digest) },
      finalized: {
        height: Number(tip.height),
        digest: toHex(tip.digest),
        round: { epoch: Number(tip.finalizedRound.epoch), view: Number(tip.finalizedRound.view) },
      },
      pending: {
        ...{ blocks: figures.pendingEntries, layers: set.layers, bytes: set.bytes },
        scratch: { blocks: figures.scratchEntries, bytes: figures.scratchBytes },
      },
      forksPruned: figures.forksPruned,
      replayed: figures.replayed,
      evicted: figures.evicted,
      flushes: figures.flushes,
      flushSeconds: figures.flushSecondsLast,
      disk: { databases: disk.set.bytesUsed, blocks: disk.marshal.bytesUsed },
      members: memberNames(application.databases).map((name) => ({ name, ...targetView(set.tip.targets[name]!) })),
    }
  })

/** What a node says about itself. */
export type NodeStatus = Effect.Success<ReturnType<typeof nodeStatus>>

/** A final block that the node executed, genesis included; undefined when there is none of that height. */
export const executedBlock = <B extends Block, M extends Databases>(
  { set, marshal, genesis }: RunningNode<B, M>,
  height: Height,
): Effect.Effect<B | undefined> => {
  if (height > set.anchor.height) return Effect.succeed(undefined)
  return height === 0 ? Effect.succeed(genesis) : marshal.finalizedAt(height)
}

const headerHex = <B extends Block>(application: WithHeader<B>, block: B): string | null => {
  const header = application.blocks?.header
  if (header === undefined) return null
  const writer = new ByteWriter()
  header.write(writer, block)
  return toHex(writer.finish())
}

/** A block as JSON values, with its header bytes and its certificate where the node has them. */
export const blockView = <B extends Block, M extends Databases>(
  { application, marshal }: RunningNode<B, M>,
  block: B,
) =>
  Effect.map(marshal.finalizationAt(block.height), (finalization) => {
    const targets = application.syncTargets(block)
    const { round, leader } = block.context
    const { transactions } = block as { readonly transactions?: ReadonlyArray<unknown> }
    return {
      height: Number(block.height),
      digest: toHex(block.digest),
      parent: toHex(block.parent),
      round: { epoch: Number(round.epoch), view: Number(round.view) },
      leader: toHex(leader),
      transactions: transactions?.length ?? null,
      targets: Object.fromEntries(memberNames(application.databases).map((name) => [name, targetView(targets[name]!)])),
      header: headerHex(application as WithHeader<B>, block),
      certificate: finalization === undefined ? null : toHex(encode(finalizationCodec, finalization)),
    }
  })
