/**
 * Goal: delivery starts after the set's anchor, and only if set, plan and finalized chain do not contradict each other.
 * Method: a finalized chain as a map of heights, with any part of it missing or replaced.
 */
import type { Block } from "@coppice/consensus"
import { nobleHasher } from "@coppice/crypto"
import { it } from "@effect/vitest"
import { Effect, Exit } from "effect"
import { describe, expect } from "vitest"
import { bindSet, openSyncPlan, reconcile } from "../src/index.ts"
import { advance, anchorAt, application, CHAIN_ID, openSet } from "./support/chain.ts"
import { Disk } from "./support/disk.ts"

const failureOf = <A, E>(exit: Exit.Exit<A, E>): unknown =>
  Exit.isFailure(exit) ? exit.cause.reasons.find((reason) => reason._tag === "Fail")?.error : undefined

const binding = { application: application(), chainId: CHAIN_ID, hasher: nobleHasher }

/** A finalized chain that holds the heights given, with the digest of branch 0 unless told otherwise. */
const finalized = (heights: ReadonlyArray<number>, branches: Readonly<Record<number, number>> = {}) => ({
  finalizedAt: (height: number) =>
    Effect.succeed(
      heights.includes(height)
        ? height === 0
          ? bindSet(binding).genesis
          : (anchorAt(height, branches[height] ?? 0) as unknown as Block)
        : undefined,
    ),
})

const grown = Effect.fnUntraced(function* (disk: Disk, height: number) {
  const storage = disk.open()
  const set = yield* openSet(storage)
  for (let i = 0; i < height; i++) yield* advance(set)
  yield* set.flush
  return { set, plan: yield* openSyncPlan({ ...binding, storage }) }
})

describe("reconcile", () => {
  it.effect("a genesis boot delivers after genesis and records that it is complete at 0", () =>
    Effect.gen(function* () {
      const disk = new Disk()
      const { set, plan } = yield* grown(disk, 0)
      expect(yield* reconcile(set, plan, finalized([0]))).toEqual(set.anchor)
      expect(plan.record).toEqual({ tag: "complete", height: 0 })
      expect((yield* openSyncPlan({ ...binding, storage: disk.open() })).syncHeight).toBe(0)
    }),
  )

  it.effect("a restart delivers after the durable anchor and writes nothing, ahead of marshal or behind it", () =>
    Effect.gen(function* () {
      const disk = new Disk()
      const first = yield* grown(disk, 6)
      yield* reconcile(first.set, first.plan, finalized([]))
      const writes = disk.writes
      for (const heights of [[], [0, 1, 2], [3, 4, 5, 6], [5, 6, 7, 8, 9], [7, 8]]) {
        const storage = disk.open()
        const set = yield* openSet(storage)
        const plan = yield* openSyncPlan({ ...binding, storage })
        expect(yield* reconcile(set, plan, finalized(heights)), `${heights}`).toEqual(anchorAt(6))
      }
      expect(disk.writes).toBe(writes)
    }),
  )

  it.effect("F35 another final block at any height of the window is fatal, with both digests", () =>
    Effect.gen(function* () {
      for (const height of [3, 4, 5, 6]) {
        const { set, plan } = yield* grown(new Disk(), 6)
        const exit = yield* Effect.exit(reconcile(set, plan, finalized([2, 3, 4, 5, 6], { [height]: 1 })))
        expect(failureOf(exit), `height ${height}`).toMatchObject({
          _tag: "RowMismatch",
          height,
          executed: anchorAt(height).digest,
          finalized: anchorAt(height, 1).digest,
        })
        expect(plan.record.tag).toBe("absent")
      }
    }),
  )

  it.effect("a set behind what its plan says is refused", () =>
    Effect.gen(function* () {
      const { set, plan } = yield* grown(new Disk(), 2)
      yield* plan.setComplete(anchorAt(3).height)
      expect(failureOf(yield* Effect.exit(reconcile(set, plan, finalized([]))))).toMatchObject({
        _tag: "CompleteRegressed",
        held: 3,
        offered: 2,
      })
    }),
  )
})
