/**
 * Applications for testing the laws of applications: a sound one, and canaries made from it.
 *
 * Terms: a *canary* is an application that breaks one promise of the contract in a way that somebody could write by mistake.
 */
import { Struct, Text, U64 } from "@coppice/codec"
import { Qmdb } from "@coppice/qmdb"
import { Application, type Batches, type BlockInfo, reject, type StandardApplication } from "@coppice/stateful"
import type { Effect } from "effect"
import { type ApplicationSubject, applicationSubject, drawnInputs, standardLiar } from "../../src/application/index.ts"

const databases = {
  counts: Qmdb.any({ key: Text(8), value: U64 }),
  totals: Qmdb.any({ key: Text(8), value: U64 }),
}

export type TallyDatabases = typeof databases
export type TallyBatches = Batches<TallyDatabases>

/** One addition. */
export interface Addition {
  readonly name: string
  readonly amount: bigint
}

export type Tally = StandardApplication<Addition, TallyDatabases>
export type TallyBlock = ReturnType<Tally["genesis"]>

/** Counters of at most 50, and a total of each block; `begin` and `execute` may be replaced. */
export const makeTally = (
  parts: {
    readonly begin?: (batches: TallyBatches, block: BlockInfo) => void
    readonly count?: (batches: TallyBatches, addition: Addition) => bigint
  } = {},
): Tally =>
  Application.make({
    name: "tally",
    databases,
    transaction: Struct({ name: Text(8), amount: U64 }),
    ...(parts.begin === undefined ? {} : { begin: parts.begin }),
    execute: (batches, addition, { height }) => {
      const { counts, totals } = batches
      const sum = (parts.count?.(batches, addition) ?? counts.get(addition.name) ?? 0n) + addition.amount
      if (sum > 50n) return reject("full")
      counts.put(addition.name, sum)
      totals.put(`${height}`, (totals.get(`${height}`) ?? 0n) + addition.amount)
    },
  })

/** Additions to three names, of which some would fill a counter. */
export const additions = (chance: () => number): ReadonlyArray<Addition> =>
  Array.from({ length: 6 }, () => ({
    name: "abc"[Math.floor(chance() * 3)]!,
    amount: BigInt(Math.floor(chance() * 9)),
  }))

/** The laws' subject of whatever `make` gives for every instance. */
export const tallies = (make: () => Tally, change: (tally: Tally) => Tally = (it) => it): ApplicationSubject =>
  applicationSubject({
    make: (chance) => change(make().withInputs(drawnInputs(additions, chance))),
    liar: (chance) => standardLiar(make(), additions, chance),
    seeds: 2,
  })

/** A tally whose hooks are replaced; `change` is called once per instance. */
export const changed = (change: (tally: Tally) => Partial<Tally>): ApplicationSubject =>
  tallies(makeTally, (tally) => ({ ...tally, ...change(tally) }))

/** What a plain hook does with an effect that it was given. */
export type Run = <A>(effect: Effect.Effect<A, unknown>) => Promise<A>
