/**
 * Goal: what the marshal keeps survives on a real disk.
 * Method: two lives of one marshal on LMDB in a temporary directory: deliver half, stop, go on.
 */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import {
  blockCodec,
  CHAIN,
  chainOn,
  ed25519,
  finalize,
  genesis,
  participants,
  type TestBlock,
} from "@coppice/simulate/chain"
import { Storage } from "@coppice/storage"
import { openLmdb } from "@coppice/storage/lmdb"
import { Deferred, Effect } from "effect"
import { expect, onTestFinished, test } from "vitest"
import {
  type Anchor,
  anchorOf,
  type ExecutorPort,
  MARSHAL_MAPS,
  makeMarshal,
  verifyFinalization,
} from "../src/index.ts"

const chain = chainOn(genesis, 1, 10)
const at = (height: number): TestBlock => chain[height - 1]!

/** Acknowledges at once; `reached` completes with the height it waits for. */
const makeExecutor = Effect.fnUntraced(function* (height: number) {
  const delivered: Array<number> = []
  const reached = yield* Deferred.make<void>()
  const port: ExecutorPort<TestBlock> = {
    propose: () => Effect.never,
    verify: () => Effect.never,
    finalized: (block, ack) => {
      delivered.push(block.height)
      ack.acknowledge()
      return block.height === height ? Effect.asVoid(Deferred.succeed(reached, undefined)) : Effect.void
    },
  }
  return { port, delivered, reached: Deferred.await(reached) }
})

const live = Effect.fnUntraced(function* (directory: string, from: number, to: number, deliverAfter: Anchor) {
  const storage = yield* openLmdb({ directory, maps: MARSHAL_MAPS })
  const marshal = yield* makeMarshal({
    chainId: CHAIN,
    genesis,
    codec: blockCodec,
    verify: (finalization) => verifyFinalization(ed25519, participants, CHAIN, finalization),
    transport: { peers: Effect.succeed([]), request: () => Effect.never, blame: () => Effect.void },
  }).pipe(Effect.provideService(Storage, storage))
  const executor = yield* makeExecutor(to)
  const before = { processed: yield* marshal.processedHeight, tip: (yield* marshal.tip).height }
  yield* marshal.start(executor.port, { deliverAfter })
  for (const block of chain.slice(from, to)) {
    yield* marshal.verified(block.context.round, block)
    yield* marshal.notarized(block.context.round, block)
  }
  yield* marshal.report(finalize(at(to)))
  yield* executor.reached
  // The acks of the last turn are recorded with the next write at the latest.
  yield* marshal.verified(at(to).context.round, at(to))
  return { before, delivered: executor.delivered, processed: yield* marshal.processedHeight }
})

test("§8.1 M1 M3 M9 blocks, certificates and progress survive on LMDB", async () => {
  const directory = mkdtempSync(join(tmpdir(), "coppice-marshal-"))
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }))
  const first = await Effect.runPromise(Effect.scoped(live(directory, 0, 5, anchorOf(genesis))))
  expect(first).toEqual({ before: { processed: undefined, tip: 0 }, delivered: [1, 2, 3, 4, 5], processed: 5 })
  const second = await Effect.runPromise(Effect.scoped(live(directory, 5, 10, anchorOf(at(5)))))
  expect(second).toEqual({ before: { processed: 5, tip: 5 }, delivered: [6, 7, 8, 9, 10], processed: 10 })
})
