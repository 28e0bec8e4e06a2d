/**
 * Goal: power may be lost at any turn of any life of a set, and the next life stands at one block in every member.
 * Method: memory storage that shows, syncs and settles a write in separate turns, in two orders; a chain that is built and
 * flushed by a fiber while power is cut after a random number of turns, several lives in a row on one disk. The seed that
 * fails is printed. Canary: a storage that reports a write as durable when it is only visible.
 */
import { makeMemoryDisk, type StorageShape } from "@coppice/storage"
import { it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { expect } from "vitest"
import { drawer } from "../src/diagnosis/index.ts"
import { SET_MAPS } from "../src/index.ts"
import { advance, anchorAt, child, expected, observe, openSet } from "./support/chain.ts"

const LIVES = 5
const TURNS_MAX = 60

interface History {
  /** Highest height that a flush succeeded for, over all lives. */
  acknowledged: number
  /** Heights at which lives began. */
  readonly starts: number[]
}

/** Lives one life until power is lost; checks what it finds when it begins. */
const live = Effect.fnUntraced(function* (storage: StorageShape, chance: () => number, history: History, at: string) {
  const set = yield* openSet(storage, { notebook: { steps: Math.floor(chance() * 20) } })
  const { height } = set.anchor
  history.starts.push(height)
  expect(observe(set), at).toEqual(expected(height))
  expect(set.row(height), at).toMatchObject(height === 0 ? { height: 0 } : anchorAt(height))
  expect(height, at).toBeGreaterThanOrEqual(history.acknowledged)
  for (;;) {
    if (chance() < 0.3) yield* child(set, set.tip, set.anchor.height + 1, 1)
    yield* advance(set)
    if (chance() < 0.6) history.acknowledged = (yield* set.flush).height
  }
})

const run = Effect.fnUntraced(function* (seed: number, wrap: (storage: StorageShape) => StorageShape = (s) => s) {
  const chance = drawer(seed, "power")
  const disk = makeMemoryDisk({ chance })
  const history: History = { acknowledged: 0, starts: [] }
  for (let life = 0; life < LIVES; life++) {
    const storage = wrap(yield* disk.open("set", SET_MAPS))
    const living = yield* Effect.forkChild(Effect.exit(live(storage, chance, history, `seed ${seed}, life ${life}`)))
    for (let turns = Math.floor(chance() * TURNS_MAX); turns > 0; turns--) yield* Effect.yieldNow
    disk.crash()
    yield* Fiber.interrupt(living)
    const exit = living.pollUnsafe()
    if (exit?._tag === "Success" && exit.value._tag === "Failure") {
      const broken = exit.value.cause.reasons.find(
        (r) => r._tag === "Die" || (r._tag === "Fail" && !isPowerLoss(r.error)),
      )
      if (broken !== undefined) return yield* Effect.failCause(exit.value.cause)
    }
  }
  return history
})

const isPowerLoss = (error: unknown): boolean =>
  typeof error === "object" && error !== null && "_tag" in error && error._tag === "StorageDead"

it.effect("INV-9, C13 a set that loses power at any turn goes on from one block, and loses nothing acknowledged", () =>
  Effect.scoped(
    Effect.gen(function* () {
      let moved = 0
      let behind = 0
      for (let seed = 0; seed < 30; seed++) {
        const { starts, acknowledged } = yield* run(seed)
        moved += starts.at(-1)! > 0 ? 1 : 0
        behind += starts.at(-1)! > acknowledged ? 1 : 0
      }
      expect(moved, "runs that made progress").toBeGreaterThan(15)
      expect(behind, "runs whose last life found more than was acknowledged").toBeGreaterThan(0)
    }),
  ),
)

it.effect("canary: a storage that settles before it is durable is caught", () =>
  Effect.scoped(
    Effect.gen(function* () {
      const hasty = (storage: StorageShape): StorageShape => ({
        ...storage,
        write: (changes) => Effect.asVoid(Effect.forkDetach(storage.write(changes))),
      })
      let caught = 0
      for (let seed = 0; seed < 15; seed++) {
        const exit = yield* Effect.exit(run(seed, hasty))
        if (exit._tag === "Failure") caught++
      }
      expect(caught).toBeGreaterThan(0)
    }),
  ),
)
