/**
 * What the laws of executors run on.
 *
 * Terms: a *bench* is a running executor with blocks that were made beside it: it learns of them through the port alone.
 */
import { bytesKey } from "@coppice/codec"
import type { Ack, Ancestry, Block, BlockSource, ConsensusContext, ExecutorPort, Height } from "@coppice/consensus"
import { Effect, Exit, Fiber, type Scope } from "effect"
import { claim, type Law, type Subject } from "../law.ts"

/** An executor's surroundings: blocks, made elsewhere. */
export interface ExecutorWorld {
  readonly genesis: Block
  /** A block that executes, on any block of this world. Different views give different blocks. */
  readonly child: (parent: Block, view: number) => Effect.Effect<Block, unknown>
  /** A block on `parent` that can never be valid. */
  readonly invalid: (parent: Block, view: number) => Effect.Effect<Block, unknown>
  /** Context of an attempt at a view to build on a block. */
  readonly contextOn: (parent: Block, view: number) => ConsensusContext
  /** Starts a new executor at genesis; it ends with the scope. */
  readonly start: (source: BlockSource<Block>) => Effect.Effect<ExecutorPort<Block>, unknown, Scope.Scope>
  /** Lets everything happen that will. */
  readonly settle: Effect.Effect<void>
}

/** An executor under test. */
export type ExecutorSubject = Subject<ExecutorWorld, never>

/** One law of executors. */
export type ExecutorLaw = Law<ExecutorWorld, never>

/** Blocks that may be delivered and not yet acknowledged. */
export const WINDOW = 4

/** Blocks of a world, and a running executor that has seen none of them. */
export class Bench implements BlockSource<Block> {
  readonly pendingAcksMax = WINDOW
  readonly processedHeight = Effect.succeed(undefined)
  readonly acks: string[] = []
  readonly world: ExecutorWorld
  readonly finalizedAt = (height: Height) => Effect.sync(() => this.#finalized[height])
  readonly byDigest = (digest: Uint8Array) => Effect.sync(() => this.#blocks.get(bytesKey(digest)))
  readonly parentOf = (block: Block) => this.byDigest(block.parent)
  readonly #blocks = new Map<string, Block>()
  readonly #finalized: Block[] = []

  constructor(world: ExecutorWorld) {
    this.world = world
    this.#keep(world.genesis)
    this.#finalized[0] = world.genesis
  }

  #keep(block: Block): Block {
    this.#blocks.set(bytesKey(block.digest), block)
    return block
  }

  child(parent: Block, view: number) {
    return Effect.map(this.world.child(parent, view), (block) => this.#keep(block))
  }

  invalid(parent: Block, view: number) {
    return Effect.map(this.world.invalid(parent, view), (block) => this.#keep(block))
  }

  /** Blocks of heights 1 to `length`. */
  readonly chain = Effect.fnUntraced({ self: this }, function* (this: Bench, length: number) {
    const blocks: Block[] = []
    for (let i = 1; i <= length; i++) blocks.push(yield* this.child(blocks.at(-1) ?? this.world.genesis, i))
    return blocks
  })

  ancestry(from: Block): Ancestry<Block> {
    let at: Block | undefined = from
    const next = Effect.sync(() => {
      const block = at
      at = block && this.#blocks.get(bytesKey(block.parent))
      return block
    })
    return { next }
  }

  verify(port: ExecutorPort<Block>, block: Block, ancestry = this.ancestry(block)) {
    return port.verify(block.context, ancestry)
  }

  finalize(port: ExecutorPort<Block>, block: Block) {
    this.#finalized[block.height] = block
    return port.finalized(block, this.#ack(block.height))
  }

  #ack(height: number): Ack {
    const once = (what: string) => () => {
      this.acks.push(`${what} ${height}`)
    }
    return { acknowledge: once("ack"), cancel: once("cancel") }
  }
}

/** A bench with its executor started. */
export const bench = Effect.fnUntraced(function* (world: ExecutorWorld) {
  const made = new Bench(world)
  return [made, yield* world.start(made)] as const
})

/** What a call has come to once everything has happened that will; undefined while it waits. */
export const settled = Effect.fnUntraced(function* <A, E>(world: ExecutorWorld, call: Effect.Effect<A, E>) {
  const fiber = yield* Effect.forkChild(call, { startImmediately: true })
  yield* world.settle
  const exit = fiber.pollUnsafe()
  yield* Effect.forkChild(Fiber.interrupt(fiber))
  return exit
})

/** Fails a law unless a call has come to this answer. */
export const claimAnswer = (exit: Exit.Exit<unknown, unknown> | undefined, expected: unknown, what: string): void => {
  claim(exit !== undefined, `${what}: no answer`)
  claim(Exit.isSuccess(exit) && exit.value === expected, `${what}: ${exit}`)
}
