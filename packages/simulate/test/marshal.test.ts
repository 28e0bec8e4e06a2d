/**
 * Goal: the marshal's shell keeps its promises about durability, refusal, waiting and stopping.
 * Method: one marshal on a disk in maps, in virtual time.
 */
import { decode, encode } from "@coppice/codec"
import {
  anchorOf,
  type BlockRequest,
  blockRequestCodec,
  decodeBlock,
  Height,
  type Marshal,
  type MarshalOptions,
  Round,
} from "@coppice/consensus"
import { type Change, type Entry, faultAt } from "@coppice/storage"
import { Cause, Clock, Effect, Exit, Fiber, Metric, Option, Scope } from "effect"
import { describe, expect, test } from "vitest"
import { blockCodec, CHAIN, certify, childOf, finalize, genesis, proposalOf, type TestBlock } from "../src/chain.ts"
import {
  at,
  beside,
  chain,
  FakeExecutor,
  FakePeer,
  failureOf,
  knowsAll,
  makeDisk,
  open,
  readAll,
  rowsOf,
  run,
  standsOnGenesis,
  storeAll,
} from "./marshal-world.ts"

describe("environments", () => {
  const refusal = (options: Partial<MarshalOptions<TestBlock>>, ...spoilt: ReadonlyArray<Change>) => {
    const disk = makeDisk()
    return run(
      Effect.gen(function* () {
        yield* Effect.scoped(open(disk))
        yield* beside(disk, (storage) => storage.write(spoilt))
        const before = yield* readAll(disk)
        const exit = yield* Effect.exit(Effect.scoped(open(disk, undefined, options)))
        expect(yield* readAll(disk)).toEqual(before)
        return failureOf(exit)
      }),
    )
  }
  const format = { map: "meta", key: new TextEncoder().encode("format") }

  test("another chain id, genesis or format is refused and left untouched", () => {
    expect(refusal({ chainId: "other" })).toMatchObject({ _tag: "ForeignEnvironment", field: "chain", actual: CHAIN })
    const other = { ...childOf(genesis, 1), height: Height(0) }
    expect(refusal({ genesis: other })).toMatchObject({ _tag: "ForeignEnvironment", field: "genesis" })
    const newer = refusal({}, { tag: "put", ...format, value: new Uint8Array([0, 0, 0, 9]) })
    expect(newer).toMatchObject({ _tag: "ForeignEnvironment", field: "format", expected: "1", actual: "9" })
    const unknown = refusal({}, { tag: "remove", ...format })
    expect(unknown).toMatchObject({ _tag: "ForeignEnvironment", field: "format", actual: "absent" })
  })

  test("opening again writes nothing", () => {
    const disk = makeDisk()
    run(
      Effect.gen(function* () {
        yield* Effect.scoped(open(disk))
        disk.faults = faultAt(1, "io", { environment: "marshal", name: "write" })
        yield* Effect.scoped(open(disk))
      }),
    )
  })

  test("a row that does not decode stops the marshal instead of becoming an answer", () => {
    const disk = makeDisk()
    run(
      Effect.gen(function* () {
        yield* Effect.scoped(Effect.flatMap(open(disk), (marshal) => marshal.verified(Round(0, 1), at(1))))
        const [{ key, value }] = (yield* rowsOf(disk, "verified")) as [Entry]
        yield* beside(disk, (storage) =>
          storage.write([{ tag: "put", map: "verified", key, value: value.fill(0xff, 32) }]),
        )
        const marshal = yield* open(disk)
        expect(Option.isNone(yield* Effect.timeoutOption(marshal.verifiedAt(Round(0, 1)), "1 hour"))).toBe(true)
        const stopped = failureOf(yield* Effect.exit(marshal.stopped))
        expect(stopped).toMatchObject({ _tag: "CorruptRow", map: "verified", key })
      }),
    )
  })

  test("CONS-16 processed height, tip, newest certificate and highest round survive a restart", () => {
    const disk = makeDisk()
    const look = (marshal: Marshal<TestBlock>) =>
      Effect.all([marshal.processedHeight, marshal.tip, marshal.newestFinalization, marshal.highestRound])
    const before = run(
      Effect.gen(function* () {
        const marshal = yield* open(disk)
        yield* storeAll(marshal, chain.slice(0, 9))
        yield* marshal.report(finalize(at(6)))
        yield* marshal.report(finalize(at(20)))
        yield* marshal.start(new FakeExecutor(), standsOnGenesis)
        yield* Effect.sleep("1 second")
        return yield* look(marshal)
      }),
    )
    expect(before[0]).toBe(6)
    expect(before[2]?.proposal.round).toEqual(Round(0, 20))
    expect(before[3]).toEqual(Round(0, 20))
    expect(run(Effect.flatMap(open(disk), look))).toEqual(before)
  })
})

describe("durability", () => {
  test("CONS-11 proposed, verified and notarized succeed only once the block is on disk", () => {
    for (const write of ["proposed", "verified", "notarized"] as const) {
      const disk = makeDisk()
      const took = run(
        Effect.gen(function* () {
          const marshal = yield* open(disk)
          const before = yield* Clock.currentTimeMillis
          yield* marshal[write](Round(0, 1), at(1))
          const took = (yield* Clock.currentTimeMillis) - before
          disk.crash()
          expect((yield* rowsOf(disk, write === "notarized" ? "notarized" : "verified")).length).toBe(1)
          return took
        }),
      )
      expect(took, write).toBeGreaterThan(0)
    }
  })

  test("what has expired or is pruned is not held any more, though it was just stored or fetched", () => {
    const [lost, far] = [childOf(genesis, 2, 1), childOf(at(1), 1_000)]
    run(
      Effect.gen(function* () {
        const peer = new FakePeer()
        peer.answer = knowsAll
        const marshal = yield* open(makeDisk(), peer)
        const looks = Effect.all([
          marshal.verifiedAt(lost.context.round),
          marshal.byDigest(lost.digest),
          marshal.finalizedAt(Height(1)),
          marshal.byDigest(at(1).digest),
          marshal.verifiedAt(far.context.round),
        ])
        yield* storeAll(marshal, [lost, far])
        yield* marshal.report(finalize(far))
        yield* marshal.subscribeFinalized(Height(1), "wait")
        expect(yield* looks).toEqual([lost, lost, at(1), at(1), far])
        yield* marshal.start(new FakeExecutor(), standsOnGenesis)
        yield* Effect.sleep("1 second")
        expect(yield* looks).toEqual([undefined, undefined, at(1), at(1), far])
        yield* marshal.prune(Height(2))
        yield* Effect.sleep("1 second")
        expect(yield* looks).toEqual([undefined, undefined, undefined, undefined, far])
      }),
    )
  })

  test("F-24 CONS-20 a failed write fails its caller and the marshal, and nothing is acknowledged or answered after it", () => {
    const disk = makeDisk()
    disk.faults = faultAt(2, "disk full", { environment: "marshal", name: "write" })
    run(
      Effect.gen(function* () {
        const marshal = yield* open(disk)
        const waiting = yield* Effect.forkChild(marshal.subscribe(at(5).digest, "wait"))
        yield* Effect.sleep(1)
        const first = failureOf(yield* Effect.exit(marshal.verified(Round(0, 1), at(1))))
        expect(first).toMatchObject({
          _tag: "MarshalStopped",
          cause: { _tag: "StorageWriteFailed", reason: "disk full" },
        })
        expect(failureOf(yield* Effect.exit(marshal.stopped))).toMatchObject({ _tag: "StorageWriteFailed" })
        expect(failureOf(yield* Effect.exit(marshal.report(finalize(at(1)))))).toMatchObject({ _tag: "MarshalStopped" })
        expect(failureOf(yield* Fiber.await(waiting))).toMatchObject({ _tag: "MarshalStopped" })
      }),
    )
  })
})

describe("finalizations", () => {
  test("F-12 one whose certificate does not verify is refused, and nothing is stored or fetched", () => {
    const disk = makeDisk()
    const peer = new FakePeer()
    run(
      Effect.gen(function* () {
        const marshal = yield* open(disk, peer)
        const before = yield* readAll(disk)
        const failure = yield* Effect.exit(marshal.report(certify(proposalOf(at(1)), [0, 1, 2], "other-chain")))
        expect(failureOf(failure)).toMatchObject({ _tag: "InvalidFinalization", round: Round(0, 1) })
        yield* Effect.sleep("1 second")
        expect(yield* readAll(disk)).toEqual(before)
        expect(peer.asked).toEqual([])
      }),
    )
  })

  test("G-6 the certificate of a height is served with its block; a height without one is not served", () => {
    run(
      Effect.gen(function* () {
        const marshal = yield* open(makeDisk())
        yield* storeAll(marshal, [at(1), at(2)])
        yield* marshal.report(finalize(at(2)))
        const served = yield* marshal.serve({ tag: "finalized", height: Height(2) })
        expect(served).toEqual(knowsAll({ tag: "finalized", height: Height(2) }))
        expect(yield* marshal.serve({ tag: "finalized", height: Height(1) })).toBeUndefined()
        const block = yield* marshal.serve({ tag: "block", digest: at(1).digest })
        expect(decodeBlock(blockCodec, block!)).toEqual(at(1))
        expect(yield* marshal.serve({ tag: "block", digest: at(3).digest })).toBeUndefined()
      }),
    )
  })
})

describe("waiting", () => {
  test("CONS-17 a fetch that is refused for an hour leaves its subscription open, and is satisfied when a peer can", () => {
    run(
      Effect.gen(function* () {
        const peer = new FakePeer()
        const marshal = yield* open(makeDisk(), peer)
        const waiting = yield* Effect.forkChild(marshal.subscribe(at(3).digest, "fetch"))
        yield* Effect.sleep("1 hour")
        expect(waiting.pollUnsafe()).toBeUndefined()
        expect(peer.asked.length).toBeGreaterThan(100)
        peer.answer = knowsAll
        expect(yield* Fiber.join(waiting)).toEqual(at(3))
        expect(yield* marshal.byDigest(at(3).digest)).toEqual(at(3))
      }),
    )
  })

  test("CONS-19 waiting without fetching asks nobody, and ends with a local block", () => {
    run(
      Effect.gen(function* () {
        const peer = new FakePeer()
        const marshal = yield* open(makeDisk(), peer)
        const waiting = yield* Effect.forkChild(marshal.subscribe(at(3).digest, "wait"))
        yield* Effect.sleep("1 hour")
        yield* marshal.verified(Round(0, 3), at(3))
        expect(yield* Fiber.join(waiting)).toEqual(at(3))
        expect(peer.asked).toEqual([])
      }),
    )
  })

  test("a caller that gives up ends its fetch, unless another one still waits", () => {
    run(
      Effect.gen(function* () {
        const peer = new FakePeer()
        const marshal = yield* open(makeDisk(), peer)
        const fibers = yield* Effect.all([1, 2].map(() => Effect.forkChild(marshal.subscribe(at(3).digest, "fetch"))))
        yield* Effect.sleep("1 minute")
        yield* Fiber.interrupt(fibers[0]!)
        const first = peer.asked.length
        yield* Effect.sleep("1 minute")
        const second = peer.asked.length
        expect(second).toBeGreaterThan(first)
        yield* Fiber.interrupt(fibers[1]!)
        yield* Effect.sleep("1 second")
        const third = peer.asked.length
        yield* Effect.sleep("1 minute")
        expect(peer.asked.length).toBe(third)
      }),
    )
  })

  test("an ancestry walks to genesis, fetching what is missing, then has ended; a pull that is cut off loses nothing", () => {
    run(
      Effect.gen(function* () {
        const peer = new FakePeer()
        const marshal = yield* open(makeDisk(), peer)
        const ancestry = marshal.ancestry(at(3))
        expect(yield* ancestry.next).toEqual(at(3))
        expect(Option.isNone(yield* Effect.timeoutOption(ancestry.next, "1 minute"))).toBe(true)
        peer.answer = knowsAll
        expect(yield* ancestry.next).toEqual(at(2))
        expect(yield* ancestry.next).toEqual(at(1))
        expect((yield* ancestry.next)?.height).toBe(0)
        expect(yield* ancestry.next).toBeUndefined()
        expect(yield* ancestry.next).toBeUndefined()
      }),
    )
  })

  test("an ancestry is one parent ahead of its reader, not two", () => {
    run(
      Effect.gen(function* () {
        const peer = new FakePeer()
        peer.answer = knowsAll
        const marshal = yield* open(makeDisk(), peer)
        const ancestry = marshal.ancestry(at(5))
        yield* ancestry.next
        yield* Effect.sleep("1 minute")
        const held = Effect.forEach([4, 3, 2], (height) =>
          Effect.map(marshal.byDigest(at(height).digest), (block) => block !== undefined),
        )
        expect(yield* held).toEqual([true, false, false])
        expect(peer.asked).toHaveLength(1)
        expect(yield* ancestry.next).toEqual(at(4))
        yield* Effect.sleep("1 minute")
        expect(yield* held).toEqual([true, true, false])
      }),
    )
  })

  test("an ancestry asks for nothing ahead that is here, or that the round floor has passed", () => {
    run(
      Effect.gen(function* () {
        const peer = new FakePeer()
        peer.answer = knowsAll
        const marshal = yield* open(makeDisk(), peer)
        yield* marshal.setFloor(finalize(at(3)))
        yield* storeAll(marshal, [at(4), at(5)])
        yield* Effect.sleep("1 minute")
        const asked = peer.asked.length
        const ancestry = marshal.ancestry(at(5))
        for (const height of [5, 4, 3]) expect(yield* ancestry.next).toEqual(at(height))
        yield* Effect.sleep("1 minute")
        expect(peer.asked).toHaveLength(asked)
      }),
    )
  })

  test("more callers than the mailbox holds are all served", () => {
    run(
      Effect.gen(function* () {
        const marshal = yield* open(makeDisk())
        const many = Array.from({ length: 1_000 }, (_, i) => childOf(genesis, i + 1, i))
        yield* storeAll(marshal, many)
        expect(yield* marshal.highestRound).toEqual(Round(0, 1_000))
      }),
    )
  })

  test("a caller beyond what the mailbox holds takes back what it asked when it gives up, and learns of the end", () => {
    run(
      Effect.gen(function* () {
        const scope = yield* Scope.make()
        const marshal = yield* Scope.provide(open(makeDisk()), scope)
        const asks = Effect.fnUntraced(function* (from: number) {
          const many = Array.from({ length: 300 }, (_, i) => childOf(genesis, from + i))
          const callers: Array<Fiber.Fiber<void, unknown>> = []
          for (const block of many) callers.push(yield* Effect.forkChild(marshal.verified(block.context.round, block)))
          yield* Effect.sleep(0)
          return callers
        })
        const served = yield* asks(1)
        yield* Fiber.interrupt(served.pop()!)
        for (const caller of served) expect(Exit.isSuccess(yield* Fiber.await(caller))).toBe(true)
        expect(yield* marshal.highestRound).toEqual(Round(0, 299))
        const refused = yield* asks(1_000)
        yield* Scope.close(scope, Exit.void)
        for (const caller of refused) {
          expect(failureOf(yield* Fiber.await(caller))).toMatchObject({ _tag: "MarshalStopped" })
        }
      }),
    )
  })
})

describe("delivery", () => {
  const withDelivered = (
    executor: FakeExecutor,
    act: (marshal: Marshal<TestBlock>) => Effect.Effect<void, unknown, Scope.Scope>,
  ) =>
    run(
      Effect.gen(function* () {
        const marshal = yield* open(makeDisk())
        yield* marshal.start(executor, standsOnGenesis)
        yield* storeAll(marshal, chain)
        yield* marshal.report(finalize(at(30)))
        yield* Effect.sleep("1 second")
        yield* act(marshal)
      }),
    )

  test("§8.1 M2 sixteen blocks are out by default and no more until one is acknowledged", () => {
    const executor = new FakeExecutor()
    executor.acknowledges = false
    withDelivered(executor, (marshal) =>
      Effect.gen(function* () {
        expect(executor.delivered.length).toBe(16)
        expect(yield* marshal.processedHeight).toBeUndefined()
        executor.acks[1]!.acknowledge()
        yield* Effect.sleep("1 second")
        expect(executor.delivered.length).toBe(16)
        executor.acks[0]!.acknowledge()
        yield* Effect.sleep("1 second")
        expect(executor.delivered.length).toBe(18)
        expect(yield* marshal.processedHeight).toBe(2)
      }),
    )
  })

  test("an ack is used once: a second use throws, whichever it is", () => {
    const executor = new FakeExecutor()
    executor.acknowledges = false
    withDelivered(executor, () =>
      Effect.sync(() => {
        executor.acks[0]!.acknowledge()
        expect(() => executor.acks[0]!.acknowledge()).toThrow("used twice")
        expect(() => executor.acks[0]!.cancel()).toThrow("used twice")
      }),
    )
  })

  test("§8.1 M7 F-23 a cancelled ack, or an executor that stopped, ends the marshal without failure", () => {
    const cancelling = new FakeExecutor()
    cancelling.acknowledges = false
    withDelivered(cancelling, (marshal) =>
      Effect.gen(function* () {
        cancelling.acks[3]!.cancel()
        yield* marshal.stopped
        expect(failureOf(yield* Effect.exit(marshal.proposed(Round(0, 99), at(1))))).toMatchObject({ cause: undefined })
      }),
    )
    const stopping = new FakeExecutor()
    stopping.stopsAt = 5
    withDelivered(stopping, (marshal) => marshal.stopped)
    expect(stopping.heights).toEqual([1, 2, 3, 4])
  })

  test("starting twice is a mistake; starting on another block than the final one stops the marshal", () => {
    withDelivered(new FakeExecutor(), (marshal) =>
      Effect.gen(function* () {
        const again = yield* Effect.exit(marshal.start(new FakeExecutor(), standsOnGenesis))
        expect(Exit.isFailure(again) && Cause.hasDies(again.cause)).toBe(true)
      }),
    )
    const failure = run(
      Effect.gen(function* () {
        const marshal = yield* open(makeDisk())
        const deliverAfter = anchorOf({ ...childOf(genesis, 1), height: Height(0) })
        return failureOf(yield* Effect.exit(marshal.start(new FakeExecutor(), { deliverAfter })))
      }),
    )
    expect(failure).toMatchObject({ _tag: "MarshalStopped", cause: { _tag: "AnchorMismatch", height: 0 } })
  })

  test("closing the scope ends it: waiters learn that it stopped, late acks are ignored", () => {
    run(
      Effect.gen(function* () {
        const scope = yield* Scope.make()
        const executor = new FakeExecutor()
        executor.acknowledges = false
        const marshal = yield* Scope.provide(open(makeDisk()), scope)
        yield* marshal.start(executor, standsOnGenesis)
        yield* storeAll(marshal, chain)
        yield* marshal.report(finalize(at(3)))
        const waiting = yield* Effect.forkChild(marshal.subscribe(new Uint8Array(32), "fetch"))
        yield* Effect.sleep("1 second")
        yield* Scope.close(scope, Exit.void)
        expect(failureOf(yield* Fiber.await(waiting))).toMatchObject({ _tag: "MarshalStopped", cause: undefined })
        yield* marshal.stopped
        executor.acks[0]!.acknowledge()
      }),
    )
  })
})

describe("metrics", () => {
  test("tell the tip, the processed height, what is pending and what was delivered", () => {
    const measured = run(
      Effect.gen(function* () {
        const marshal = yield* open(makeDisk())
        const executor = new FakeExecutor()
        yield* marshal.start(executor, standsOnGenesis)
        yield* storeAll(marshal, chain.slice(0, 5))
        yield* marshal.report(finalize(at(5)))
        yield* Effect.sleep("1 second")
        executor.acknowledges = false
        yield* storeAll(marshal, chain.slice(5, 8))
        yield* marshal.report(finalize(at(8)))
        yield* marshal.report(finalize(at(20)))
        yield* Effect.sleep("1 second")
        return yield* Metric.snapshot
      }).pipe(Effect.provideService(Metric.MetricRegistry, new Map())),
    )
    const values = Object.fromEntries(
      measured.map(({ id, state }) => [
        id,
        "count" in state ? Number(state.count) : "value" in state ? state.value : state,
      ]),
    )
    expect(values).toMatchObject({
      coppice_consensus_tip_height: 8,
      coppice_consensus_processed_height: 5,
      coppice_consensus_acks_pending: 3,
      coppice_consensus_fetches_pending: 1,
      coppice_consensus_blocks_delivered_total: 8,
    })
  })
})

describe("requests", () => {
  test("have one encoding and refuse everything else", () => {
    const block: BlockRequest = { tag: "block", digest: at(1).digest }
    const finalized: BlockRequest = { tag: "finalized", height: Height(300) }
    expect(encode(blockRequestCodec, block)).toEqual(new Uint8Array([0, ...at(1).digest]))
    expect(encode(blockRequestCodec, finalized)).toEqual(new Uint8Array([1, 0xac, 0x02]))
    for (const request of [block, finalized]) {
      expect(decode(blockRequestCodec, encode(blockRequestCodec, request))).toEqual(request)
    }
    for (const bytes of [[], [2], [0, 1, 2], [1, 0x80, 0], [1, 5, 5]]) {
      expect(() => decode(blockRequestCodec, new Uint8Array(bytes)), bytes.join()).toThrow()
    }
  })

  test("options out of bounds are mistakes", () => {
    for (const options of [{ chainId: "" }, { chainId: "x".repeat(65) }, { pendingAcksMax: 0 }, { genesis: at(1) }]) {
      const exit = run(Effect.exit(open(makeDisk(), undefined, options)))
      expect(Exit.isFailure(exit) && Cause.hasDies(exit.cause)).toBe(true)
    }
  })
})
