/**
 * A small application with a planted bug on request, and a node that runs it, watched.
 *
 * Terms: the *bug* adds one too much to every counter whose name begins with "b".
 */
import { Struct, Text, U64 } from "@coppice/codec"
import { type Ancestry, type BlockSource, Height, Round } from "@coppice/consensus"
import { nobleHasher } from "@coppice/crypto"
import { Qmdb } from "@coppice/qmdb"
import { makeMemoryDisk } from "@coppice/storage"
import { Effect, Scope } from "effect"
import {
  type Divergence,
  guardDeterminism,
  readDivergence,
  recordDivergence,
  trackForks,
} from "../../src/diagnosis/index.ts"
import {
  Application,
  type Candidate,
  Executor,
  type InputProvider,
  openDatabaseSet,
  reject,
  SET_MAPS,
  type StandardApplication,
  type StandardBlock,
} from "../../src/index.ts"

const databases = {
  counts: Qmdb.any({ key: Text(8), value: U64 }),
  names: Qmdb.immutable({ key: Text(8), value: Text(8) }),
}

export interface Addition {
  readonly name: string
  readonly amount: bigint
}
export type Tally = StandardApplication<Addition, typeof databases>
export type TallyBlock = StandardBlock<Addition, typeof databases>
export const CHAIN_ID = "tally"

/** Counters, and every name once. */
export const makeTally = ({ hasBug = false, inputs = [] as ReadonlyArray<Addition> } = {}): Tally =>
  Application.make({
    name: "tally",
    databases,
    transaction: Struct({ name: Text(8), amount: U64 }),
    inputs: offering(inputs),
    execute: ({ counts, names }, { name, amount }) => {
      if (amount === 0n) return reject("nothing to add")
      const before = counts.get(name)
      if (before === undefined) names.set(name, name)
      counts.put(name, (before ?? 0n) + amount + (hasBug && name.startsWith("b") ? 1n : 0n))
    },
  })

const offering = (additions: ReadonlyArray<Addition>): InputProvider<Addition> => ({
  waiting: additions.length,
  finalizedHeight: Height(1000),
  idOf: ({ name, amount }) => `${name} ${amount}`,
  take: (): ReadonlyArray<Candidate<Addition>> => additions.map((transaction, i) => ({ id: String(i), transaction })),
  rejected: () => {},
  finalized: () => {},
})

const contextOn = (parent: TallyBlock, view: number) => ({
  round: Round(0, view),
  leader: new Uint8Array(32).fill(1),
  parent: { view: parent.context.round.view, digest: parent.digest },
})

/** Every block that anybody made. */
export class Blocks implements BlockSource<TallyBlock> {
  readonly pendingAcksMax = 4
  readonly processedHeight = Effect.succeed(undefined)
  readonly #blocks: TallyBlock[] = []
  readonly finalizedAt = () => Effect.succeed(undefined)
  readonly byDigest = (digest: Uint8Array) =>
    Effect.sync(() => this.#blocks.find((block) => Buffer.compare(block.digest, digest) === 0))
  readonly parentOf = (block: TallyBlock) => this.byDigest(block.parent)

  add(block: TallyBlock): TallyBlock {
    this.#blocks.push(block)
    return block
  }

  ancestry(from: TallyBlock): Ancestry<TallyBlock> {
    let at: TallyBlock | undefined = from
    const next = Effect.suspend(() => {
      const block = at
      if (block === undefined) return Effect.succeed(undefined)
      return Effect.map(this.parentOf(block), (parent) => {
        at = parent
        return block
      })
    })
    return { next }
  }
}

/** A node whose application is watched: its port in short, and the bundles it wrote. */
export const openTallyNode = Effect.fnUntraced(function* (blocks: Blocks, application: Tally, isGuarded = false) {
  const scope = yield* Scope.make()
  const storage = yield* Scope.provide(makeMemoryDisk({ chance: () => 0 }).open("set", SET_MAPS), scope)
  const options = { application, chainId: CHAIN_ID, hasher: nobleHasher, storage, pendingAcksMax: 4 }
  const tracked = trackForks(yield* openDatabaseSet(options))
  const files = new Map<string, string>()
  const guarded = isGuarded ? guardDeterminism(application, tracked) : application
  const watched = recordDivergence(guarded, tracked, {
    chainId: CHAIN_ID,
    versions: { test: "1" },
    write: (name, text) => Effect.sync(() => void files.set(name, text)),
  })
  const executor = yield* Scope.provide(
    Executor.make({ application: watched, set: tracked.set, source: blocks }),
    scope,
  )
  const { port } = executor
  return {
    set: tracked.set,
    stopped: executor.stopped,
    files,
    bundles: Effect.suspend(() => Effect.forEach([...files.values()], readDivergence)),
    propose: (parent: TallyBlock, view: number) => port.propose(contextOn(parent, view), blocks.ancestry(parent)),
    verify: (block: TallyBlock) => port.verify(block.context, blocks.ancestry(block)),
    finalize: (block: TallyBlock) => port.finalized(block, { acknowledge: () => {}, cancel: () => {} }),
  }
})

/** A bundle that a node with the bug writes of a sound block, and the block. */
export const divergenceOfBug = Effect.fnUntraced(function* (additions: ReadonlyArray<Addition>) {
  const blocks = new Blocks()
  const sound = yield* openTallyNode(blocks, makeTally({ inputs: additions }))
  const faulty = yield* openTallyNode(blocks, makeTally({ hasBug: true }))
  const genesis = blocks.add(makeTally().genesis(sound.set.tip.targets))
  const block = blocks.add((yield* sound.propose(genesis, 1))!)
  yield* faulty.verify(block)
  const [divergence] = yield* faulty.bundles
  return { block, divergence: divergence as Divergence, text: [...faulty.files.values()][0]! }
})
