/**
 * What verifications add to the latency of finalization: from the delivery of a block to its ack, its state durable.
 *
 *   propose W --> verifications of W's children begin --> finalized(W) --- this is timed ---> ack --> callers leave
 *
 * One executor over a set on real LMDB, blocks of 50 transfers. In every round each kind of load has its turn, so that
 * all meet the same disk: none; hooks that wait for something; hooks that compute in slices and yield between them; hooks
 * that write a large block and seal it, which is the executor's own work. All are on the winner, so that its finalization
 * ends none of them.
 *
 * Terms: *added* is the difference of medians to no load. A hook that computes without ever yielding holds the only
 * thread there is: no executor can bound that, so it is not here.
 */
import { type Bench, type Context, type Figure, timingOf } from "@coppice/bench"
import { bytesKey, Struct, U32, U64 } from "@coppice/codec"
import { type Ancestry, type BlockSource, type ConsensusContext, Height, Round, View } from "@coppice/consensus"
import { nodeHasher } from "@coppice/crypto/node"
import { Qmdb } from "@coppice/qmdb"
import { openLmdb } from "@coppice/storage/lmdb"
import { Effect, Fiber } from "effect"
import { Application, Executor, openDatabaseSet, SET_MAPS, SLICE_MS, type StandardBlock } from "../src/index.ts"

const [ROUNDS, WARMUP] = [40, 5]
const [TRANSFERS, ACCOUNTS] = [50, 10_000]
const SEALED_WRITES = 32_768
/** Writes between two yields of a hook. */
const WRITES_PER_SLICE = 2_048
/** Time for which a load runs before the block is final. */
const LEAD_MS = 20

interface Transfer {
  readonly from: number
  readonly to: number
  readonly nonce: bigint
}

const databases = { balances: Qmdb.any({ key: U32, value: U64 }) }
type Chain = typeof databases
type TransferBlock = StandardBlock<Transfer, Chain>
type Verify = Application<TransferBlock, Chain>["verify"]

/** Steps of an account number that meet all of them in no order. */
const STRIDE = 7_919
let nonce = 0
const transfer = (): Transfer => {
  const from = (nonce * STRIDE) % ACCOUNTS
  return { from, to: (from * 31 + 7) % ACCOUNTS, nonce: BigInt(nonce++) }
}

const Transfers = Application.make({
  name: "transfers",
  databases,
  transaction: Struct({ from: U32, to: U32, nonce: U64 }),
  hasher: nodeHasher,
  execute: ({ balances }, { from, to }) => {
    const [debit, credit] = [balances.get(from) ?? 1_000_000n, balances.get(to) ?? 1_000_000n]
    balances.put(from, debit - 1n)
    balances.put(to, credit + 1n)
  },
}).withInputs({
  waiting: TRANSFERS,
  finalizedHeight: undefined,
  idOf: (transaction) => String(transaction.nonce),
  take: () =>
    Array.from({ length: TRANSFERS }, () => {
      const transaction = transfer()
      return { id: String(transaction.nonce), transaction }
    }),
  rejected: () => {},
  finalized: () => {},
})

const spin = (): void => {
  const end = performance.now() + SLICE_MS
  while (performance.now() < end);
}

/** Loads: how many verifications, and what each does. */
const LOADS: Readonly<Record<string, { readonly count: number; readonly verify: Verify }>> = {
  none: { count: 0, verify: () => Effect.never },
  parked: { count: 64, verify: () => Effect.never },
  computing: { count: 8, verify: () => Effect.forever(Effect.andThen(Effect.sync(spin), Effect.yieldNow)) },
  sealing: {
    count: 8,
    verify: (_context, _ancestry, batches, tools) =>
      Effect.gen(function* () {
        for (let key = 0; key < SEALED_WRITES; key++) {
          batches.balances.put(key, 1n)
          if (key % WRITES_PER_SLICE === 0) yield* Effect.yieldNow
        }
        return yield* tools.seal(batches)
      }),
  },
}

const LEADER = new Uint8Array(32)

const contextOn = (parent: TransferBlock, view: number): ConsensusContext => ({
  round: Round(0, view),
  leader: LEADER,
  parent: { view: View(parent.context.round.view), digest: parent.digest },
})

/** The blocks that the executor may ask for. */
class Blocks implements BlockSource<TransferBlock> {
  readonly pendingAcksMax = 4
  readonly processedHeight = Effect.succeed(undefined)
  readonly #blocks = new Map<string, TransferBlock>()
  readonly finalizedAt = () => Effect.succeed(undefined)
  readonly byDigest = (digest: Uint8Array) => Effect.sync(() => this.#blocks.get(bytesKey(digest)))
  readonly parentOf = (block: TransferBlock) => this.byDigest(block.parent)

  add(block: TransferBlock): TransferBlock {
    this.#blocks.set(bytesKey(block.digest), block)
    return block
  }

  ancestry(from: TransferBlock): Ancestry<TransferBlock> {
    let next: TransferBlock | undefined = from
    return {
      next: Effect.sync(() => {
        const block = next
        next = block && this.#blocks.get(bytesKey(block.parent))
        return block
      }),
    }
  }
}

const program = Effect.fnUntraced(function* ({ directory, note }: Context) {
  const storage = yield* openLmdb({ directory: directory(), maps: SET_MAPS })
  const source = new Blocks()
  let { verify }: { verify: Verify } = LOADS["none"]!
  let started = 0
  const asked: Verify = (...given) => {
    started++
    return verify(...given)
  }
  const application = { ...Transfers, verify: asked }
  const set = yield* openDatabaseSet({
    application,
    chainId: "bench",
    hasher: nodeHasher,
    storage,
    pendingAcksMax: source.pendingAcksMax,
  })
  const { port } = yield* Executor.make({ application, set, source })
  let tip = source.add(application.genesis(set.tip.targets))
  let view = 0

  /** Finalizes the next block under a load; the milliseconds until its ack. */
  const round = Effect.fnUntraced(function* ({ count, verify: hook }: (typeof LOADS)[string]) {
    const block = source.add((yield* port.propose(contextOn(tip, ++view), source.ancestry(tip)))!)
    verify = hook
    started = 0
    const callers: Array<Fiber.Fiber<unknown, unknown>> = []
    for (let i = 0; i < count; i++) {
      const context = contextOn(block, ++view)
      const child = source.add(
        application.blocks.make({ height: Height(block.height + 1), context, targets: block.targets }, []),
      )
      callers.push(yield* Effect.forkChild(port.verify(context, source.ancestry(child))))
    }
    while (started < count) yield* Effect.sleep(1)
    yield* Effect.sleep(LEAD_MS)
    const tookMs = yield* Effect.callback<number>((resume) => {
      const start = performance.now()
      const acknowledge = (): void => resume(Effect.succeed(performance.now() - start))
      Effect.runFork(port.finalized(block, { acknowledge, cancel: () => {} }))
    })
    yield* Fiber.interruptAll(callers)
    tip = block
    return tookMs
  })

  const samples = new Map(Object.keys(LOADS).map((name) => [name, [] as Array<number>]))
  const loads = Object.entries(LOADS)
  for (let i = 0; i < WARMUP + ROUNDS; i++) {
    if (i % 10 === 0) note(`round ${i} of ${WARMUP + ROUNDS}`)
    for (let turn = 0; turn < loads.length; turn++) {
      const [name, load] = loads[(i + turn) % loads.length]!
      const tookMs = yield* round(load)
      if (i >= WARMUP) samples.get(name)!.push(tookMs)
    }
  }
  return new Map([...samples].map(([name, taken]) => [name, timingOf(taken)]))
}, Effect.scoped)

/** What "none" is taken to mean: less than this cannot be told from the disk's own noise. */
const NONE_MS = 0.5

const finalization: Bench = {
  name: "stateful::finalization",
  run: async (context): Promise<ReadonlyArray<Figure>> => {
    const timings = await Effect.runPromise(program(context))
    const alone = timings.get("none")!.p50
    const added = (name: string, required: number): Figure => ({
      name: `stateful::finalization/added by ${LOADS[name]!.count} ${name}`,
      p50: timings.get(name)!.p50 - alone,
      unit: "ms",
      target: { on: "p50", required },
    })
    return [
      { name: "stateful::finalization/alone", p50: alone, unit: "ms" },
      added("parked", NONE_MS),
      added("computing", SLICE_MS),
      added("sealing", SLICE_MS),
    ]
  },
}

/** See the head of this file. */
export const benches: ReadonlyArray<Bench> = [finalization]
