/**
 * What happens beside blocks: pruning a log, going back some blocks, opening again.
 *
 * A prune removes everything below the floor, one write of `TRIM_OPERATIONS_MAX` operations' rows after the other; each is
 * planned and written as a node does it between blocks. A rewind discards k blocks; its cost for each of them is compared
 * with that of a rewind by one.
 */
import { type Bench, type Context, type Figure, figure, stall, timingOf } from "@coppice/bench"
import type { StorageShape } from "@coppice/storage"
import { Effect } from "effect"
import { Location, type MemberWrite, TRIM_OPERATIONS_MAX } from "../src/index.ts"
import { drive, keysOf, openEnvironment, openMember } from "./support/chain.ts"
import { type Kind, kinds, Running } from "./support/kinds.ts"

const KEYS = 1_000_000

const written = async (
  storage: StorageShape,
  plan: Generator<undefined, MemberWrite, void> | undefined,
): Promise<boolean> => {
  if (plan === undefined) return false
  const write = drive(plan, () => undefined)
  await Effect.runPromise(storage.write(write.changes))
  write.settled()
  return true
}

const elapsed = async (work: () => Promise<unknown>): Promise<number> => {
  const start = performance.now()
  await work()
  return performance.now() - start
}

const PRUNE_BLOCKS = 30

const pruning = async (context: Context): Promise<ReadonlyArray<Figure>> => {
  const running = await Running.start(context, kinds.any, keysOf(KEYS), KEYS)
  await running.churn(PRUNE_BLOCKS)
  const { database, storage } = running
  const floor = database.tip.target.start
  const slices: Array<number> = []
  const stalls: Array<number> = []
  const slice = async (plan: () => ReturnType<typeof database.trim>): Promise<boolean> => {
    let more = false
    let taken = 0
    const longest = await stall(async () => {
      taken = await elapsed(async () => {
        more = await written(storage, plan())
      })
    })
    if (!more) return false
    slices.push(taken)
    stalls.push(longest)
    return true
  }
  await slice(() => database.prune(floor))
  while (await slice(() => database.trim())) {}
  await running.close()
  const seconds = slices.reduce((sum, taken) => sum + taken, 0) / 1000
  const target = { on: "p50", required: 25, aim: 8 } as const
  return [
    { name: "qmdb::prune/any", p50: floor / seconds, unit: "operations per s" },
    figure(`qmdb::prune/any,slice of ${TRIM_OPERATIONS_MAX}`, timingOf(slices), { unit: "ms" }),
    figure("qmdb::prune/any,stall of a slice", timingOf(stalls), { unit: "ms", target }),
  ]
}

/** Random updates of a large block lie in nearly every row of slots, those of a small one in few. */
const REWIND_UPDATES = [256, 8_192] as const
const REWINDS = 12
const REWIND_BLOCKS = [1, 4, 16] as const

/** Times of rewinds by so many blocks each, `updates` in a block. */
const rewinds = async <B, R>(running: Running<B, R>, updates: number): Promise<ReadonlyArray<Figure>> => {
  const { database, storage } = running
  const samples = new Map<number, Array<number>>(REWIND_BLOCKS.map((blocks) => [blocks, []]))
  for (let round = 0; round < REWINDS; round++) {
    for (const blocks of REWIND_BLOCKS) {
      const { end } = database.tip.target
      for (let i = 0; i < blocks; i++) {
        running.choose(updates)
        running.apply(running.execute(round))
        await running.flush()
      }
      const taken = await elapsed(() => written(storage, database.rewind(Location(end))))
      if (round > 1) samples.get(blocks)!.push(taken)
    }
  }
  const one = timingOf(samples.get(1)!)
  return REWIND_BLOCKS.map((blocks) => {
    const against = { name: "a rewind by 1", timing: one, per: 1 }
    const each = { unit: "ms", per: blocks, ...(blocks > 1 && { against }) } as const
    return figure(`qmdb::rewind/blocks=${blocks},each of ${updates}`, timingOf(samples.get(blocks)!), each)
  })
}

const rewinding = async (context: Context): Promise<ReadonlyArray<Figure>> => {
  const running = await Running.start(context, kinds.any, keysOf(KEYS), KEYS)
  await running.churn()
  const figures: Array<Figure> = []
  for (const updates of REWIND_UPDATES) figures.push(...(await rewinds(running, updates)))
  await running.close()
  return figures
}

const OPENINGS = 15

/** Opening what was closed: environment, slots, replay of what the stored index lacks, root. */
const reopening =
  <B, R>(kind: Kind<B, R>) =>
  async (context: Context): Promise<ReadonlyArray<Figure>> => {
    const directory = context.directory()
    const running = await Running.start({ ...context, directory: () => directory }, kind, keysOf(KEYS), KEYS)
    await running.churn()
    await running.close()
    const samples: Array<number> = []
    for (let round = 0; round < OPENINGS; round++) {
      const start = performance.now()
      const { storage, close } = await openEnvironment(directory)
      await openMember(storage, false, kind.spec)
      samples.push(performance.now() - start)
      await close()
    }
    return [figure(`qmdb::reopen/${kind.name}`, timingOf(samples), { unit: "ms" })]
  }

/** See the head of this file. */
export const benches: ReadonlyArray<Bench> = [
  { name: "qmdb::prune/any", run: pruning },
  { name: "qmdb::rewind/any", run: rewinding },
  { name: "qmdb::reopen/any", run: reopening(kinds.any) },
  { name: "qmdb::reopen/current ordered", run: reopening(kinds.currentOrdered) },
  { name: "qmdb::reopen/keyless", run: reopening(kinds.keyless) },
]
