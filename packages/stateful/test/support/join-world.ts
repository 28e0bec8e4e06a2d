/**
 * A world around the core of joining: a marshal with an ack window, a sync that takes its time, an executor, and crashes.
 *
 * Terms: a *life* is what lies between two crashes. The *chain* is final and as long as the test wants; a height stands for its
 * block. *Processed* is what marshal has made durable of the acks; a crash may lose the newest.
 *
 * Invariant: every broken rule throws `Violation` at the action that broke it.
 */
import { type Finalization, Height, Round, View } from "@coppice/consensus"
import { Effect } from "effect"
import {
  createJoin,
  type JoinAction,
  type JoinCore,
  type JoinEvent,
  stepJoin as realStep,
} from "../../src/state-sync/core.ts"
import { resolveFloor } from "../../src/state-sync/floor.ts"
import type { FloorSource } from "../../src/state-sync/port.ts"
import { Violation, type WorldBlock } from "./core-world.ts"

const violated = (rule: string): never => {
  throw new Violation(rule)
}

export type JoinStep = (
  core: JoinCore<WorldBlock>,
  event: JoinEvent<WorldBlock, string>,
) => ReadonlyArray<JoinAction<WorldBlock, string>>

/** What a world runs on; real where not given. */
export interface JoinParts {
  readonly step: JoinStep
  readonly resolve: typeof resolveFloor
  /** Where a sync comes out that has recorded `tips`, the start first. */
  readonly converges: (tips: ReadonlyArray<number>) => number
}

const REAL: JoinParts = { step: realStep, resolve: resolveFloor, converges: (tips) => tips.at(-1)! }

const digestOf = (height: number) => new Uint8Array(32).fill(height)

/** The final block of a height. */
export const blockAt = (height: number): WorldBlock => ({
  name: `h${height}`,
  fault: undefined,
  height: Height(height),
  parent: digestOf(height - 1),
  digest: digestOf(height),
  context: {
    round: Round(0, height),
    leader: new Uint8Array(32),
    parent: { view: View(Math.max(0, height - 1)), digest: digestOf(height - 1) },
  },
})

/** A finalization of the block of a height. */
export const floorAt = (height: number): Finalization => ({
  proposal: { round: Round(0, height), parentView: View(height - 1), payload: digestOf(height) },
  certificate: { n: 4, signers: [0, 1, 3], signatures: [1, 2, 3].map((n) => new Uint8Array(64).fill(n)) },
})

/** See the head of this file. */
export class JoinWorld {
  core: JoinCore<WorldBlock>
  /** Blocks the sync was asked to reach; the start first. */
  tips: number[] = []
  /** A tip that was sent and not taken yet. */
  waiting: number | undefined
  /** Acks given in this life, in order. */
  acked: number[] = []
  /** Delivered in this life. */
  delivered: number
  /** Deliveries that the executor has got and not acknowledged. */
  executing: number[] = []
  /** Where the executor's state stands, durably; undefined before there is one. */
  state: number | undefined
  /** The durable processed height of marshal. */
  processed: number
  complete: number | undefined
  stopped: { readonly error: unknown } | undefined
  lives = 1
  readonly #floor: number
  readonly #window: number
  readonly #parts: JoinParts

  constructor(floor: number, window: number, parts: Partial<JoinParts> = {}) {
    this.#floor = floor
    this.#window = window
    this.#parts = { ...REAL, ...parts }
    // Installing the floor counts what is below it as processed.
    this.processed = floor - 1
    this.delivered = this.processed
    this.core = createJoin(window)
    this.#begin()
  }

  /** The blocks whose acks are open, oldest first. */
  get unacked(): number {
    return this.delivered - (this.acked.at(-1) ?? this.processed)
  }

  #begin() {
    const start = Effect.runSync(this.#parts.resolve(this.#source(), floorAt(this.#floor))).height
    if (start < this.processed) violated("INV-7 C5 the start covers what marshal has seen acknowledged")
    this.tips = [start]
  }

  #source(): FloorSource<WorldBlock> {
    return {
      pendingAcksMax: this.#window,
      durableFloor: Effect.succeed({ height: Height(this.#floor - 1), round: Round(0, this.#floor - 1) }),
      finalizedBlock: () => Effect.succeed(blockAt(this.#floor)),
      finalizedAt: (height) => Effect.succeed(height < this.#floor ? undefined : blockAt(height)),
      processedHeight: Effect.succeed(Height(this.processed)),
      byDigest: () => Effect.succeed(undefined),
      parentOf: () => Effect.succeed(undefined),
    }
  }

  /** Marshal delivers the next block, if the window allows. */
  deliver() {
    if (this.unacked >= this.#window) return
    const height = ++this.delivered
    this.send({ type: "finalized", block: blockAt(height), ack: height })
  }

  /** The sync takes the newest tip in. */
  record() {
    const height = this.waiting
    if (height === undefined || this.core.phase !== "syncing") return
    this.waiting = undefined
    // A tip that changes nothing is recorded all the same (F46).
    this.tips.push(Math.max(height, this.tips.at(-1)!))
    this.send({ type: "recorded", height: Height(height) })
  }

  /** The sync comes out at the newest tip it has taken in. */
  converge() {
    if (this.core.phase !== "syncing") return
    this.state = this.#parts.converges(this.tips)
    const { digest, context, height } = blockAt(this.state)
    this.send({ type: "synced", anchor: { height, digest, round: context.round } })
  }

  start() {
    if (this.core.phase === "handing over") this.send({ type: "executing" })
  }

  /** The executor is done with its oldest delivery. */
  execute() {
    const height = this.executing.shift()
    if (height === undefined) return
    if (height > this.state!) {
      if (height !== this.state! + 1) violated(`F51 height ${height} is applied over ${this.state}`)
      this.state = height
    }
    this.#ack(height)
  }

  /** Power is lost; marshal has kept all acks but the newest `lost`. */
  crash(lost: number) {
    if (this.complete !== undefined) return
    const newest = this.acked.at(-1) ?? this.processed
    this.processed = Math.max(this.processed, newest - lost)
    this.acked = []
    this.delivered = this.processed
    this.executing = []
    this.state = undefined
    this.waiting = undefined
    this.lives++
    this.core = createJoin(this.#window)
    this.#begin()
  }

  send(event: JoinEvent<WorldBlock, string>) {
    for (const action of this.#parts.step(this.core, event)) this.#perform(action)
  }

  #perform(action: JoinAction<WorldBlock, string>) {
    switch (action.type) {
      case "send":
        this.waiting = action.block.height
        return
      case "acknowledge":
        if (action.ack > this.tips.at(-1)!) violated("INV-7 INV-28 acknowledged before a recorded tip covers it")
        return this.#ack(action.ack)
      case "execute":
        if (this.state! < (this.acked.at(-1) ?? 0)) violated("INV-23 the anchor covers every acknowledged block")
        return
      case "deliver": {
        const { height } = action.delivery.block
        const before = this.executing.at(-1) ?? this.acked.at(-1) ?? this.processed
        if (height !== before + 1) violated(`INV-8 height ${height} is passed on after ${before}`)
        this.executing.push(height)
        return
      }
      case "complete":
        if (action.height !== Math.max(this.state!, this.executing.at(-1) ?? 0))
          violated("complete at what is left over")
        this.complete = action.height
        return
      case "stop":
        this.stopped = action
        return
    }
  }

  #ack(height: number) {
    const before = this.acked.at(-1) ?? this.processed
    if (height !== before + 1) violated(`INV-8 height ${height} is acknowledged after ${before}`)
    this.acked.push(height)
  }
}
