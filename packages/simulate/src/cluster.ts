/**
 * A network of validators in one process: marshals and any executor on disks that survive crashes, under simulated
 * consensus.
 *
 *   boot:   disk -> marshal -> on the network -> executor tells where to begin -> delivery starts -> joins consensus
 *                  probe ---------'                                            '-> probe answers
 *   crash:  off the network, disk loses power, fibers are halted, or interrupted; nothing they still do reaches anything
 *
 * Terms: an *incarnation* is a node from boot to crash. A *disk* belongs to the node and outlives its incarnations.
 *
 * Invariant: what an incarnation leaves to the next is what its disk made durable, whether its finalizers run or not.
 */
import { bytesKey, encode } from "@coppice/codec"
import {
  type Block,
  type BlockCodec,
  Epoch,
  type ExecutorPort,
  type Finalization,
  finalizationCodec,
  MARSHAL_MAPS,
  type Marshal,
  type MarshalFailure,
  makeMarshal,
  makeProbe,
  type Probe,
  type ValidatorNode,
  verifyFinalization,
} from "@coppice/consensus"
import { createParticipants, type Ed25519, type KeyPair } from "@coppice/crypto"
import { beginDelivery, type Delivery } from "@coppice/node"
import { drawer } from "@coppice/stateful/diagnosis"
import { type MemoryDisk, makeMemoryDisk, Storage, type StorageError } from "@coppice/storage"
import { Clock, Deferred, Effect, Exit, Fiber, Scheduler, Scope } from "effect"
import type { NodeControl, Saying, SimulatedConsensus } from "./consensus.ts"
import { type Drift, Incarnation } from "./incarnation.ts"
import { type LinkOptions, type Links, makeLinks } from "./links.ts"
import type { BadBlock, ConsensusSchedule, Fault } from "./schedule.ts"
import { makeSimulatedConsensus } from "./simulation.ts"
import { type BlockNetwork, makeBlockNetwork, type Serve, type ServeProbe } from "./transport.ts"

/** Disks for nodes, each with its own seeded stream: a write takes up to three times `delayMsMax`. */
export const makeDisks = (seed: number, count: number, delayMsMax = 2): ReadonlyArray<MemoryDisk> =>
  Array.from({ length: count }, (_, index) => {
    const fate = drawer(seed, `disk ${index} fate`)
    const delay = drawer(seed, `disk ${index} delay`)
    return makeMemoryDisk({ chance: fate, delayMs: () => delay() * delayMsMax })
  })

/** The one epoch of a cluster. */
const EPOCH = Epoch(0)
/** Verdicts on certificates that are remembered. */
const VERDICTS_MAX = 256

/** What a node's executor is built with. */
export interface NodeContext<B extends Block> {
  readonly index: number
  readonly publicKey: Uint8Array
  readonly source: Marshal<B>
  /** Asks the other validators for a floor. It answers theirs once delivery has begun. */
  readonly probe: Probe
  readonly disk: MemoryDisk
}

/** An executor that is ready for delivery, and where that begins. */
export type NodeExecutor<B extends Block> = Delivery<B>

/** What a cluster is made of. */
export interface ClusterOptions<B extends Block, E> {
  readonly chainId: string
  readonly genesis: B
  readonly codec: BlockCodec<B>
  readonly validators: ReadonlyArray<KeyPair>
  readonly ed25519: Ed25519
  readonly seed: number
  readonly schedule: ConsensusSchedule
  /** How links behave at first. */
  readonly link: LinkOptions
  /** One disk per validator. They may come from an earlier cluster: its chain goes on. */
  readonly disks: ReadonlyArray<MemoryDisk>
  /** Builds a node's executor in the scope of its incarnation. */
  readonly executor: (context: NodeContext<B>) => Effect.Effect<NodeExecutor<B>, E, Scope.Scope>
  readonly corrupt?: (block: B, how: BadBlock) => B
  readonly allows?: (fault: Fault) => boolean
  readonly pendingAcksMax?: number
  /** What a node answers its peers with; honestly when not given. */
  readonly serves?: (index: number, honest: Serve) => Serve
  /** What it answers their probes with; honestly when not given. */
  readonly servesProbe?: (index: number, honest: ServeProbe) => ServeProbe
  /** Stands between consensus and a node. */
  readonly watches?: (index: number, node: RunningNode<B>) => RunningNode<B>
  /** Runs where a proposal or a vote leaves its node; see `SimulatedConsensusOptions`. */
  readonly leaves?: (index: number, node: ValidatorNode<B>, saying: Saying) => Effect.Effect<void>
  /** How a node's clock differs from the world's; not at all when not given. */
  readonly drift?: (index: number) => Drift | undefined
  /** Whether a node is halted when it loses power, so that no finalizer runs; interrupted when not given. */
  readonly isHalted?: (index: number) => boolean
  /** What becomes of a marshal that fails while its node is up; it fails the cluster when not given. */
  readonly onFailure?: (index: number, failure: MarshalFailure) => Effect.Effect<void>
}

/** A node that is up. */
export interface RunningNode<B extends Block> {
  readonly incarnation: number
  readonly marshal: Marshal<B>
  readonly executor: ExecutorPort<B>
}

/** The cluster. Its nodes are down until they are booted. */
export interface Cluster<B extends Block, E> {
  readonly consensus: SimulatedConsensus<B>
  readonly network: BlockNetwork
  /** The node of an identity. */
  readonly indexOf: (identity: Uint8Array) => number
  /** Carries everything that nodes send each other. */
  readonly links: Links
  readonly node: (index: number) => RunningNode<B> | undefined
  /** Boots a node on its disk; succeeds too when it crashes meanwhile. Booting one that is up is a mistake. */
  readonly boot: (index: number) => Effect.Effect<void, E | BootFailure>
  /** Cuts a node's power at once. A node that is down stays down. */
  readonly crash: (index: number) => Effect.Effect<void>
  /** A node that is to be halted when it loses power takes no further step; `crash` must follow. */
  readonly halt: (index: number) => void
  /** Fails with the first marshal that failed while its node was up; a crash is no failure. */
  readonly failed: Effect.Effect<never, MarshalFailure>
}

/** Why a node did not come up. */
export type BootFailure =
  | Effect.Error<ReturnType<typeof makeMarshal>>
  | StorageError
  | MarshalFailure
  | Effect.Error<ReturnType<typeof beginDelivery>>

/** An incarnation: set when its boot begins, `node` when it is up. */
interface Life<B extends Block> {
  readonly scope: Scope.Closeable
  readonly incarnation: Incarnation
  /** Done when it has crashed. */
  readonly gone: Deferred.Deferred<void>
  node: RunningNode<B> | undefined
}

/**
 * Creates a cluster whose nodes are down. Everything in it ends with the scope.
 *
 * The schedule's restarts are crashes of nodes in it; a node that does not come up again is a defect.
 */
export const makeCluster = Effect.fnUntraced(function* <B extends Block, E>(options: ClusterOptions<B, E>) {
  const { chainId, ed25519, validators, disks } = options
  const scope = yield* Scope.fork(yield* Effect.scope)
  const base = { clock: yield* Clock.Clock, scheduler: yield* Scheduler.Scheduler }
  const halted: Array<Incarnation> = []
  // Before the scopes of incarnations close, which waits for their fibers.
  yield* Effect.addFinalizer(() =>
    Effect.forEach(new Set(halted), ({ letGo }) => letGo, { discard: true, concurrency: "unbounded" }),
  )
  const participants = createParticipants(validators.map(({ publicKey }) => publicKey))
  const links = makeLinks(validators.length, options.link, drawer(options.seed, "links"), base.clock)
  const indexes = new Map(validators.map(({ publicKey }, index) => [bytesKey(publicKey), index]))
  const indexOf = (identity: Uint8Array): number => indexes.get(bytesKey(identity))!
  const network = makeBlockNetwork((from, to) => links.carry(indexOf(from), indexOf(to)))
  const lives: Array<Life<B> | undefined> = validators.map(() => undefined)
  const incarnations = validators.map(() => 0)
  const failed = yield* Deferred.make<never, MarshalFailure>()
  const onFailure = options.onFailure ?? ((_: number, failure: MarshalFailure) => Deferred.fail(failed, failure))

  // Every node verifies every certificate: the same bytes under the same keys, so that one verdict does for all.
  const verdicts = new Map<string, boolean>()
  const verify = (finalization: Finalization): boolean => {
    const key = bytesKey(encode(finalizationCodec, finalization))
    const verdict = verdicts.get(key) ?? verifyFinalization(ed25519, participants, chainId, finalization)
    if (verdicts.size >= VERDICTS_MAX) verdicts.clear()
    verdicts.set(key, verdict)
    return verdict
  }

  const committee = {
    committeeOf: (epoch: Epoch) => (epoch === EPOCH ? { participants, verify } : undefined),
    minimumEpoch: EPOCH,
  }

  const marshalOf = Effect.fnUntraced(function* (index: number) {
    const storage = yield* disks[index]!.open("marshal", MARSHAL_MAPS)
    const { genesis, codec, pendingAcksMax } = options
    return yield* makeMarshal({
      chainId,
      genesis,
      codec,
      verify,
      transport: network.transport(validators[index]!.publicKey),
      ...(pendingAcksMax === undefined ? {} : { pendingAcksMax }),
    }).pipe(Effect.provideService(Storage, storage))
  })

  const build = Effect.fnUntraced(function* (index: number, life: Life<B>) {
    const { publicKey } = validators[index]!
    const marshal = yield* marshalOf(index)
    const probe = yield* makeProbe({ ...committee, transport: network.probeTransport(publicKey) })
    if (lives[index] === life) {
      const serve = options.serves?.(index, marshal.serve) ?? marshal.serve
      network.attach(publicKey, serve, options.servesProbe?.(index, probe.serve) ?? probe.serve)
    }
    const starting = options.executor({ index, publicKey, source: marshal, probe, disk: disks[index]! })
    // Reads of a marshal that has failed never end, those of a starting executor too.
    const delivery = yield* Effect.raceFirst(starting, Effect.andThen(marshal.stopped, Effect.never))
    yield* beginDelivery(marshal, delivery)
    yield* probe.attach(marshal)
    return { incarnation: ++incarnations[index]!, marshal, executor: delivery.port }
  })

  const boot = Effect.fnUntraced(function* (index: number) {
    if (lives[index] !== undefined) throw new Error(`node ${index} is up already`)
    const life: Life<B> = {
      scope: yield* Scope.fork(scope),
      incarnation: new Incarnation(base, options.drift?.(index)),
      gone: yield* Deferred.make<void>(),
      node: undefined,
    }
    lives[index] = life
    const { runs } = life.incarnation
    const fiber = yield* Effect.forkIn(runs(Scope.provide(build(index, life), life.scope)), life.scope)
    const exit = yield* Effect.raceFirst(Fiber.await(fiber), Deferred.await(life.gone))
    if (exit === undefined || lives[index] !== life) return
    if (Exit.isFailure(exit)) {
      yield* crash(index)
      return yield* Effect.failCause(exit.cause)
    }
    life.node = exit.value
    const { stopped } = exit.value.marshal
    const watched = Effect.catch(stopped, (failure) =>
      lives[index] === life ? onFailure(index, failure) : Effect.void,
    )
    yield* Effect.forkIn(watched, life.scope)
    yield* consensus.join(index, options.watches?.(index, exit.value) ?? exit.value, runs)
  })

  const crash = (index: number): Effect.Effect<void> =>
    Effect.suspend(() => {
      const life = lives[index]
      halt(index)
      lives[index] = undefined
      network.detach(validators[index]!.publicKey)
      disks[index]!.crash()
      if (life === undefined) return Effect.void
      Deferred.doneUnsafe(life.gone, Effect.void)
      // Who is halted does not end before the world does.
      const ends = Effect.andThen(consensus.leave(index), Effect.uninterruptible(Scope.close(life.scope, Exit.void)))
      return Effect.asVoid(Effect.forkIn(ends, scope, { startImmediately: true }))
    })

  const halt = (index: number): void => {
    const life = lives[index]
    if (life === undefined || options.isHalted?.(index) !== true) return
    life.incarnation.halt()
    halted.push(life.incarnation)
  }

  const control: NodeControl = { down: crash, up: (index) => Effect.orDie(boot(index)) }
  const { genesis, codec, seed, schedule, corrupt, allows, leaves } = options
  const consensus = yield* makeSimulatedConsensus({
    ...{ chainId, genesis, codec, validators, ed25519, seed, schedule, control, links },
    ...(corrupt === undefined ? {} : { corrupt }),
    ...(allows === undefined ? {} : { allows }),
    ...(leaves === undefined ? {} : { leaves }),
  }).pipe(Scope.provide(scope))
  const cluster: Cluster<B, E> = {
    consensus,
    network,
    indexOf,
    links,
    node: (index) => lives[index]?.node,
    boot,
    crash,
    halt,
    failed: Deferred.await(failed),
  }
  return cluster
})
