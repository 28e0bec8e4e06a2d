/**
 * How fast a simulated network goes: real time per finalized height, everything that a node does included.
 *
 * Five validators in one thread, links of 10 ms, blocks of 50 transfers between random accounts, a set in memory; every
 * view is final at once. The first block funds all accounts; a transfer reads and writes two balances and is not signed. The
 * clock runs from one height that the first validator finalizes to another: starting a world and judging it do not count.
 */
import { type Bench, type Figure, figure, timingOf } from "@coppice/bench"
import { Struct, U32, U64 } from "@coppice/codec"
import type { Height } from "@coppice/consensus"
import { nodeHasher } from "@coppice/crypto/node"
import { Qmdb } from "@coppice/qmdb"
import { Application, type StandardBlock } from "@coppice/stateful"
import { drawer } from "@coppice/stateful/diagnosis"
import { type Plan, runWorld, type Subject, VALIDATORS } from "../src/index.ts"
import { CALM } from "../src/scenarios.ts"

const ACCOUNTS = 10_000
const TRANSFERS = 50
const [FROM, TO] = [20, 170]
/**
 * Runs after which the engine has compiled what there is to compile: the first takes twice as long as the tenth, and a sweep
 * is long.
 */
const WARMING_ROUNDS = 10
/** Enough that a host which changes its speed does so within them. */
const ROUNDS = 21

interface Transfer {
  readonly from: number
  readonly to: number
  readonly nonce: bigint
}

const balances = Qmdb.any({ key: U32, value: U64 })
const Transfers = Application.make({
  name: "transfers",
  databases: { balances },
  transaction: Struct({ from: U32, to: U32, nonce: U64 }),
  hasher: nodeHasher,
  begin: ({ balances }, { height }) => {
    if (height > 1) return
    for (let account = 0; account < ACCOUNTS; account++) balances.put(account, 1_000_000n)
  },
  execute: ({ balances }, { from, to }) => {
    const [debit, credit] = [balances.get(from)!, balances.get(to)!]
    balances.put(from, debit - 1n)
    balances.put(to, credit + 1n)
  },
})

type Transferring = Subject<StandardBlock<Transfer, typeof Transfers.databases>, typeof Transfers.databases>

/** `finalizes` hears of each height that a validator finalizes. */
const subjectOf = (finalizes: (validator: number, height: Height) => void): Transferring => ({
  application: (validator) => {
    const chance = drawer(validator, "transfers")
    const account = () => Math.floor(chance() * ACCOUNTS)
    let nonce = BigInt(validator) * 1_000_000n
    let finalizedHeight: Height | undefined
    return Transfers.withInputs({
      waiting: TRANSFERS,
      get finalizedHeight() {
        return finalizedHeight
      },
      idOf: (transfer) => String(transfer.nonce),
      take: () =>
        Array.from({ length: TRANSFERS }, () => {
          const transaction = { from: account(), to: account(), nonce: nonce++ }
          return { id: String(transaction.nonce), transaction }
        }),
      rejected: () => {},
      finalized: (height) => {
        finalizedHeight = height
        finalizes(validator, height)
      },
    })
  },
})

const plan: Plan = {
  name: "heights",
  about: "every view is final at once",
  schedule: { ...CALM, viewMs: 1 },
  link: { latencyMs: { min: 10, max: 10 }, lossChance: 0 },
  height: TO,
  faultsMs: 0,
  faults: () => [],
  intends: [],
}

/** Real milliseconds per height of one run. Throws when a property does not hold. */
const timed = (seed: number): number => {
  const passed = new Map<number, number>()
  const subject = subjectOf((validator, height) => {
    if (validator === 0) passed.set(height, performance.now())
  })
  const { failure } = runWorld(subject, plan, seed)
  if (failure !== undefined) throw new Error(failure.what)
  return (passed.get(TO)! - passed.get(FROM)!) / (TO - FROM)
}

const heights: Bench = {
  name: `simulate::heights/nodes=${VALIDATORS} transfers=${TRANSFERS}`,
  run: async (context): Promise<ReadonlyArray<Figure>> => {
    for (let round = 0; round < WARMING_ROUNDS; round++) timed(round)
    const samples = Array.from({ length: ROUNDS }, (_, round) => {
      context.note(`round ${round + 1}`)
      return timed(WARMING_ROUNDS + round)
    })
    const target = { on: "p50", required: 10, aim: 2 } as const
    return [figure(heights.name, timingOf(samples), { unit: "ms", target })]
  },
}

/** See the head of this file. */
export const benches: ReadonlyArray<Bench> = [heights]
