/**
 * Goal: what a directory refuses, it leaves as it was; a secret is never replaced nor shared.
 * Method: real files in temporary directories.
 */
import { chmodSync, mkdirSync, statSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { it } from "@effect/vitest"
import { Effect } from "effect"
import { describe, expect } from "vitest"
import {
  acquireLock,
  CONFIG_BYTES_MAX,
  DIRECTORY_FORMAT,
  explain,
  keepSecret,
  type NodeConfig,
  nodePaths,
  readConfig,
  readSecret,
  requireConfig,
  writeConfig,
} from "../src/index.ts"
import { imageOf, temporaryDirectory } from "./support/temporary.ts"

const CONFIG: NodeConfig = {
  format: DIRECTORY_FORMAT,
  chain: "test",
  genesis: "ab".repeat(32),
  application: "toy",
  validator: 2,
}
const SEED = new Uint8Array(32).fill(7)

it.live("where no directory can be made says so, and does not hang", () =>
  Effect.gen(function* () {
    // Nothing can be made below a file, nor below /proc where there is one.
    const file = join(yield* temporaryDirectory, "file")
    writeFileSync(file, "")
    for (const directory of [join(file, "a", "b"), "/proc/coppice/a"]) {
      const failed = yield* Effect.flip(keepSecret(nodePaths(directory), Effect.succeed(new Uint8Array(32))))
      expect(failed).toMatchObject({ _tag: "DirectoryFailed" })
      expect(explain(failed).what).toMatch(/^cannot (create|read) .+: E[A-Z]+/)
      expect(yield* Effect.flip(Effect.scoped(acquireLock(nodePaths(directory))))).toMatchObject({
        _tag: "DirectoryFailed",
        operation: "lock",
      })
    }
  }),
)

describe("config.json", () => {
  it.effect("is read back as it was written", () =>
    Effect.gen(function* () {
      const paths = nodePaths(yield* temporaryDirectory)
      expect(yield* readConfig(paths)).toBeUndefined()
      yield* writeConfig(paths, CONFIG)
      expect(yield* readConfig(paths)).toEqual(CONFIG)
      yield* requireConfig(paths, CONFIG, CONFIG)
    }),
  )

  it.effect("of an unknown format is refused by its format alone", () =>
    Effect.gen(function* () {
      const paths = nodePaths(yield* temporaryDirectory)
      writeFileSync(paths.config, '{ "format": 3, "of": "a later program" }')
      const before = imageOf(paths.root)
      expect(yield* Effect.flip(readConfig(paths))).toMatchObject({
        _tag: "ForeignDirectory",
        field: "format",
        expected: "2",
        actual: "3",
      })
      expect(imageOf(paths.root)).toEqual(before)
    }),
  )

  for (const [what, text] of [
    ["no JSON", "{"],
    ["an empty file", ""],
    ["no object", "1"],
    ["a missing field", '{ "format": 2, "chain": "c" }'],
    ["a negative index", JSON.stringify({ ...CONFIG, validator: -1 })],
    ["a digest in capitals", JSON.stringify({ ...CONFIG, genesis: "AB".repeat(32) })],
  ] as const) {
    it.effect(`with ${what} is unreadable`, () =>
      Effect.gen(function* () {
        const paths = nodePaths(yield* temporaryDirectory)
        writeFileSync(paths.config, text)
        expect(yield* Effect.flip(readConfig(paths))).toMatchObject({ _tag: "ConfigUnreadable", path: paths.config })
      }),
    )
  }

  it.effect("beyond its bound is not read", () =>
    Effect.gen(function* () {
      const paths = nodePaths(yield* temporaryDirectory)
      writeFileSync(paths.config, " ".repeat(CONFIG_BYTES_MAX + 1))
      expect(yield* Effect.flip(readConfig(paths))).toMatchObject({ _tag: "DirectoryFailed", operation: "read" })
    }),
  )

  for (const [field, value] of [
    ["chain", "other"],
    ["application", "other"],
    ["genesis", "cd".repeat(32)],
    ["validator", null],
  ] as const) {
    it.effect(`of another ${field} is refused with both values`, () =>
      Effect.gen(function* () {
        const paths = nodePaths(yield* temporaryDirectory)
        const refused = yield* Effect.flip(requireConfig(paths, { ...CONFIG, [field]: value }, CONFIG))
        expect(refused).toMatchObject({ field, expected: String(value), actual: String(CONFIG[field]) })
      }),
    )
  }
})

describe("the secret", () => {
  it.effect("is made once and kept, readable by its owner alone", () =>
    Effect.gen(function* () {
      const paths = nodePaths(yield* temporaryDirectory)
      expect(yield* readSecret(paths)).toBeUndefined()
      expect(yield* keepSecret(paths, Effect.succeed(SEED))).toEqual(SEED)
      expect(yield* keepSecret(paths, Effect.die("a second key was made"))).toEqual(SEED)
      expect(statSync(paths.secret).mode & 0o777).toBe(0o600)
      expect(statSync(dirname(paths.secret)).mode & 0o777).toBe(0o700)
      expect(imageOf(paths.root)).toHaveLength(1)
    }),
  )

  it.effect("of whoever comes first wins, and the others get it", () =>
    Effect.gen(function* () {
      const paths = nodePaths(yield* temporaryDirectory)
      const other = new Uint8Array(32).fill(8)
      const late = keepSecret(paths, Effect.as(Effect.orDie(keepSecret(paths, Effect.succeed(other))), SEED))
      expect(yield* late).toEqual(other)
    }),
  )

  for (const mode of [0o640, 0o604, 0o644, 0o620]) {
    it.effect(`with mode ${mode.toString(8)} is refused`, () =>
      Effect.gen(function* () {
        const paths = nodePaths(yield* temporaryDirectory)
        yield* keepSecret(paths, Effect.succeed(SEED))
        chmodSync(paths.secret, mode)
        const refused = yield* Effect.flip(readSecret(paths))
        expect(refused).toMatchObject({ _tag: "SecretExposed", mode: mode.toString(8) })
      }),
    )
  }

  for (const text of ["", "zz".repeat(32), "ab".repeat(31), "ab".repeat(33)]) {
    it.effect(`of ${text.length} characters ${text.slice(0, 2)} is unreadable and not replaced`, () =>
      Effect.gen(function* () {
        const paths = nodePaths(yield* temporaryDirectory)
        mkdirSync(dirname(paths.secret))
        writeFileSync(paths.secret, text, { mode: 0o600 })
        const before = imageOf(paths.root)
        const refused = yield* Effect.flip(keepSecret(paths, Effect.succeed(SEED)))
        expect(refused).toMatchObject({ _tag: "SecretUnreadable" })
        expect(imageOf(paths.root)).toEqual(before)
      }),
    )
  }
})
