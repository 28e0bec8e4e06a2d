/**
 * Goal: the laws of state sync can fail, and the sync that replays blocks keeps them.
 * Method: the tally's chain over databases in memory; canaries break one promise of a sound sync.
 */
import type { Block } from "@coppice/consensus"
import { anchorOf, Height } from "@coppice/consensus"
import { nobleHasher } from "@coppice/crypto"
import { Location } from "@coppice/merkle"
import type { SyncTarget } from "@coppice/qmdb"
import { replayedSync, simulate } from "@coppice/simulate"
import {
  type DatabaseSet,
  type Databases,
  SET_MAPS,
  type SetSync,
  StateSyncFailed,
  type SyncTip,
  type SyncUpdates,
} from "@coppice/stateful"
import { makeMemoryDisk } from "@coppice/storage"
import { Cause, Effect, Exit } from "effect"
import { describe, expect, test } from "vitest"
import { growing } from "../src/application/agreement.ts"
import { applicationSubject, drawnInputs } from "../src/application/index.ts"
import { openNode } from "../src/application/world.ts"
import { LawBroken } from "../src/index.ts"
import { chanceOf } from "../src/law.ts"
import { SYNC_LAWS, type SyncSubject } from "../src/state-sync/index.ts"
import { syncLaws } from "../src/vitest.ts"
import { additions, makeTally } from "./support/applications.ts"

type Sync = SetSync<Databases>
interface Chain {
  /** Attempts that were begun on the environment before. */
  readonly attempts: number
  readonly tips: ReadonlyArray<SyncTip<Databases>>
}
/** Changes a sync. */
type Break = (sync: Sync, chain: Chain) => Sync

const chainId = "laws"
const NONE: SyncUpdates<Databases> = { poll: () => undefined, arrival: Effect.never }

const run = (check: Effect.Effect<void, unknown>): Promise<void> => Effect.runPromise(simulate(1, check).exit)

const syncs = (broken: Break = (sync) => sync): SyncSubject => ({
  make: (seed) =>
    Effect.gen(function* () {
      const make = (chance: () => number) => makeTally().withInputs(drawnInputs(additions, chance))
      const builder = yield* openNode(yield* applicationSubject({ make }).make(seed))
      yield* growing(builder, () => Effect.void)
      const blocks: ReadonlyArray<Block> = [builder.genesis, ...builder.chain]
      const { application } = builder
      const tips = blocks.map((block) => ({ anchor: anchorOf(block), targets: application.syncTargets(block) }))
      let attempts = 0
      const disk = makeMemoryDisk({ chance: chanceOf(seed) })
      return {
        tips,
        attempt: Effect.map(disk.open("set", SET_MAPS), (storage) => {
          const home = { application, chainId, hasher: nobleHasher, storage, pendingAcksMax: blocks.length }
          const blockAt = (height: number) => Effect.succeed(blocks[height]!)
          return broken(replayedSync(home, { blockAt, flushEvery: 2 }), { attempts: attempts++, tips })
        }),
      }
    }),
  powers: [],
  seeds: 4,
})

syncLaws("the sync that replays blocks", syncs(), run)

/** A sync whose set tells of itself something else in one field. */
const telling = <K extends keyof DatabaseSet<Databases>>(
  key: K,
  told: (set: DatabaseSet<Databases>) => DatabaseSet<Databases>[K],
): SyncSubject =>
  syncs((sync) => ({
    run: (start, updates) =>
      Effect.map(
        sync.run(start, updates),
        (set) =>
          new Proxy(set, {
            get: (of, name) => (name === key ? told(of) : (Reflect.get(of, name, of) as unknown)),
          }),
      ),
  }))

const CANARIES: ReadonlyArray<[string, ReadonlyArray<[string, RegExp, SyncSubject]>]> = [
  [
    "the set comes out",
    [
      [
        "comes out below what it recorded",
        /stands at \d+, at [\d,]+ it may/,
        syncs((sync) => ({
          run: (start, updates) => {
            updates.poll()?.recorded()
            return sync.run(start, NONE)
          },
        })),
      ],
      [
        "takes a tip and does not record it",
        /1 taken, 0 recorded/,
        syncs((sync) => ({
          run: (start, updates) => {
            updates.poll()
            return sync.run(start, NONE)
          },
        })),
      ],
      [
        "comes out before it is durable",
        /durable is/,
        telling("durable", ({ durable }) => ({ ...durable, height: Height(durable.height - 1) })),
      ],
      [
        "comes out with a member elsewhere",
        /member \w+ is not at height/,
        telling("tip", ({ tip }) => {
          const before = ([name, target]: [string, SyncTarget]) => [name, { ...target, end: Location(target.end - 1) }]
          return { ...tip, targets: Object.fromEntries(Object.entries(tip.targets).map(before)) }
        }),
      ],
      [
        "comes out at a tip that it was not given",
        /which nobody gave/,
        syncs((sync, { tips }) => ({ run: (start) => sync.run(tips[start.anchor.height + 1]!, NONE) })),
      ],
      ["never comes out", /does not end/, syncs(() => ({ run: () => Effect.never }))],
    ],
  ],
  [
    "interrupted wherever",
    [
      [
        "begins on an empty environment alone",
        /fails/,
        syncs((sync, { attempts }) =>
          attempts === 0
            ? sync
            : {
                run: () => Effect.fail(new StateSyncFailed({ member: "counts", cause: "not empty" })),
              },
        ),
      ],
    ],
  ],
]

const lawNamed = (start: string) => {
  const found = SYNC_LAWS.filter(({ name }) => name.startsWith(start))
  expect(found.length, start).toBe(1)
  return found[0]!
}

describe.each(CANARIES)("the law that %s", (start, canaries) => {
  test.each(canaries)("rejects a sync that %s", (_name, rule, subject) => {
    const { exit } = simulate(1, Effect.exit(lawNamed(start).check(subject)))
    const checked = Exit.isSuccess(exit) ? exit.value : exit
    const error = Exit.isFailure(checked) ? Cause.squash(checked.cause) : undefined
    expect(error).toBeInstanceOf(LawBroken)
    expect(String(error)).toMatch(rule)
  })
})

test("every law of state sync has a canary", () => {
  expect(new Set(CANARIES.map(([start]) => lawNamed(start)))).toEqual(new Set(SYNC_LAWS))
})
