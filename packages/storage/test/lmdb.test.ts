/**
 * Goal: what the laws cannot ask of LMDB in one process: files that are not its own, growth, a full disk, being killed.
 * Method: temporary directories; child processes under a file-size limit, and killed with SIGKILL at work. That a write
 * survives power loss cannot be shown without intercepting system calls: docs/adr/0003-lmdb-durability.md has the
 * experiment.
 */
import { execFile, spawn } from "node:child_process"
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { describe, expect } from "vitest"
import { MAPS_MAX, Storage, StorageDead } from "../src/index.ts"
import { layerLmdb, openLmdb } from "../src/lmdb.ts"
import { temporaryDirectory } from "./support/worlds.ts"

const KEY = Uint8Array.of(1)

const put = (value: Uint8Array, key = KEY) => [{ tag: "put", map: "a", key, value } as const]

const child = (name: string) => new URL(`./support/${name}.ts`, import.meta.url).pathname

describe("opening", () => {
  const FOREIGN: Readonly<Record<string, (directory: string) => void>> = {
    "bytes of something else": (directory) =>
      writeFileSync(join(directory, "data.mdb"), new Uint8Array(20_000).fill(7)),
    "a file of zeros": (directory) => writeFileSync(join(directory, "data.mdb"), new Uint8Array(20_000)),
    "a file that is too short": (directory) => writeFileSync(join(directory, "data.mdb"), new Uint8Array(10)),
    "a directory in place of the data": (directory) => mkdirSync(join(directory, "data.mdb")),
    "a directory in place of the lock": (directory) => mkdirSync(join(directory, "lock.mdb")),
  }

  const made = (directory: string) =>
    Effect.scoped(Effect.flatMap(openLmdb({ directory, maps: ["a"] }), (storage) => storage.write(put(KEY))))

  const image = (directory: string) =>
    readdirSync(directory).map((name) => {
      const path = join(directory, name)
      return [name, statSync(path).isFile() ? readFileSync(path).toString("latin1") : "directory"]
    })

  const refused = Effect.fnUntraced(function* (directory: string, what: string) {
    const before = image(directory)
    const error = yield* Effect.flip(openLmdb({ directory, maps: ["a"] }))
    expect(error, what).toMatchObject({ _tag: "StorageOpenFailed", environment: directory })
    expect(image(directory), what).toEqual(before)
  })

  for (const [what, spoil] of Object.entries(FOREIGN)) {
    it.live(`${what} is refused, and left as it was`, () =>
      Effect.gen(function* () {
        const directory = yield* temporaryDirectory
        spoil(directory)
        yield* refused(directory, what)
      }),
    )
  }

  it.live("an environment with a spoiled meta page, or of another format, is refused and left as it was", () =>
    Effect.gen(function* () {
      const directory = yield* temporaryDirectory
      yield* made(directory)
      const path = join(directory, "data.mdb")
      const sound = readFileSync(path)
      const pageBytes = sound.readUInt32LE(48)
      for (const at of [24, 28, 48, pageBytes + 24, pageBytes + 28]) {
        const spoiled = Buffer.from(sound)
        spoiled[at]! ^= 0x55
        writeFileSync(path, spoiled)
        yield* refused(directory, `byte ${at}`)
      }
      writeFileSync(path, sound)
      yield* made(directory)
    }),
  )

  it.live("a data file that is empty is a new environment", () =>
    Effect.gen(function* () {
      const directory = yield* temporaryDirectory
      writeFileSync(join(directory, "data.mdb"), "")
      yield* made(directory)
    }),
  )

  it.live("a path that is a file is refused", () =>
    Effect.gen(function* () {
      const directory = join(yield* temporaryDirectory, "file")
      writeFileSync(directory, "")
      expect(yield* Effect.flip(openLmdb({ directory, maps: ["a"] }))).toMatchObject({ _tag: "StorageOpenFailed" })
    }),
  )

  it.live("more maps than the limit are refused, and as many as it are opened", () =>
    Effect.gen(function* () {
      const directory = yield* temporaryDirectory
      const maps = Array.from({ length: MAPS_MAX + 1 }, (_, i) => `map ${i}`)
      const error = yield* Effect.flip(openLmdb({ directory, maps }))
      expect(error).toMatchObject({ _tag: "StorageLimitExceeded", limit: "MAPS_MAX", actual: MAPS_MAX + 1 })
      const storage = yield* openLmdb({ directory, maps: maps.slice(1) })
      expect(storage.scan("map 64", {})).toEqual([])
    }),
  )

  it.live("two handles of a process see each other's writes", () =>
    Effect.gen(function* () {
      const directory = yield* temporaryDirectory
      const first = yield* openLmdb({ directory, maps: ["a"] })
      yield* Effect.scoped(
        Effect.gen(function* () {
          const second = yield* openLmdb({ directory, maps: ["a"] })
          yield* first.write(put(Uint8Array.of(1)))
          yield* Effect.sleep(5)
          expect(second.get("a", KEY)).toEqual(Uint8Array.of(1))
          yield* second.write(put(Uint8Array.of(2)))
        }),
      )
      yield* first.write(put(Uint8Array.of(3), Uint8Array.of(2)))
      expect(first.get("a", KEY)).toEqual(Uint8Array.of(2))
    }),
  )

  it.live("the layer opens the environment and closes it with its scope", () =>
    Effect.gen(function* () {
      const directory = yield* temporaryDirectory
      const use = <A>(run: (storage: Storage["Service"]) => A) =>
        Effect.provide(
          Effect.flatMap(Storage, (storage) => Effect.as(storage.write(put(KEY)), run(storage))),
          layerLmdb({ directory, maps: ["a"] }),
        )
      const closed = yield* use((storage) => storage)
      expect(() => closed.get("a", KEY)).toThrow(StorageDead)
      expect(yield* use((storage) => storage.get("a", KEY))).toEqual(KEY)
    }),
  )
})

it.live("the map grows far past the address space it had at first, while it is read", () =>
  Effect.gen(function* () {
    const directory = yield* temporaryDirectory
    const mapBytes = 1 << 18
    const storage = yield* openLmdb({ directory, maps: ["a"], mapBytes })
    const rows = 64
    const value = (n: number) => new Uint8Array(8192).fill(n)
    yield* storage.write(put(value(0), Uint8Array.of(0, 0)))
    for (let n = 1; n <= 40; n++) {
      const batch = Array.from({ length: rows }, (_, row) => put(value(n), Uint8Array.of(n, row))[0]!)
      const write = yield* Effect.forkChild(storage.write(batch), { startImmediately: true })
      while (write.pollUnsafe() === undefined) {
        expect(storage.get("a", Uint8Array.of(0, 0))).toEqual(value(0))
        yield* Effect.yieldNow
      }
      yield* Fiber.join(write)
    }
    expect(storage.info().bytesUsed).toBeGreaterThan(60 * mapBytes)
    for (let n = 1; n <= 40; n++) expect(storage.get("a", Uint8Array.of(n, rows - 1)), `batch ${n}`).toEqual(value(n))
  }),
)

describe("a full disk", () => {
  const run = (directory: string, limit: string) =>
    Effect.callback<{ readonly code: unknown; readonly said: string }>((resume) => {
      const script = `trap '' XFSZ; ${limit}; exec "$0" "$@"`
      const args = ["-c", script, process.execPath, child("full-disk"), directory]
      execFile("/bin/sh", args, (error, stdout) =>
        resume(Effect.succeed({ code: error?.code ?? 0, said: stdout.trim() })),
      )
    })

  it.live("where files may not grow, the law of a full disk is kept", () =>
    Effect.gen(function* () {
      expect(yield* run(yield* temporaryDirectory, "ulimit -f 20480")).toEqual({ code: 0, said: "kept" })
    }),
  )

  it.live("canary: where there is room, the law is broken", () =>
    Effect.gen(function* () {
      const { code, said } = yield* run(yield* temporaryDirectory, ":")
      expect(code).toBe(1)
      expect(said).toContain("expected StorageWriteFailed, but it succeeded")
    }),
  )
})

describe("a process that is killed", () => {
  /** Runs the writer until it has told of some batches, kills it, and returns the last that it told of. */
  const killed = (directory: string, from: number, batches: number) =>
    Effect.callback<number>((resume) => {
      const writer = spawn(process.execPath, [child("writer"), directory, String(from)], {
        stdio: ["ignore", "pipe", "inherit"],
      })
      let last = from - 1
      createInterface(writer.stdout).on("line", (line) => {
        last = Number(line)
        if (last >= from + batches) writer.kill("SIGKILL")
      })
      writer.on("close", () => resume(Effect.succeed(last)))
    })

  it.live("leaves every batch that had succeeded, and at most one more, all of them whole", () =>
    Effect.gen(function* () {
      const directory = yield* temporaryDirectory
      let from = 0
      for (const batches of [7, 30, 55]) {
        const acknowledged = yield* killed(directory, from, batches)
        from = yield* Effect.scoped(
          Effect.gen(function* () {
            const storage = yield* openLmdb({ directory, maps: ["a", "b"] })
            const [high, middle, low, rows] = storage.get("a", new TextEncoder().encode("last"))!
            const last = high! * 65_536 + middle! * 256 + low!
            expect(last).toBeGreaterThanOrEqual(acknowledged)
            expect(last).toBeLessThanOrEqual(acknowledged + 1)
            expect(rows).toBe(1 + (last % 20) * 10)
            const expected = Array.from({ length: last + 1 }, (_, n) => 1 + (n % 20) * 10).reduce((a, b) => a + b)
            const found = storage.scan("b", {})
            expect(found).toHaveLength(expected)
            expect(
              found.every(({ key, value }) => value.length === 4000 && value.every((byte) => byte === key[2])),
            ).toBe(true)
            return last + 1
          }),
        )
      }
    }),
  )
})

it.live("a backup into a directory that is not there fails, and the handle lives on", () =>
  Effect.gen(function* () {
    const directory = yield* temporaryDirectory
    const storage = yield* openLmdb({ directory: join(directory, "main"), maps: ["a"] })
    yield* storage.write(put(KEY))
    const target = join(directory, "spare")
    const error = yield* Effect.flip(storage.backup(target))
    expect(error).toMatchObject({ _tag: "StorageBackupFailed", directory: target })
    mkdirSync(target)
    yield* storage.backup(target)
    const copy = yield* openLmdb({ directory: target, maps: ["a"] })
    expect(copy.get("a", KEY)).toEqual(KEY)
  }),
)

it.live("the free room of the volume is known", () =>
  Effect.gen(function* () {
    const storage = yield* openLmdb({ directory: yield* temporaryDirectory, maps: ["a"] })
    expect(storage.info().bytesFree).toBeGreaterThan(0)
  }),
)

it.live("scratch is empty when it opens, whatever an earlier process left there, and gone when it is closed", () =>
  Effect.gen(function* () {
    const directory = join(yield* temporaryDirectory, "scratch")
    mkdirSync(directory)
    writeFileSync(join(directory, "data.mdb"), new Uint8Array(10))
    const opened = { directory, maps: ["a"], scratch: true }
    const used = Effect.gen(function* () {
      const storage = yield* openLmdb(opened)
      expect(storage.scan("a", {})).toEqual([])
      yield* storage.write(put(KEY))
      expect(storage.get("a", KEY)).toEqual(KEY)
      yield* storage.write([{ tag: "remove", map: "a", key: KEY }, ...put(KEY, Uint8Array.of(2))])
      expect(storage.scan("a", {}).length).toBe(1)
    })
    for (let n = 0; n < 2; n++) {
      yield* Effect.scoped(used)
      expect(existsSync(directory)).toBe(false)
    }
  }),
)
