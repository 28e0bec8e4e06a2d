/**
 * Executors that execute nothing and write down everything an engine and its marshal ask of them.
 *
 *   engine --- propose, verify, finalized ---> recording executor ---> record ---> laws
 *
 * Terms: a *life* is one incarnation of a node. What an executor acknowledged outlives its node; nothing else does.
 */
import { bytesEqual, bytesKey } from "@coppice/codec"
import {
  type Ack,
  type Ancestry,
  type Anchor,
  anchorOf,
  type Block,
  type BlockSource,
  type ConsensusContext,
  type ExecutorPort,
} from "@coppice/consensus"
import { Effect, Queue, Random, type Scope } from "effect"
import type { Law, Subject } from "../law.ts"

/** An executor that is ready for delivery: after its anchor, or from the first block on where it has none. */
export interface EngineExecutor {
  readonly anchor: Anchor | undefined
  readonly port: ExecutorPort<Block>
}

/** A network of nodes with engine and marshal, whose executors are given. */
export interface EngineWorld {
  readonly genesis: Block
  readonly nodes: number
  /** Votes that certify a block. */
  readonly quorum: number
  readonly pendingAcksMax: number
  /** A block that an executor may propose. Other salts give other blocks. */
  readonly child: (parent: Block, context: ConsensusContext, salt: number) => Block
  /** Boots a node on what it left durable, with an executor that lives as long as it does. */
  readonly boot: (
    node: number,
    executor: (source: BlockSource<Block>) => Effect.Effect<EngineExecutor, never, Scope.Scope>,
  ) => Effect.Effect<void, unknown>
  /** Cuts a node's power. */
  readonly crash: (node: number) => Effect.Effect<void>
  /** Drives the engines until it is interrupted. */
  readonly run: Effect.Effect<never, unknown>
}

/** An engine with its marshal under test. */
export type EngineSubject = Subject<EngineWorld, never>

/** One law of engines. */
export type EngineLaw = Law<EngineWorld, never>

/** A final block handed to an executor. */
export interface Delivered {
  readonly node: number
  readonly life: number
  readonly block: Block
  /** Delivered to this life and not acknowledged, this one included. */
  readonly waiting: number
  /** Whether the node's own blocks had it at that height. */
  readonly isHeld: boolean
}

/** A question to an executor. */
export interface Asked {
  readonly node: number
  readonly context: ConsensusContext
  /** Undefined: a proposal is asked for. */
  readonly candidate: Block | undefined
  readonly parent: Block
  /** Whether enough executors had accepted the parent, or it was final or the first. */
  readonly isCertified: boolean
  /** Whether this node proposed the candidate itself. */
  readonly isOwn: boolean
}

const VERIFY_MS_MAX = 8
const ACK_MS_MAX = 60

/** See the head of this file. */
export class EngineRecord {
  readonly delivered: Delivered[] = []
  readonly asked: Asked[] = []
  /** Where each life began: the anchor its executor had. */
  readonly lives: Array<{ readonly node: number; readonly life: number; readonly anchor: Anchor | undefined }> = []
  readonly #world: EngineWorld
  readonly #anchors: Array<Anchor | undefined>
  readonly #accepted = new Map<string, Set<number>>()
  readonly #final = new Set<string>()
  readonly #proposed = new Map<string, number>()
  #salt = 0

  constructor(world: EngineWorld) {
    this.#world = world
    this.#anchors = Array.from({ length: world.nodes }, () => undefined)
  }

  /** Height of what a node's executor has acknowledged; -1 before the first. */
  height(node: number): number {
    return this.#anchors[node]?.height ?? -1
  }

  /** The executor of a node's next life; a mute one acknowledges nothing. */
  readonly executor =
    (node: number, isMute = false) =>
    (source: BlockSource<Block>): Effect.Effect<EngineExecutor, never, Scope.Scope> =>
      Effect.gen({ self: this }, function* () {
        const anchor = this.#anchors[node]
        const life = this.lives.filter((each) => each.node === node).length
        this.lives.push({ node, life, anchor })
        const waiting = yield* Queue.unbounded<readonly [Block, Ack]>()
        let held = 0
        const acknowledging = Effect.gen({ self: this }, function* () {
          const [block, ack] = yield* Queue.take(waiting)
          yield* Effect.sleep(yield* Random.nextBetween(0, ACK_MS_MAX))
          this.#anchors[node] = anchorOf(block)
          held--
          ack.acknowledge()
        }).pipe(Effect.forever)
        if (!isMute) yield* Effect.forkScoped(acknowledging)
        const port: ExecutorPort<Block> = {
          propose: (context, ancestry) => this.#propose(node, context, ancestry),
          verify: (context, ancestry) => this.#verify(node, context, ancestry),
          finalized: (block, ack) =>
            Effect.gen({ self: this }, function* () {
              const found = yield* source.finalizedAt(block.height)
              const isHeld = found !== undefined && bytesEqual(found.digest, block.digest)
              this.delivered.push({ node, life, block, waiting: ++held, isHeld })
              this.#final.add(bytesKey(block.digest))
              Queue.offerUnsafe(waiting, [block, ack])
            }),
        }
        return { anchor, port }
      })

  #accept(node: number, block: Block): void {
    const key = bytesKey(block.digest)
    this.#accepted.set(key, (this.#accepted.get(key) ?? new Set()).add(node))
  }

  #ask(node: number, context: ConsensusContext, candidate: Block | undefined, parent: Block): void {
    const key = bytesKey(parent.digest)
    const votes = this.#accepted.get(key)?.size ?? 0
    const isCertified = parent.height === 0 || this.#final.has(key) || votes >= this.#world.quorum
    const isOwn = candidate !== undefined && this.#proposed.get(bytesKey(candidate.digest)) === node
    this.asked.push({ node, context, candidate, parent, isCertified, isOwn })
  }

  #propose(node: number, context: ConsensusContext, ancestry: Ancestry<Block>) {
    return Effect.gen({ self: this }, function* () {
      const parent = yield* ancestry.next
      if (parent === undefined) return undefined
      this.#ask(node, context, undefined, parent)
      const block = this.#world.child(parent, context, ++this.#salt)
      this.#proposed.set(bytesKey(block.digest), node)
      this.#accept(node, block)
      return block
    })
  }

  #verify(node: number, context: ConsensusContext, ancestry: Ancestry<Block>) {
    return Effect.gen({ self: this }, function* () {
      const candidate = yield* ancestry.next
      const parent = yield* ancestry.next
      if (candidate === undefined || parent === undefined) return yield* Effect.never
      this.#ask(node, context, candidate, parent)
      yield* Effect.sleep(yield* Random.nextBetween(0, VERIFY_MS_MAX))
      this.#accept(node, candidate)
      return true
    })
  }
}
