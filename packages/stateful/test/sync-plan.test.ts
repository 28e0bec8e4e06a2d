/**
 * Goal: the sync plan takes the transitions of spec stateful §8.2 and no other, each durable before it is believed.
 * Method: a reference model of the table, compared with the pure transitions on random histories; a disk that loses or
 * keeps a failed write.
 */
import { bytesKey } from "@coppice/codec"
import { type Finalization, Height, Round, View } from "@coppice/consensus"
import { nobleHasher } from "@coppice/crypto"
import { it } from "@effect/vitest"
import { Effect, Exit, Result } from "effect"
import fc from "fast-check"
import { describe, expect, test } from "vitest"
import {
  decodePlan,
  encodePlan,
  openSyncPlan,
  type PlanRecord,
  planAfterBegin,
  planAfterComplete,
} from "../src/index.ts"
import { advance, application, CHAIN_ID, openSet } from "./support/chain.ts"
import { Disk } from "./support/disk.ts"

const floorAt = (view: number, payload = view): Finalization => ({
  proposal: { round: Round(0, view), parentView: View(view - 1), payload: new Uint8Array(32).fill(payload) },
  certificate: { n: 4, signers: [0, 1, 3], signatures: [1, 2, 3].map((n) => new Uint8Array(64).fill(n)) },
})

const openPlan = (disk: Disk) =>
  openSyncPlan({ application: application(), chainId: CHAIN_ID, hasher: nobleHasher, storage: disk.open() })

const failureOf = <A, E>(exit: Exit.Exit<A, E>): unknown =>
  Exit.isFailure(exit) ? exit.cause.reasons.find((reason) => reason._tag === "Fail")?.error : undefined

const tagOf = (result: Result.Result<PlanRecord, { readonly _tag: string }>): string =>
  Result.isSuccess(result) ? result.success.tag : result.failure._tag

describe("record", () => {
  test("a record survives encoding, absent is no row", () => {
    const records = [
      { tag: "in progress", floor: floorAt(7) },
      { tag: "complete", height: Height(0) },
      { tag: "complete", height: Height(2 ** 53 - 1) },
    ] as const
    for (const record of records) expect(decodePlan(encodePlan(record))).toEqual(record)
    expect(decodePlan(undefined)).toEqual({ tag: "absent" })
  })

  test("F38 nothing but a record decodes: prefixes, extensions and unknown tags are refused", () => {
    for (const bytes of [
      encodePlan({ tag: "in progress", floor: floorAt(7) }),
      encodePlan({ tag: "complete", height: Height(300) }),
    ]) {
      for (let length = 0; length < bytes.length; length++) {
        expect(() => decodePlan(bytes.subarray(0, length)), `${length}`).toThrow(
          expect.objectContaining({ _tag: "SyncPlanUnreadable" }),
        )
      }
      expect(() => decodePlan(Uint8Array.of(...bytes, 0))).toThrow(
        expect.objectContaining({ _tag: "SyncPlanUnreadable" }),
      )
    }
    for (let tag = 2; tag < 256; tag++) {
      expect(() => decodePlan(Uint8Array.of(tag, 0)), `tag ${tag}`).toThrow(
        expect.objectContaining({ _tag: "SyncPlanUnreadable" }),
      )
    }
  })

  test("F38 random bytes either are refused or are the only encoding of what they decode to", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (tail) => {
        for (const tag of [0, 1]) {
          const bytes = Uint8Array.of(tag, ...tail)
          let record: PlanRecord
          try {
            record = decodePlan(bytes)
          } catch (error) {
            expect(error).toMatchObject({ _tag: "SyncPlanUnreadable" })
            continue
          }
          if (record.tag !== "absent") expect(bytesKey(encodePlan(record))).toBe(bytesKey(bytes))
        }
      }),
    )
  })
})

describe("transitions", () => {
  const absent: PlanRecord = { tag: "absent" }
  const syncing: PlanRecord = { tag: "in progress", floor: floorAt(7) }
  const complete: PlanRecord = { tag: "complete", height: Height(5) }

  test("F39 beginSync after Complete, backward or conflicting floors, and a backward complete height are refused", () => {
    expect(tagOf(planAfterBegin(complete, floorAt(9)))).toBe("SyncAfterComplete")
    expect(tagOf(planAfterBegin(syncing, floorAt(6)))).toBe("FloorRegressed")
    expect(tagOf(planAfterBegin(syncing, floorAt(7, 99)))).toBe("FloorConflict")
    expect(tagOf(planAfterComplete(complete, Height(4)))).toBe("CompleteRegressed")
  })

  test("everything else of the table is taken", () => {
    expect(tagOf(planAfterBegin(absent, floorAt(1)))).toBe("in progress")
    expect(tagOf(planAfterBegin(syncing, floorAt(7)))).toBe("in progress")
    expect(tagOf(planAfterBegin(syncing, floorAt(8)))).toBe("in progress")
    for (const record of [absent, syncing, complete])
      expect(tagOf(planAfterComplete(record, Height(5)))).toBe("complete")
  })

  test("INV-19, INV-20 on random histories complete never changes back or decreases, and the floor never moves back", () => {
    const step = fc.oneof(
      fc.record({ begin: fc.integer({ min: 1, max: 6 }), payload: fc.integer({ min: 1, max: 2 }) }),
      fc.record({ complete: fc.integer({ min: 0, max: 5 }) }),
    )
    fc.assert(
      fc.property(fc.array(step, { maxLength: 20 }), (steps) => {
        let record: PlanRecord = absent
        for (const s of steps) {
          const next: Result.Result<PlanRecord, unknown> =
            "begin" in s
              ? planAfterBegin(record, floorAt(s.begin, s.payload))
              : planAfterComplete(record, Height(s.complete))
          if (Result.isFailure(next)) continue
          if (record.tag === "complete") {
            expect(next.success).toMatchObject({ tag: "complete" })
            expect((next.success as { height: number }).height).toBeGreaterThanOrEqual(record.height)
          }
          if (record.tag === "in progress" && next.success.tag === "in progress") {
            const [held, taken] = [record.floor.proposal, next.success.floor.proposal]
            expect(taken.round.view).toBeGreaterThanOrEqual(held.round.view)
            if (taken.round.view === held.round.view) expect(taken.payload).toEqual(held.payload)
          }
          record = next.success
        }
      }),
    )
  })
})

describe("durable plan", () => {
  it.effect("a transition is durable when it succeeds, and marks an empty environment as ours", () =>
    Effect.gen(function* () {
      const disk = new Disk()
      const plan = yield* openPlan(disk)
      expect([plan.maySync, plan.requiresFloor, plan.shouldSync(false), plan.shouldSync(true)]).toEqual([
        true,
        false,
        false,
        true,
      ])
      yield* plan.beginSync(floorAt(7))
      const again = yield* openPlan(disk)
      expect(again.record).toEqual({ tag: "in progress", floor: floorAt(7) })
      expect([again.requiresFloor, again.shouldSync(false)]).toEqual([true, true])
      const foreign = openSyncPlan({
        application: application(),
        chainId: "other",
        hasher: nobleHasher,
        storage: disk.open(),
      })
      expect(failureOf(yield* Effect.exit(foreign))).toMatchObject({ _tag: "ForeignSet", field: "chain" })
      const opening = yield* Effect.exit(openSet(disk.open()))
      expect(failureOf(opening)).toMatchObject({ _tag: "StateSyncUnfinished", floor: Round(0, 7) })
    }),
  )

  it.effect("a refused transition writes nothing", () =>
    Effect.gen(function* () {
      const disk = new Disk()
      yield* openSet(disk.open())
      const plan = yield* openPlan(disk)
      yield* plan.setComplete(Height(5))
      const writes = disk.writes
      expect(failureOf(yield* Effect.exit(plan.beginSync(floorAt(9))))).toMatchObject({
        _tag: "SyncAfterComplete",
        completed: 5,
      })
      expect(failureOf(yield* Effect.exit(plan.setComplete(Height(4))))).toMatchObject({
        _tag: "CompleteRegressed",
        held: 5,
        offered: 4,
      })
      expect(disk.writes).toBe(writes)
      expect(plan.syncHeight).toBe(5)
    }),
  )

  it.effect("C1 before anything is durable a start chooses freely, whatever the one before it chose", () =>
    Effect.gen(function* () {
      const cutAtGenesis = (disk: Disk) => openSet(disk.open())
      const cutAtFloor = Effect.fnUntraced(function* (disk: Disk) {
        const plan = yield* openPlan(disk)
        expect(yield* plan.offerFloor(floorAt(9))).toBe("selected")
        return yield* plan.marshalStart("genesis" as never)
      })
      for (const cut of [cutAtGenesis, cutAtFloor]) {
        for (const floor of [undefined, floorAt(3)]) {
          const disk = new Disk()
          disk.fault = () => "lost"
          expect(failureOf(yield* Effect.exit<unknown, unknown, never>(cut(disk)))).toMatchObject({
            _tag: "StorageWriteFailed",
          })
          disk.fault = () => undefined
          expect(disk.image()).toBe(new Disk().image())
          const plan = yield* openPlan(disk)
          expect([plan.maySync, plan.shouldSync(false), plan.shouldSync(true)]).toEqual([true, false, true])
          if (floor === undefined) {
            expect(yield* plan.marshalStart("genesis" as never)).toEqual({ tag: "genesis", genesis: "genesis" })
            expect((yield* openSet(disk.open())).anchor.height).toBe(0)
          } else {
            expect(yield* plan.offerFloor(floor)).toBe("selected")
            expect(yield* plan.marshalStart("genesis" as never)).toEqual({ tag: "floor", floor })
          }
        }
      }
    }),
  )

  it.effect("C20 a failed transition is not believed; after the crash either record is there", () =>
    Effect.gen(function* () {
      for (const fault of ["lost", "kept"] as const) {
        const disk = new Disk()
        yield* openSet(disk.open())
        const plan = yield* openPlan(disk)
        disk.fault = () => fault
        expect(failureOf(yield* Effect.exit(plan.setComplete(Height(5))))).toMatchObject({ _tag: "StorageWriteFailed" })
        expect(plan.record).toEqual({ tag: "absent" })
        disk.fault = () => undefined
        expect((yield* openPlan(disk)).record.tag).toBe(fault === "kept" ? "complete" : "absent")
      }
    }),
  )

  it.effect("a plan transition in the middle of a flush survives it, and so does the flush", () =>
    Effect.gen(function* () {
      const disk = new Disk()
      const storage = disk.open()
      const set = yield* openSet(storage)
      const plan = yield* openSyncPlan({ application: application(), chainId: CHAIN_ID, hasher: nobleHasher, storage })
      yield* advance(set)
      disk.before = Effect.suspend(() => {
        disk.before = Effect.void
        return Effect.orDie(plan.setComplete(Height(1)))
      })
      yield* set.flush
      expect((yield* openSet(disk.open())).anchor.height).toBe(1)
      expect((yield* openPlan(disk)).syncHeight).toBe(1)
    }),
  )

  it.effect("F40 a floor offered after Complete is ignored", () =>
    Effect.gen(function* () {
      const disk = new Disk()
      yield* openSet(disk.open())
      const plan = yield* openPlan(disk)
      yield* plan.setComplete(Height(0))
      expect(yield* plan.offerFloor(floorAt(9))).toBe("complete")
      expect(plan.floor).toBeUndefined()
      expect(plan.shouldSync(true)).toBe(false)
      expect(yield* plan.marshalStart("genesis" as never)).toEqual({ tag: "genesis", genesis: "genesis" })
    }),
  )

  it.effect(
    "F41 a lagging floor is ignored on resume, a newer one is selected, and marshal starts from the selected one",
    () =>
      Effect.gen(function* () {
        const disk = new Disk()
        yield* (yield* openPlan(disk)).beginSync(floorAt(7))
        const plan = yield* openPlan(disk)
        expect(yield* plan.marshalStart("genesis" as never)).toEqual({ tag: "floor", floor: floorAt(7) })
        expect(yield* plan.offerFloor(floorAt(6))).toBe("lagging")
        expect(yield* plan.offerFloor(floorAt(7, 99))).toBe("lagging")
        expect(plan.floor).toEqual(floorAt(7))
        expect(yield* plan.offerFloor(floorAt(8))).toBe("selected")
        expect(yield* plan.offerFloor(floorAt(8, 99))).toBe("lagging")
        expect(yield* plan.marshalStart("genesis" as never)).toEqual({ tag: "floor", floor: floorAt(8) })
      }),
  )
})
