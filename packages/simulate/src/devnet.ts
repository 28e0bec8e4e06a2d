/**
 * Any application as a network of validators in this process, each in its own directory, under simulated consensus.
 *
 *   submit --> every mempool --> a leader's proposal --> verified by all --> finalized --> durable --> submit succeeds
 *
 * Everything below consensus is what a node runs in earnest: storage, lock, marshal, executor. Time is real.
 *
 * Invariant: a transaction counts as submitted once it is durable on the first validator.
 */
import { join } from "node:path"
import type { Anchor } from "@coppice/consensus"
import { createParticipants, keyPairFromSeed } from "@coppice/crypto"
import { nodeEd25519, nodeHasher } from "@coppice/crypto/node"
import { keepSecret, type NodeFailure, type NodeOpenError, nodePaths, openNode, type RunningNode } from "@coppice/node"
import {
  type Admission,
  type Databases,
  Mempool,
  type Readers,
  runHook,
  type StandardApplication,
  type StandardBlock,
} from "@coppice/stateful"
import { Data, Deferred, Effect, Fiber, type Scope } from "effect"
import type { VerdictsDiverged } from "./consensus.ts"
import { DEFAULT_SCHEDULE } from "./schedule.ts"
import { makeSimulatedConsensus } from "./simulation.ts"
import { makeBlockNetwork } from "./transport.ts"

/** What a network is made of. */
export interface DevnetOptions<Tx, M extends Databases> {
  readonly application: StandardApplication<Tx, M>
  /** Holds one directory per validator; a network that was here before goes on. */
  readonly directory: string
  /** Four when not given. */
  readonly validators?: number
  /** Seed of the script of consensus. */
  readonly seed?: number
  /** Least time of a view; 50 when not given. */
  readonly viewMs?: number
}

/** The mempools would not take a transaction. */
export class NotAdmitted extends Data.TaggedError("NotAdmitted")<{ readonly admission: Admission }> {}

/** Why a network stopped or did not start. */
export type DevnetFailure = NodeOpenError | NodeFailure | VerdictsDiverged | Effect.Error<ReturnType<typeof keepSecret>>

/** A running network. */
export interface Devnet<Tx, M extends Databases> {
  /** The validators. */
  readonly nodes: ReadonlyArray<RunningNode<StandardBlock<Tx, M>, M>>
  /** Offers a transaction to every mempool; succeeds with the height of its block. One that is never valid waits for ever. */
  readonly submit: (transaction: Tx) => Effect.Effect<number, NotAdmitted>
  /** Reads the applied state of the first validator. */
  readonly read: <A>(fn: (readers: Readers<M>, anchor: Anchor) => A) => A
}

const VALIDATORS = 4
const VIEW_MS = 50
const LATENCY_MS = { min: 1, max: 5 }

/** Callers that wait for their transaction on the first validator. */
class Waiting<Tx, M extends Databases> {
  readonly #callers = new Map<string, Deferred.Deferred<number>>()

  /** The application with a hook that ends the waits of what a block holds. */
  watch(application: StandardApplication<Tx, M>, mempool: Mempool<Tx>): StandardApplication<Tx, M> {
    return {
      ...application,
      finalized: (block, ...state) =>
        Effect.gen({ self: this }, function* () {
          yield* runHook(() => application.finalized?.(block, ...state) ?? Effect.void)
          for (const transaction of block.transactions) {
            const caller = this.#callers.get(mempool.idOf(transaction))
            if (caller !== undefined) yield* Deferred.succeed(caller, block.height)
          }
        }),
    }
  }

  readonly until = (id: string, offer: () => Admission): Effect.Effect<number, NotAdmitted> =>
    Effect.gen({ self: this }, function* () {
      const caller = this.#callers.get(id) ?? (yield* Deferred.make<number>())
      this.#callers.set(id, caller)
      const admission = offer()
      const waits = admission.tag === "accepted" || (admission.tag === "duplicate" && admission.of === "waiting")
      if (!waits) return yield* new NotAdmitted({ admission })
      return yield* Deferred.await(caller)
    }).pipe(Effect.ensuring(Effect.sync(() => this.#callers.delete(id))))
}

const keysOf = (directory: string, seed: number, index: number) =>
  Effect.map(
    keepSecret(
      nodePaths(directory),
      Effect.sync(() => nodeHasher.hash(new TextEncoder().encode(`devnet ${seed} ${index}`))),
    ),
    (secret) => keyPairFromSeed(nodeEd25519, secret),
  )

const openDevnet = Effect.fnUntraced(function* <Tx, M extends Databases>(
  options: DevnetOptions<Tx, M>,
): Effect.fn.Return<
  Devnet<Tx, M> & { readonly failed: Effect.Effect<never, DevnetFailure> },
  DevnetFailure,
  Scope.Scope
> {
  const { application, validators = VALIDATORS, seed = 1, viewMs = VIEW_MS } = options
  const chainId = `${application.name}-devnet`
  const directories = Array.from({ length: validators }, (_, index) => join(options.directory, `validator-${index}`))
  const keys = yield* Effect.forEach(directories, (directory, index) => keysOf(directory, seed, index))
  const participants = createParticipants(keys.map(({ publicKey }) => publicKey))
  const network = makeBlockNetwork({ latencyMs: LATENCY_MS, lossChance: 0 })
  const mempools = keys.map(() => new Mempool({ transaction: application.transaction, hasher: nodeHasher }))
  const waiting = new Waiting<Tx, M>()
  const nodes = yield* Effect.forEach(directories, (directory, index) => {
    const own = application.withInputs(mempools[index]!)
    const transport = network.transport(keys[index]!.publicKey)
    const watched = index === 0 ? waiting.watch(own, mempools[0]!) : own
    return openNode({ directory, application: watched, chainId, participants, transport })
  })
  const consensus = yield* makeSimulatedConsensus({
    chainId,
    genesis: nodes[0]!.genesis,
    codec: application.codec,
    validators: keys,
    ed25519: nodeEd25519,
    seed,
    schedule: { ...DEFAULT_SCHEDULE, viewMs, latencyMs: LATENCY_MS, restarts: undefined },
  })
  for (const [index, { executor, marshal, set }] of nodes.entries()) {
    mempools[index]!.finalized(set.durable.height, [])
    network.attach(keys[index]!.publicKey, marshal.serve)
    yield* consensus.join(index, { executor: executor.port, marshal })
  }
  const running = yield* Effect.forkScoped(consensus.run)
  const failed = Effect.raceAllFirst([Fiber.join(running), ...nodes.map((node) => node.failed)])
  return {
    nodes,
    submit: (transaction) => {
      const offer = (): Admission => mempools.map((mempool) => mempool.submit(transaction))[0]!
      return waiting.until(mempools[0]!.idOf(transaction), offer)
    },
    read: (fn) => nodes[0]!.set.use("read", fn),
    failed,
  }
})

/** Runs `use` with a network, and stops the network before the result is given. */
export const withDevnet = <Tx, M extends Databases, A, E>(
  options: DevnetOptions<Tx, M>,
  use: (devnet: Devnet<Tx, M>) => Effect.Effect<A, E>,
): Effect.Effect<A, E | DevnetFailure> =>
  Effect.scoped(Effect.flatMap(openDevnet(options), (devnet) => Effect.raceFirst(use(devnet), devnet.failed)))
