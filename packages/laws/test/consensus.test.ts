/**
 * Goal: the laws of engines can fail, and simulated consensus with the marshal keeps them.
 * Method: four validators over a chain without state, in virtual time; canaries stand between them and their executors and
 * break one guarantee.
 */
import {
  type Ack,
  type Block,
  type BlockSource,
  type ConsensusContext,
  type ExecutorPort,
  Height,
} from "@coppice/consensus"
import { DEFAULT_SCHEDULE, makeCluster, makeDisks, simulate } from "@coppice/simulate"
import {
  blockCodec,
  CHAIN,
  childOf,
  contextOn,
  ed25519,
  genesis,
  participants,
  sealBlock,
  type TestBlock,
  validators,
} from "@coppice/simulate/chain"
import { Cause, Effect, Exit, Semaphore } from "effect"
import { describe, expect, test } from "vitest"
import { ENGINE_LAWS, type EngineExecutor, type EngineSubject, type EngineWorld } from "../src/consensus/index.ts"
import { LawBroken } from "../src/index.ts"
import { engineLaws } from "../src/vitest.ts"

const WINDOW = 4

const run = (check: Effect.Effect<void, unknown>): Promise<void> => Effect.runPromise(simulate(1, check).exit)

/** Stands between a node and its executor. `life` counts the node's incarnations from 0. */
type Break = (port: ExecutorPort<Block>, life: number) => ExecutorPort<Block>
type BreakSource = (source: BlockSource<Block>) => BlockSource<Block>

const makeWorld = Effect.fnUntraced(function* (seed: number, broken: Break, brokenSource: BreakSource) {
  type Make = Parameters<EngineWorld["boot"]>[1]
  const makes: Array<Make | undefined> = []
  const lives = validators.map(() => 0)
  const cluster = yield* makeCluster<TestBlock, never>({
    chainId: CHAIN,
    genesis,
    codec: blockCodec,
    validators,
    ed25519,
    seed,
    schedule: { ...DEFAULT_SCHEDULE, corruptChance: 0, restarts: undefined },
    link: { latencyMs: { min: 1, max: 10 }, lossChance: 0 },
    disks: makeDisks(seed, validators.length),
    pendingAcksMax: WINDOW,
    executor: ({ index, source }) =>
      Effect.map(
        makes[index]!(brokenSource(source as unknown as BlockSource<Block>)),
        ({ anchor, port }: EngineExecutor) => ({
          anchor,
          port: broken(port, lives[index]!++) as unknown as ExecutorPort<TestBlock>,
        }),
      ),
  })
  const world: EngineWorld = {
    genesis,
    nodes: validators.length,
    quorum: participants.quorum,
    pendingAcksMax: WINDOW,
    child: ({ height, digest }, context, salt) =>
      sealBlock({ height: (height + 1) as TestBlock["height"], parent: digest, context, salt }),
    boot: (node, make) => {
      makes[node] = make
      return cluster.boot(node)
    },
    crash: cluster.crash,
    run: cluster.consensus.run,
  }
  return world
})

const engines = (broken: Break = (port) => port, brokenSource: BreakSource = (source) => source): EngineSubject => ({
  make: (seed) => makeWorld(seed, broken, brokenSource),
  powers: [],
  seeds: 2,
})

engineLaws("simulated consensus and the marshal", engines(), run)

type Finalized = ExecutorPort<Block>["finalized"]

const delivering = (change: (finalized: Finalized, life: number) => Finalized): EngineSubject =>
  engines((port, life) => ({ ...port, finalized: change(port.finalized, life) }))

const NO_ACK = { acknowledge: () => {}, cancel: () => {} }

/** Keeps a block back from the executor and acknowledges it. */
const losing = (which: (block: Block, life: number) => boolean): EngineSubject =>
  delivering((finalized, life) => (block, ack) => {
    if (!which(block, life)) return finalized(block, ack)
    return Effect.sync(ack.acknowledge)
  })

const firstOfLife = (): EngineSubject => {
  const begun = new WeakSet<Finalized>()
  return delivering((finalized, life) => (block, ack) => {
    if (life === 0 || begun.has(finalized)) return finalized(block, ack)
    begun.add(finalized)
    return Effect.sync(ack.acknowledge)
  })
}

const STRANGER = new Uint8Array(32).fill(0xee)

/** Begins every life after the first with a block of the right height that grew elsewhere. */
const elsewhere = delivering((finalized, life) => {
  let hasBegun = life === 0
  return (block, ack) => {
    const given = hasBegun ? block : { ...block, parent: STRANGER }
    hasBegun = true
    return finalized(given, ack)
  }
})

/** Delivers the next block when the one before is acknowledged, however many may wait. */
const oneByOne = delivering((finalized) => {
  const turn = Semaphore.makeUnsafe(1)
  const released = (ack: Ack): Ack => ({
    ...ack,
    acknowledge: () => {
      Effect.runSync(turn.release(1))
      ack.acknowledge()
    },
  })
  return (block, ack) => Effect.andThen(turn.take(1), finalized(block, released(ack)))
})

type Question = { readonly context: ConsensusContext; readonly candidate: Block }

/** Has another question judged than the one that was asked. */
const asking = (change: (question: Question) => Partial<Question>): EngineSubject =>
  engines((port) => ({
    ...port,
    verify: (context, ancestry) =>
      Effect.gen(function* () {
        const candidate = yield* ancestry.next
        if (candidate === undefined) return yield* Effect.never
        const asked = { context, candidate, ...change({ context, candidate }) }
        const walk = [asked.candidate].values()
        const next = Effect.suspend(() => {
          const { done, value } = walk.next()
          return done === true ? ancestry.next : Effect.succeed(value)
        })
        return yield* port.verify(asked.context, { next })
      }),
  }))

const CANARIES: ReadonlyArray<[string, ReadonlyArray<[string, EngineSubject]>]> = [
  [
    "final blocks come",
    [
      ["loses a block", losing(({ height }) => height === 5)],
      [
        "delivers a block twice",
        delivering((finalized) => (block, ack) => Effect.andThen(finalized(block, ack), finalized(block, NO_ACK))),
      ],
    ],
  ],
  [
    "what was not acknowledged",
    [
      ["forgets the first block after a restart", firstOfLife()],
      ["comes back on another branch", elsewhere],
    ],
  ],
  [
    "a final block can be read back",
    [
      [
        "delivers what it has not stored",
        engines(undefined, (source) => ({ ...source, finalizedAt: () => Effect.succeed(undefined) })),
      ],
    ],
  ],
  [
    "no more final blocks",
    [
      [
        "does not wait for acknowledgements",
        delivering(
          (finalized) => (block, ack) => Effect.andThen(finalized(block, NO_ACK), Effect.sync(ack.acknowledge)),
        ),
      ],
      ["waits for every acknowledgement", oneByOne],
    ],
  ],
  ["an executor without state", [["begins after the first block", losing(({ height }) => height === 0)]]],
  [
    "a candidate is linked",
    [
      ["asks under a context of its own", asking(({ context }) => ({ context: { ...context, leader: STRANGER } }))],
      [
        "skips a height",
        asking(({ candidate }) => ({ candidate: { ...candidate, height: Height(candidate.height + 1) } })),
      ],
      ["links to another parent", asking(({ candidate }) => ({ candidate: { ...candidate, parent: STRANGER } }))],
      [
        "names a parent that it does not give",
        asking((question) => {
          const context = { ...question.context, parent: { ...question.context.parent, digest: STRANGER } }
          return { context, candidate: { ...question.candidate, context } }
        }),
      ],
    ],
  ],
  [
    "what is built on",
    [
      [
        "has a block judged whose parent nobody certified",
        engines((port) => ({
          ...port,
          verify: (context, ancestry) => {
            const parent = childOf(genesis, 900)
            const stray = childOf(parent, 901)
            const walk = [stray, parent, genesis].values()
            const asked = port.verify(contextOn(parent, 901), { next: Effect.sync(() => walk.next().value) })
            return Effect.andThen(asked, port.verify(context, ancestry))
          },
        })),
      ],
    ],
  ],
  [
    "a node's own proposals",
    [
      [
        "asks the proposer too",
        engines((port) => ({
          ...port,
          propose: (context, ancestry) =>
            Effect.tap(port.propose(context, ancestry), (block) => {
              const walk = [block, genesis].values()
              return port.verify(context, { next: Effect.sync(() => walk.next().value) })
            }),
        })),
      ],
    ],
  ],
]

const lawNamed = (start: string) => {
  const found = ENGINE_LAWS.filter(({ name }) => name.startsWith(start))
  expect(found.length, start).toBe(1)
  return found[0]!
}

describe.each(CANARIES)("the law that %s", (start, canaries) => {
  test.each(canaries)("rejects an engine that %s", (_name, subject) => {
    const { exit } = simulate(1, Effect.exit(lawNamed(start).check(subject)))
    const checked = Exit.isSuccess(exit) ? exit.value : exit
    expect(Exit.isFailure(checked) && Cause.squash(checked.cause)).toBeInstanceOf(LawBroken)
  })
})

test("every law of engines has a canary", () => {
  expect(new Set(CANARIES.map(([start]) => lawNamed(start)))).toEqual(new Set(ENGINE_LAWS))
})
