/**
 * Goal: four validators under simulated consensus agree, deliver in order, and lose nothing across crashes.
 * Method: whole clusters with a stub executor in virtual time, one interleaving per seed; properties over the journal of
 * everything delivered, and proof that the runs contained what they are about (P-16).
 */

import { encode } from "@coppice/codec"
import { encodeBlock, finalizationCodec, Height } from "@coppice/consensus"
import { faultAt } from "@coppice/storage"
import { Effect, Exit, Fiber, Random } from "effect"
import { describe, expect, test } from "vitest"
import { blockCodec, chainOn, childOf, finalize, genesis, validators } from "../src/chain.ts"
import { makeDisks } from "../src/index.ts"
import { redeliveries } from "../src/journal.ts"
import { CALM, corrupt, crashes, runCluster, type TestCluster, violations } from "./cluster-run.ts"
import { BAD_SALT, Journal } from "./stub-executor.ts"

const seeds = (count: number): ReadonlyArray<number> => Array.from({ length: count }, (_, seed) => seed)
const sum = (numbers: ReadonlyArray<number>): number => numbers.reduce((a, b) => a + b, 0)

describe("agreement and delivery", () => {
  const runs = seeds(6).map((seed) => runCluster(seed, { height: 80 }))

  test("P-1 P-2 P-3 hold under the default schedule", () => {
    for (const [seed, { journal }] of runs.entries()) expect(violations(journal), `seed ${seed}`).toEqual([])
  })

  test("P-16 the default schedule shows forks, nullified views, delayed finality, bad proposals and restarts", () => {
    for (const [seed, { statistics }] of runs.entries()) {
      expect(statistics.forks, `seed ${seed}`).toBeGreaterThan(0)
      expect(statistics.nullified, `seed ${seed}`).toBeGreaterThan(0)
      expect(statistics.split, `seed ${seed}`).toBeGreaterThan(0)
      expect(statistics.finalizedAtOnceMax, `seed ${seed}`).toBeGreaterThan(1)
      expect(statistics.restarts, `seed ${seed}`).toBeGreaterThan(0)
    }
    expect(sum(runs.map(({ statistics }) => statistics.corrupted))).toBeGreaterThan(0)
    expect(Math.max(...runs.map(({ statistics }) => statistics.finalizedAtOnceMax))).toBeGreaterThan(3)
  })

  test("every view ends notarized, nullified or both, and finalized blocks are those delivered", () => {
    for (const { statistics, processed } of runs) {
      expect(statistics.views).toBe(statistics.notarized + statistics.nullified - statistics.split)
      expect(statistics.finalizedBlocks).toBeGreaterThanOrEqual(Math.max(...processed.map((at) => at ?? 0)))
    }
  })

  test("CONS-26 the same seed has the same audit and journal, another seed another", () => {
    const again = runCluster(3, { height: 80 })
    expect(again.audit).toBe(runs[3]!.audit)
    expect(again.journal).toEqual(runs[3]!.journal)
    expect(new Set(runs.map(({ audit }) => audit)).size).toBe(runs.length)
  })

  test("canary: the properties reject a fork, a gap, a wrong link and a deep redelivery", () => {
    const [a, b] = chainOn(genesis, 1, 2)
    const boots = [0, 1].map((index) => ({
      index,
      incarnation: 0,
      anchor: { ...genesis, round: genesis.context.round },
    }))
    const judge = (deliveries: Journal["deliveries"], max?: number) =>
      violations(Object.assign(new Journal(), { deliveries, boots }), max).join()
    const other = childOf(genesis, 1, 7)
    expect(
      judge([
        { index: 0, incarnation: 0, block: a! },
        { index: 1, incarnation: 0, block: other },
      ]),
    ).toContain("P-1 height")
    expect(
      judge([
        { index: 0, incarnation: 0, block: a! },
        { index: 1, incarnation: 0, block: other },
      ]),
    ).toContain("P-1 round")
    expect(judge([{ index: 0, incarnation: 0, block: b! }])).toContain("P-2")
    const stranger = childOf(childOf(genesis, 5), 6)
    expect(
      judge([
        { index: 0, incarnation: 0, block: a! },
        { index: 0, incarnation: 0, block: stranger },
      ]),
    ).toContain("not linked")
    expect(
      judge(
        [a!, b!, a!].map((block) => ({ index: 0, incarnation: 0, block })),
        1,
      ),
    ).toContain("P-3")
  })
})

describe("crashes", () => {
  const slow = { flushMsMax: 600, verifyMsMax: 60 }

  test("crash points M1 to M7: power cuts at random times, one node at a time", () => {
    const journals = seeds(10).map((seed) => {
      const act = (cluster: TestCluster) => crashes(cluster, 12)
      const schedule = { restarts: undefined }
      const { journal } = runCluster(seed, { schedule, act, stub: slow, pendingAcksMax: 5, delayMsMax: 20 })
      expect(violations(journal, 5), `seed ${seed}`).toEqual([])
      return journal
    })
    expect(sum(journals.map(redeliveries)), "blocks delivered again").toBeGreaterThan(0)
    expect(sum(journals.map(({ cancelled }) => cancelled)), "verifications cut off").toBeGreaterThan(0)
    expect(sum(journals.map(({ boots }) => boots.length))).toBe(10 * (4 + 12))
  })

  test("crash points M1 to M7: all nodes at once", () => {
    for (const seed of seeds(6)) {
      const act = (cluster: TestCluster) => crashes(cluster, 5, { all: true })
      const { journal } = runCluster(seed, { schedule: { restarts: undefined }, act, stub: slow, delayMsMax: 20 })
      expect(violations(journal), `seed ${seed}`).toEqual([])
    }
  })

  test("a whole process that ends and starts again continues the same chain, above every view it used", () => {
    for (const seed of seeds(4)) {
      const [disks, journal] = [makeDisks(seed, validators.length), new Journal()]
      const schedule = { stallChance: 0.5, stallViewsMax: 6, restarts: undefined }
      runCluster(seed, { disks, journal, schedule, height: 20 })
      const before = { view: Math.max(...journal.askedIn), asked: journal.askedIn.length }
      for (const disk of disks) disk.crash()
      runCluster(seed, { disks, journal, schedule, height: 50 })
      expect(violations(journal), `seed ${seed}`).toEqual([])
      expect(Math.max(...journal.deliveries.map(({ block }) => block.height))).toBeGreaterThanOrEqual(50)
      expect(Math.min(...journal.askedIn.slice(before.asked)), `seed ${seed}`).toBeGreaterThan(before.view)
    }
  })

  test("a node that loses power while it boots comes up the next time, and is not on the network meanwhile", () => {
    const act = (cluster: TestCluster) =>
      Effect.gen(function* () {
        for (let i = 0; i < 40; i++) {
          yield* cluster.crash(2)
          const booting = yield* Effect.forkChild(cluster.boot(2))
          yield* Effect.sleep(yield* Random.nextBetween(0, 12))
          yield* cluster.crash(2)
          yield* Effect.ignore(Fiber.join(booting))
          yield* Effect.sleep("1 second")
          const peers = yield* cluster.network.transport(validators[0]!.publicKey).peers
          expect(peers.length).toBe(2)
          yield* cluster.boot(2)
        }
      })
    const { journal } = runCluster(1, { act, schedule: { restarts: undefined }, height: 100 })
    expect(violations(journal)).toEqual([])
  })

  test("a write that is under way when the power goes is there whole or not at all, and its caller is not told it is", () => {
    const found = seeds(8).map((seed) => {
      let survived = false
      const act = (cluster: TestCluster) =>
        Effect.gen(function* () {
          const block = childOf(genesis, 5_000)
          const writing = yield* Effect.forkChild(cluster.node(1)!.marshal.verified(block.context.round, block))
          yield* Effect.sleep(1)
          yield* cluster.crash(1)
          expect(Exit.isFailure(yield* Fiber.await(writing))).toBe(true)
          yield* cluster.boot(1)
          const stored = yield* cluster.node(1)!.marshal.verifiedAt(block.context.round)
          expect([block, undefined]).toContainEqual(stored)
          survived = stored !== undefined
        })
      runCluster(seed, { act, schedule: CALM, height: 5, delayMsMax: 50 })
      return survived
    })
    expect(new Set(found)).toEqual(new Set([true, false]))
  })

  test("M11 CONS-20 a failed write stops the node with a typed failure", () => {
    const disks = makeDisks(1, validators.length)
    disks[2]!.faults = faultAt(20, "io", { environment: "marshal", name: "write" })
    expect(() => runCluster(1, { disks, schedule: CALM })).toThrow("StorageWriteFailed")
  })
})

describe("catching up", () => {
  const absent = (cluster: TestCluster) =>
    Effect.gen(function* () {
      yield* Effect.sleep("1 second")
      yield* cluster.crash(3)
      yield* Effect.sleep("5 seconds")
      yield* cluster.boot(3)
    })
  const missed = (journal: Journal): number => {
    const of = (index: number, incarnation: number) =>
      journal.deliveries
        .filter((at) => at.index === index && at.incarnation === incarnation)
        .map(({ block }) => block.height)
    const [before, after] = [Math.max(...of(3, 0)), Math.min(...of(3, 1))]
    expect(after).toBe(before + 1)
    return of(3, 1).length
  }

  test("F-15 a node that was down fetches what it missed and delivers it in order", () => {
    for (const seed of seeds(4)) {
      const { journal, processed } = runCluster(seed, { act: absent, height: 70, schedule: { restarts: undefined } })
      expect(violations(journal), `seed ${seed}`).toEqual([])
      expect(missed(journal)).toBeGreaterThan(20)
      expect(processed.every((at) => at !== undefined && at >= 70)).toBe(true)
    }
  })

  test("a node that comes back to a halted chain is told where it stands", () => {
    const act = (cluster: TestCluster) =>
      Effect.gen(function* () {
        yield* cluster.crash(3)
        yield* Effect.sleep("2 seconds")
        yield* cluster.crash(1)
        yield* cluster.crash(2)
        yield* Effect.sleep("3 seconds")
        yield* cluster.boot(3)
        yield* Effect.sleep("3 seconds")
        const [behind, ahead] = [yield* cluster.node(3)!.marshal.tip, yield* cluster.node(0)!.marshal.tip]
        expect(ahead.height).toBeGreaterThan(5)
        expect(behind).toEqual(ahead)
        for (const index of [1, 2]) yield* cluster.boot(index)
      })
    const { journal } = runCluster(1, { act, schedule: CALM })
    expect(violations(journal)).toEqual([])
  })

  test("a third of all messages lost costs time, not blocks", () => {
    const { journal } = runCluster(1, { act: absent, height: 70, lossChance: 0.33, schedule: { restarts: undefined } })
    expect(violations(journal)).toEqual([])
  })

  test("F-12 CONS-18 a lying peer is blamed, and what it was asked for comes from another", () => {
    const [wrong, next] = chainOn(genesis, 900, 2)
    const lies = [
      encodeBlock(blockCodec, wrong!),
      new Uint8Array([1, 2, 3]),
      new Uint8Array([...encode(finalizationCodec, finalize(next!)), ...encodeBlock(blockCodec, wrong!)]),
      new Uint8Array([...encode(finalizationCodec, finalize(wrong!)), ...encodeBlock(blockCodec, corrupt(wrong!))]),
    ]
    for (const [seed, lie] of lies.entries()) {
      const act = (cluster: TestCluster) => {
        cluster.network.attach(validators[0]!.publicKey, () => Effect.succeed(lie))
        return absent(cluster)
      }
      const { journal, blames } = runCluster(seed, { act, height: 70, schedule: { restarts: undefined } })
      expect(violations(journal)).toEqual([])
      expect(blames.length).toBeGreaterThan(0)
      expect(blames.every(({ peer, by }) => peer[0] === validators[0]!.publicKey[0] && by !== peer)).toBe(true)
    }
  })
})

describe("the script", () => {
  test("F-5 a bad block is refused by all, its view is nullified, and it is never delivered", () => {
    const { journal, statistics } = runCluster(1, { schedule: { corruptChance: 0.5 } })
    expect(violations(journal)).toEqual([])
    expect(statistics.corrupted).toBeGreaterThan(10)
    expect(statistics.rejected).toBeGreaterThanOrEqual(statistics.corrupted)
    expect(journal.deliveries.some(({ block }) => block.salt === BAD_SALT)).toBe(false)
  })

  test("delayed finality makes blocks final that never get a certificate of their own (G-6)", () => {
    let uncertified = 0
    const act = (cluster: TestCluster) =>
      Effect.gen(function* () {
        yield* Effect.sleep("10 seconds")
        const { marshal } = cluster.node(0)!
        for (let height = 1; height <= 30; height++) {
          if ((yield* marshal.finalizationAt(Height(height))) === undefined) uncertified++
        }
      })
    const { journal, statistics } = runCluster(1, { act, schedule: { ...CALM, stallChance: 0.3, stallViewsMax: 5 } })
    expect(violations(journal)).toEqual([])
    expect(statistics.finalizedAtOnceMax).toBeGreaterThan(3)
    expect(uncertified).toBeGreaterThan(0)
  })

  test("in a calm schedule every view is final at once and without forks", () => {
    const { statistics } = runCluster(1, { schedule: CALM })
    expect(statistics).toMatchObject({ nullified: 0, split: 0, forks: 0, corrupted: 0, finalizedAtOnceMax: 1 })
    expect(statistics.finalizations).toBe(statistics.views)
  })

  test("an executor that judges by chance is found out", () => {
    expect(() => runCluster(1, { schedule: CALM, stub: { refusesChance: 0.3 } })).toThrow("VerdictsDiverged")
  })

  test("a defect of one node's executor ends the run, though a quorum goes on without it", () => {
    const act = (cluster: TestCluster) =>
      Effect.sync(() => void Object.assign(cluster.node(1)!.executor, { verify: () => Effect.die("out of its mind") }))
    expect(() => runCluster(1, { act, schedule: CALM })).toThrow("out of its mind")
  })

  test("a node that never answers costs its vote and nothing else (F-22)", () => {
    const { journal, statistics } = runCluster(1, { schedule: CALM, stub: { mute: 2 } })
    expect(violations(journal)).toEqual([])
    expect(statistics.nullified).toBeGreaterThan(0)
    expect(statistics.declined).toBe(statistics.nullified)
  })

  test("a cancelled ack stops the marshal cleanly; after a restart the block comes again", () => {
    const act = (cluster: TestCluster) =>
      Effect.gen(function* () {
        yield* cluster.node(1)!.marshal.stopped
        yield* cluster.crash(1)
        yield* cluster.boot(1)
      })
    const { journal } = runCluster(1, { act, schedule: CALM, stub: { cancels: { index: 1, height: 9 } } })
    expect(violations(journal)).toEqual([])
    const nine = journal.deliveries.filter(({ index, block }) => index === 1 && block.height === 9)
    expect(nine.map(({ incarnation }) => incarnation)).toEqual([0, 1])
  })
})
