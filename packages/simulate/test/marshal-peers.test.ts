/**
 * Goal: a marshal catches up with peers that lag, lie, lose messages and let go of history, from genesis or from a floor;
 * who waits for a block gets it, and nothing of the waiting stays behind.
 * Method: marshals of one process on their own disks, joined by a simulated network, in virtual time.
 */
import { bytesKey } from "@coppice/codec"
import { anchorOf, describeMarshal, encodeBlock, Height, MARSHAL_MAPS, type Marshal, Round } from "@coppice/consensus"
import { Effect, Exit, Fiber, Metric, Option, type Scope } from "effect"
import { describe, expect, test } from "vitest"
import { blockCodec, certify, childOf, finalize, genesis, proposalOf, type TestBlock } from "../src/chain.ts"
import { type BlockNetwork, makeBlockNetwork } from "../src/transport.ts"
import {
  at,
  chain,
  FakeExecutor,
  FakePeer,
  failureOf,
  knowsAll,
  makeDisk,
  open,
  run,
  standsOnGenesis,
  storeAll,
} from "./marshal-world.ts"

const identity = (n: number): Uint8Array => new Uint8Array(32).fill(n)

/** A node that holds the chain up to a height, with a certificate of every `every`-th, and let go of what is below `from`. */
const archive = Effect.fnUntraced(function* (network: BlockNetwork, n: number, to: number, every = 5, from = 0) {
  const marshal = yield* open(makeDisk(n), network.transport(identity(n)))
  yield* marshal.start(new FakeExecutor(), standsOnGenesis)
  yield* storeAll(marshal, chain.slice(0, to))
  for (let height = every; height <= to; height += every) yield* marshal.report(finalize(at(height)))
  yield* Effect.sleep("2 seconds")
  yield* marshal.prune(Height(from))
  network.attach(identity(n), marshal.serve)
  return marshal
})

const joiner = Effect.fnUntraced(function* (network: BlockNetwork) {
  const marshal = yield* open(makeDisk(99), network.transport(identity(99)))
  network.attach(identity(99), marshal.serve)
  return marshal
})

const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i)

/** What the metrics of a program say in the end. */
const measured = <A, E>(program: Effect.Effect<A, E, Scope.Scope>) =>
  Effect.gen(function* () {
    yield* program
    const all = yield* Metric.snapshot
    const value = (name: string) => {
      const state = all.find(({ id }) => id === `coppice_consensus_${name}`)?.state
      return state === undefined
        ? undefined
        : "count" in state
          ? Number(state.count)
          : "value" in state
            ? state.value
            : state
    }
    return value
  }).pipe(Effect.provideService(Metric.MetricRegistry, new Map()))

describe("catching up", () => {
  test("F-15 from genesis, over links that lose a third, with a peer that lies and one that is silent", () => {
    run(
      Effect.gen(function* () {
        const network = makeBlockNetwork({ latencyMs: { min: 1, max: 20 }, lossChance: 0.3 })
        yield* archive(network, 1, 70)
        yield* archive(network, 2, 40)
        network.attach(identity(3), () => Effect.succeed(encodeBlock(blockCodec, childOf(genesis, 900))))
        network.attach(identity(4), () => Effect.never)
        const marshal = yield* joiner(network)
        const executor = new FakeExecutor()
        yield* marshal.start(executor, standsOnGenesis)
        yield* marshal.report(finalize(at(70)))
        yield* Effect.sleep("10 minutes")
        expect(executor.heights).toEqual(range(1, 70))
        expect(yield* marshal.processedHeight).toBe(70)
        const blamed = network.blames().map(({ peer }) => peer[0])
        expect(new Set(blamed)).toEqual(new Set([3]))
        expect(blamed.length).toBeLessThanOrEqual(8)
      }),
    )
  })

  test("F-16 history that all peers let go is out of reach from genesis, and not needed from a floor", () => {
    run(
      Effect.gen(function* () {
        const network = makeBlockNetwork({ latencyMs: { min: 1, max: 20 }, lossChance: 0.1 })
        for (const n of [1, 2]) yield* archive(network, n, 70, 5, 30)
        const stuck = yield* joiner(network)
        const executor = new FakeExecutor()
        yield* stuck.start(executor, standsOnGenesis)
        yield* stuck.report(finalize(at(70)))
        yield* Effect.sleep("10 minutes")
        expect(executor.heights).toEqual([])

        const marshal = yield* joiner(network)
        const empty = new FakeExecutor()
        yield* marshal.setFloor(finalize(at(35)))
        yield* marshal.start(empty, { deliverAfter: undefined })
        yield* Effect.sleep("1 minute")
        expect(empty.heights).toEqual([35])
        yield* marshal.report(finalize(at(70)))
        yield* Effect.sleep("10 minutes")
        expect(empty.heights).toEqual(range(35, 70))
        expect(yield* marshal.floor).toEqual({ height: 35, round: Round(0, 35) })
        expect(yield* marshal.finalizedAt(Height(34))).toBeUndefined()
        expect(network.blames()).toEqual([])
      }),
    )
  })
})

describe("floors", () => {
  test("F-12 one whose certificate does not verify is refused, and nothing changes", () => {
    run(
      Effect.gen(function* () {
        const marshal = yield* open(makeDisk())
        const bad = certify(proposalOf(at(9)), [0, 1, 2], "other-chain")
        expect(failureOf(yield* Effect.exit(marshal.setFloor(bad)))).toMatchObject({
          _tag: "InvalidFinalization",
          payload: at(9).digest,
        })
        expect(yield* marshal.highestRound).toEqual(Round(0, 0))
      }),
    )
  })

  test("CONS-16 a pending floor is durable when `setFloor` succeeds, and counts as known after a restart", () => {
    const disk = makeDisk()
    run(
      Effect.gen(function* () {
        const marshal = yield* open(disk)
        yield* marshal.setFloor(finalize(at(9)))
        disk.crash()
      }),
    )
    run(
      Effect.gen(function* () {
        const peer = new FakePeer()
        const marshal = yield* open(disk, peer)
        expect(yield* marshal.highestRound).toEqual(Round(0, 9))
        expect((yield* marshal.newestFinalization)?.proposal.round).toEqual(Round(0, 9))
        expect(yield* marshal.floor).toBeUndefined()
        const executor = new FakeExecutor()
        yield* marshal.start(executor, { deliverAfter: undefined })
        yield* Effect.sleep("1 minute")
        expect(executor.heights).toEqual([])
        expect(yield* marshal.finalizedAt(Height(0))).toEqual(genesis)
        peer.answer = knowsAll
        yield* Effect.sleep("1 minute")
        expect(executor.heights).toEqual([9])
      }),
    )
  })
})

test("CONS-16 the round floor survives a restart: a floor that is older than it is ignored", () => {
  const disk = makeDisk()
  const again = (view: number) => certify({ ...proposalOf(at(9)), round: Round(0, view) })
  run(
    Effect.gen(function* () {
      const marshal = yield* open(disk)
      yield* marshal.verified(Round(0, 9), at(9))
      yield* marshal.setFloor(again(40))
    }),
  )
  run(
    Effect.gen(function* () {
      const marshal = yield* open(disk)
      yield* marshal.setFloor(again(30))
      expect(yield* marshal.floor).toEqual({ height: 9, round: Round(0, 40) })
      expect(yield* marshal.highestRound).toEqual(Round(0, 40))
    }),
  )
})

test("a stopped node's environment says what floor it has, and whether its block is on the way", () => {
  const disk = makeDisk()
  const told = run(
    Effect.gen(function* () {
      const look = Effect.scoped(Effect.flatMap(disk.open("marshal", MARSHAL_MAPS), describeMarshal))
      const marshal = yield* open(disk)
      const before = yield* look
      yield* marshal.setFloor(finalize(at(9)))
      const pending = yield* look
      yield* marshal.verified(Round(0, 9), at(9))
      return [before, pending, yield* look]
    }),
  )
  expect(told).toMatchObject([
    { floor: undefined, isFloorPending: false, processed: undefined },
    { floor: undefined, isFloorPending: true, processed: undefined },
    { floor: 9, isFloorPending: false, processed: 8, finalized: { last: 9 }, certified: { height: 9 } },
  ])
})

describe("waiting", () => {
  const each = (
    wait: (marshal: Marshal<TestBlock>) => Effect.Effect<TestBlock, unknown>,
    arrive: (marshal: Marshal<TestBlock>) => Effect.Effect<unknown, unknown>,
  ) =>
    run(
      Effect.gen(function* () {
        const marshal = yield* open(makeDisk())
        const waiting = yield* Effect.all([1, 2].map(() => Effect.forkChild(wait(marshal))))
        yield* Effect.sleep("1 minute")
        expect(waiting.map((fiber) => fiber.pollUnsafe())).toEqual([undefined, undefined])
        yield* arrive(marshal)
        const blocks = yield* Effect.all(waiting.map(Fiber.join))
        return [...blocks, yield* wait(marshal)]
      }),
    )

  test("for a final height: woken by its own certificate or a descendant's, answered at once afterwards", () => {
    const store = (marshal: Marshal<TestBlock>) => storeAll(marshal, chain.slice(0, 6))
    const wait = (marshal: Marshal<TestBlock>) => marshal.subscribeFinalized(Height(4), "wait")
    for (const height of [4, 6]) {
      const arrive = (marshal: Marshal<TestBlock>) =>
        Effect.andThen(store(marshal), () => marshal.report(finalize(at(height))))
      expect(each(wait, arrive), `${height}`).toEqual([at(4), at(4), at(4)])
    }
  })

  test("for the notarized block of a round: the first one stored wins", () => {
    const other = childOf(genesis, 4, 9)
    const wait = (marshal: Marshal<TestBlock>) => marshal.subscribeNotarized(Round(0, 4))
    const arrive = (marshal: Marshal<TestBlock>) =>
      Effect.andThen(marshal.notarized(Round(0, 4), at(4)), () => marshal.notarized(Round(0, 4), other))
    expect(each(wait, arrive)).toEqual([at(4), at(4), at(4)])
  })

  test("for a height that is pruned here: a peer that kept it answers", () => {
    run(
      Effect.gen(function* () {
        const peer = new FakePeer()
        const marshal = yield* open(makeDisk(), peer)
        yield* marshal.start(new FakeExecutor(), standsOnGenesis)
        yield* storeAll(marshal, chain.slice(0, 9))
        yield* marshal.report(finalize(at(9)))
        yield* Effect.sleep("1 second")
        yield* marshal.prune(Height(8))
        yield* Effect.sleep("1 second")
        expect(yield* marshal.finalizedAt(Height(3))).toBeUndefined()
        const local = yield* Effect.timeoutOption(marshal.subscribeFinalized(Height(3), "wait"), "1 minute")
        expect(Option.isNone(local)).toBe(true)
        expect(peer.asked).toEqual([])
        peer.answer = knowsAll
        expect(yield* marshal.subscribeFinalized(Height(3), "fetch")).toEqual(at(3))
        expect(yield* marshal.finalizedAt(Height(3))).toBeUndefined()
      }),
    )
  })

  test("P-15 callers that gave up, and callers that were served, leave no subscription and no fetch behind", () => {
    const value = run(
      measured(
        Effect.gen(function* () {
          const peer = new FakePeer()
          const marshal = yield* open(makeDisk(), peer)
          yield* marshal.start(new FakeExecutor(), standsOnGenesis)
          const waits = [
            ...range(1, 40).map((height) => marshal.subscribe(at(height).digest, "fetch")),
            ...range(1, 40).map((height) => marshal.subscribeFinalized(Height(height), "fetch")),
            ...range(1, 40).map((view) => marshal.subscribeNotarized(Round(0, view))),
          ]
          const fibers = yield* Effect.all(waits.map((wait) => Effect.forkChild(wait)))
          yield* Effect.sleep("1 minute")
          yield* Effect.all(fibers.filter((_, i) => i % 2 === 0).map(Fiber.interrupt))
          peer.answer = knowsAll
          yield* Effect.sleep("1 minute")
          yield* Effect.forEach(chain, (block) => marshal.notarized(block.context.round, block), { discard: true })
          yield* Effect.all(fibers.map(Fiber.await))
          yield* Effect.sleep("1 minute")
          yield* marshal.prune(Height(0))
          expect(fibers.filter((fiber) => Exit.isSuccess(fiber.pollUnsafe()!)).length).toBe(60)
        }),
      ),
    )
    expect(value("subscriptions_open")).toBe(0)
    expect(value("fetches_pending")).toBe(0)
  })

  test("a waiting caller learns of a read that fails, with everybody else", () => {
    const disk = makeDisk()
    run(
      Effect.gen(function* () {
        const marshal = yield* open(disk)
        const waiting = yield* Effect.forkChild(marshal.subscribe(at(5).digest, "wait"))
        yield* Effect.sleep(1)
        disk.faults = ({ name }) => (name === "get" ? "io" : undefined)
        const failure = failureOf(yield* Effect.exit(marshal.subscribeFinalized(Height(3), "wait")))
        expect(failure).toMatchObject({ _tag: "MarshalStopped", cause: { _tag: "StorageReadFailed" } })
        expect(failureOf(yield* Fiber.await(waiting))).toMatchObject({ _tag: "MarshalStopped" })
      }),
    )
  })
})

describe("hints", () => {
  test("a height is asked of the named peers alone until somebody waits for it", () => {
    run(
      Effect.gen(function* () {
        const peer = new FakePeer()
        const asked: Array<number> = []
        const transport = {
          ...peer,
          peers: Effect.succeed([1, 2, 3].map(identity)),
          request: (whom: Uint8Array) => Effect.sync(() => void asked.push(whom[0]!)),
        }
        const marshal = yield* open(makeDisk(), transport)
        yield* marshal.hintFinalized(Height(5), [identity(2)])
        yield* Effect.sleep("1 minute")
        expect(new Set(asked)).toEqual(new Set([2]))
        yield* marshal.hintFinalized(Height(5), [identity(3)])
        yield* Effect.sleep("1 minute")
        expect(new Set(asked)).toEqual(new Set([2, 3]))
        yield* Effect.timeoutOption(marshal.subscribeFinalized(Height(5), "fetch"), "1 minute")
        expect(new Set(asked)).toEqual(new Set([1, 2, 3]))
        const nobody = yield* Effect.exit(marshal.hintFinalized(Height(5), []))
        expect(Exit.isFailure(nobody)).toBe(true)
      }),
    )
  })

  test("a notarized block is here before anybody asks for it", () => {
    run(
      Effect.gen(function* () {
        const peer = new FakePeer()
        peer.answer = knowsAll
        const marshal = yield* open(makeDisk(), peer)
        yield* marshal.hintNotarized(Round(0, 6), at(6).digest)
        yield* Effect.sleep("1 minute")
        expect(yield* marshal.byDigest(at(6).digest)).toEqual(at(6))
        expect(peer.asked.length).toBe(1)
      }),
    )
  })
})

describe("pruning", () => {
  test("what is let go is gone from reads, from serving and from the disk; what is kept is served", () => {
    const value = run(
      measured(
        Effect.gen(function* () {
          const network = makeBlockNetwork({ latencyMs: { min: 1, max: 2 }, lossChance: 0 })
          const marshal = yield* archive(network, 1, 70, 5, 66)
          yield* Effect.sleep("1 second")
          expect(yield* marshal.finalizedAt(Height(65))).toBeUndefined()
          expect(yield* marshal.finalizationAt(Height(65))).toBeUndefined()
          expect(yield* marshal.serve({ tag: "finalized", height: Height(65) })).toBeUndefined()
          expect(yield* marshal.serve({ tag: "block", digest: at(2).digest })).toBeUndefined()
          expect(yield* marshal.serve({ tag: "finalized", height: Height(70) })).toEqual(
            knowsAll({ tag: "finalized", height: Height(70) }),
          )
          const kept = yield* marshal.byDigest(at(66).digest)
          expect(bytesKey(kept!.digest)).toBe(bytesKey(at(66).digest))
          yield* marshal.prune(Height(71))
          expect(yield* marshal.finalizedAt(Height(70))).toEqual(at(70))
        }),
      ),
    )
    expect(value("blocks_pruned_total")).toBe(66)
    expect(value("retained_height")).toBe(66)
  })

  test("F34 an executor that stands below what was let go is refused with the height that is missing", () => {
    const disk = makeDisk()
    const failure = run(
      Effect.gen(function* () {
        yield* Effect.scoped(
          Effect.gen(function* () {
            const marshal = yield* open(disk)
            yield* marshal.start(new FakeExecutor(), standsOnGenesis)
            yield* storeAll(marshal, chain.slice(0, 9))
            yield* marshal.report(finalize(at(9)))
            yield* Effect.sleep("1 second")
            yield* marshal.prune(Height(8))
          }),
        )
        const marshal = yield* open(disk)
        const started = marshal.start(new FakeExecutor(), { deliverAfter: anchorOf(at(4)) })
        return failureOf(yield* Effect.exit(started))
      }),
    )
    expect(failure).toMatchObject({ cause: { _tag: "DeliveryHole", anchor: 4, missing: 5, processed: 9 } })
  })
})
