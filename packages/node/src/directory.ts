/**
 * The directory of one node.
 *
 *   config.json              what the node is: format, chain, genesis, application, validator
 *   keys/secret              Ed25519 seed as hex, readable by its owner alone
 *   lock, lock.json          the process lock and who holds it, see lock.ts
 *   marshal/                 environment of finalized blocks and certificates
 *   sets/<name>/gen/<n>/     environment of the application's databases, one per generation
 *   sets/<name>/scratch/     what of pending blocks is not in memory: gone when the node stops, and before it starts
 *   control/                 reserved for migrations
 *
 * Invariant: config.json is written once, when the directory is new, and decides before anything else is opened: a
 * directory that it does not give to this node is refused and left as it was, every byte of it. A secret is never
 * replaced.
 */
import {
  closeSync,
  constants,
  existsSync,
  fstatSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from "node:fs"
import { dirname, join, resolve } from "node:path"
import { SECRET_BYTES } from "@coppice/crypto"
import { Effect, Schema } from "effect"
import { ConfigUnreadable, DirectoryFailed, ForeignDirectory, SecretExposed, SecretUnreadable } from "./errors.ts"
import { fromHex, toHex } from "./hex.ts"
import { CONFIG_BYTES_MAX } from "./limits.ts"

/** Version of the layout above, of config.json, and of the blocks of standard applications that the node has stored. */
export const DIRECTORY_FORMAT = 2

const Digest = Schema.String.check(Schema.isPattern(/^[0-9a-f]{64}$/))

/** What config.json holds. */
export const NodeConfig = Schema.Struct({
  format: Schema.Literal(DIRECTORY_FORMAT),
  chain: Schema.NonEmptyString,
  genesis: Digest,
  application: Schema.NonEmptyString,
  /** Index among the participants; null for a node that does not vote. */
  validator: Schema.NullOr(Schema.Int.check(Schema.isGreaterThanOrEqualTo(0))),
})

/** What config.json holds. */
export type NodeConfig = typeof NodeConfig.Type

/** Where the parts of a node's directory are. */
export interface NodePaths {
  readonly root: string
  readonly config: string
  readonly secret: string
  readonly lock: string
  readonly holder: string
  readonly marshal: string
  /** Directory of divergence bundles. */
  readonly divergence: string
}

/** Paths of a node's directory. Pure. */
export const nodePaths = (directory: string): NodePaths => {
  const root = resolve(directory)
  return {
    root,
    config: join(root, "config.json"),
    secret: join(root, "keys", "secret"),
    lock: join(root, "lock"),
    holder: join(root, "lock.json"),
    marshal: join(root, "marshal"),
    divergence: join(root, "divergence"),
  }
}

/** Path of one generation of an application's set. Pure. */
export const setPath = (paths: NodePaths, application: string, generation = 1): string =>
  join(paths.root, "sets", application, "gen", String(generation))

/** Path of the scratch environment of an application's set. Pure. */
export const scratchPath = (paths: NodePaths, application: string): string =>
  join(paths.root, "sets", application, "scratch")

const isMissing = (error: unknown): boolean => error instanceof Error && "code" in error && error.code === "ENOENT"

/** Runs a file operation. Errors: `DirectoryFailed` for whatever it throws. */
export const fileOperation = <A>(
  operation: DirectoryFailed["operation"],
  path: string,
  run: () => A,
): Effect.Effect<A, DirectoryFailed> =>
  Effect.try({ try: run, catch: (cause) => new DirectoryFailed({ path, operation, cause }) })

/** Text of a small file and its permission bits; undefined when there is none. Reads no more than the bound. */
export const readSmallFile = (
  path: string,
): Effect.Effect<{ readonly text: string; readonly mode: number } | undefined, DirectoryFailed> =>
  fileOperation("read", path, () => {
    let file: number
    try {
      file = openSync(path, constants.O_RDONLY)
    } catch (error) {
      if (isMissing(error)) return undefined
      throw error
    }
    try {
      const { size, mode } = fstatSync(file)
      if (size > CONFIG_BYTES_MAX) throw new RangeError(`${size} bytes; at most ${CONFIG_BYTES_MAX} are read`)
      return { text: readFileSync(file, "utf8"), mode: mode & 0o777 }
    } finally {
      closeSync(file)
    }
  })

const syncDirectory = (path: string): void => {
  const directory = openSync(path, constants.O_RDONLY)
  try {
    fsyncSync(directory)
  } finally {
    closeSync(directory)
  }
}

/**
 * Makes a directory and the missing ones above it. Throws what making one throws.
 *
 * One by one: where none can be made, as below /proc, the recursion that Node comes with does not end.
 */
export const makeDirectory = (path: string, mode = 0o777): void => {
  if (existsSync(path)) return
  makeDirectory(dirname(path), mode)
  try {
    mkdirSync(path, mode)
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "EEXIST")) throw error
  }
}

const stage = (path: string, text: string, mode: number): string => {
  makeDirectory(dirname(path), 0o700)
  const staged = `${path}.${process.pid}.tmp`
  const file = openSync(staged, "w", mode)
  try {
    writeSync(file, text)
    fsyncSync(file)
  } finally {
    closeSync(file)
  }
  return staged
}

/** Writes a whole file: after a crash it is there as before or as after. Durable when it succeeds. */
export const writeSmallFile = (path: string, text: string): Effect.Effect<void, DirectoryFailed> =>
  fileOperation("write", path, () => {
    renameSync(stage(path, text, 0o644), path)
    syncDirectory(dirname(path))
  })

/** Removes a file that may be missing. */
export const removeSmallFile = (path: string): Effect.Effect<void, DirectoryFailed> =>
  fileOperation("write", path, () => rmSync(path, { force: true }))

const parseJson = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/**
 * The config of a directory, or undefined when there is none. Reads only.
 *
 * Errors: `ForeignDirectory` when its format is another, `ConfigUnreadable` when it is malformed.
 */
export const readConfig = Effect.fn("Node.readConfig")(function* (paths: NodePaths) {
  const file = yield* readSmallFile(paths.config)
  if (file === undefined) return undefined
  const json = parseJson(file.text)
  const format = typeof json === "object" && json !== null && "format" in json ? json.format : undefined
  if (typeof format === "number" && format !== DIRECTORY_FORMAT) {
    const [expected, actual] = [String(DIRECTORY_FORMAT), String(format)]
    return yield* new ForeignDirectory({ directory: paths.root, field: "format", expected, actual })
  }
  return yield* Effect.mapError(
    Schema.decodeUnknownEffect(NodeConfig)(json),
    (error) => new ConfigUnreadable({ path: paths.config, reason: error.message }),
  )
})

/** Refuses a config that is not the expected one. */
export const requireConfig = (
  paths: NodePaths,
  expected: NodeConfig,
  actual: NodeConfig,
): Effect.Effect<void, ForeignDirectory> => {
  for (const field of ["chain", "application", "genesis", "validator"] as const) {
    if (expected[field] === actual[field]) continue
    const [want, have] = [String(expected[field]), String(actual[field])]
    return Effect.fail(new ForeignDirectory({ directory: paths.root, field, expected: want, actual: have }))
  }
  return Effect.void
}

/** Writes the config of a new directory. Durable when it succeeds. */
export const writeConfig = (paths: NodePaths, config: NodeConfig): Effect.Effect<void, DirectoryFailed> =>
  writeSmallFile(paths.config, `${JSON.stringify(config, undefined, 2)}\n`)

const parseSecret = (path: string, text: string): Effect.Effect<Uint8Array, SecretUnreadable> => {
  const secret = fromHex(text.trimEnd())
  return secret?.length === SECRET_BYTES
    ? Effect.succeed(secret)
    : Effect.fail(new SecretUnreadable({ path, reason: `it does not hold ${2 * SECRET_BYTES} hex digits` }))
}

/**
 * The secret key of a directory, 32 bytes, or undefined when there is none. Reads only.
 *
 * Errors: `SecretExposed` when anyone but its owner may use the file, `SecretUnreadable` when it holds no key.
 */
export const readSecret = Effect.fn("Node.readSecret")(function* ({ secret: path }: NodePaths) {
  const file = yield* readSmallFile(path)
  if (file === undefined) return undefined
  if ((file.mode & 0o077) !== 0) return yield* new SecretExposed({ path, mode: file.mode.toString(8).padStart(3, "0") })
  return yield* parseSecret(path, file.text)
})

/**
 * The secret key of a directory; a new one is taken from `generate` and kept when there is none.
 *
 * Errors: as `readSecret`. Concurrency: of several first calls one decides, the others get its key. Durable.
 */
export const keepSecret = Effect.fn("Node.keepSecret")(function* (
  paths: NodePaths,
  generate: Effect.Effect<Uint8Array>,
) {
  const kept = yield* readSecret(paths)
  if (kept !== undefined) return kept
  const fresh = yield* generate
  if (fresh.length !== SECRET_BYTES) throw new RangeError(`secret: ${fresh.length} bytes is outside`)
  const isFirst = yield* fileOperation("create", paths.secret, () => linkOnce(paths.secret, `${toHex(fresh)}\n`))
  return isFirst ? fresh : ((yield* readSecret(paths)) ?? fresh)
})

const linkOnce = (path: string, text: string): boolean => {
  const staged = stage(path, text, 0o600)
  try {
    linkSync(staged, path)
    return true
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "EEXIST") return false
    throw error
  } finally {
    rmSync(staged, { force: true })
    syncDirectory(dirname(path))
  }
}
