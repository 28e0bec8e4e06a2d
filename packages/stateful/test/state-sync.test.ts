/**
 * Goal: a node that joins by state sync serves its port from the first moment, loses no block and no ack, hands over once,
 * and goes on after a crash at any point of it.
 * Method: the real join, executor and plan; the sync is scripted, its set a model; the plan's disk loses power at chosen
 * writes. Every fault row of the specification that concerns joining has a test that quotes it.
 */
import { ExecutorStopped, Height, Round } from "@coppice/consensus"
import { StorageWriteFailed } from "@coppice/storage"
import { it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Metric } from "effect"
import { describe, expect } from "vitest"
import { executorMetrics } from "../src/executor/metrics.ts"
import { StateSyncFailed } from "../src/index.ts"
import { Disk } from "./support/disk.ts"
import { completeOn, FloorChain, floorOf, joining, recordOn } from "./support/joining.ts"
import { quiet, stoppedBy } from "./support/running-executor.ts"
import { contextOn, recordingAck, type ToyBlock } from "./support/toy-chain.ts"

const FLOOR = 20

/** A chain whose marshal started from a floor: nothing below it is held. */
const floored = (pendingAcksMax = 4, height = FLOOR + 20) => {
  const chain = new FloorChain(pendingAcksMax)
  chain.finalizeTo(height)
  chain.processed = Height(FLOOR - 1)
  return chain
}

const started = Effect.fnUntraced(function* (setup: Parameters<typeof joining>[0] = {}) {
  const chain = setup.chain ?? floored()
  const node = yield* joining({ floor: chain.finalizeTo(FLOOR), ...setup, chain })
  yield* quiet
  return node
})

type Node = Effect.Success<ReturnType<typeof started>>

const verify = ({ chain, port }: Node, block: ToyBlock) =>
  Effect.forkChild(port.verify(block.context, chain.ancestry(block)))
const failureOf = ({ stopped }: Node) => Effect.flip(stopped)
const valueOf = <A>(fiber: Fiber.Fiber<A, unknown>) => {
  const exit = fiber.pollUnsafe()
  return exit !== undefined && Exit.isSuccess(exit) ? exit.value : undefined
}

describe("while syncing", () => {
  it.effect("INV-17 a proposal is none at once; F58 verifications and databases are held as long as it takes", () =>
    Effect.gen(function* () {
      const node = yield* started()
      const { chain, port } = node
      const parent = chain.finalizeTo(FLOOR + 6)
      expect(yield* port.propose(contextOn(parent, 900), chain.ancestry(parent))).toBeUndefined()
      const held = yield* verify(node, chain.finalizeTo(FLOOR + 7))
      const subscriber = yield* Effect.forkChild(node.executor)
      yield* quiet
      expect(yield* node.status).toMatchObject({ phase: "syncing", held: 1, executor: undefined })
      expect([held.pollUnsafe(), subscriber.pollUnsafe()]).toEqual([undefined, undefined])
      yield* Fiber.interrupt(held)
      expect((yield* node.status).held, "INV-33 a caller who leaves is forgotten").toBe(0)
      expect((yield* recordOn(node.disk)).tag).toBe("in progress")
      yield* node.end
      expect(stoppedBy(subscriber)).toBeUndefined()
    }),
  )

  it.effect("blocks are kept until the ack window is full; then one tip is sent, and recorded before any ack", () =>
    Effect.gen(function* () {
      const node = yield* started()
      const before = yield* recordOn(node.disk)
      yield* node.deliver(FLOOR, FLOOR + 2)
      expect(node.sync.record(), "nothing to take in").toBe(false)
      yield* node.deliver(FLOOR + 3)
      expect(node.acks(), "INV-28").toEqual([])
      expect(node.sync.record()).toBe(true)
      expect(node.sync.heights).toEqual([FLOOR, FLOOR + 3])
      expect(node.acks(), "INV-8").toEqual([FLOOR, FLOOR + 1, FLOOR + 2, FLOOR + 3])
      yield* node.deliver(FLOOR + 4, FLOOR + 7)
      expect(node.sync.record()).toBe(true)
      expect(node.acks()).toHaveLength(8)
      expect(yield* recordOn(node.disk), "INV-20 a live tip never rewrites the floor").toEqual(before)
      yield* node.end
    }),
  )

  it.effect("F46 F47 a tip that changes nothing is recorded all the same, and its blocks acknowledged", () =>
    Effect.gen(function* () {
      const chain = floored(1)
      const node = yield* started({ chain })
      yield* node.deliver(FLOOR)
      expect(node.sync.record()).toBe(true)
      expect(node.acks()).toEqual([FLOOR])
      yield* node.end
    }),
  )

  it.effect("INV-14 more held verifications than may be are never answered: no verdict, and the end reaches them", () =>
    Effect.gen(function* () {
      const node = yield* started({ limits: { heldVerificationsMax: 2 } })
      const held = yield* Effect.forEach([1, 2, 3], (i) => verify(node, node.chain.finalizeTo(FLOOR + i)))
      yield* quiet
      expect((yield* node.status).held).toBe(2)
      yield* Fiber.interrupt(held[0]!)
      const late = yield* verify(node, node.chain.finalizeTo(FLOOR + 4))
      node.converge(FLOOR)
      yield* quiet
      expect(held.slice(1).map(valueOf)).toEqual([true, undefined])
      expect(valueOf(late), "a place was free again").toBe(true)
      yield* node.end
      yield* quiet
      expect(stoppedBy(held[2]!), "a clean shutdown has no cause").toBeUndefined()
      expect(held[2]!.pollUnsafe()).toBeDefined()
      const dropped = (yield* Metric.snapshot).find(({ id }) => id === executorMetrics.droppedVerifications.id)
      expect(dropped?.state).toMatchObject({ count: 1 })
    }).pipe(Effect.provideService(Metric.MetricRegistry, new Map())),
  )

  it.effect("F53 more blocks than the window are fatal; acks are cancelled, who waits hears why", () =>
    Effect.gen(function* () {
      const node = yield* started()
      const held = yield* verify(node, node.chain.finalizeTo(FLOOR + 7))
      yield* quiet
      yield* node.deliver(FLOOR, FLOOR + 4).pipe(Effect.ignore)
      expect(yield* failureOf(node)).toMatchObject({ _tag: "AckWindowExceeded", height: FLOOR + 4 })
      expect(node.log).toEqual([0, 1, 2, 3, 4].map((i) => `cancel ${FLOOR + i}`))
      yield* quiet
      expect(stoppedBy(held)).toMatchObject({ _tag: "AckWindowExceeded" })
      expect(yield* Effect.flip(node.deliver(FLOOR + 5))).toBeInstanceOf(ExecutorStopped)
      yield* node.end
    }),
  )

  it.effect("F44 F45 the sync's first error is fatal with its member; the plan stays in progress", () =>
    Effect.gen(function* () {
      const node = yield* started()
      node.sync.end(Exit.fail(new StateSyncFailed({ member: "right", cause: "no peer has it" })))
      expect(yield* failureOf(node)).toMatchObject({ _tag: "StateSyncFailed", member: "right" })
      expect((yield* recordOn(node.disk)).tag).toBe("in progress")
      yield* node.end
    }),
  )

  it.effect("F54 a sync that vanishes without a set stops the node; no ack is released", () =>
    Effect.gen(function* () {
      const node = yield* started()
      yield* node.deliver(FLOOR)
      node.sync.end(Exit.interrupt())
      expect(yield* failureOf(node)).toMatchObject({ _tag: "ExecutorDefect", operation: "state sync" })
      expect(node.log).toEqual([`cancel ${FLOOR}`])
      yield* node.end
    }),
  )

  it.effect("F66 a shutdown answers nobody, cancels the acks and leaves the plan in progress", () =>
    Effect.gen(function* () {
      const node = yield* started()
      yield* node.deliver(FLOOR, FLOOR + 1)
      const held = yield* verify(node, node.chain.finalizeTo(FLOOR + 7))
      yield* quiet
      yield* node.end
      yield* node.stopped
      expect(node.log).toEqual([`cancel ${FLOOR}`, `cancel ${FLOOR + 1}`])
      expect(Exit.isFailure(yield* Fiber.await(held))).toBe(true)
      expect(stoppedBy(held)).toBeUndefined()
      expect((yield* recordOn(node.disk)).tag).toBe("in progress")
    }),
  )
})

describe("the set that comes out", () => {
  it.effect("F49 a member that is not at the target of its block is fatal, with both targets", () =>
    Effect.gen(function* () {
      const node = yield* started()
      node.converge(FLOOR, FLOOR + 1)
      expect(yield* failureOf(node)).toMatchObject({ _tag: "SyncedTargetMismatch", member: "left", height: FLOOR })
      yield* node.end
    }),
  )

  it.effect("INV-24 a set at a block that was never a target is fatal", () =>
    Effect.gen(function* () {
      const node = yield* started()
      node.converge(FLOOR + 2)
      expect(yield* failureOf(node)).toMatchObject({ _tag: "SyncedElsewhere", height: FLOOR + 2 })
      yield* node.end
    }),
  )

  it.effect(
    "INV-23 a set below what was recorded is not taken: the older target is forgotten once a newer is recorded",
    () =>
      Effect.gen(function* () {
        const node = yield* started()
        yield* node.deliver(FLOOR, FLOOR + 3)
        node.sync.record()
        node.converge(FLOOR)
        expect(yield* failureOf(node)).toMatchObject({ _tag: "SyncedElsewhere", height: FLOOR })
        yield* node.end
      }),
  )
})

describe("a tip below the start", () => {
  const redelivered = Effect.fnUntraced(function* () {
    const chain = floored(1)
    chain.processed = Height(FLOOR + 5)
    const node = yield* started({ chain })
    // Marshal has lost its newest acks since: what it delivers again lies below the start.
    yield* node.deliver(FLOOR + 2)
    expect(node.sync.record()).toBe(true)
    expect(node.acks(), "F46 recorded, though it changes nothing").toEqual([FLOOR + 2])
    yield* node.deliver(FLOOR + 3)
    return node
  })

  it.effect("F46 leaves the start where it is", () =>
    Effect.gen(function* () {
      const node = yield* redelivered()
      node.converge(FLOOR + 5)
      yield* quiet
      expect(yield* completeOn(node.disk)).toBe(FLOOR + 5)
      yield* node.end
    }),
  )

  it.effect.each([
    ["recorded", FLOOR + 2],
    ["sent", FLOOR + 3],
  ] as const)(
    "INV-23 although it is %s is no place to come out at: what was acknowledged in an earlier life would be lost",
    ([, height]) =>
      Effect.gen(function* () {
        const node = yield* redelivered()
        node.converge(height)
        expect(yield* failureOf(node)).toMatchObject({ _tag: "SyncedElsewhere", height })
        yield* node.end
      }),
  )
})

describe("handover", () => {
  it.effect(
    "F52 covered and reflected blocks have hook and ack, later ones are applied; then complete, attached, open",
    () =>
      Effect.gen(function* () {
        const node = yield* started({ chain: floored(8) })
        const held = yield* verify(node, node.chain.finalizeTo(FLOOR + 5))
        yield* node.deliver(FLOOR, FLOOR + 4)
        node.converge(FLOOR)
        yield* quiet
        expect(node.log).toEqual([
          ...[0, 1, 2, 3, 4].flatMap((i) => [`hook ${FLOOR + i}`, `ack ${FLOOR + i}`]),
          `attached ${FLOOR + 4}`,
        ])
        expect(yield* completeOn(node.disk)).toBe(FLOOR + 4)
        expect(valueOf(held), "the held verification went on").toBe(true)
        expect(yield* node.status).toMatchObject({ phase: "open", retained: 0, held: 0 })
        yield* node.end
      }),
  )

  it.effect("INV-23 a sync that went on to a newer tip hands over there, once", () =>
    Effect.gen(function* () {
      const node = yield* started({ chain: floored(1) })
      yield* node.deliver(FLOOR)
      node.sync.record()
      yield* node.deliver(FLOOR + 1)
      node.sync.record()
      const set = node.converge(FLOOR + 1)
      yield* node.deliver(FLOOR + 2)
      yield* quiet
      expect(set.anchor.height).toBe(FLOOR + 2)
      expect(node.acks()).toEqual([FLOOR, FLOOR + 1, FLOOR + 2])
      expect(node.log.filter((line) => line.startsWith("hook"))).toEqual([`hook ${FLOOR + 2}`])
      yield* node.end
    }),
  )

  it.effect("F52 blocks below the anchor need no row; they are delivered once", () =>
    Effect.gen(function* () {
      const chain = floored(4)
      chain.processed = Height(FLOOR + 3)
      chain.stood = { height: Height(FLOOR + 3), round: Round(0, (FLOOR + 3) * 10) }
      const node = yield* started({ chain })
      expect(node.sync.heights).toEqual([FLOOR + 3])
      // Two acks before were not kept by marshal, so it delivers again.
      yield* node.deliver(FLOOR + 1, FLOOR + 4)
      const set = node.converge(FLOOR + 3)
      yield* quiet
      expect(node.acks()).toEqual([1, 2, 3, 4].map((i) => FLOOR + i))
      expect(set.anchor.height).toBe(FLOOR + 4)
      yield* node.end
    }),
  )

  it.effect("F50 another block at the anchor's height is fatal", () =>
    Effect.gen(function* () {
      const node = yield* started()
      const other = node.chain.grow(node.chain.finalizeTo(FLOOR - 1), 999)
      yield* node.port.finalized(other, recordingAck(node.log, FLOOR))
      node.converge(FLOOR)
      expect(yield* failureOf(node)).toMatchObject({ _tag: "ConflictingFinalized", height: FLOOR })
      yield* quiet
      expect(node.log).toEqual([`cancel ${FLOOR}`])
      expect((yield* recordOn(node.disk)).tag).toBe("in progress")
      yield* node.end
    }),
  )

  it.effect("F51 a gap after the anchor is fatal", () =>
    Effect.gen(function* () {
      const node = yield* started()
      yield* node.deliver(FLOOR + 2)
      node.converge(FLOOR)
      expect(yield* failureOf(node)).toMatchObject({ _tag: "FinalizedGap", expected: FLOOR + 1, actual: FLOOR + 2 })
      yield* node.end
    }),
  )

  it.effect("F48 a tip stuck at the end is no trouble: its blocks are applied", () =>
    Effect.gen(function* () {
      const node = yield* started()
      yield* node.deliver(FLOOR, FLOOR + 3)
      const set = node.converge(FLOOR)
      yield* quiet
      expect(set.anchor.height).toBe(FLOOR + 3)
      expect(node.acks()).toEqual([0, 1, 2, 3].map((i) => FLOOR + i))
      yield* node.end
    }),
  )

  it.effect("INV-22 F57 the set is attached after it is complete and before anyone is given it", () =>
    Effect.gen(function* () {
      const gate = yield* Deferred.make<void>()
      const node = yield* started({ attach: () => Deferred.await(gate) })
      const subscriber = yield* Effect.forkChild(node.executor)
      const held = yield* verify(node, node.chain.finalizeTo(FLOOR + 1))
      const set = node.converge(FLOOR)
      yield* quiet
      expect(yield* completeOn(node.disk)).toBe(FLOOR)
      expect([subscriber.pollUnsafe(), held.pollUnsafe()]).toEqual([undefined, undefined])
      const parent = node.chain.finalizeTo(FLOOR)
      expect(yield* node.port.propose(contextOn(parent, 900), node.chain.ancestry(parent)), "INV-17").toBeUndefined()
      yield* Deferred.succeed(gate, undefined)
      yield* quiet
      expect(valueOf(subscriber)?.set).toBe(set)
      expect(valueOf(held)).toBe(true)
      expect((yield* node.port.propose(contextOn(parent, 901), node.chain.ancestry(parent)))?.height).toBe(FLOOR + 1)
      yield* node.end
    }),
  )

  it.effect("blocks that come while the handover runs are executed, and do not put off its end", () =>
    Effect.gen(function* () {
      const gate = yield* Deferred.make<void>()
      const hooks = { finalized: ({ height }: ToyBlock) => (height > FLOOR ? Deferred.await(gate) : Effect.void) }
      const node = yield* started({ hooks })
      yield* node.deliver(FLOOR)
      const set = node.converge(FLOOR)
      yield* quiet
      yield* node.deliver(FLOOR + 1, FLOOR + 3)
      yield* quiet
      expect(yield* completeOn(node.disk)).toBe(FLOOR)
      expect(set.anchor.height).toBe(FLOOR + 3)
      expect((yield* node.status).phase).toBe("open")
      yield* Deferred.succeed(gate, undefined)
      yield* quiet
      expect(node.acks()).toEqual([0, 1, 2, 3].map((i) => FLOOR + i))
      yield* node.end
    }),
  )

  it.effect("§10.7 step 5, §14.2: a prune that becomes due in the handover runs after the plan is complete", () =>
    Effect.gen(function* () {
      const log: string[] = []
      const disk = new Disk()
      const hooks = { finalized: ({ height }: ToyBlock) => Effect.sync(() => void log.push(`hook ${height}`)) }
      const prune = (height: number) => Effect.sync(() => void log.push(`marshal to ${height}`))
      const node = yield* started({
        chain: floored(8),
        disk,
        hooks,
        pruning: { interval: 1, marshal: { blocks: 12, prune } },
      })
      yield* node.deliver(FLOOR, FLOOR + 3)
      const set = node.converge(FLOOR)
      set.rewindHeights = 10
      const noted = Effect.map(recordOn(disk), ({ tag }) => void log.push(`pruned while ${tag}`))
      set.pruneGate = Effect.orDie(noted)
      yield* quiet
      expect(log).toEqual([
        ...[0, 1, 2, 3].map((i) => `hook ${FLOOR + i}`),
        "pruned while complete",
        `marshal to ${FLOOR + 3 - 11}`,
      ])
      expect(set.prunes).toEqual([FLOOR + 3 - 9])
      yield* node.end
    }),
  )

  it.effect("INV-16 a hook that fails in the handover is fatal; the plan stays in progress (F31)", () =>
    Effect.gen(function* () {
      const node = yield* started({ hooks: { finalized: () => Effect.fail("no") } })
      yield* node.deliver(FLOOR)
      node.converge(FLOOR)
      expect(yield* failureOf(node)).toMatchObject({ _tag: "FinalizedHookFailed", height: FLOOR })
      expect((yield* recordOn(node.disk)).tag).toBe("in progress")
      yield* node.end
    }),
  )

  it.effect("metrics tell a joining node from one that is open", () =>
    Effect.gen(function* () {
      const value = (metric: { readonly id: string }) =>
        Effect.map(Metric.snapshot, (all) => all.find(({ id }) => id === metric.id)?.state)
      const node = yield* started()
      const held = yield* verify(node, node.chain.finalizeTo(FLOOR + 1))
      yield* node.deliver(FLOOR)
      yield* quiet
      for (const metric of Object.values(executorMetrics)) expect(yield* value(metric), metric.id).toBeDefined()
      expect(yield* value(executorMetrics.heldVerifications)).toMatchObject({ value: 1 })
      expect(yield* value(executorMetrics.unackedFinalized)).toMatchObject({ value: 1 })
      expect(yield* value(executorMetrics.syncDone)).toMatchObject({ value: 0 })
      node.converge(FLOOR)
      yield* quiet
      expect(yield* value(executorMetrics.heldVerifications)).toMatchObject({ value: 0 })
      expect(yield* value(executorMetrics.syncDone)).toMatchObject({ value: 1 })
      expect(valueOf(held)).toBe(true)
      yield* node.end
    }).pipe(Effect.provideService(Metric.MetricRegistry, new Map())),
  )
})

describe("the start", () => {
  it.effect("INV-18 nothing joins before the plan has recorded its floor", () =>
    Effect.gen(function* () {
      const chain = floored()
      const exit = yield* Effect.exit(joining({ chain }))
      expect(Exit.isFailure(exit) && exit.cause.reasons[0]?._tag).toBe("Die")
    }),
  )

  it.effect("C2 INV-21 marshal is told of a floor only once it is durable, and the sync starts from the same one", () =>
    Effect.gen(function* () {
      for (const fault of ["lost", "kept"] as const) {
        const chain = floored()
        const disk = new Disk()
        disk.fault = () => fault
        const exit = yield* Effect.exit(joining({ chain, disk, floor: chain.finalizeTo(FLOOR) }))
        expect(Exit.isFailure(exit), "marshal was told nothing").toBe(true)
        disk.fault = () => undefined
        const record = yield* recordOn(disk)
        expect(record.tag, fault).toBe(fault === "kept" ? "in progress" : "absent")
        const node = yield* started({ chain, disk })
        expect(yield* recordOn(disk)).toEqual({ tag: "in progress", floor: floorOf(chain.finalizeTo(FLOOR)) })
        expect(node.sync.heights).toEqual([FLOOR])
        yield* node.end
      }
    }),
  )

  it.effect(
    "F42 an interrupted sync resumes from the persisted floor; F41 an older one does not move it, a newer one does",
    () =>
      Effect.gen(function* () {
        const disk = new Disk()
        const chain = floored()
        yield* (yield* started({ chain, disk })).end
        for (const [floor, start] of [
          [undefined, FLOOR],
          [FLOOR - 2, FLOOR],
          [FLOOR + 3, FLOOR + 3],
          [undefined, FLOOR + 3],
        ] as const) {
          const node = yield* joining({
            chain,
            disk,
            ...(floor === undefined ? {} : { floor: chain.finalizeTo(floor) }),
          })
          yield* quiet
          expect(node.sync.heights).toEqual([start])
          yield* node.end
        }
      }),
  )

  it.effect("the floor's block is waited for, while requests are served", () =>
    Effect.gen(function* () {
      const chain = new FloorChain(4)
      const late = chain.grow(chain.finalizeTo(FLOOR - 1), FLOOR * 10)
      const node = yield* joining({ chain, floor: late })
      yield* quiet
      expect(node.sync.heights).toEqual([])
      expect(yield* node.port.propose(contextOn(late, 900), chain.ancestry(late))).toBeUndefined()
      yield* node.end
    }),
  )

  it.effect("C5 INV-7 the start covers what marshal has seen acknowledged, at that height or after it (F36)", () =>
    Effect.gen(function* () {
      for (const [held, start] of [
        [true, FLOOR + 5],
        [false, FLOOR + 6],
      ] as const) {
        const chain = floored()
        chain.processed = Height(FLOOR + 5)
        const floor = chain.finalizeTo(FLOOR)
        if (!held) delete chain.finalized[FLOOR + 5]
        const node = yield* joining({ chain, floor })
        yield* quiet
        expect(node.sync.heights).toEqual([start])
        yield* node.end
      }
      const chain = floored(4, FLOOR)
      chain.processed = Height(FLOOR + 5)
      const node = yield* started({ chain })
      expect(yield* failureOf(node)).toMatchObject({ _tag: "FloorUncovered", height: FLOOR + 5 })
      yield* node.end
    }),
  )

  it.effect("F43 a floor block that marshal has pruned is not waited for", () =>
    Effect.gen(function* () {
      // What marshal stood on is newer than the floor, or the floor itself.
      for (const stood of [FLOOR + 7, FLOOR]) {
        const chain = floored()
        const floor = chain.finalizeTo(FLOOR)
        chain.forget(stood + 1)
        chain.stood = { height: Height(stood), round: Round(0, stood * 10) }
        const node = yield* joining({ chain, floor })
        yield* quiet
        expect(node.sync.heights).toEqual([stood + 1])
        yield* node.end
      }
    }),
  )
})

describe("crashes", () => {
  /** One life that ends before its plan is complete; what marshal kept of its acks. */
  const interrupted = Effect.fnUntraced(function* (
    disk: Disk,
    chain: FloorChain,
    until: (node: Node) => Effect.Effect<unknown, unknown>,
  ) {
    const node = yield* started({ disk, chain })
    yield* until(node).pipe(Effect.ignore)
    yield* quiet
    yield* node.end
    const kept = node.acks().at(-1)
    if (kept !== undefined) chain.processed = Height(kept)
  })

  it.effect(
    "C3 C4 C5 C6 C7 C9 C10 wherever a life ends, the next one starts over what was acknowledged and completes",
    () =>
      Effect.gen(function* () {
        const lives: ReadonlyArray<
          readonly [
            name: string,
            start: number,
            life: (node: Node) => Effect.Effect<unknown, unknown>,
            processed?: number,
          ]
        > = [
          ["C3 nothing done", FLOOR, () => Effect.void],
          ["C4 blocks retained", FLOOR, ({ deliver }) => deliver(FLOOR, FLOOR + 2)],
          [
            "C5 a tip recorded and acknowledged",
            FLOOR + 3,
            ({ deliver, sync }) => Effect.tap(deliver(FLOOR, FLOOR + 3), () => Effect.sync(() => sync.record())),
          ],
          [
            "C6 the same, and marshal has not kept the acks",
            FLOOR,
            ({ deliver, sync }) => Effect.tap(deliver(FLOOR, FLOOR + 3), () => Effect.sync(() => sync.record())),
            FLOOR - 1,
          ],
          [
            "C7 the set is there, and nobody knows",
            FLOOR,
            ({ converge, disk }) =>
              Effect.sync(() => {
                disk.fault = () => "lost"
                converge(FLOOR)
              }),
          ],
          [
            "C10 what was left over is applied and not durable",
            FLOOR,
            ({ converge, deliver }) =>
              Effect.tap(deliver(FLOOR + 1, FLOOR + 2), () =>
                Effect.sync(() => {
                  const full = new StorageWriteFailed({ environment: "toy", reason: "disk full", cause: "full" })
                  converge(FLOOR).gate = Effect.fail(full)
                }),
              ),
          ],
          [
            "C9 all left over acknowledged, completion not written",
            FLOOR + 2,
            ({ converge, deliver, disk }) =>
              Effect.tap(deliver(FLOOR, FLOOR + 2), () =>
                Effect.sync(() => {
                  disk.fault = () => "lost"
                  converge(FLOOR)
                }),
              ),
          ],
        ]
        for (const [name, start, life, processed] of lives) {
          const disk = new Disk()
          const chain = floored()
          yield* interrupted(disk, chain, life)
          if (processed !== undefined) chain.processed = Height(processed)
          disk.fault = () => undefined
          expect((yield* recordOn(disk)).tag, name).toBe("in progress")
          const node = yield* joining({ chain, disk })
          yield* quiet
          expect(node.sync.heights, name).toEqual([start])
          const from = (chain.processed as number) + 1
          yield* node.deliver(from, from + 1)
          node.converge(start)
          yield* quiet
          expect(node.acks(), name).toEqual([from, from + 1])
          expect(yield* completeOn(disk), name).toBe(Math.max(start, from + 1))
          yield* node.end
        }
      }),
  )

  it.effect("C11 after completion, before anything is attached, the next start does not sync again", () =>
    Effect.gen(function* () {
      const disk = new Disk()
      const chain = floored()
      const node = yield* started({ chain, disk, attach: () => Effect.never })
      node.converge(FLOOR)
      yield* quiet
      yield* node.end
      expect(yield* completeOn(disk)).toBe(FLOOR)
      const exit = yield* Effect.exit(joining({ chain, disk, floor: chain.finalizeTo(FLOOR + 5) }))
      expect(Exit.isFailure(exit), "F40 there is nothing to join").toBe(true)
    }),
  )

  it.effect(
    "INV-19 C20 a completion that cannot be written is fatal; whichever record survives, a start goes on from it",
    () =>
      Effect.gen(function* () {
        for (const fault of ["lost", "kept"] as const) {
          const disk = new Disk()
          const node = yield* started({ disk })
          disk.fault = () => fault
          node.converge(FLOOR)
          expect(yield* failureOf(node)).toMatchObject({ _tag: "StorageWriteFailed" })
          disk.fault = () => undefined
          expect((yield* recordOn(disk)).tag).toBe(fault === "kept" ? "complete" : "in progress")
          yield* node.end
        }
      }),
  )
})
