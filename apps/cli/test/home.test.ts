/**
 * Goal: a devnet's directory is made once, agrees with every later start or refuses it, and is never mixed with others.
 * Method: temporary directories; keys are compared with those of a chain's participants.
 */
import { readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { createParticipants } from "@coppice/crypto"
import { nodeEd25519 } from "@coppice/crypto/node"
import { it } from "@effect/vitest"
import { Effect } from "effect"
import { expect } from "vitest"
import { type Home, openHome, readHome, validatorSecret } from "../src/devnet/home.ts"
import { temporaryDirectory } from "./support/cli.ts"

const keysOf = (home: Home, seed?: number) =>
  Effect.map(
    Effect.forEach(Array(home.validators).keys(), (index) => validatorSecret(home, index, seed)),
    (secrets) => secrets.map((secret) => nodeEd25519.publicKey(secret)),
  )

it.effect("a devnet is the same at every start", () =>
  Effect.gen(function* () {
    const directory = yield* temporaryDirectory
    const made = yield* Effect.scoped(openHome({ directory, validators: 3 }))
    expect(made).toMatchObject({ validators: 3, isNew: true })
    const keys = yield* keysOf(made)
    const again = yield* Effect.scoped(openHome({ directory }))
    expect(again).toEqual({ ...made, isNew: false })
    expect(yield* keysOf(again)).toEqual(keys)
    expect(yield* readHome(directory)).toEqual(again)
  }),
)

it.effect("validator i of the directory is validator i of the chain", () =>
  Effect.gen(function* () {
    for (const validators of [1, 4, 7, 16]) {
      const home = yield* Effect.scoped(openHome({ directory: yield* temporaryDirectory, validators }))
      const keys = yield* keysOf(home)
      expect(createParticipants(keys).keys, `${validators} validators`).toEqual(keys)
    }
  }),
)

it.effect("a seed makes all keys again, and two seeds or none make others", () =>
  Effect.gen(function* () {
    const make = Effect.fnUntraced(function* (seed: number | undefined) {
      const options = seed === undefined ? {} : { seed }
      const home = yield* Effect.scoped(openHome({ directory: yield* temporaryDirectory, ...options }))
      return { chainId: home.chainId, accounts: home.accountsSeed, keys: yield* keysOf(home, seed) }
    })
    const [a, b, c, d] = [yield* make(5), yield* make(5), yield* make(6), yield* make(undefined)]
    expect(a).toEqual(b)
    for (const other of [c, d]) {
      expect(other.chainId).not.toBe(a.chainId)
      expect(other.accounts).not.toEqual(a.accounts)
      expect(other.keys[0]).not.toEqual(a.keys[0])
    }
  }),
)

it.effect("another number of validators is refused", () =>
  Effect.gen(function* () {
    const directory = yield* temporaryDirectory
    yield* Effect.scoped(openHome({ directory, validators: 4 }))
    const before = readFileSync(join(directory, "devnet.json"), "utf8")
    const refused = yield* Effect.flip(Effect.scoped(openHome({ directory, validators: 5 })))
    expect(refused).toMatchObject({ _tag: "HomeRefused", reason: expect.stringContaining("4 validators, not 5") })
    expect(readFileSync(join(directory, "devnet.json"), "utf8")).toBe(before)
  }),
)

it.effect("a directory with other things in it is refused and left alone", () =>
  Effect.gen(function* () {
    const directory = yield* temporaryDirectory
    writeFileSync(join(directory, "letters.txt"), "dear")
    const refused = yield* Effect.flip(Effect.scoped(openHome({ directory })))
    expect(refused).toMatchObject({ _tag: "HomeRefused", reason: expect.stringContaining("letters.txt") })
    expect(readdirSync(directory).sort()).toEqual(["letters.txt", "lock"])
  }),
)

it.effect("a devnet.json of another program is refused", () =>
  Effect.gen(function* () {
    for (const text of [
      "",
      "{}",
      '{"format":2,"chain":"c","validators":4,"accounts":""}',
      '{"format":1,"chain":"c"}',
    ]) {
      const directory = yield* temporaryDirectory
      writeFileSync(join(directory, "devnet.json"), text)
      const refused = yield* Effect.flip(Effect.scoped(openHome({ directory })))
      expect(refused._tag, text).toBe("HomeRefused")
      expect(readFileSync(join(directory, "devnet.json"), "utf8")).toBe(text)
    }
  }),
)

it.effect("a directory in use is refused", () =>
  Effect.gen(function* () {
    const directory = yield* temporaryDirectory
    yield* openHome({ directory })
    expect(yield* Effect.flip(Effect.scoped(openHome({ directory })))).toMatchObject({ _tag: "DirectoryLocked" })
  }),
)
