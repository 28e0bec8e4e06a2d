/**
 * Goal: the laws of the executor port can fail, and the executor of @coppice/stateful keeps them.
 * Method: the tally over databases in memory, in virtual time; canaries are ports around it with one promise broken.
 */
import { bytesKey } from "@coppice/codec"
import type { Ack, Ancestry, Block, BlockSource, ExecutorPort } from "@coppice/consensus"
import { nobleHasher } from "@coppice/crypto"
import { simulate } from "@coppice/simulate"
import { Executor, openDatabaseSet, SET_MAPS } from "@coppice/stateful"
import { makeMemoryDisk } from "@coppice/storage"
import { Cause, Effect, Exit } from "effect"
import { describe, expect, test } from "vitest"
import { applicationSubject, drawnInputs } from "../src/application/index.ts"
import { contextOn, openNode, type Tip } from "../src/application/world.ts"
import { EXECUTOR_LAWS, type ExecutorSubject, type ExecutorWorld } from "../src/executor/index.ts"
import { LawBroken } from "../src/index.ts"
import { chanceOf } from "../src/law.ts"
import { executorLaws } from "../src/vitest.ts"
import { additions, makeTally, type TallyBlock } from "./support/applications.ts"

const run = (check: Effect.Effect<void, unknown>): Promise<void> => Effect.runPromise(simulate(1, check).exit)

type Break = (port: ExecutorPort<Block>) => ExecutorPort<Block>

const chainId = "laws"

/** An executor over databases of its own, as a port. */
const startExecutor = (seed: number, source: BlockSource<Block>) =>
  Effect.gen(function* () {
    const application = makeTally().withInputs(drawnInputs(additions, chanceOf(seed)))
    const storage = yield* makeMemoryDisk({ chance: () => 0 }).open("set", SET_MAPS)
    const set = yield* openDatabaseSet({ application, chainId, hasher: nobleHasher, storage, pendingAcksMax: 4 })
    // The laws ask about no other blocks than those of the tally.
    const blocks = source as unknown as BlockSource<TallyBlock>
    const { port } = yield* Executor.make({ application, set, source: blocks })
    return port as unknown as ExecutorPort<Block>
  })

const makeWorld = Effect.fnUntraced(function* (seed: number, broken: Break) {
  const builder = yield* openNode(
    yield* applicationSubject({ make: (chance) => makeTally().withInputs(drawnInputs(additions, chance)) }).make(seed),
  )
  const tips = new Map<string, Tip>([[bytesKey(builder.genesis.digest), builder.tip]])
  const child = (parent: Block, view: number) =>
    Effect.map(builder.build(tips.get(bytesKey(parent.digest))!, view), (tip) => {
      tips.set(bytesKey(tip.block.digest), tip)
      return tip.block
    })
  const world: ExecutorWorld = {
    genesis: builder.genesis,
    child,
    invalid: (parent, view) =>
      Effect.map(child(parent, view), (block) => {
        const { transactions, ...parts } = block as TallyBlock
        const targets = { ...parts.targets, totals: parts.targets.counts }
        return makeTally().blocks.make({ ...parts, targets }, transactions)
      }),
    contextOn,
    start: (source) => Effect.map(startExecutor(seed, source), broken),
    settle: Effect.sleep("10 seconds"),
  }
  return world
})

const executors = (broken: Break = (port) => port): ExecutorSubject => ({
  make: (seed) => makeWorld(seed, broken),
  powers: [],
  seeds: 4,
})

executorLaws("the executor", executors(), run)

type Verify = ReturnType<ExecutorPort<Block>["verify"]>

const verifying = (change: (verify: Verify) => Verify): ExecutorSubject =>
  executors((port) => ({ ...port, verify: (context, ancestry) => change(port.verify(context, ancestry)) }))

const acking = (change: (ack: Ack, block: Block) => Ack): ExecutorSubject =>
  executors((port) => ({ ...port, finalized: (block, ack) => port.finalized(block, change(ack, block)) }))

const twice = acking((ack) => ({
  ...ack,
  acknowledge: () => {
    ack.acknowledge()
    ack.acknowledge()
  },
}))

type Answers = { readonly [K in "propose" | "verify"]?: ReturnType<ExecutorPort<Block>[K]> }

/** Answers by itself when it does not like the first two blocks of an ancestry. */
const looking = (dislikes: (first?: Block, second?: Block) => boolean, answers: Answers): ExecutorSubject =>
  executors((port) => {
    const looked = <A, E>(
      ancestry: Ancestry<Block>,
      answer: Effect.Effect<A, E> | undefined,
      go: (ancestry: Ancestry<Block>) => Effect.Effect<A, E>,
    ): Effect.Effect<A, E> =>
      Effect.gen(function* () {
        if (answer === undefined) return yield* go(ancestry)
        const [first, second] = [yield* ancestry.next, yield* ancestry.next]
        if (dislikes(first, second)) return yield* answer
        const walk = [first, second].values()
        return yield* go({ next: Effect.suspend(() => orRest(walk.next(), ancestry)) })
      })
    return {
      ...port,
      propose: (context, ancestry) => looked(ancestry, answers.propose, (walk) => port.propose(context, walk)),
      verify: (context, ancestry) => looked(ancestry, answers.verify, (walk) => port.verify(context, walk)),
    }
  })

const orRest = (next: IteratorResult<Block | undefined>, { next: rest }: Ancestry<Block>): Ancestry<Block>["next"] =>
  next.done === true ? rest : Effect.succeed(next.value)

/** Gives each ack when the next one is due. */
const late = executors((port) => {
  let held: (() => void) | undefined
  return {
    ...port,
    finalized: (block, ack) =>
      port.finalized(block, {
        ...ack,
        acknowledge: () => {
          const before = held
          held = before === undefined ? ack.acknowledge : undefined
          if (before === undefined) return
          ack.acknowledge()
          before()
        },
      }),
  }
})

const CANARIES: ReadonlyArray<[string, ReadonlyArray<[string, ExecutorSubject]>]> = [
  [
    "a valid block is true",
    [
      ["finds everything valid", verifying((verify) => Effect.as(verify, true))],
      ["finds everything invalid", verifying((verify) => Effect.as(verify, false))],
    ],
  ],
  [
    "a proposal extends",
    [
      [
        "proposes under a context of its own",
        executors((port) => ({
          ...port,
          propose: (context, ancestry) => port.propose({ ...context, leader: new Uint8Array(32).fill(0xee) }, ancestry),
        })),
      ],
      [
        "proposes what nobody accepts",
        executors((port) => ({
          ...port,
          propose: (context, ancestry) =>
            Effect.map(port.propose(context, ancestry), (block) => {
              if (block === undefined) return undefined
              const { transactions, ...parts } = block as TallyBlock
              const targets = { ...parts.targets, totals: parts.targets.counts }
              return makeTally().blocks.make({ ...parts, targets }, transactions)
            }),
        })),
      ],
    ],
  ],
  [
    "data that is missing",
    [
      [
        "takes what is missing for invalid",
        verifying((verify) =>
          Effect.timeoutOrElse(verify, { duration: "1 second", orElse: () => Effect.succeed(false) }),
        ),
      ],
      [
        "takes a block whose parent is missing for invalid",
        looking((first, second) => first !== undefined && second === undefined, { verify: Effect.succeed(false) }),
      ],
      [
        "waits with a proposal for a parent that is missing",
        looking((first) => first === undefined, { propose: Effect.never }),
      ],
    ],
  ],
  [
    "every finalized block",
    [
      ["acknowledges twice", twice],
      ["acknowledges out of order", late],
      ["loses acks", acking((ack, { height }) => (height === 3 ? { ...ack, acknowledge: () => {} } : ack))],
    ],
  ],
  [
    "at and below the tip",
    [
      [
        "gives no verdict on the past",
        executors((port) => {
          let tip = 0
          return {
            ...port,
            finalized: (block, ack) => {
              tip = Math.max(tip, block.height)
              return port.finalized(block, ack)
            },
            verify: (context, ancestry) => (tip > 0 ? Effect.never : port.verify(context, ancestry)),
          }
        }),
      ],
    ],
  ],
  [
    "asked again",
    [
      [
        "answers everything true the second time",
        executors((port) => {
          let asked = 0
          return {
            ...port,
            verify: (context, ancestry) => (++asked > 4 ? Effect.succeed(true) : port.verify(context, ancestry)),
          }
        }),
      ],
    ],
  ],
  ["whatever an engine", [["acknowledges what was acknowledged", twice]]],
  [
    "the end reaches",
    [
      ["leaves questions open", verifying((verify) => Effect.catch(verify, () => Effect.never))],
      ["dies of its end", verifying((verify) => Effect.catch(verify, (stopped) => Effect.die(stopped)))],
      ["drops acks", acking((ack) => ({ ...ack, cancel: () => {} }))],
    ],
  ],
]

const lawNamed = (start: string) => {
  const found = EXECUTOR_LAWS.filter(({ name }) => name.startsWith(start))
  expect(found.length, start).toBe(1)
  return found[0]!
}

describe.each(CANARIES)("the law that %s", (start, canaries) => {
  test.each(canaries)("rejects an executor that %s", (_name, subject) => {
    const { exit } = simulate(1, Effect.exit(lawNamed(start).check(subject)))
    const checked = Exit.isSuccess(exit) ? exit.value : exit
    expect(Exit.isFailure(checked) && Cause.squash(checked.cause)).toBeInstanceOf(LawBroken)
  })
})

test("every law of executors has a canary", () => {
  expect(new Set(CANARIES.map(([start]) => lawNamed(start)))).toEqual(new Set(EXECUTOR_LAWS))
})
