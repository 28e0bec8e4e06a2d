/**
 * The directory of a devnet: what must be the same at every start, and a directory for each validator.
 *
 *   devnet.json      chain id, number of validators, seed of the development accounts
 *   lock, lock.json  one devnet at a time
 *   validator-<i>/   the directory of one node, see `@coppice/node`
 *
 * Terms: *development accounts* hold the allocations; their keys follow from a seed that anyone who can read the
 * directory knows. The validators' keys are their own, each in its node's directory.
 *
 * Invariant: what is written here never changes. A directory that is something else is refused and left as it was.
 */
import { readdirSync } from "node:fs"
import { join } from "node:path"
import { SECRET_BYTES } from "@coppice/crypto"
import { nodeEd25519, nodeHasher } from "@coppice/crypto/node"
import {
  acquireLock,
  type DirectoryFailed,
  type DirectoryLocked,
  fileOperation,
  fromHex,
  keepSecret,
  nodePaths,
  readSmallFile,
  toHex,
  writeSmallFile,
} from "@coppice/node"
import { Data, Effect, Schema, type Scope } from "effect"
import { SecureRandom } from "effect/crypto"
import { VALIDATORS_MAX } from "../limits.ts"

const HomeConfig = Schema.Struct({
  format: Schema.Literal(1),
  chain: Schema.NonEmptyString,
  validators: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: VALIDATORS_MAX })),
  accounts: Schema.String.check(Schema.isPattern(/^[0-9a-f]{64}$/)),
})

/** A devnet's directory, as it was made. */
export interface Home {
  readonly directory: string
  readonly chainId: string
  readonly validators: number
  /** Seed of the development accounts, 32 bytes. */
  readonly accountsSeed: Uint8Array
  /** True when this start made it. */
  readonly isNew: boolean
}

/** What a new devnet is made with, and what one that exists must agree with. */
export interface HomeOptions {
  readonly directory: string
  /** Default 4 for a new one. */
  readonly validators?: number
  /** Makes all keys of a new devnet reproducible; without it they come from the operating system. */
  readonly seed?: number
}

/** The directory is no devnet, or one with other properties than those asked for. Nothing was changed. */
export class HomeRefused extends Data.TaggedError("HomeRefused")<{
  readonly directory: string
  readonly reason: string
  readonly advice: string
}> {}

/** Path of a validator's directory. Pure. */
export const validatorDirectory = (directory: string, index: number): string => join(directory, `validator-${index}`)

const configPath = (directory: string): string => join(nodePaths(directory).root, "devnet.json")

const seeded = (seed: number, purpose: string): Uint8Array =>
  nodeHasher.hash(new TextEncoder().encode(`coppice devnet ${seed} ${purpose}`))

const randomBytes = (count: number): Effect.Effect<Uint8Array> =>
  Effect.flatMap(SecureRandom.SecureRandom, (random) => random.randomBytes(count)).pipe(
    Effect.provide(SecureRandom.layerWebCrypto),
  )

const draw = (seed: number | undefined, purpose: string, count: number): Effect.Effect<Uint8Array> =>
  seed === undefined ? randomBytes(count) : Effect.sync(() => seeded(seed, purpose).subarray(0, count))

/** The devnet that a directory holds; undefined when it holds none. Reads only. */
export const readHome = Effect.fn("Devnet.readHome")(function* (
  directory: string,
): Effect.fn.Return<Home | undefined, HomeRefused | DirectoryFailed> {
  const file = yield* readSmallFile(configPath(directory))
  if (file === undefined) return undefined
  const refused = (error: Schema.SchemaError) =>
    new HomeRefused({
      directory,
      reason: `devnet.json is not one of this program: ${error.message}`,
      advice: "Use another --data directory, or the program that made this one.",
    })
  const config = yield* Effect.mapError(Schema.decodeEffect(Schema.fromJsonString(HomeConfig))(file.text), refused)
  const { chain: chainId, validators, accounts } = config
  return { directory, chainId, validators, accountsSeed: fromHex(accounts)!, isNew: false }
})

const requireEmpty = Effect.fnUntraced(function* (directory: string) {
  const { root } = nodePaths(directory)
  const names = yield* fileOperation("read", root, () => readdirSync(root))
  const others = names.filter((name) => name !== "lock")
  if (others.length === 0) return
  return yield* new HomeRefused({
    directory,
    reason: `it is not empty (${others[0]}) and no devnet`,
    advice: "Use an empty or new directory with --data.",
  })
})

const create = Effect.fnUntraced(function* ({ directory, validators = 4, seed }: HomeOptions) {
  yield* requireEmpty(directory)
  const accountsSeed = yield* draw(seed, "accounts", 32)
  const chainId = `devnet-${seed ?? toHex(yield* randomBytes(4))}`
  const config: typeof HomeConfig.Type = { format: 1, chain: chainId, validators, accounts: toHex(accountsSeed) }
  yield* writeSmallFile(configPath(directory), `${JSON.stringify(config, undefined, 2)}\n`)
  return { directory, chainId, validators, accountsSeed, isNew: true }
})

const agree = Effect.fnUntraced(function* (held: Home, { directory, validators }: HomeOptions) {
  if (validators === undefined || validators === held.validators) return held
  return yield* new HomeRefused({
    directory,
    reason: `it holds a devnet of ${held.validators} validators, not ${validators}`,
    advice: "Leave --validators out, or use another --data directory.",
  })
})

/**
 * Takes a directory for a devnet until the scope closes, and makes the devnet when there is none yet.
 *
 * Errors: `DirectoryLocked`, `HomeRefused`; nothing was changed then.
 */
export const openHome = Effect.fn("Devnet.openHome")(function* (
  options: HomeOptions,
): Effect.fn.Return<Home, HomeRefused | DirectoryLocked | DirectoryFailed, Scope.Scope> {
  const paths = nodePaths(options.directory)
  yield* acquireLock(paths)
  const held = yield* readHome(options.directory)
  return held === undefined ? yield* create(options) : yield* agree(held, options)
})

/** Where the public key of a validator falls among all keys, by its first byte. */
const isInShare = (secret: Uint8Array, index: number, count: number): boolean =>
  Math.floor((nodeEd25519.publicKey(secret)[0]! * count) / 256) === index

/**
 * The secret key of a validator, made at the first start and kept in its directory.
 *
 * A key is drawn again until its place in the order of all keys is its validator's number: validator 2 of the directory is
 * validator 2 of the chain. Cost: as many draws as there are validators, on average.
 */
export const validatorSecret = ({ directory, validators }: Home, index: number, seed: number | undefined) =>
  keepSecret(
    nodePaths(validatorDirectory(directory, index)),
    Effect.gen(function* () {
      for (let attempt = 0; ; attempt++) {
        const secret = yield* draw(seed, `validator ${index} ${attempt}`, SECRET_BYTES)
        if (isInShare(secret, index, validators)) return secret
      }
    }),
  )
