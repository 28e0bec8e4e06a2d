/**
 * Goal: sealing and flushing never hold the event loop, and stopping them at any point leaves nothing behind.
 * Method: a notebook that takes a known number of steps, a clock that a test advances by reading it, and a second fiber
 * that counts how often it gets a turn.
 */
import { Text } from "@coppice/codec"
import { type Hasher, nobleHasher } from "@coppice/crypto"
import { StaleBatch } from "@coppice/qmdb"
import { it } from "@effect/vitest"
import { Clock, Effect, Exit, Fiber } from "effect"
import { describe, expect } from "vitest"
import { Application, openDatabaseSet, SLICE_MS, SLICE_STEPS_MAX } from "../src/index.ts"
import { advance, anchorAt, child, expected, observe, openSet, write } from "./support/chain.ts"
import { Disk } from "./support/disk.ts"
import { notebook } from "./support/notebook.ts"
import { clockBy } from "./support/standing-clock.ts"

const STEPS = 1000

/** A clock that moves on by a millisecond each time it is read. */
const ticking = (): Clock.Clock => {
  let now = 0
  const ms = (): number => now++
  return clockBy(ms, () => BigInt(ms()) * 1_000_000n)
}

/** Runs an effect and counts the turns that another fiber gets meanwhile. */
const turnsBeside = Effect.fnUntraced(function* <A, E>(work: Effect.Effect<A, E>) {
  let turns = 0
  const counting = Effect.gen(function* () {
    for (;;) {
      yield* Effect.yieldNow
      turns++
    }
  })
  const other = yield* Effect.forkChild(counting, { startImmediately: true })
  yield* work
  yield* Fiber.interrupt(other)
  return turns
})

const failureOf = <A, E>(exit: Exit.Exit<A, E>): unknown =>
  Exit.isFailure(exit) ? exit.cause.reasons.find((reason) => reason._tag === "Fail")?.error : undefined

const elsewhere: Hasher = { ...nobleHasher, run: (job) => Promise.resolve().then(() => nobleHasher.run(job)) }

describe("slices", () => {
  it.effect("a seal gives way every SLICE_MS of the clock", () =>
    Effect.gen(function* () {
      const set = yield* openSet(new Disk().open(), { notebook: { steps: STEPS } })
      const turns = yield* turnsBeside(child(set, set.tip, 1)).pipe(Effect.provideService(Clock.Clock, ticking()))
      expect(turns).toBeGreaterThanOrEqual(Math.floor(STEPS / (SLICE_MS + 1)))
    }),
  )

  it.effect("a seal gives way every SLICE_STEPS_MAX steps where the clock stands still", () =>
    Effect.gen(function* () {
      const set = yield* openSet(new Disk().open(), { notebook: { steps: STEPS } })
      const turns = yield* turnsBeside(child(set, set.tip, 1))
      expect(turns).toBeGreaterThanOrEqual(Math.floor(STEPS / SLICE_STEPS_MAX))
      expect(turns).toBeLessThan(STEPS)
    }),
  )

  it.effect("a flush gives way as well", () =>
    Effect.gen(function* () {
      const set = yield* openSet(new Disk().open(), { notebook: { steps: STEPS } })
      yield* advance(set)
      const turns = yield* turnsBeside(set.flush).pipe(Effect.provideService(Clock.Clock, ticking()))
      expect(turns).toBeGreaterThanOrEqual(Math.floor(STEPS / (SLICE_MS + 1)))
    }),
  )

  it.live("a hasher that works elsewhere gives the same state", () =>
    Effect.gen(function* () {
      const here = yield* openSet(new Disk().open(), { notebook: { steps: 9, jobs: true } })
      const there = yield* openSet(new Disk().open(), { notebook: { steps: 9, jobs: true }, hasher: elsewhere })
      for (const set of [here, there]) for (let i = 0; i < 3; i++) yield* advance(set)
      expect(there.tip.targets).toEqual(here.tip.targets)
    }),
  )

  it.effect("a job that fails elsewhere is a defect and leaves no layer", () =>
    Effect.gen(function* () {
      const hasher: Hasher = {
        ...nobleHasher,
        run: (job) => (job.count === 1 ? Promise.reject(new Error("worker died")) : nobleHasher.run(job)),
      }
      const set = yield* openSet(new Disk().open(), { notebook: { steps: 3, jobs: true }, hasher })
      const exit = yield* Effect.exit(child(set, set.tip, 1))
      expect(Exit.isFailure(exit) && exit.cause.reasons[0]!._tag).toBe("Die")
      expect([set.layers, set.bytes]).toEqual([0, 0])
    }),
  )
})

describe("stopping a seal", () => {
  it.effect("interruption at any turn leaves no layer, no bytes and a usable set", () =>
    Effect.gen(function* () {
      const set = yield* openSet(new Disk().open(), { notebook: { steps: STEPS } })
      for (let turns = 0; turns < 5; turns++) {
        const batches = set.openBatches(set.tip)
        write(batches, 1)
        const sealing = yield* Effect.forkChild(set.seal(batches), { startImmediately: true })
        for (let i = 0; i < turns; i++) yield* Effect.yieldNow
        yield* Fiber.interrupt(sealing)
        const exit = yield* Fiber.await(sealing)
        if (Exit.isSuccess(exit)) set.close(exit.value)
        expect([set.layers, set.bytes], `after ${turns} turns`).toEqual([0, 0])
        expect(() => batches.notes.put("late", ""), `after ${turns} turns`).toThrow(StaleBatch)
        set.closeBatches(batches)
      }
      yield* advance(set)
      expect(observe(set)).toEqual(expected(1))
    }),
  )

  it.effect(
    "a seal whose branch loses meanwhile fails as stale and leaves no layer, even if a member does not notice",
    () =>
      Effect.gen(function* () {
        for (const sloppy of [false, true]) {
          const set = yield* openSet(new Disk().open(), { notebook: { steps: STEPS, sloppy } })
          const winner = yield* child(set, set.tip, 1, 1)
          const sealing = yield* Effect.forkChild(Effect.exit(child(set, set.tip, 1, 2)), { startImmediately: true })
          set.apply(winner, anchorAt(1, 1))
          expect(failureOf(yield* Fiber.join(sealing)), `sloppy: ${sloppy}`).toBeInstanceOf(StaleBatch)
          expect(set.layers).toBe(1)
        }
      }),
  )

  it.effect("a seal that stops in the first member closes the batches of the others", () =>
    Effect.gen(function* () {
      const databases = { first: notebook({ steps: STEPS }), second: notebook() }
      const made = Application.make<string, typeof databases>({
        name: "two",
        databases,
        transaction: Text(1),
        execute: () => undefined,
      })
      const set = yield* openDatabaseSet({
        application: made,
        chainId: "two",
        hasher: nobleHasher,
        storage: new Disk().open(),
        pendingAcksMax: 1,
      })
      const batches = set.openBatches(set.tip)
      const sealing = yield* Effect.forkChild(set.seal(batches), { startImmediately: true })
      yield* Fiber.interrupt(sealing)
      expect(() => batches.second.put("late", "")).toThrow(StaleBatch)
      expect(set.layers).toBe(0)
    }),
  )

  it.effect("a seal whose parent is applied and flushed meanwhile succeeds", () =>
    Effect.gen(function* () {
      const set = yield* openSet(new Disk().open(), { notebook: { steps: STEPS } })
      const one = yield* child(set, set.tip, 1)
      const sealing = yield* Effect.forkChild(child(set, one, 2), { startImmediately: true })
      set.apply(one, anchorAt(1))
      yield* set.flush
      set.apply(yield* Fiber.join(sealing), anchorAt(2))
      expect(observe(set)).toEqual(expected(2))
      yield* set.flush
      expect([set.layers, set.bytes]).toEqual([0, 0])
    }),
  )

  it.effect("a seal ends with the set when a flush fails meanwhile", () =>
    Effect.gen(function* () {
      const disk = new Disk()
      const set = yield* openSet(disk.open(), { notebook: { steps: STEPS } })
      yield* advance(set)
      let sealing: Fiber.Fiber<Exit.Exit<unknown, unknown>> | undefined
      disk.before = Effect.map(
        Effect.forkDetach(Effect.exit(child(set, set.tip, 2)), { startImmediately: true }),
        (fiber) => {
          sealing = fiber
        },
      )
      disk.fault = () => "lost"
      yield* Effect.exit(set.flush)
      expect(failureOf(yield* Fiber.join(sealing!))).toMatchObject({ _tag: "StorageDead" })
      expect(set.layers).toBe(1)
    }),
  )

  it.effect("batches that are closed while they are sealed fail as stale", () =>
    Effect.gen(function* () {
      const set = yield* openSet(new Disk().open(), { notebook: { steps: STEPS } })
      const batches = set.openBatches(set.tip)
      const sealing = yield* Effect.forkChild(Effect.exit(set.seal(batches)), { startImmediately: true })
      set.closeBatches(batches)
      expect(failureOf(yield* Fiber.join(sealing))).toBeInstanceOf(StaleBatch)
      expect(set.layers).toBe(0)
    }),
  )

  it.effect("seals of several branches run side by side", () =>
    Effect.gen(function* () {
      const set = yield* openSet(new Disk().open(), { notebook: { steps: STEPS } })
      const branches = Array.from({ length: 4 }, (_, branch) => child(set, set.tip, 1, branch))
      const sealed = yield* Effect.all(branches, { concurrency: "unbounded" })
      expect(new Set(sealed.map(({ id }) => id)).size).toBe(4)
      set.apply(sealed[0]!, anchorAt(1))
      expect(observe(set)).toEqual(expected(1))
      expect(set.layers).toBe(1)
    }),
  )
})
