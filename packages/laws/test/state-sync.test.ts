/**
 * Goal: the laws of state sync can fail, and the sync that replays blocks keeps them.
 * Method: the tally's chain over databases in memory; canaries break one promise of a sound sync.
 */
import type { Block } from "@coppice/consensus"
import { anchorOf } from "@coppice/consensus"
import { nobleHasher } from "@coppice/crypto"
import { replayedSync, simulate } from "@coppice/simulate"
import { type Databases, SET_MAPS, type SetSync, StateSyncFailed, type SyncUpdates } from "@coppice/stateful"
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
/** Changes a sync; `attempts`: how many were begun on its environment before. */
type Break = (sync: Sync, attempts: number) => Sync

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
      let attempts = 0
      const disk = makeMemoryDisk({ chance: chanceOf(seed) })
      return {
        tips: blocks.map((block) => ({ anchor: anchorOf(block), targets: application.syncTargets(block) })),
        attempt: Effect.map(disk.open("set", SET_MAPS), (storage) => {
          const home = { application, chainId, hasher: nobleHasher, storage, pendingAcksMax: blocks.length }
          const blockAt = (height: number) => Effect.succeed(blocks[height]!)
          return broken(replayedSync(home, { blockAt, flushEvery: 2 }), attempts++)
        }),
      }
    }),
  powers: [],
  seeds: 4,
})

syncLaws("the sync that replays blocks", syncs(), run)

const CANARIES: ReadonlyArray<[string, ReadonlyArray<[string, SyncSubject]>]> = [
  [
    "the set comes out",
    [
      [
        "comes out below what it recorded",
        syncs((sync) => ({
          run: (start, updates) => {
            updates.poll()?.recorded()
            return sync.run(start, NONE)
          },
        })),
      ],
      [
        "takes a tip and does not record it",
        syncs((sync) => ({
          run: (start, updates) => {
            updates.poll()
            return sync.run(start, NONE)
          },
        })),
      ],
      [
        "comes out before it is durable",
        syncs((sync) => ({
          run: (start, updates) =>
            Effect.map(
              sync.run(start, updates),
              (set) =>
                new Proxy(set, {
                  get: (of, key) =>
                    key === "durable"
                      ? { ...of.durable, height: of.durable.height - 1 }
                      : (Reflect.get(of, key, of) as unknown),
                }),
            ),
        })),
      ],
    ],
  ],
  [
    "interrupted wherever",
    [
      [
        "begins on an empty environment alone",
        syncs((sync, attempts) =>
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
  test.each(canaries)("rejects a sync that %s", (_name, subject) => {
    const { exit } = simulate(1, Effect.exit(lawNamed(start).check(subject)))
    const checked = Exit.isSuccess(exit) ? exit.value : exit
    expect(Exit.isFailure(checked) && Cause.squash(checked.cause)).toBeInstanceOf(LawBroken)
  })
})

test("every law of state sync has a canary", () => {
  expect(new Set(CANARIES.map(([start]) => lawNamed(start)))).toEqual(new Set(SYNC_LAWS))
})
