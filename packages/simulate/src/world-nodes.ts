/**
 * The nodes of a world: they lose power and come back, are cut off and lie. What they do is noted by node-watch.ts.
 *
 *   up --- power loss, failed storage ---> down --- its time ---> boot --- fails, excused ---> down
 *
 * Terms: a *life* is an incarnation with its executor. A node is *excused* when its power or its storage was made to fail:
 * it may stop then.
 *
 * Invariant: a node that stops without an excuse fails the world. One generation counter per node decides which of several
 * returns is the last: an older one does nothing.
 */
import {
  anchorOf,
  type Block,
  type Finalization,
  Height,
  PENDING_ACKS_MAX,
  verifyFinalization,
} from "@coppice/consensus"
import { createParticipants, type KeyPair } from "@coppice/crypto"
import { nodeEd25519, nodeHasher } from "@coppice/crypto/node"
import { type Planned, startByPlan } from "@coppice/node"
import { SCRATCH_MAPS } from "@coppice/qmdb"
import { bindSet, type Databases, SET_MAPS } from "@coppice/stateful"
import { Deferred, Effect, Exit, Queue, type Scope } from "effect"
import { type Cluster, makeCluster, makeDisks, type NodeContext } from "./cluster.ts"
import { FinalBlocks } from "./final-blocks.ts"
import type { Drift } from "./incarnation.ts"
import { Joiner } from "./joiner.ts"
import { type Boot, blameViolations, type Delivery, deliveryViolations } from "./journal.ts"
import { type Forgery, forge } from "./liars.ts"
import type { LinkOptions } from "./links.ts"
import { type Life, NodeWatch, type Standing } from "./node-watch.ts"
import { Partitions } from "./partitions.ts"
import type { Happenings, Plan, WorldFault } from "./plan.ts"
import { Servers } from "./servers.ts"
import type { Subject } from "./subject.ts"
import { clockOf, type Happens, Troubles } from "./troubles.ts"

/** What a world's nodes are made of. */
export interface WorldParts<B extends Block, M extends Databases> {
  readonly subject: Subject<B, M>
  readonly plan: Plan
  readonly seed: number
  readonly faults: ReadonlyArray<WorldFault>
  readonly link: LinkOptions
  readonly validators: ReadonlyArray<KeyPair>
  readonly happens: Happens
  /** Whether nodes watch their own application; see `startExecutor`. */
  readonly development?: boolean
  /** Takes the divergence bundles of nodes; when not given they write none. */
  readonly onBundle?: (node: number, name: string, text: string) => void
}

/** What nodes count; the rest of `Happenings` is consensus's. */
type Counted = Pick<
  Happenings,
  | "crashes"
  | "pointCrashes"
  | "storageFaults"
  | "partitions"
  | "oneWay"
  | "quorumLosses"
  | "cancelled"
  | "fetched"
  | "spilled"
  | "lies"
  | "forgeries"
  | "halted"
  | "drifting"
  | "abstained"
  | "blames"
  | "pruned"
  | "probed"
  | "synced"
  | "absorbed"
  | "cutSyncs"
  | "regrouped"
>

const CHAIN_ID = "simulation"
/** Virtual time between two looks at every node. */
const LOOK_MS = 250
/** Time for which a node is down whose storage failed. */
const DOWN_MS = 300

/** Nodes that go down, and for how long. */
type Exits = Queue.Queue<readonly [number, number]>

/** A running world. */
export class World<B extends Block, M extends Databases> {
  readonly deliveries: { readonly deliveries: Array<Delivery<B>>; readonly boots: Array<Boot> } = {
    deliveries: [],
    boots: [],
  }
  readonly final = new FinalBlocks<B>()
  cluster!: Cluster<B, unknown>
  readonly parts: WorldParts<B, M>
  readonly #scope: Scope.Scope
  readonly #troubles: Troubles
  readonly #disks: ReturnType<typeof makeDisks>
  readonly #lives: Array<Life<B, M> | undefined>
  /** Nodes that join by state sync. */
  readonly #joiners = new Map<number, Joiner<B, M>>()
  /** Those of them that have not come up yet. */
  readonly #absent = new Set<number>()
  /** Where the databases are of incarnations that join. */
  readonly #joining: Array<Standing<M> | undefined>
  readonly #generations: Array<number>
  readonly #dying = new Set<number>()
  readonly #exits: Exits
  /** What stands between each node and its surroundings. */
  readonly watches: ReadonlyArray<NodeWatch<B, M>>
  readonly #servers: Servers<B>
  #partitions!: Partitions
  readonly #quorum: number
  readonly #verify: (finalization: Finalization) => boolean
  readonly #failed = Deferred.makeUnsafe<never, unknown>()
  readonly #violations: Array<string> = []
  #isCalm = false
  readonly #halted: ReadonlySet<number>
  readonly #drifts: ReadonlyMap<number, Drift>
  readonly #counted = { crashes: 0, forgeries: 0, halted: 0, cutSyncs: 0 }

  constructor(parts: WorldParts<B, M>, scope: Scope.Scope, exits: Exits, now: () => number) {
    const { subject, plan, seed, faults, validators, happens } = parts
    this.parts = parts
    this.#scope = scope
    this.#exits = exits
    this.#disks = makeDisks(seed, validators.length, plan.writeMsMax)
    const participants = createParticipants(validators.map(({ publicKey }) => publicKey))
    this.#verify = (finalization) => verifyFinalization(nodeEd25519, participants, CHAIN_ID, finalization)
    this.#quorum = participants.quorum
    this.#lives = validators.map(() => undefined)
    this.#joining = validators.map(() => undefined)
    this.#generations = validators.map(() => 0)
    this.#halted = new Set(faults.flatMap((fault) => (fault.kind === "halted" ? [fault.node] : [])))
    this.#drifts = new Map(faults.flatMap((fault) => (fault.kind === "clock" ? [[fault.node, fault] as const] : [])))
    const powerLoss = (node: number, downMs: number) => this.#exit(node, downMs)
    this.#troubles = new Troubles({ plan, faults, disks: this.#disks, seed }, { happens, powerLoss, now })
    const { deliveries } = this.deliveries
    const [final, troubles, isCalm] = [this.final, this.#troubles, () => this.#isCalm]
    this.watches = validators.map((_, index) => {
      return new NodeWatch({ index, subject, plan, seed, troubles, deliveries, final, isCalm })
    })
    this.#servers = new Servers({
      ...{ final, troubles, indexOf: (identity) => this.cluster.indexOf(identity) },
      records: this.watches.map(({ record }) => record),
    })
  }

  /** Makes the cluster, boots the nodes that are there from the start, and lets the faults begin. */
  readonly start = Effect.gen({ self: this }, function* () {
    const { subject, plan, seed, link, validators, faults, happens } = this.parts
    const { genesis } = bindSet({ application: this.watches[0]!.commitments, chainId: CHAIN_ID, hasher: nodeHasher })
    const { corrupt } = subject
    const { pendingAcksMax } = plan
    this.final.delivered(genesis)
    this.cluster = yield* makeCluster<B, unknown>({
      chainId: CHAIN_ID,
      genesis,
      codec: this.watches[0]!.commitments.codec,
      validators,
      ed25519: nodeEd25519,
      seed,
      schedule: plan.schedule,
      allows: happens,
      link,
      disks: this.#disks,
      executor: this.#executor,
      serves: this.#servers.blocks,
      servesProbe: this.#servers.floors,
      watches: (index, node) => ({ ...node, marshal: this.watches[index]!.marshal(node.marshal) }),
      leaves: (index, { marshal }, saying) => this.watches[index]!.leaves(marshal, saying),
      drift: (index) => this.#drifts.get(index),
      isHalted: (index) => this.#halted.has(index),
      onFailure: (index, failure) => Effect.sync(() => this.#stopped(index, failure)),
      ...(corrupt === undefined ? {} : { corrupt }),
      ...(pendingAcksMax === undefined ? {} : { pendingAcksMax }),
    })
    const { links, consensus } = this.cluster
    const settleMs = 2 * plan.schedule.viewTimeoutMs
    const among = { links, consensus, settleMs, quorum: this.#quorum, nodes: validators.length }
    this.#partitions = new Partitions(among, this.#scope)
    yield* this.#fork(this.#leaving)
    for (const fault of faults) if (fault.kind === "join") this.#awaits(fault.node)
    const late = new Set(faults.flatMap((fault) => (fault.kind === "crash" && fault.atMs === 0 ? fault.nodes : [])))
    for (const index of validators.keys()) {
      if (!late.has(index) && !this.#absent.has(index)) yield* this.#boot(index)
    }
    for (const fault of faults) yield* this.#fork(this.#befall(fault))
    yield* this.#fork(this.#looks)
  })

  /** A node is to join: until then it is not there. */
  #awaits(index: number): void {
    const { links, node } = this.cluster
    const { seed, validators } = this.parts
    const [watch, final] = [this.watches[index]!, this.final]
    const others = () => [...validators.keys()].filter((other) => other !== index && node(other) !== undefined)
    this.#joiners.set(index, new Joiner({ index, seed, watch, final, links, others }))
    this.#absent.add(index)
  }

  /** Whether a node joins by state sync. */
  joins(index: number): boolean {
    return this.#joiners.has(index)
  }

  /** Drives consensus until interrupted; fails with what fails the world. */
  get runs(): Effect.Effect<never, unknown> {
    return Effect.raceAllFirst([this.cluster.consensus.run, this.cluster.failed, Deferred.await(this.#failed)])
  }

  /** The end of all faults: links are whole, nobody lies, disks are good. Nodes that are down come up in their time. */
  readonly calm = Effect.gen({ self: this }, function* () {
    this.#isCalm = true
    this.#troubles.end()
    this.#servers.end()
    yield* this.#partitions.end
    this.cluster.links.updateAll({ latencyMs: { min: 1, max: 10 }, lossChance: 0 })
  })

  /** Height at which a node is durable; -1 while it is down. */
  durable(index: number): number {
    const life = this.#lives[index]
    return life === undefined || this.cluster.node(index) === undefined ? -1 : life.set.durable.height
  }

  /** The highest of them. */
  get durableMax(): number {
    return Math.max(...this.#lives.map((_, index) => this.durable(index)))
  }

  /** A node's executor; the node must be up. */
  life(index: number): Life<B, M> {
    return this.#lives[index]!
  }

  /** Lets a node lose power and come up at once. */
  restart(index: number): Effect.Effect<void, unknown> {
    return Effect.andThen(this.#down(index), Effect.raceFirst(this.#boot(index), Deferred.await(this.#failed)))
  }

  /** What is against the properties so far. */
  violations(): ReadonlyArray<string> {
    const ofNodes = this.watches.flatMap((watch) => watch.violations())
    const blames = this.cluster.network.blames().map(({ by, peer, reason }) => {
      return { by: this.cluster.indexOf(by), peer: this.cluster.indexOf(peer), reason }
    })
    return [
      ...deliveryViolations(this.deliveries, this.parts.plan.pendingAcksMax ?? PENDING_ACKS_MAX),
      ...ofNodes,
      ...this.#violations,
      ...this.#partitions.violations,
      ...blameViolations(blames, this.#servers.proven),
    ]
  }

  /** What happened to nodes so far. */
  happenings(): Counted {
    const pruned = this.#lives.filter((life) => {
      const read = (readers: Readonly<Record<string, { readonly pruned?: number }>>) =>
        Object.values(readers).some(({ pruned = 0 }) => pruned > 0)
      return life?.set.use("read", read as never) as boolean | undefined
    }).length
    const { network } = this.cluster
    const { pointCrashes, storageFaults } = this.#troubles
    const [fetched, blames] = [network.answered(), network.blames().length]
    const counted = this.watches.map((watch) => watch.counted)
    return {
      ...this.#counted,
      ...this.#partitions.counted,
      ...{
        pointCrashes,
        storageFaults,
        fetched,
        blames,
        lies: this.#servers.told,
        pruned,
        drifting: this.#drifts.size,
      },
      cancelled: counted.reduce((sum, { cancelled }) => sum + cancelled, 0),
      abstained: counted.reduce((sum, { abstained }) => sum + abstained, 0),
      regrouped: counted.reduce((sum, { regrouped }) => sum + regrouped, 0),
      spilled: Math.max(...counted.map(({ spilled }) => spilled)),
      probed: this.watches.reduce((sum, { record }) => sum + record.probed, 0),
      synced: this.watches.filter(({ record }) => record.syncedAt !== undefined).length,
      absorbed: this.watches.reduce((sum, { record }) => sum + record.absorbed, 0),
    }
  }

  /** Looks at every node that is up, again and again. */
  get #looks(): Effect.Effect<never> {
    const looks = Effect.forEach(this.#lives.keys(), (index) => this.#look(index), { discard: true })
    return Effect.forever(Effect.andThen(looks, Effect.sleep(LOOK_MS)))
  }

  #look(index: number): Effect.Effect<void> {
    return Effect.suspend(() => {
      const life = this.#lives[index]
      return life === undefined ? Effect.void : this.watches[index]!.look(life, this.cluster.node(index)?.marshal)
    })
  }

  #fork<E>(work: Effect.Effect<void, E>) {
    return Effect.forkIn(work, this.#scope)
  }

  #fail(error: unknown): void {
    Deferred.doneUnsafe(this.#failed, Effect.fail(error))
  }

  /** A node has lost its power, or what it stands on: it goes down as soon as others have had their turn. */
  #exit(index: number, downMs: number): void {
    if (this.#absent.has(index)) return
    this.#troubles.excused.add(index)
    this.cluster.halt(index)
    if (this.#dying.has(index)) return
    this.#dying.add(index)
    Queue.offerUnsafe(this.#exits, [index, downMs])
  }

  #stopped(index: number, failure: unknown): void {
    if (this.#troubles.excused.has(index)) this.#exit(index, DOWN_MS)
    else this.#fail(failure)
  }

  get #leaving(): Effect.Effect<void> {
    return Effect.forever(Effect.flatMap(Queue.take(this.#exits), ([index, downMs]) => this.#crash(index, downMs)))
  }

  /** Cuts a node's power; returns the generation that ended. */
  #down(index: number): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.#generations[index]!++
      this.#lives[index] = undefined
      if (this.#joining[index]?.isComplete === false) this.#counted.cutSyncs++
      this.#joining[index] = undefined
      this.#dying.delete(index)
      this.#troubles.excused.add(index)
      return this.cluster.crash(index)
    })
  }

  readonly #crash = Effect.fnUntraced({ self: this }, function* (this: World<B, M>, index: number, downMs: number) {
    const isUp = this.cluster.node(index) !== undefined
    if (isUp) this.#counted.crashes++
    if (isUp && this.#halted.has(index)) this.#counted.halted++
    yield* this.#down(index)
    const generation = this.#generations[index]
    const back = Effect.suspend(() => (this.#generations[index] === generation ? this.#boot(index) : Effect.void))
    yield* this.#fork(Effect.delay(back, downMs))
  })

  readonly #boot = Effect.fnUntraced({ self: this }, function* (this: World<B, M>, index: number) {
    const generation = this.#generations[index]
    this.#troubles.excused.delete(index)
    const exit = yield* Effect.exit(this.cluster.boot(index))
    if (this.#generations[index] !== generation || this.#dying.has(index)) return
    if (Exit.isFailure(exit)) {
      if (this.#troubles.excused.has(index)) this.#exit(index, DOWN_MS)
      else Deferred.doneUnsafe(this.#failed, Effect.failCause(exit.cause))
      return
    }
    const { record } = this.watches[index]!
    for (const saying of record.newest) {
      const node = this.cluster.node(index)
      if (node === undefined) return
      const held = yield* node.marshal.verifiedAt(saying.round)
      if (this.cluster.node(index) === node && !this.#dying.has(index)) record.holds(saying, held?.digest)
    }
  })

  readonly #befall = Effect.fnUntraced({ self: this }, function* (this: World<B, M>, fault: WorldFault) {
    if (!("atMs" in fault)) return
    yield* Effect.sleep(fault.atMs)
    if (this.#isCalm && fault.kind !== "join") return
    switch (fault.kind) {
      case "crash":
        for (const index of fault.nodes) if (!this.#absent.has(index)) yield* this.#crash(index, fault.downMs)
        return
      case "join":
        this.#absent.delete(fault.node)
        return yield* this.#boot(fault.node)
      case "partition":
        return yield* this.#partitions.cut(fault)
      case "lie":
        this.#servers.lies(fault.node, fault.how)
        yield* Effect.sleep(fault.forMs)
        this.#servers.lies(fault.node, undefined)
        return
      case "forgery":
        return yield* this.#forge(fault.node, fault.how)
    }
  })

  readonly #executor = Effect.fnUntraced(
    { self: this },
    function* (this: World<B, M>, { index, source, probe, disk }: NodeContext<B>) {
      const { plan, development = false, onBundle } = this.parts
      const { limits, pruning, rewindHeights } = plan
      const { interval = 1, marshalBlocks: blocks = 1 } = pruning ?? {}
      const storage = yield* disk.open("set", SET_MAPS)
      const scratch = yield* disk.open("scratch", SCRATCH_MAPS, { scratch: true })
      const incarnation = this.#generations[index]!
      const watch = this.watches[index]!
      const standing: Standing<M> = { set: undefined, isComplete: false, covered: 0 }
      const order = watch.order(source.pendingAcksMax)
      const application = order.application(watch.application(incarnation))
      const home = { application, chainId: CHAIN_ID, hasher: nodeHasher, storage }
      const joiner = this.#joiners.get(index)
      const stateSync = joiner && (yield* joiner.stateSync(home, source, probe, standing))
      const processed = (yield* source.processedHeight) ?? 0
      const planned = yield* startByPlan<B, M>({
        ...{ ...home, scratch, source, verify: this.#verify, development },
        ...(onBundle && {
          onDivergence: (name: string, text: string) => Effect.sync(() => onBundle(index, name, text)),
        }),
        ...(limits === undefined ? {} : { limits }),
        ...(rewindHeights === undefined ? {} : { rewindHeights }),
        ...(pruning === undefined
          ? {}
          : {
              pruning: { interval, marshal: { blocks, prune: (below: Height) => Effect.ignore(source.prune(below)) } },
            }),
        ...(stateSync && { stateSync }),
      })
      if (planned.tag === "executing") {
        const { anchor } = planned.started
        watch.record.boots(anchor.height, processed, source.pendingAcksMax)
        this.deliveries.boots.push({ index, incarnation, anchor })
        Object.assign(standing, { set: planned.started.set, isComplete: true })
        this.#lives[index] = planned.started
      } else yield* this.#join(index, planned, processed, standing)
      const { stopped } = planned.tag === "executing" ? planned.started.executor : planned.joining
      const watched = Effect.catch(stopped, (error) =>
        Effect.sync(() => (this.#generations[index] === incarnation ? this.#stopped(index, error) : undefined)),
      )
      yield* Effect.forkScoped(watched)
      const port = watch.port(incarnation, order.port(planned.port), standing, this.#look(index))
      return { ...planned, port }
    },
  )

  /** An incarnation joins: it is delivered its floor, or what follows marshal's progress, and lives once it is complete. */
  #join(
    index: number,
    { joining, floor }: Planned<B, M> & { readonly tag: "joining" },
    processed: number,
    standing: Standing<M>,
  ) {
    const block = this.final.of(floor!)!
    const { height } = block
    this.watches[index]!.record.joins(height, floor!.proposal.round)
    const before = processed < height ? this.final.parentOf(block) : this.final.at(Height(processed))!
    this.deliveries.boots.push({ index, incarnation: this.#generations[index]!, anchor: anchorOf(before) })
    this.#joining[index] = standing
    const lives = Effect.map(joining.executor, (executor) => {
      if (this.#joining[index] === standing) this.#lives[index] = { executor, set: executor.set }
    })
    return Effect.forkScoped(Effect.ignore(lives))
  }

  /** Gives a node a finalization that no quorum signed, which it must refuse (CONS-24, F-12). */
  readonly #forge = Effect.fnUntraced({ self: this }, function* (this: World<B, M>, index: number, how: Forgery) {
    const marshal = this.cluster.node(index)?.marshal
    const good = yield* marshal?.newestFinalization ?? Effect.succeed(undefined)
    if (marshal === undefined || good === undefined) return
    const forged = forge(how, good, this.parts.validators, CHAIN_ID)
    const exit = yield* Effect.exit(marshal.report(forged))
    if (Exit.isSuccess(exit)) this.#violations.push(`CONS-24 node ${index} takes in a forged finalization: ${how}`)
    else this.#counted.forgeries++
  })
}

/** Makes a world whose nodes are up and whose faults have begun. Everything in it ends with the scope. */
export const makeWorld = Effect.fnUntraced(function* <B extends Block, M extends Databases>(parts: WorldParts<B, M>) {
  const exits = yield* Queue.unbounded<readonly [number, number]>()
  const world = new World(parts, yield* Effect.scope, exits, yield* clockOf)
  yield* world.start
  return world
})
