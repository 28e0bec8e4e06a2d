/**
 * A join over a scripted sync, a toy chain and a real plan on a disk that can lose power.
 *
 * Terms: the *script* is the sync as a test moves it: take a tip in, come out somewhere, fail.
 */
import { anchorOf, type Finalization, View } from "@coppice/consensus"
import { nobleHasher } from "@coppice/crypto"
import { Deferred, Effect, Exit, Scope } from "effect"
import {
  type DurableFloor,
  type ExecutorLimits,
  type FloorSource,
  type JoinOptions,
  join,
  openSyncPlan,
  type Pruning,
  type SetSync,
  type StateSyncFailed,
  type SyncTip,
  type SyncUpdates,
} from "../../src/index.ts"
import { application, CHAIN_ID } from "./chain.ts"
import { Disk } from "./disk.ts"
import { type ModelDatabases, ModelSet } from "./model-set.ts"
import { recordingAck, TOY_GENESIS, type ToyApplication, type ToyBlock, ToyChain, toyApplication } from "./toy-chain.ts"

/** A finalization of a block. */
export const floorOf = (block: ToyBlock): Finalization => ({
  proposal: {
    round: block.context.round,
    parentView: View(block.context.parent.view),
    payload: Uint8Array.from(block.digest),
  },
  certificate: { n: 4, signers: [0, 1, 3], signatures: [1, 2, 3].map((n) => new Uint8Array(64).fill(n)) },
})

/** A chain of final blocks, as a marshal holds it that started from a floor. */
export class FloorChain extends ToyChain implements FloorSource<ToyBlock> {
  /** What marshal stood on when it opened. */
  stood: DurableFloor | undefined
  readonly durableFloor = Effect.sync(() => this.stood)
  readonly finalizedBlock = ({ proposal }: Finalization): Effect.Effect<ToyBlock> =>
    Effect.flatMap(this.byDigest(proposal.payload), (block) =>
      block !== undefined && this.finalized[block.height] === block ? Effect.succeed(block) : Effect.never,
    )

  /** Adds final blocks up to a height. */
  finalizeTo(height: number): ToyBlock {
    for (let at = this.finalized.length; at <= height; at++)
      this.finalized[at] = this.grow(this.finalized[at - 1]!, at * 10)
    return this.finalized[height]!
  }

  /** Forgets the blocks below a height. */
  forget(height: number) {
    for (let at = 0; at < height; at++) delete this.finalized[at]
  }
}

/** A sync that does what its test says. */
export class ScriptedSync implements SetSync<ModelDatabases> {
  /** Tips it was started at and has recorded since. */
  readonly tips: Array<SyncTip<ModelDatabases>> = []
  #updates: SyncUpdates<ModelDatabases> | undefined
  readonly #outcome = Deferred.makeUnsafe<ModelSet, StateSyncFailed>()

  readonly run: SetSync<ModelDatabases>["run"] = (start, updates) =>
    Effect.suspend(() => {
      this.tips.push(start)
      this.#updates = updates
      return Deferred.await(this.#outcome)
    })

  get heights(): number[] {
    return this.tips.map(({ anchor }) => anchor.height)
  }

  /** Takes the waiting tip in, if there is one. */
  record(): boolean {
    const update = this.#updates?.poll()
    if (update === undefined) return false
    this.tips.push(update)
    update.recorded()
    return true
  }

  end(outcome: Exit.Exit<ModelSet, StateSyncFailed>) {
    Deferred.doneUnsafe(this.#outcome, outcome)
  }
}

export interface Joining {
  readonly chain?: FloorChain
  readonly disk?: Disk
  readonly hooks?: Partial<ToyApplication>
  readonly pruning?: Pruning
  readonly limits?: Partial<ExecutorLimits>
  /** Stands between the join and the application. */
  readonly watch?: (application: ToyApplication) => ToyApplication
  readonly attach?: JoinOptions<ToyBlock, ModelDatabases>["attach"]
  /** The floor that an operator names at this start. */
  readonly floor?: ToyBlock
}

/** A running join, with short names for what tests do to it. */
export const joining = Effect.fnUntraced(function* (setup: Joining = {}) {
  const chain = setup.chain ?? new FloorChain(4)
  const disk = setup.disk ?? new Disk()
  const log: string[] = []
  const plan = yield* openSyncPlan({
    application: application(),
    chainId: CHAIN_ID,
    hasher: nobleHasher,
    storage: disk.open(),
  })
  if (setup.floor !== undefined) yield* plan.offerFloor(floorOf(setup.floor))
  yield* plan.marshalStart(TOY_GENESIS)
  const sync = new ScriptedSync()
  const scope = yield* Scope.make()
  const logged = (what: string) => (height: number) => Effect.sync(() => void log.push(`${what} ${height}`))
  const { watch = (application) => application } = setup
  const attach: NonNullable<typeof setup.attach> = setup.attach ?? ((set) => logged("attached")(set.anchor.height))
  const node = yield* Scope.provide(
    join({
      application: watch(toyApplication({ finalized: ({ height }) => logged("hook")(height), ...setup.hooks })),
      plan,
      source: chain,
      sync,
      attach,
      ...(setup.pruning === undefined ? {} : { pruning: setup.pruning }),
      ...(setup.limits === undefined ? {} : { limits: setup.limits }),
    }),
    scope,
  )
  const deliver = (from: number, to = from) =>
    Effect.forEach(
      Array.from({ length: to - from + 1 }, (_, i) => chain.finalizeTo(from + i)),
      (block) => node.port.finalized(block, recordingAck(log, block.height)),
      { discard: true },
    )
  /** The sync comes out at a block, with the state after it or after another one. */
  const converge = (height: number, content = height) => {
    const set = new ModelSet(anchorOf(chain.finalizeTo(height)), chain.contentAfter(chain.finalizeTo(content)))
    sync.end(Exit.succeed(set))
    return set
  }
  const acks = () => log.filter((line) => line.startsWith("ack")).map((line) => Number(line.slice(4)))
  return { ...node, chain, disk, log, plan, sync, deliver, converge, acks, end: Scope.close(scope, Exit.void) }
})

/** The record that a start would find on a disk. */
export const recordOn = (disk: Disk) =>
  Effect.map(
    openSyncPlan({ application: application(), chainId: CHAIN_ID, hasher: nobleHasher, storage: disk.open() }),
    ({ record }) => record,
  )

/** The height of a complete record on a disk. */
export const completeOn = (disk: Disk) =>
  Effect.map(recordOn(disk), (record) => (record.tag === "complete" ? record.height : undefined))
