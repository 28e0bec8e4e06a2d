/**
 * An executor that executes nothing: it accepts every block but those with a marked salt, makes finalized blocks durable
 * after a while, several at once, and remembers across crashes only the anchor on its disk.
 */
import { Bytes, bytesEqual, bytesKey, decode, encode, Struct, Varint } from "@coppice/codec"
import {
  type Ack,
  type Ancestry,
  type Anchor,
  anchorOf,
  type ConsensusContext,
  ExecutorStopped,
  Height,
  roundCodec,
} from "@coppice/consensus"
import { DIGEST_BYTES } from "@coppice/crypto"
import { Effect, Queue, Random } from "effect"
import { sealBlock, type TestBlock } from "../src/chain.ts"
import type { NodeContext, NodeExecutor } from "../src/cluster.ts"

/** Salt of a block that honest executors refuse. */
export const BAD_SALT = 666

/** What one incarnation was given, in order. */
export interface Delivery {
  readonly index: number
  readonly incarnation: number
  readonly block: TestBlock
}

/** Everything that the executors of a cluster saw. */
export class Journal {
  readonly deliveries: Array<Delivery> = []
  readonly boots: Array<{ readonly index: number; readonly incarnation: number; readonly anchor: Anchor }> = []
  /** Views in which an executor was asked to verify: a block was shown, and is durable with its leader. */
  readonly askedIn: Array<number> = []
  /** Ancestors that were pulled from a stream, and verifications that were cut off. */
  pulled = 0
  /** Blocks that were delivered before the marshal could read them back. */
  premature = 0
  cancelled = 0
}

const anchorCodec = Struct({ height: Varint, round: roundCodec, digest: Bytes(DIGEST_BYTES) })
const KEY = new Uint8Array([1])

export interface StubOptions {
  readonly journal: Journal
  readonly genesis: TestBlock
  readonly verifyMsMax?: number
  readonly flushMsMax?: number
  /** One node's first incarnation cancels the ack of a height instead of giving it, and stops there. */
  readonly cancels?: { readonly index: number; readonly height: number }
  /** Chance that a verdict is simply false. */
  readonly refusesChance?: number
  /** The node of this index never answers. */
  readonly mute?: number
}

export const makeStubExecutor = (options: StubOptions) =>
  Effect.fnUntraced(function* ({ index, source, disk }: NodeContext<TestBlock>) {
    const { journal, genesis, verifyMsMax = 8, flushMsMax = 20, cancels, refusesChance = 0, mute } = options
    const storage = yield* disk.open("state", ["meta"])
    const stored = storage.get("meta", KEY)
    let anchor: Anchor = anchorOf(genesis)
    if (stored !== undefined) {
      const row = decode(anchorCodec, stored)
      anchor = { ...row, height: Height(row.height) }
    }
    const incarnation = journal.boots.filter((boot) => boot.index === index).length
    journal.boots.push({ index, incarnation, anchor })
    const executed = new Set([bytesKey(anchor.digest)])
    const finalized = yield* Queue.unbounded<readonly [TestBlock, Ack]>()
    let isDead = false

    const flush = Effect.gen(function* () {
      for (;;) {
        const batch = yield* Queue.takeAll(finalized)
        yield* Effect.sleep(yield* Random.nextBetween(0, flushMsMax))
        const isCancelled = ([block]: readonly [TestBlock, Ack]) =>
          cancels?.index === index && incarnation === 0 && block.height === cancels.height
        const cancelled = batch.findIndex(isCancelled)
        if (cancelled !== -1) {
          for (const [, ack] of batch.slice(cancelled)) ack.cancel()
          return
        }
        const newest = anchorOf(batch.at(-1)![0])
        yield* storage.write([{ tag: "put", map: "meta", key: KEY, value: encode(anchorCodec, newest) }])
        anchor = newest
        for (const [, ack] of batch) ack.acknowledge()
      }
    })
    yield* Effect.forkScoped(
      Effect.ensuring(
        Effect.ignore(flush),
        Effect.sync(() => {
          isDead = true
        }),
      ),
    )

    /** Walks back to a block that was executed here, or below the anchor. */
    const resolve = Effect.fnUntraced(function* (ancestry: Ancestry<TestBlock>, first: TestBlock | undefined) {
      const walked: Array<TestBlock> = first === undefined ? [] : [first]
      for (;;) {
        const last = walked.at(-1)
        if (last !== undefined && (executed.has(bytesKey(last.digest)) || last.height <= anchor.height)) break
        const block = yield* ancestry.next
        if (block === undefined) return yield* Effect.never
        journal.pulled++
        if (last !== undefined && !bytesEqual(last.parent, block.digest))
          return yield* Effect.die("ancestry is not linked")
        walked.push(block)
      }
      for (const block of walked) executed.add(bytesKey(block.digest))
    })

    const executor: NodeExecutor<TestBlock> = {
      anchor,
      port: {
        propose: Effect.fnUntraced(function* (context: ConsensusContext, ancestry) {
          if (index === mute) return yield* Effect.never
          const parent = yield* ancestry.next
          if (parent === undefined) return undefined
          yield* resolve(ancestry, parent)
          const salt = yield* Random.nextIntBetween(1_000, 1_000_000)
          const block = sealBlock({ height: Height(parent.height + 1), parent: parent.digest, context, salt })
          executed.add(bytesKey(block.digest))
          return block
        }),
        verify: (context, ancestry) =>
          Effect.gen(function* () {
            journal.askedIn.push(context.round.view)
            const candidate = yield* ancestry.next
            if (candidate === undefined || index === mute) return yield* Effect.never
            if (candidate.salt === BAD_SALT || (yield* Random.next) < refusesChance) return false
            yield* Effect.sleep(yield* Random.nextBetween(0, verifyMsMax))
            yield* resolve(ancestry, candidate)
            return true
          }).pipe(Effect.onInterrupt(() => Effect.sync(() => void journal.cancelled++))),
        finalized: (block, ack) =>
          Effect.gen(function* () {
            if (isDead) return yield* new ExecutorStopped({ cause: undefined })
            if ((yield* source.finalizedAt(block.height)) === undefined) journal.premature++
            journal.deliveries.push({ index, incarnation, block })
            executed.add(bytesKey(block.digest))
            Queue.offerUnsafe(finalized, [block, ack])
          }),
      },
    }
    return executor
  })
