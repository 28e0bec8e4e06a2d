/**
 * The devnet: validators in one process, each in its own directory, under simulated consensus in real time.
 *
 *   home (lock) --> listeners --> nodes --> consensus (forks, nullified views, late finality, restarts) --> load
 *   stopped the other way round: consensus and load first, then the nodes side by side, then the lock
 *
 * Terms: the devnet's *height* is the highest final block that a validator holds.
 *
 * Invariant: a restart of a node is a stop and a start of everything it is made of, from its directory. Nothing is kept
 * for it in memory but its mempool, which a wallet would fill again.
 */

import type { Finalization } from "@coppice/consensus"
import { createParticipants, keyPairFromSeed } from "@coppice/crypto"
import { nodeEd25519 } from "@coppice/crypto/node"
import {
  announceHolder,
  checkNode,
  type DirectoryFailed,
  type DirectoryLocked,
  type ListenFailed,
  type NodeFailure,
  type NodeOpenError,
  nodePaths,
  type RunningNode,
  type SecretExposed,
  type SecretUnreadable,
} from "@coppice/node"
import {
  type BlockNetwork,
  type ConsensusSchedule,
  type ConsensusStatistics,
  DEFAULT_SCHEDULE,
  makeBlockNetwork,
  makeSimulatedConsensus,
  type SimulatedConsensus,
  type VerdictsDiverged,
} from "@coppice/simulate"
import type { LedgerBlock, LedgerDatabases } from "@coppice-apps/ledger"
import { Data, Deferred, Effect, Fiber, Random, type Scope } from "effect"
import { SETTLE_MS_MAX } from "../limits.ts"
import { type Home, type HomeOptions, type HomeRefused, openHome, validatorDirectory, validatorSecret } from "./home.ts"
import { type LedgerChain, makeLedgerChain } from "./ledger-chain.ts"
import { runLoad } from "./load.ts"
import { makeValidator, type Validator } from "./validator.ts"

/** What a devnet is made with. */
export interface DevnetOptions extends HomeOptions {
  /** Port of the first validator, the others follow; 0 takes free ones. */
  readonly port: number
  /** Transfers per second; 0 for none. */
  readonly load: number
  /** What consensus does, and how often. */
  readonly schedule?: Partial<ConsensusSchedule>
  /** Nodes watch their application, see `NodeOptions`. */
  readonly development?: boolean
}

/** The validators of a bounded run did not come to stand at its last block in time. */
export class NotSettled extends Data.TaggedError("NotSettled")<{
  readonly expected: number
  readonly durable: ReadonlyArray<number>
}> {}

/** Why a devnet does not start. */
export type DevnetOpenError =
  | HomeRefused
  | DirectoryLocked
  | DirectoryFailed
  | SecretExposed
  | SecretUnreadable
  | ListenFailed
  | NodeOpenError

/** Why a running devnet stopped by itself. */
export type DevnetFailure = NodeFailure | NodeOpenError | VerdictsDiverged

/** One of its validators. */
export type LedgerValidator = Validator<LedgerBlock, LedgerDatabases>

/** A running devnet. It lives as long as its scope. */
export interface Devnet {
  readonly home: Home
  readonly chain: LedgerChain
  readonly validators: ReadonlyArray<LedgerValidator>
  /** Nodes that are up. */
  readonly nodes: () => ReadonlyArray<RunningNode<LedgerBlock, LedgerDatabases>>
  readonly height: Effect.Effect<number>
  readonly statistics: Effect.Effect<ConsensusStatistics>
  readonly failed: Effect.Effect<never, DevnetFailure>
  /**
   * Ends consensus and load, and succeeds with the height at which every validator stands, durably, afterwards.
   * Validators that are down come up for it.
   */
  readonly settle: Effect.Effect<number, NotSettled | DevnetFailure>
}

/** Forks, nullified views, delayed finality and restarts, at a pace that one can watch. */
export const DEVNET_SCHEDULE: ConsensusSchedule = {
  ...DEFAULT_SCHEDULE,
  corruptChance: 0,
  viewMs: 40,
  latencyMs: { min: 1, max: 5 },
  restarts: { everyViews: 150, downViews: 25 },
}

const makeValidators = Effect.fnUntraced(function* (home: Home, network: BlockNetwork, options: DevnetOptions) {
  const { directory, validators: count, chainId, accountsSeed } = home
  const chain = makeLedgerChain(chainId, accountsSeed, count)
  const secrets = yield* Effect.forEach(Array(count).keys(), (index) => validatorSecret(home, index, options.seed))
  const keys = secrets.map((secret) => keyPairFromSeed(nodeEd25519, secret))
  const participants = createParticipants(keys.map(({ publicKey }) => publicKey))
  const made = keys.map((pair, index) => ({
    index,
    directory: validatorDirectory(directory, index),
    keys: pair,
    participants,
    chainId,
    application: chain.application(index),
    transport: network.transport(pair.publicKey),
    port: options.port === 0 ? 0 : options.port + index,
    api: chain.api(index),
    development: options.development ?? false,
  }))
  // All are looked at before any is opened: one that is refused leaves the others as they were, too.
  yield* Effect.forEach(made, (validator) => checkNode(validator))
  yield* announceHolder(nodePaths(directory))
  return { chain, validators: yield* Effect.forEach(made, (validator) => makeValidator(validator)) }
})

/** Takes nodes up and down with everything that must know: the network and consensus. */
const controlOf = (
  validators: ReadonlyArray<LedgerValidator>,
  network: BlockNetwork,
  consensus: () => SimulatedConsensus<LedgerBlock>,
  failed: Deferred.Deferred<never, DevnetFailure>,
) => {
  const down = (index: number) =>
    Effect.suspend(() => {
      network.detach(validators[index]!.keys.publicKey)
      return validators[index]!.down
    })
  const start = Effect.fnUntraced(function* (index: number) {
    const { keys, up } = validators[index]!
    const node = yield* up
    network.attach(keys.publicKey, node.marshal.serve)
    yield* consensus().join(index, { executor: node.executor.port, marshal: node.marshal })
  })
  const up = (index: number) => Effect.catch(start(index), (error) => Deferred.fail(failed, error).pipe(Effect.asVoid))
  return { down, up, start }
}

const standsAt = (height: number, nodes: Devnet["nodes"], count: number): boolean =>
  nodes().length === count && nodes().every(({ set }) => set.durable.height === height)

const newestOf = Effect.fnUntraced(function* (nodes: Devnet["nodes"]) {
  let newest: { readonly height: number; readonly finalization: Finalization } | undefined
  for (const { marshal } of nodes()) {
    const { height } = yield* marshal.tip
    const finalization = yield* marshal.newestFinalization
    if (finalization !== undefined && height > (newest?.height ?? 0)) newest = { height, finalization }
  }
  return newest
})

/**
 * Brings every node to the newest final block that one of them holds, and to rest: consensus has let go of all of them.
 *
 * A marshal takes what it is told in order, so once it has taken the newest finalization it has taken all before it.
 */
const catchUp = Effect.fnUntraced(function* (nodes: Devnet["nodes"], count: number) {
  for (let waited = 0; ; waited += 20) {
    const newest = yield* newestOf(nodes)
    const height = newest?.height ?? 0
    if (waited % 200 === 0 && newest !== undefined) {
      yield* Effect.forEach(nodes(), ({ marshal }) => Effect.ignore(marshal.report(newest.finalization)))
    } else if (standsAt(height, nodes, count)) return height
    if (waited >= SETTLE_MS_MAX) {
      return yield* new NotSettled({ expected: height, durable: nodes().map(({ set }) => Number(set.durable.height)) })
    }
    yield* Effect.sleep(20)
  }
})

/**
 * Opens a devnet in its directory, creating it at the first start, and lets it run.
 *
 * Errors: see `DevnetOpenError`; nothing was changed in what was refused. Cancellation: closing the scope stops it in
 * order; whatever stops it otherwise loses nothing that was final.
 */
export const openDevnet = Effect.fn("Devnet.open")(function* (
  options: DevnetOptions,
): Effect.fn.Return<Devnet, DevnetOpenError, Scope.Scope> {
  const home = yield* openHome(options)
  const schedule = { ...DEVNET_SCHEDULE, ...options.schedule }
  const network = makeBlockNetwork({ latencyMs: schedule.latencyMs, lossChance: 0 })
  const { chain, validators } = yield* makeValidators(home, network, options)
  const failed = yield* Deferred.make<never, DevnetFailure>()
  const nodes = () => validators.flatMap(({ node }) => node() ?? [])
  yield* Effect.addFinalizer(() => Effect.forEach(validators, ({ down }) => down, { concurrency: "unbounded" }))
  const control = controlOf(validators, network, () => consensus, failed)
  const consensus: SimulatedConsensus<LedgerBlock> = yield* makeSimulatedConsensus<LedgerBlock>({
    chainId: home.chainId,
    genesis: chain.genesis,
    codec: chain.ledger.application.codec,
    validators: validators.map(({ keys }) => keys),
    ed25519: nodeEd25519,
    seed: options.seed ?? (yield* Random.nextInt),
    schedule,
    control,
  })
  yield* Effect.forEach(validators.keys(), (index) => control.start(index), { concurrency: "unbounded" })
  const drive = yield* Effect.forkScoped(Effect.catch(consensus.run, (error) => Deferred.fail(failed, error)))
  for (const validator of validators) {
    yield* Effect.forkScoped(Effect.catch(validator.failed, (error) => Deferred.fail(failed, error)))
  }
  const load = yield* Effect.forkScoped(
    options.load === 0 ? Effect.never : runLoad(loadOf(chain, validators, options.load)),
  )
  const settle = Effect.gen(function* () {
    yield* Fiber.interruptAll([load, drive])
    yield* Effect.forEach(validators, ({ index, node }) => (node() === undefined ? control.start(index) : Effect.void))
    yield* Effect.forEach(validators, ({ index }) => consensus.leave(index))
    return yield* catchUp(nodes, validators.length)
  })
  return {
    home,
    chain,
    validators,
    nodes,
    height: Effect.map(newestOf(nodes), (newest) => newest?.height ?? 0),
    statistics: consensus.statistics,
    failed: Deferred.await(failed),
    settle,
  }
})

const loadOf = (chain: LedgerChain, validators: ReadonlyArray<LedgerValidator>, perSecond: number) => ({
  ledger: chain.ledger,
  accounts: chain.loaders,
  perSecond,
  desk: () => {
    for (const { index, node } of validators) {
      const up = node()
      if (up !== undefined) return chain.desk(index, up)
    }
    return undefined
  },
})
