/**
 * Goal: a node starts where it stood, stops in order, and touches nothing of a directory that is not its own.
 * Method: single validators on LMDB in temporary directories, under simulated consensus in real time; directories are
 * compared byte for byte.
 */
import { cpSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { Height, MARSHAL_MAPS } from "@coppice/consensus"
import { SET_MAPS, targetsEqual } from "@coppice/stateful"
import { type Change, StorageDead, StorageReadFailed, StorageWriteFailed } from "@coppice/storage"
import { openLmdb } from "@coppice/storage/lmdb"
import { it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber } from "effect"
import { describe, expect } from "vitest"
import {
  checkNode,
  explain,
  inspectNode,
  type NodeOpenError,
  nodePaths,
  type OpenEnvironment,
  openNode,
  setPath,
} from "../src/index.ts"
import { imageOf, temporaryDirectory } from "./support/temporary.ts"
import { driveTo, fullMempool, makeToy, runTo, type ToyBlock, type ToyDatabases, toyOptions } from "./support/toy.ts"

const openOnce = (options: Effect.Success<ReturnType<typeof toyOptions>>) =>
  Effect.scoped(openNode<ToyBlock, ToyDatabases>(options))

/** What opening is refused with, when it left every byte as it was. */
const refusalOf = Effect.fnUntraced(function* (options: Effect.Success<ReturnType<typeof toyOptions>>) {
  const before = imageOf(options.directory)
  const checked: NodeOpenError = yield* Effect.flip(checkNode(options))
  expect(imageOf(options.directory)).toEqual(before)
  const refused: NodeOpenError = yield* Effect.flip(openOnce(options))
  expect(imageOf(options.directory)).toEqual(before)
  expect(checked).toEqual(refused)
  return refused
})

const FORMAT_1: Readonly<Record<string, Readonly<Record<string, string>>>> = JSON.parse(
  readFileSync(join(import.meta.dirname, "../../stateful/test/fixtures/set-format-1.json"), "utf8"),
)
const fromHex = (hex: string): Uint8Array => new Uint8Array(Buffer.from(hex, "hex"))
/** The databases of a chain as the program of format 1 left them. */
const format1Rows: ReadonlyArray<Change> = Object.entries(FORMAT_1).flatMap(([map, rows]) =>
  Object.entries(rows).map(([key, value]) => ({ tag: "put", map, key: fromHex(key), value: fromHex(value) }) as const),
)

const writeRaw = (directory: string, maps: ReadonlyArray<string>, changes: ReadonlyArray<Change>) =>
  Effect.scoped(Effect.flatMap(openLmdb({ directory, maps }), (storage) => storage.write(changes)))

describe("a node", () => {
  it.live("goes on where it stood after a stop, with the roots its blocks commit to", () =>
    Effect.gen(function* () {
      const directory = yield* temporaryDirectory
      const options = yield* toyOptions(directory, { application: makeToy().withInputs(fullMempool(300)) })
      yield* runTo(options, 5)
      yield* Effect.scoped(
        Effect.gen(function* () {
          const node = yield* openNode(options)
          expect(node.set.anchor.height).toBeGreaterThanOrEqual(5)
          const block = (yield* node.marshal.finalizedAt(node.set.anchor.height))!
          expect(block.digest).toEqual(node.set.anchor.digest)
          expect(targetsEqual(block.targets.counts, node.set.tip.targets.counts)).toBe(true)
          expect(targetsEqual(block.targets.last, node.set.tip.targets.last)).toBe(true)
          expect(node.set.use("read", ({ counts }) => counts.active)).toBe(7)
          yield* driveTo(node, node.set.anchor.height + 3)
        }),
      )
    }),
  )

  it.live("forgets states and blocks below their windows while it runs, and starts again without them", () =>
    Effect.gen(function* () {
      const directory = yield* temporaryDirectory
      const marshalBlocks = 6
      const given = {
        application: makeToy().withInputs(fullMempool(300)),
        limits: { pendingAcksMax: 1, pruneInterval: 3, marshalBlocks },
      }
      const options = yield* toyOptions(directory, given)
      const prunedAfter = (more: number) =>
        Effect.scoped(
          Effect.gen(function* () {
            const node = yield* openNode(options)
            yield* driveTo(node, node.set.anchor.height + more)
            const { height } = node.set.durable
            const held = Effect.gen(function* () {
              const found: number[] = []
              for (let at = 1; at <= height; at++) {
                if ((yield* node.marshal.finalizedAt(Height(at))) !== undefined) found.push(at)
              }
              return found
            })
            // The newest prune came at most `pruneInterval` blocks ago; its rows go in slices.
            let blocks = yield* held
            for (; blocks.length >= marshalBlocks + 3; blocks = yield* held) yield* Effect.sleep(2)
            expect(blocks).toEqual(Array.from({ length: blocks.length }, (_, i) => height - blocks.length + 1 + i))
            expect(blocks.length).toBeGreaterThanOrEqual(marshalBlocks)
            return node.set.use("read", ({ counts }) => [counts.pruned, counts.target.start] as const)
          }),
        )
      const [pruned, floor] = yield* prunedAfter(20)
      expect(pruned).toBeGreaterThan(0)
      expect(pruned).toBeLessThanOrEqual(floor)
      const [later] = yield* prunedAfter(10)
      expect(later).toBeGreaterThan(pruned)
    }),
  )

  it.live("F34 whose databases are older than the blocks it kept says so and does not start", () =>
    Effect.gen(function* () {
      const directory = yield* temporaryDirectory
      const limits = { pendingAcksMax: 1, pruneInterval: 1, marshalBlocks: 3 }
      const options = yield* toyOptions(directory, { application: makeToy().withInputs(fullMempool(300)), limits })
      const [set, backup] = [setPath(nodePaths(directory), "toy"), yield* temporaryDirectory]
      yield* runTo(options, 4)
      cpSync(set, backup, { recursive: true })
      yield* runTo(options, 20)
      rmSync(set, { recursive: true })
      cpSync(backup, set, { recursive: true })
      const refused = yield* Effect.flip(openOnce(options))
      expect(refused).toMatchObject({ _tag: "DeliveryHole", missing: expect.any(Number) })
      const { what, advice } = explain(refused)
      expect(what).toMatch(/^the databases stand at height \d+, of \d+ processed blocks that of height \d+ is gone$/)
      expect(advice).toContain("Restore the node's directory from a backup, or delete it")
    }),
  )

  it.live("F61 that is to keep fewer blocks than states is a mistake of its composer", () =>
    Effect.gen(function* () {
      const options = yield* toyOptions(yield* temporaryDirectory, { limits: { pendingAcksMax: 4, marshalBlocks: 4 } })
      const exit = yield* Effect.exit(openOnce(options))
      expect(Exit.isFailure(exit) && exit.cause.reasons[0]).toMatchObject({
        _tag: "Die",
        defect: expect.any(RangeError),
      })
    }),
  )

  it.live("does not hang in its start when its block store cannot be read, at whatever read", () =>
    Effect.gen(function* () {
      const directory = yield* temporaryDirectory
      yield* runTo(yield* toyOptions(directory), 4)
      const broken = (last: number) => {
        const seen = { reads: 0 }
        const failing = <A extends unknown[], R>(read: (...args: A) => R) => {
          return (...args: A): R => {
            if (++seen.reads > last) throw new StorageReadFailed({ environment: "marshal", cause: new Error("EIO") })
            return read(...args)
          }
        }
        const openEnvironment: OpenEnvironment = (environment) =>
          Effect.map(openLmdb(environment), (storage) =>
            environment.directory.includes("sets")
              ? storage
              : { ...storage, get: failing(storage.get), scan: failing(storage.scan) },
          )
        return Effect.map(toyOptions(directory, { openEnvironment }), (options) => ({ options, seen }))
      }
      const whole = yield* broken(Number.POSITIVE_INFINITY)
      yield* openOnce(whole.options)
      expect(whole.seen.reads).toBeGreaterThan(8)
      for (let reads = 0; reads < whole.seen.reads; reads++) {
        const { options } = yield* broken(reads)
        const exit = yield* Effect.exit(openOnce(options))
        if (Exit.isSuccess(exit)) continue
        expect(yield* Effect.flip(exit), `read ${reads}`).toMatchObject({ _tag: "StorageReadFailed" })
      }
    }),
  )

  it.live("frees its directory when it is interrupted, at work or while it opens", () =>
    Effect.gen(function* () {
      const options = yield* toyOptions(yield* temporaryDirectory)
      const opened = yield* Deferred.make<void>()
      const open = Effect.andThen(openNode(options), Deferred.succeed(opened, undefined))
      const atWork = yield* Effect.forkChild(Effect.scoped(Effect.andThen(open, Effect.never)))
      yield* Deferred.await(opened)
      yield* Fiber.interrupt(atWork)
      for (let turns = 0; turns < 40; turns += 4) {
        const opening = yield* Effect.forkChild(openOnce(options), { startImmediately: true })
        for (let turn = 0; turn < turns; turn++) yield* Effect.yieldNow
        yield* Fiber.interrupt(opening)
      }
      yield* openOnce(options)
    }),
  )

  it.live("is refused a directory in use, which keeps working", () =>
    Effect.gen(function* () {
      const options = yield* toyOptions(yield* temporaryDirectory)
      yield* Effect.scoped(
        Effect.gen(function* () {
          const node = yield* openNode(options)
          const refused = yield* Effect.flip(openOnce(options))
          expect(refused).toMatchObject({ _tag: "DirectoryLocked", holder: { pid: process.pid } })
          expect(explain(refused).what).toContain(String(process.pid))
          expect((yield* Effect.flip(inspectNode(options.directory)))._tag).toBe("DirectoryLocked")
          yield* driveTo(node, 2)
        }),
      )
    }),
  )

  it.live("without its key is refused", () =>
    Effect.gen(function* () {
      const options = yield* toyOptions(yield* temporaryDirectory)
      rmSync(nodePaths(options.directory).secret)
      expect(yield* refusalOf(options)).toMatchObject({ _tag: "SecretUnreadable", reason: "it is missing" })
    }),
  )

  it.live("F29 stops with the reason when a flush cannot be written, and starts again from what is durable", () =>
    Effect.gen(function* () {
      const directory = yield* temporaryDirectory
      const options = yield* toyOptions(directory, { application: makeToy().withInputs(fullMempool(300)) })
      let writes = 0
      const full = new StorageWriteFailed({ environment: "set", reason: "disk full", cause: new Error("ENOSPC") })
      const failing = yield* toyOptions(directory, {
        application: options.application,
        openEnvironment: (environment) =>
          Effect.map(openLmdb(environment), (storage) => {
            if (!environment.directory.includes("sets")) return storage
            const dead = new StorageDead({ environment: "set", cause: full })
            const write: typeof storage.write = (changes) => {
              writes++
              return writes < 6 ? storage.write(changes) : Effect.fail(writes === 6 ? full : dead)
            }
            return { ...storage, write }
          }),
      })
      const exit = yield* Effect.exit(runTo(failing, 1_000_000))
      expect(Exit.isFailure(exit)).toBe(true)
      const error = yield* Effect.flip(exit)
      expect(error).toMatchObject({ _tag: "FlushFailed" })
      expect(explain(error as NodeOpenError).what).toContain("disk full (ENOSPC)")
      yield* runTo(options, 12)
    }),
  )
})

describe("a foreign directory is refused and every byte of it stays", () => {
  const cases = [
    ["another chain id", { chainId: "other" }, "chain"],
    ["another application", { application: makeToy("other") }, "application"],
  ] as const
  for (const [what, given, field] of cases) {
    it.live(`${what}, by config.json`, () =>
      Effect.gen(function* () {
        const directory = yield* temporaryDirectory
        yield* runTo(yield* toyOptions(directory), 3)
        const refused = yield* refusalOf(yield* toyOptions(directory, given))
        expect(refused).toMatchObject({ _tag: "ForeignDirectory", field })
        yield* openOnce(yield* toyOptions(directory))
      }),
    )
  }

  it.live("another genesis, by config.json", () =>
    Effect.gen(function* () {
      const directory = yield* temporaryDirectory
      yield* runTo(yield* toyOptions(directory), 3)
      const { config } = nodePaths(directory)
      const genesis = "0".repeat(64)
      writeFileSync(config, JSON.stringify({ ...JSON.parse(readFileSync(config, "utf8")), genesis }))
      expect(yield* refusalOf(yield* toyOptions(directory))).toMatchObject({
        _tag: "ForeignDirectory",
        field: "genesis",
        actual: genesis,
      })
    }),
  )

  it.live("a later format of the directory", () =>
    Effect.gen(function* () {
      const directory = yield* temporaryDirectory
      yield* runTo(yield* toyOptions(directory), 3)
      writeFileSync(nodePaths(directory).config, '{ "format": 7 }')
      expect(yield* refusalOf(yield* toyOptions(directory))).toMatchObject({ field: "format", actual: "7" })
    }),
  )

  it.live("a chain as format 1 wrote it, by config.json and by its databases alone, saying what to do", () =>
    Effect.gen(function* () {
      const directory = yield* temporaryDirectory
      const options = yield* toyOptions(directory)
      const paths = nodePaths(directory)
      const config = { format: 1, chain: "test", genesis: "ab".repeat(32), application: "toy", validator: 0 }
      writeFileSync(paths.config, `${JSON.stringify(config, undefined, 2)}\n`)
      writeFileSync(paths.lock, "")
      yield* writeRaw(setPath(paths, "toy"), SET_MAPS, format1Rows)
      yield* writeRaw(paths.marshal, MARSHAL_MAPS, [])
      const refused = yield* refusalOf(options)
      expect(refused).toMatchObject({ _tag: "ForeignDirectory", field: "format", expected: "2", actual: "1" })
      expect(explain(refused).what).toBe(`${directory} has format 1, this program reads and writes format 2`)
      expect(explain(refused).advice).toContain("start a new chain in another --data directory")
      rmSync(paths.config)
      const alone = yield* refusalOf(options)
      expect(alone).toMatchObject({ _tag: "ForeignSet", field: "format", expected: "2", actual: "1" })
      expect(explain(alone).advice).toBe(explain(refused).advice)
    }),
  )

  it.live("another chain id, by the environments alone", () =>
    Effect.gen(function* () {
      const directory = yield* temporaryDirectory
      yield* runTo(yield* toyOptions(directory), 3)
      rmSync(nodePaths(directory).config)
      const refused = yield* refusalOf(yield* toyOptions(directory, { chainId: "other" }))
      expect(refused).toMatchObject({ _tag: "ForeignSet", field: "chain", expected: "other", actual: "test" })
    }),
  )

  it.live("the block store of another chain beside its own databases", () =>
    Effect.gen(function* () {
      const [directory, other] = [yield* temporaryDirectory, yield* temporaryDirectory]
      yield* runTo(yield* toyOptions(directory), 3)
      yield* runTo(yield* toyOptions(other, { chainId: "other" }), 3)
      rmSync(nodePaths(directory).marshal, { recursive: true })
      cpSync(nodePaths(other).marshal, nodePaths(directory).marshal, { recursive: true })
      const refused = yield* refusalOf(yield* toyOptions(directory))
      expect(refused).toMatchObject({ _tag: "ForeignEnvironment", field: "chain", expected: "test", actual: "other" })
    }),
  )

  it.live("an unknown format version of the databases", () =>
    Effect.gen(function* () {
      const directory = yield* temporaryDirectory
      yield* runTo(yield* toyOptions(directory), 3)
      const value = new Uint8Array([0, 0, 0, 9, 1, 2, 3])
      const change = { tag: "put", map: "root", key: Uint8Array.of(0), value } as const
      yield* writeRaw(setPath(nodePaths(directory), "toy"), SET_MAPS, [change])
      expect(yield* refusalOf(yield* toyOptions(directory))).toMatchObject({
        _tag: "ForeignSet",
        field: "format",
        actual: "9",
      })
    }),
  )

  it.live("an unknown format version of the block store", () =>
    Effect.gen(function* () {
      const directory = yield* temporaryDirectory
      yield* runTo(yield* toyOptions(directory), 3)
      const key = new TextEncoder().encode("format")
      const change = { tag: "put", map: "meta", key, value: new Uint8Array([0, 0, 0, 9]) } as const
      yield* writeRaw(nodePaths(directory).marshal, MARSHAL_MAPS, [change])
      const refused = yield* refusalOf(yield* toyOptions(directory))
      expect(refused).toMatchObject({ _tag: "ForeignEnvironment", field: "format", actual: "9" })
    }),
  )
})

it.live("a check lets in what openNode lets in, and changes nothing, not even in a new directory", () =>
  Effect.gen(function* () {
    const options = yield* toyOptions(yield* temporaryDirectory)
    for (let round = 0; round < 2; round++) {
      const before = imageOf(options.directory)
      yield* checkNode(options)
      expect(imageOf(options.directory)).toEqual(before)
      yield* runTo(options, 2)
    }
  }),
)

describe("inspect", () => {
  it.live("says where a stopped node stands, and writes nothing", () =>
    Effect.gen(function* () {
      const directory = yield* temporaryDirectory
      const options = yield* toyOptions(directory, { application: makeToy().withInputs(fullMempool(100)) })
      yield* runTo(options, 4)
      const before = imageOf(directory)
      const inspected = yield* inspectNode(directory)
      expect(imageOf(directory)).toEqual(before)
      expect(inspected).toMatchObject({ chain: "test", application: "toy", validator: 0, format: 2 })
      const { set, marshal } = inspected
      expect(set!.anchor!.height).toBeGreaterThanOrEqual(4)
      expect(set!.window!.last).toBe(set!.anchor!.height)
      expect(set!.members.map(({ name }) => name)).toEqual(["counts", "last"])
      expect(marshal!.finalized!.last).toBeGreaterThanOrEqual(set!.anchor!.height)
      yield* Effect.scoped(
        Effect.map(openNode(options), (node) => {
          expect(set!.members[0]).toMatchObject({ size: Number(node.set.tip.targets.counts.end) })
        }),
      )
    }),
  )

  it.live("of a directory without a node creates nothing", () =>
    Effect.gen(function* () {
      const directory = yield* temporaryDirectory
      expect((yield* Effect.flip(inspectNode(directory)))._tag).toBe("NoNode")
      expect(imageOf(directory)).toEqual([])
    }),
  )
})
