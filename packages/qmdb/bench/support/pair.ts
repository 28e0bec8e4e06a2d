/**
 * A block of one kind of database against the same block of another.
 *
 * Both hold the same million keys or as many operations, and execute and flush every block one after the other in one process.
 */
import { type Context, type Figure, figure, type Target, timingOf } from "@coppice/bench"
import { keysOf } from "./chain.ts"
import { type Kind, Running } from "./kinds.ts"

const KEYS = 1_000_000
const WARMUP = 4

/** Blocks of each size: writes, and how often. */
const SIZES = [
  { writes: 32_768, rounds: 30 },
  { writes: 1_024, rounds: 100 },
] as const

const WRITES_ALL = SIZES.reduce((sum, { writes, rounds }) => sum + writes * (rounds + WARMUP), 0)

interface Blocks {
  readonly sealed: Array<number>
  readonly durable: Array<number>
}

const timedBlock = async <B, R>(running: Running<B, R>, writes: number, round: number, into: Blocks): Promise<void> => {
  running.choose(writes)
  const start = performance.now()
  running.apply(running.execute(round))
  const sealed = performance.now()
  await running.flush()
  const durable = performance.now()
  if (round < WARMUP) return
  into.sealed.push(sealed - start)
  into.durable.push(durable - start)
}

/** Two kinds, and what the first may cost to execute and seal beside the second. */
export interface Pair<B, R, OtherB, OtherR> {
  readonly kind: Kind<B, R>
  readonly other: Kind<OtherB, OtherR>
  readonly target?: Target
}

/** Execute and seal, and that with the durable flush, of both: as many writes in each round. */
export const comparedBlocks =
  <B, R, OtherB, OtherR>({ kind, other, target }: Pair<B, R, OtherB, OtherR>) =>
  async (context: Context): Promise<ReadonlyArray<Figure>> => {
    const keys = keysOf(kind.rewrites ? KEYS : KEYS + WRITES_ALL)
    const ours = await Running.start(context, kind, keys, KEYS)
    const theirs = await Running.start(context, other, keys, KEYS)
    await ours.churn()
    await theirs.churn()
    const figures: Array<Figure> = []
    for (const { writes, rounds } of SIZES) {
      const [a, b]: [Blocks, Blocks] = [
        { sealed: [], durable: [] },
        { sealed: [], durable: [] },
      ]
      for (let round = 0; round < WARMUP + rounds; round++) {
        const first = () => timedBlock(ours, writes, round, a)
        const second = () => timedBlock(theirs, writes, round, b)
        for (const run of round % 2 === 0 ? [first, second] : [second, first]) await run()
      }
      const against = (samples: ReadonlyArray<number>) => ({ name: other.name, timing: timingOf(samples) })
      const name = (what: string): string => `qmdb::${kind.name}/${what}/updates=${writes}`
      const sealed = { unit: "ms", against: against(b.sealed), ...(target && { target }) } as const
      figures.push(figure(name("execute+seal"), timingOf(a.sealed), sealed))
      const durable = { unit: "ms", against: against(b.durable) } as const
      figures.push(figure(name("execute+seal+flush"), timingOf(a.durable), durable))
    }
    await Promise.all([ours.close(), theirs.close()])
    return figures
  }
