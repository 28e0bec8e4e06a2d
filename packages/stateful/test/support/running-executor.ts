/**
 * A running executor over a model set, for tests; and what they say about fibers.
 *
 * Invariant: `end` fails a test that leaves a fork or a batch open.
 */
import { type Ack, ExecutorStopped } from "@coppice/consensus"
import { Effect, Exit, type Fiber, Scope } from "effect"
import { expect } from "vitest"
import { type DatabaseSet, Executor, type ExecutorLimits, type Pruning } from "../../src/index.ts"
import { type ModelDatabases, ModelSet } from "./model-set.ts"
import { contextOn, recordingAck, type ToyApplication, type ToyBlock, ToyChain, toyApplication } from "./toy-chain.ts"

const TURNS = 200

/** Lets everything run that can. */
export const quiet = Effect.forEach(Array.from({ length: TURNS }), () => Effect.yieldNow, { discard: true })

/** What a test gives; the rest is sound. */
export interface Setup {
  readonly hooks?: Partial<ToyApplication>
  readonly chain?: ToyChain
  readonly set?: ModelSet
  /** What the executor is given in place of `set`. */
  readonly runsOn?: DatabaseSet<ModelDatabases>
  readonly limits?: Partial<ExecutorLimits>
  readonly pruning?: Pruning
  /** The ack window of a chain that is not given. */
  readonly acks?: number
}

/** A running executor with short names for what tests do to it. */
export const started = Effect.fnUntraced(function* (setup: Setup = {}) {
  const chain = setup.chain ?? new ToyChain(setup.acks)
  const set = setup.set ?? new ModelSet(ToyChain.start)
  const log: string[] = []
  const scope = yield* Scope.make()
  const make = Executor.make({
    application: toyApplication(setup.hooks),
    set: setup.runsOn ?? set,
    source: chain,
    ...(setup.limits === undefined ? {} : { limits: setup.limits }),
    ...(setup.pruning === undefined ? {} : { pruning: setup.pruning }),
  })
  const executor = yield* Scope.provide(make, scope)
  const { port } = executor
  const verify = (block: ToyBlock) => port.verify(block.context, chain.ancestry(block))
  const propose = (parent: ToyBlock, view: number) => port.propose(contextOn(parent, view), chain.ancestry(parent))
  const finalize = (block: ToyBlock, ack: Ack = recordingAck(log, block.height)) => {
    chain.finalized[block.height] = block
    return port.finalized(block, ack)
  }
  /** Stops the executor and looks at what it left behind. */
  const end = Effect.gen(function* () {
    yield* Scope.close(scope, Exit.void)
    expect(set.mistakes).toEqual([])
    expect(set.layers, "pending states left").toBe(0)
    expect(set.openBatchCount, "batches left open").toBe(0)
  })
  return { chain, set, log, executor, port, verify, propose, finalize, end, status: executor.status }
})

/** A verification that abstains. */
export const never: ToyApplication["verify"] = () => Effect.never

/** What a fiber that must have ended by now failed with. */
export const stoppedBy = (fiber: Fiber.Fiber<unknown, unknown>): unknown => {
  const exit = fiber.pollUnsafe()
  if (exit === undefined || Exit.isSuccess(exit)) return exit
  const [reason] = exit.cause.reasons
  return reason?._tag === "Fail" && reason.error instanceof ExecutorStopped ? reason.error.cause : reason
}

/** Blocks from the child of genesis up to a block. */
export const path = (chain: ToyChain, block: ToyBlock) =>
  Effect.gen(function* () {
    const { next } = chain.ancestry(block)
    const blocks: ToyBlock[] = []
    for (let at = yield* next; at !== undefined && at.height > 0; at = yield* next) blocks.unshift(at)
    return blocks
  })
