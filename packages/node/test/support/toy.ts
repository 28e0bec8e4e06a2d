/** The least application of a node under test: names that count what they were given. */
import { Struct, Text, U64 } from "@coppice/codec"
import { createParticipants, keyPairFromSeed } from "@coppice/crypto"
import { nodeEd25519 } from "@coppice/crypto/node"
import { Qmdb } from "@coppice/qmdb"
import { DEFAULT_SCHEDULE, makeBlockNetwork, makeSimulatedConsensus } from "@coppice/simulate"
import { Application, Mempool, type StandardBlock } from "@coppice/stateful"
import { Effect } from "effect"
import { keepSecret, type NodeOptions, nodePaths, openNode, type RunningNode } from "../../src/index.ts"

const transaction = Struct({ name: Text(32), amount: U64, nonce: U64 })

export const databases = {
  counts: Qmdb.any({ key: Text(32), value: U64 }),
  last: Qmdb.any({ key: Text(32), value: U64 }),
}

export type ToyDatabases = typeof databases
export type ToyTransaction = { readonly name: string; readonly amount: bigint; readonly nonce: bigint }
export type ToyBlock = StandardBlock<ToyTransaction, ToyDatabases>

export const makeToy = (name = "toy") =>
  Application.make({
    name,
    databases,
    transaction,
    execute: ({ counts, last }, tx) => {
      counts.put(tx.name, (counts.get(tx.name) ?? 0n) + tx.amount)
      last.put(tx.name, tx.nonce)
    },
  })

const SECRET = new Uint8Array(32).fill(9)

/** Options of the only validator of a chain, with its key in the directory. */
export const toyOptions = Effect.fnUntraced(function* (
  directory: string,
  given: Partial<NodeOptions<ToyBlock, ToyDatabases>> = {},
) {
  const secret = yield* keepSecret(nodePaths(directory), Effect.succeed(SECRET))
  const keys = keyPairFromSeed(nodeEd25519, secret)
  const network = makeBlockNetwork({ latencyMs: { min: 0, max: 1 }, lossChance: 0 })
  const options: NodeOptions<ToyBlock, ToyDatabases> = {
    directory,
    application: makeToy(),
    chainId: "test",
    participants: createParticipants([keys.publicKey]),
    transport: network.transport(keys.publicKey),
    ...given,
  }
  return options
})

const drive = Effect.fnUntraced(function* (node: RunningNode<ToyBlock, ToyDatabases>, height: number) {
  const consensus = yield* makeSimulatedConsensus<ToyBlock>({
    chainId: node.config.chain,
    genesis: node.genesis,
    codec: node.application.codec,
    validators: [node.keys],
    ed25519: nodeEd25519,
    seed: 1,
    schedule: { ...DEFAULT_SCHEDULE, corruptChance: 0, viewMs: 1, latencyMs: { min: 0, max: 1 }, restarts: undefined },
  })
  yield* consensus.join(0, { executor: node.executor.port, marshal: node.marshal })
  const reached = Effect.gen(function* () {
    while (node.set.durable.height < height) yield* Effect.sleep(2)
  })
  yield* Effect.raceFirst(reached, Effect.raceFirst(consensus.run, node.failed))
}, Effect.scoped)

/** Waits until nothing of what consensus told the node is under way any more. */
const comeToRest = Effect.fnUntraced(function* ({ marshal, set, executor }: RunningNode<ToyBlock, ToyDatabases>) {
  // The marshal takes events in order: once it has taken this one again, it has taken all before.
  const newest = yield* marshal.newestFinalization
  if (newest !== undefined) yield* marshal.report(newest)
  const isStill = Effect.gen(function* () {
    const { height } = yield* marshal.tip
    return set.durable.height === height && (yield* executor.status).unacked === 0
  })
  while (!(yield* isStill)) yield* Effect.sleep(2)
})

/** Lets a single validator finalize blocks until its databases are durable at `height`, and come to rest. */
export const driveTo = (node: RunningNode<ToyBlock, ToyDatabases>, height: number) =>
  Effect.andThen(drive(node, height), comeToRest(node))

/** A mempool that holds `count` transactions. */
export const fullMempool = (count: number): Mempool<ToyTransaction> => {
  const mempool = new Mempool({ transaction })
  for (let i = 0; i < count; i++) mempool.submit({ name: `n${i % 7}`, amount: BigInt(i), nonce: BigInt(i) })
  return mempool
}

/** A node whose databases are durable at `height`, in a scope of its own, and stopped again. */
export const runTo = (options: NodeOptions<ToyBlock, ToyDatabases>, height: number) =>
  Effect.scoped(Effect.flatMap(openNode(options), (node) => driveTo(node, height)))
