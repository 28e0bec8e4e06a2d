/**
 * Goal: a marshal that meets a fault in any storage call, on any of its paths, leaves a legal environment and goes on from
 * it as if nothing had happened (spec consensus §3.10, crash points M1 to M11).
 * Method: a life without faults counts the calls of a path. Then every write of it meets every fault, and a sample of the
 * reads too: what is left is judged row by row against what callers were told, and the same script, run again over it,
 * must end in the environment of the life without faults (F-20, F-24). Canaries: stores that break the contract of theirs;
 * and for each rule what a sound life left, altered so that it breaks that rule alone.
 */
import { decode } from "@coppice/codec"
import {
  type Anchor,
  anchorOf,
  decodeBlock,
  finalizationCodec,
  type Height,
  MARSHAL_MAPS,
  type Marshal,
  Round,
} from "@coppice/consensus"
import { FAULTS, type Fault, type MemoryDisk, type StorageCall, type StorageShape } from "@coppice/storage"
import { Cause, Effect, Exit, Option } from "effect"
import { expect, test } from "vitest"
import { blockCodec, finalize, genesis, type TestBlock } from "../src/chain.ts"
import { simulate } from "../src/scheduler.ts"
import { at, chain, FakePeer, knowsAll, makeDisk, open, type Wrap } from "./marshal-world.ts"

const WINDOW = 4
/** Of every first life: a fault meets the same call as the life without faults made. */
const SEED = 1

/** What outlives a life: two disks, and what callers were told. */
class World {
  readonly disk: MemoryDisk
  /** The block whose state is durable in the executor. */
  executed: TestBlock | undefined
  /** Heights acknowledged by the executor, in any life. */
  readonly acknowledged = new Set<number>()
  /** Blocks that `verified` said are durable, by view. */
  readonly promised = new Map<number, TestBlock>()
  /** Heights whose finalization `report` said is durable. */
  readonly reported = new Set<number>()
  /** Of views voted for in an earlier life, asked again: the block that was found stored. */
  readonly recalled = new Map<number, TestBlock | undefined>()
  /** Whether `setFloor` said that it is durable. */
  hasFloor = false
  /** Highest processed height that anybody saw. */
  processed = -1
  delivered: Array<number> = []

  constructor(seed: number) {
    this.disk = makeDisk(seed)
  }
}

/** One way through the marshal. Its script can be run again over what an earlier run left. */
interface Path {
  readonly name: string
  readonly length: number
  /** Whether the executor keeps state of its own, or syncs it and takes what it is given. */
  readonly isStateful: boolean
  readonly script: (marshal: Marshal<TestBlock>, peer: FakePeer, world: World) => Effect.Effect<void, unknown>
  /** Crash points that the sweep of this path must have met. */
  readonly meets: ReadonlyArray<CrashPoint>
}

const CRASH_POINTS = ["M1", "M2", "M3", "M4", "M5", "M6", "M7", "M8", "M9", "M10", "M11"] as const
type CrashPoint = (typeof CRASH_POINTS)[number]

/** A verification: its vote may be cast once the block is durable. Asked again after a restart, it succeeds again (M2, M3). */
const vote = Effect.fnUntraced(function* (marshal: Marshal<TestBlock>, world: World, block: TestBlock) {
  const { round } = block.context
  const isVotedFor = world.promised.has(round.view)
  const stored = isVotedFor ? yield* marshal.verifiedAt(round) : undefined
  yield* marshal.verified(round, block)
  if (isVotedFor) world.recalled.set(round.view, stored)
  world.promised.set(round.view, block)
})
const report = (marshal: Marshal<TestBlock>, world: World, block: TestBlock) =>
  Effect.map(marshal.report(finalize(block)), () => void world.reported.add(block.height))
const setFloor = (marshal: Marshal<TestBlock>, world: World, block: TestBlock) =>
  Effect.map(marshal.setFloor(finalize(block)), () => {
    world.hasFloor = true
  })

const follow: Path["script"] = Effect.fnUntraced(function* (marshal, _peer, world) {
  for (const block of chain.slice(0, 8)) {
    if (block.height % 3 !== 0) yield* vote(marshal, world, block)
    if (block.height % 4 === 1) yield* marshal.notarized(block.context.round, block)
    if (block.height % 2 === 0) yield* report(marshal, world, block)
  }
})

const PATHS: ReadonlyArray<Path> = [
  {
    name: "genesis",
    length: 8,
    isStateful: true,
    script: follow,
    meets: ["M1", "M2", "M3", "M4", "M5", "M6", "M7", "M11"],
  },
  {
    name: "floor",
    length: 12,
    isStateful: false,
    script: Effect.fnUntraced(function* (marshal, _peer, world) {
      yield* vote(marshal, world, at(1))
      yield* vote(marshal, world, at(2))
      yield* report(marshal, world, at(2))
      yield* Effect.sleep(20)
      yield* vote(marshal, world, at(9))
      yield* setFloor(marshal, world, at(9))
      yield* report(marshal, world, at(12))
    }),
    meets: ["M2", "M3", "M4", "M5", "M6", "M8", "M11"],
  },
  {
    name: "pending floor",
    length: 12,
    isStateful: false,
    script: Effect.fnUntraced(function* (marshal, peer, world) {
      peer.answer = () => undefined
      yield* vote(marshal, world, at(1))
      yield* report(marshal, world, at(1))
      yield* Effect.sleep(10)
      yield* setFloor(marshal, world, at(9))
      yield* report(marshal, world, at(10))
      yield* Effect.sleep(50)
      peer.answer = knowsAll
      yield* Effect.sleep(10_000)
      yield* report(marshal, world, at(12))
    }),
    meets: ["M1", "M4", "M8", "M9", "M11"],
  },
  {
    name: "pruning",
    length: 70,
    isStateful: true,
    script: Effect.fnUntraced(function* (marshal, _peer, world) {
      yield* Effect.forEach(chain, (block) => vote(marshal, world, block), { concurrency: "unbounded", discard: true })
      yield* report(marshal, world, at(70))
      yield* Effect.sleep(1_000)
      yield* marshal.prune(at(68).height)
    }),
    meets: ["M5", "M7", "M10", "M11"],
  },
]

/** Makes delivered blocks durable after a while, and acknowledges them a little later. */
const executorOf = (world: World) => ({
  propose: () => Effect.never,
  verify: () => Effect.never,
  finalized: (block: TestBlock, ack: { readonly acknowledge: () => void }) =>
    Effect.gen(function* () {
      world.delivered.push(block.height)
      yield* Effect.forkDetach(
        Effect.gen(function* () {
          yield* Effect.sleep(3)
          // Blocks of one turn wake in any order; what is durable never goes back.
          if (block.height > (world.executed?.height ?? 0)) world.executed = block
          yield* Effect.sleep(2)
          world.acknowledged.add(block.height)
          ack.acknowledge()
        }),
      )
    }),
})

/** From opening to rest, or to the marshal's end. */
const life = (path: Path, world: World, seed: number, wrap?: Wrap) => {
  world.delivered = []
  const anchor: Anchor | undefined = path.isStateful ? anchorOf(world.executed ?? genesis) : undefined
  // What an executor says that it stands on is as good as acknowledged.
  for (let height = 1; height <= (anchor?.height ?? 0); height++) world.acknowledged.add(height)
  const peer = new FakePeer()
  peer.answer = knowsAll
  const program = Effect.scoped(
    Effect.gen(function* () {
      const marshal = yield* open(world.disk, peer, { pendingAcksMax: windowOf(path) }, wrap)
      const watch = Effect.map(marshal.processedHeight, (height) => {
        world.processed = Math.max(world.processed, height ?? -1)
      })
      yield* marshal.start(executorOf(world), { deliverAfter: anchor })
      const lived = Effect.andThen(path.script(marshal, peer, world), Effect.sleep(20_000)).pipe(
        // A power loss after the very last write shows at the next call.
        Effect.andThen(marshal.verifiedAt(Round(0, 1_000))),
      )
      yield* Effect.raceFirst(lived, Effect.andThen(marshal.stopped, Effect.die("it stopped without failure"))).pipe(
        Effect.ensuring(watch),
      )
      return { floor: yield* marshal.floor, tip: yield* marshal.tip }
    }),
  )
  return { peer, ...simulate(seed, program) }
}

/** What an environment holds, decoded. */
const look = (disk: MemoryDisk) =>
  simulate(
    1,
    Effect.scoped(
      Effect.map(disk.open("marshal", MARSHAL_MAPS), (storage: StorageShape) => {
        const meta = new Map(storage.scan("meta", {}).map(({ key, value }) => [new TextDecoder().decode(key), value]))
        const height = (key: string): number | undefined => {
          const value = meta.get(key)
          return value === undefined ? undefined : Number(new DataView(value.buffer, value.byteOffset).getBigUint64(0))
        }
        return {
          finalized: storage.scan("finalized", {}).map(({ value }) => decodeBlock(blockCodec, value)),
          certificates: storage.scan("finalizations", {}).map(({ key, value }) => ({
            height: Number(new DataView(key.buffer, key.byteOffset).getBigUint64(0)),
            payload: decode(finalizationCodec, value).proposal.payload,
          })),
          awaited: storage.scan("awaited", {}).map(({ value }) => decode(finalizationCodec, value).proposal.payload),
          indexed: storage.scan("heights", {}).length,
          verified: storage.scan("verified", {}).map(({ value }) => decodeBlock(blockCodec, value.subarray(32))),
          processed: height("progress"),
          floor: height("floor"),
          retained: height("retained") ?? 0,
          isFloorPending: meta.has("pending floor"),
          /** All that must be the same in the end, whatever happened on the way. */
          whole: JSON.stringify(
            [...meta, ...storage.scan("finalized", {}), ...storage.scan("heights", {})].map(String),
          ),
        }
      }),
    ),
  )

type Rows = ReturnType<typeof rowsOf>
const rowsOf = (disk: MemoryDisk) => {
  const { exit } = look(disk)
  if (Exit.isFailure(exit)) throw new Error(`the environment does not open: ${exit.cause}`)
  return exit.value
}

const equal = (a: Uint8Array | undefined, b: Uint8Array | undefined): boolean => String(a) === String(b)

/** Blocks that a marshal keeps for votes are of the newest views. */
const isExpired = (view: number, processed: number): boolean => view < processed - 64

/** What is wrong with an environment, given what callers were told. */
const wrongRows = (rows: Rows, world: World): ReadonlyArray<string> => {
  const wrong: Array<string> = []
  if (rows.finalized.length === 0) return ["nothing is final"]
  const byHeight = new Map(rows.finalized.map((block) => [block.height as number, block]))
  for (const block of rows.finalized) {
    const below = byHeight.get(block.height - 1)
    if (below !== undefined && !equal(below.digest, block.parent)) wrong.push(`CONS-12 ${block.height} is not linked`)
  }
  if (rows.indexed !== rows.finalized.length) wrong.push("CONS-12 index and blocks differ")
  for (const { height, payload } of rows.certificates) {
    if (!equal(byHeight.get(height)?.digest, payload)) wrong.push(`M4 certificate of ${height} without its block`)
  }
  const processed = rows.processed ?? -1
  for (const height of world.reported) {
    const isHeld = rows.certificates.some((certificate) => certificate.height === height)
    const isAwaited = rows.awaited.some((payload) => equal(payload, at(height).digest))
    if (!isHeld && !isAwaited && height > Math.max(processed, (rows.floor ?? 0) - 1))
      wrong.push(`M4 finalization of ${height} lost`)
  }
  if (processed < world.processed) wrong.push(`CONS-16 processed ${processed}, was ${world.processed}`)
  for (let height = (rows.floor ?? 0) + (rows.floor === undefined ? 1 : 0); height <= processed; height++) {
    if (!world.acknowledged.has(height)) wrong.push(`CONS-14 processed ${processed}, ${height} is not acknowledged`)
  }
  if (rows.floor !== undefined && processed < rows.floor - 1) wrong.push("M8 a floor without its progress")
  if (rows.floor !== undefined && !byHeight.has(rows.floor)) wrong.push("M8 a floor without its block")
  if (world.hasFloor && rows.floor === undefined && !rows.isFloorPending) wrong.push("M9 the floor is lost")
  for (let height = Math.max(rows.retained, rows.floor ?? 0); height <= processed; height++) {
    if (!byHeight.has(height)) wrong.push(`M10 ${height} is gone, retained from ${rows.retained}`)
  }
  for (const [view, block] of world.promised) {
    const isKept = isExpired(view, processed) || rows.verified.some(({ digest }) => equal(digest, block.digest))
    if (!isKept) wrong.push(`CONS-11 the block of view ${view} was promised`)
  }
  return wrong
}

/** What is wrong with the blocks found for views that had been voted for, asked again. */
const wrongRecalls = ({ recalled, promised }: World, processed: number): ReadonlyArray<string> =>
  [...recalled].flatMap(([view, stored]) => {
    const isRight = stored === undefined ? isExpired(view, processed) : equal(stored.digest, promised.get(view)!.digest)
    return isRight ? [] : [`M3 the block voted for in view ${view} is not the one found`]
  })

/** Which crash points a cut life stands at. M3 shows in the next one: a vote is stored, and its verification asked again. */
const pointsOf = (rows: Rows, world: World, peer: FakePeer, fault: Fault): ReadonlyArray<CrashPoint> => {
  const met = new Set<CrashPoint>()
  const [newest, processed] = [rows.finalized.at(-1)!.height as number, rows.processed ?? -1]
  const last = world.delivered.at(-1)
  const isFinal = (height: number) => rows.finalized.some((block) => block.height === height)
  if (peer.given.some((height) => !isFinal(height) && height > processed)) met.add("M1")
  if (rows.verified.some(({ context }) => !world.promised.has(context.round.view))) met.add("M2")
  // One write stores both; a certificate comes without its block when the block has to be fetched.
  if (rows.awaited.some((payload) => !rows.finalized.some(({ digest }) => equal(digest, payload)))) met.add("M4")
  if (last !== undefined && newest > last) met.add("M5")
  if (last !== undefined && last > (world.executed?.height ?? -1)) met.add("M6")
  if (world.executed !== undefined && world.executed.height > processed) met.add("M7")
  if (rows.floor !== undefined || rows.isFloorPending) met.add(rows.floor === undefined ? "M9" : "M8")
  if (rows.finalized[0]!.height < rows.retained) met.add("M10")
  if (fault === "io" || fault === "disk full") met.add("M11")
  return [...met]
}

/** Heights that are not in order: a lifetime's deliveries are consecutive, but for one jump to the floor. */
const misordered = (
  delivered: ReadonlyArray<number>,
  first: number,
  floor: Height | undefined,
): ReadonlyArray<string> => {
  let expected = first
  return delivered.flatMap((height) => {
    const isRight = height === expected || (height === floor && height > expected)
    const wrong = isRight ? [] : [`CONS-13 delivered ${height}, not ${expected}`]
    expected = height + 1
    return wrong
  })
}

const windowOf = ({ name }: Path): number => (name === "pruning" ? 32 : WINDOW)

/** More blocks delivered again than may be out at once. */
const redeliveredTooMany = (redelivered: number, window: number): ReadonlyArray<string> =>
  redelivered > window ? [`G-2 ${redelivered} blocks were delivered again`] : []

const isOfStorage = (cause: Cause.Cause<unknown>): boolean => {
  const error = Option.getOrUndefined(Cause.findErrorOption(cause)) as {
    readonly _tag?: string
    readonly cause?: unknown
  }
  const tag = error?._tag === "MarshalStopped" ? (error.cause as { readonly _tag?: string })?._tag : error?._tag
  return tag?.startsWith("Storage") === true
}

interface Sweep {
  readonly writes: number
  readonly runs: number
  readonly wrong: ReadonlyArray<string>
  readonly met: ReadonlySet<CrashPoint>
  readonly redelivered: number
}

/** The life without faults: how many calls it made, and what it left. */
interface Reference {
  readonly calls: number
  readonly whole: string
}

/** One life with one fault, judged; then the life after it, judged. */
const runOf = (path: Path, call: number, fault: Fault, reference: Reference, wrap?: Wrap) => {
  const world = new World(SEED)
  let made = 0
  world.disk.faults = () => (made++ === call ? fault : undefined)
  const first = life(path, world, SEED, wrap)
  const before = world.delivered
  world.disk.faults = () => undefined
  world.disk.crash()
  const wrong: Array<string> = []
  const isOver = fault === "crash after" && call === reference.calls - 1
  if (Exit.isSuccess(first.exit) && !isOver) wrong.push("M11 it lived on")
  if (Exit.isFailure(first.exit) && !isOfStorage(first.exit.cause)) wrong.push(`M11 it met ${first.exit.cause}`)
  const rows = rowsOf(world.disk)
  const isCreated = rows.finalized.length > 0
  if (isCreated) wrong.push(...wrongRows(rows, world))
  const met = new Set(isCreated ? pointsOf(rows, world, first.peer, fault) : [])
  const from = path.isStateful ? (world.executed?.height ?? 0) + 1 : (rows.processed ?? -1) + 1
  const second = life(path, world, SEED + call)
  if (Exit.isFailure(second.exit))
    return { wrong: [...wrong, `it does not go on: ${second.exit.cause}`], met, redelivered: 0 }
  const after = rowsOf(world.disk)
  wrong.push(...wrongRecalls(world, after.processed ?? -1))
  if ([...world.recalled.values()].some((stored) => stored !== undefined)) met.add("M3")
  wrong.push(...wrongRows(after, world), ...misordered(world.delivered, from, second.exit.value.floor?.height))
  if (after.processed !== path.length) wrong.push(`it ends at ${after.processed}`)
  if (reference.whole !== after.whole) wrong.push("it ends elsewhere than a life without faults")
  const redelivered = before.filter((height) => world.delivered.includes(height)).length
  wrong.push(...redeliveredTooMany(redelivered, windowOf(path)))
  return { wrong: wrong.map((what) => `call ${call}, ${fault}: ${what}`), met, redelivered }
}

/** Every write of a path meets every fault, and one read in `readsEvery` does. */
const sweep = (path: Path, readsEvery: number, wrap?: Wrap, faults: ReadonlyArray<Fault> = FAULTS): Sweep => {
  const sound = new World(SEED)
  const calls: Array<StorageCall["name"]> = []
  sound.disk.faults = ({ name }) => void calls.push(name)
  const { exit } = life(path, sound, SEED, wrap)
  if (Exit.isFailure(exit)) throw new Error(`without faults: ${exit.cause}`)
  sound.disk.faults = () => undefined
  const reference = rowsOf(sound.disk)
  expect(wrongRows(reference, sound)).toEqual([])
  const [wrong, met] = [[] as Array<string>, new Set<CrashPoint>()]
  let [runs, redelivered] = [0, 0]
  for (const [call, name] of calls.entries()) {
    if (name !== "write" && call % readsEvery !== 0) continue
    for (const fault of name === "write" ? faults : (["crash before", "crash after", "io"] as const)) {
      const run = runOf(path, call, fault, { calls: calls.length, whole: reference.whole }, wrap)
      runs++
      redelivered += run.redelivered
      wrong.push(...run.wrong)
      for (const point of run.met) met.add(point)
    }
  }
  return { writes: calls.filter((name) => name === "write").length, runs, wrong, met, redelivered }
}

test.each(PATHS)("crash points: $name survives every fault at every write, and at reads", (path) => {
  const { writes, runs, wrong, met, redelivered } = sweep(path, path.name === "pruning" ? 97 : 13)
  expect(wrong).toEqual([])
  expect(runs).toBeGreaterThan(5 * writes)
  expect([...met].filter((point) => path.meets.includes(point)).toSorted()).toEqual([...path.meets].toSorted())
  if (path.name === "genesis") expect(redelivered).toBeGreaterThan(0)
})

test("the paths together meet every crash point", () => {
  expect(new Set(PATHS.flatMap(({ meets }) => meets))).toEqual(new Set(CRASH_POINTS))
})

test("canaries: stores that tear their writes, promise too early, hide a failure or make a defect of it are found out", () => {
  const torn: Wrap = (storage) => ({
    ...storage,
    write: (changes) => Effect.forEach(changes, (change) => storage.write([change]), { discard: true }),
  })
  const [genesisPath, floorPath] = PATHS as [Path, Path]
  expect(sweep(floorPath, 1_000, torn, ["crash after"]).wrong.join()).toMatch("CONS-12")
  const hasty: Wrap = (storage) => ({
    ...storage,
    write: (changes) =>
      Effect.asVoid(Effect.forkDetach(Effect.ignore(storage.write(changes)), { startImmediately: true })),
  })
  expect(sweep(genesisPath, 1_000, hasty, ["crash before"]).wrong.join()).toMatch("CONS-11")
  const deaf: Wrap = (storage) => ({ ...storage, write: (changes) => Effect.ignore(storage.write(changes)) })
  const unheard = sweep(floorPath, 1_000, deaf, ["disk full"]).wrong.join()
  for (const rule of ["CONS-11", "CONS-16", "M3", "M4", "M9"]) expect(unheard).toMatch(rule)
  const defective: Wrap = (storage) => ({ ...storage, write: (changes) => Effect.orDie(storage.write(changes)) })
  expect(sweep(floorPath, 1_000, defective, ["io"]).wrong.join()).toMatch("M11")
})

/** What a sound life of a path left, and what its callers were told. */
const soundLife = (name: string) => {
  const path = PATHS.find((known) => known.name === name)!
  const world = new World(SEED)
  const { peer, exit } = life(path, world, SEED)
  if (Exit.isFailure(exit)) throw new Error(`without faults: ${exit.cause}`)
  return { world, peer, rows: rowsOf(world.disk) }
}

/** Rows without the final block of a height. */
const without = (rows: Rows, height: number): Rows => ({
  ...rows,
  finalized: rows.finalized.filter((block) => block.height !== height),
  certificates: rows.certificates.filter((certificate) => certificate.height !== height),
  indexed: rows.indexed - 1,
})

/** Rows whose progress is another one, and a world in which nobody saw more. */
const standingAt = (rows: Rows, world: World, processed: number | undefined): Rows => {
  world.processed = processed ?? -1
  return { ...rows, processed }
}

type Alter = (rows: Rows, world: World) => Rows
const ALTERED: ReadonlyArray<readonly [rule: string, path: string, alter: Alter]> = [
  ["CONS-11", "genesis", (rows) => ({ ...rows, verified: rows.verified.slice(1) })],
  ["CONS-12", "genesis", (rows) => ({ ...rows, indexed: rows.indexed - 1 })],
  [
    "CONS-12",
    "genesis",
    (rows) => ({
      ...rows,
      finalized: rows.finalized.map((block, i) => (i === 3 ? { ...block, parent: genesis.parent } : block)),
    }),
  ],
  [
    "CONS-14",
    "genesis",
    (rows, world) => {
      world.acknowledged.delete(5)
      return rows
    },
  ],
  [
    "CONS-16",
    "genesis",
    (rows, world) => {
      world.processed++
      return rows
    },
  ],
  [
    "M4 certificate",
    "genesis",
    (rows) => ({ ...rows, certificates: [...rows.certificates, { height: 9, payload: at(9).digest }] }),
  ],
  ["M4 finalization", "genesis", (rows, world) => standingAt({ ...rows, certificates: [] }, world, 7)],
  ["M8 a floor without its progress", "floor", (rows, world) => standingAt(rows, world, rows.floor! - 2)],
  [
    "M8 a floor without its block",
    "floor",
    (rows, world) => standingAt(without(rows, rows.floor!), world, rows.floor! - 1),
  ],
  [
    "M9",
    "floor",
    (rows, world) => {
      world.reported.clear()
      return { ...standingAt(rows, world, undefined), floor: undefined }
    },
  ],
  ["M10", "genesis", (rows) => without(rows, 3)],
  ["M10", "pruning", (rows) => without(rows, rows.retained)],
]

test.each(ALTERED)(
  "canary: %s is broken, and nothing else, by what a sound life of %s left, altered",
  (rule, path, alter) => {
    const { world, rows } = soundLife(path)
    expect(wrongRows(rows, world)).toEqual([])
    const wrong = wrongRows(alter(rows, world), world)
    expect(wrong.length).toBeGreaterThan(0)
    for (const what of wrong) expect(what.startsWith(rule), what).toBe(true)
  },
)

test("canaries: M3 another block or none for a view voted for, CONS-13 heights out of order, G-2 too many of them again", () => {
  const { world, peer, rows } = soundLife("genesis")
  expect(pointsOf(rows, world, peer, "crash after")).not.toContain("M4")
  expect([...world.promised.keys()]).toContain(4)
  for (const [stored, isWrong] of [
    [at(4), false],
    [at(5), true],
    [undefined, true],
  ] as const) {
    world.recalled.set(4, stored)
    expect(wrongRecalls(world, 8).join().startsWith("M3"), `${stored?.height}`).toBe(isWrong)
  }
  const floor = at(9).height
  expect([misordered([3, 4, 5], 3, undefined), misordered([3, 4, 9, 10], 3, floor)]).toEqual([[], []])
  for (const delivered of [[4], [3, 5], [3, 3], [3, 4, 3], [3, 4, 10], [10, 9]])
    expect(misordered(delivered, 3, floor)[0], delivered.join()).toMatch(/^CONS-13/)
  expect(redeliveredTooMany(WINDOW, WINDOW)).toEqual([])
  expect(redeliveredTooMany(WINDOW + 1, WINDOW)[0]).toMatch(/^G-2/)
})
