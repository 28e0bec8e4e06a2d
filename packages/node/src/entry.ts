/**
 * Who is let into a node's directory.
 *
 *   key --> config.json --> lock --> config.json again --> identity of the databases --> identity of the block store
 *
 * Terms: a node is *accepted* once everything that can refuse it has been asked.
 *
 * Invariant: nothing of a directory is written before that; what looking at it changes is put back.
 */
import { existsSync } from "node:fs"
import { type Block, describeMarshal, ForeignEnvironment, MARSHAL_MAPS } from "@coppice/consensus"
import { keyPairFromSeed } from "@coppice/crypto"
import { nodeEd25519, nodeHasher } from "@coppice/crypto/node"
import {
  bindSet,
  type Databases,
  GenesisTargetsMismatch,
  openSyncPlan,
  SET_MAPS,
  type SetOpenError,
} from "@coppice/stateful"
import type { StorageShape } from "@coppice/storage"
import { openLmdb } from "@coppice/storage/lmdb"
import { Effect } from "effect"
import {
  DIRECTORY_FORMAT,
  type NodeConfig,
  type NodePaths,
  nodePaths,
  readConfig,
  readSecret,
  requireConfig,
  setPath,
} from "./directory.ts"
import { type NodeOpenError, SecretUnreadable } from "./errors.ts"
import { guardEnvironment } from "./guard.ts"
import { toHex } from "./hex.ts"
import { acquireLock } from "./lock.ts"
import type { NodeOptions } from "./node.ts"

const secretOf = Effect.fnUntraced(function* (paths: NodePaths) {
  const secret = yield* readSecret(paths)
  return secret ?? (yield* new SecretUnreadable({ path: paths.secret, reason: "it is missing" }))
})

const bound = <A>(bind: () => A): Effect.Effect<A, SetOpenError> =>
  Effect.suspend(() => {
    try {
      return Effect.succeed(bind())
    } catch (error) {
      if (error instanceof GenesisTargetsMismatch) return Effect.fail(error)
      throw error
    }
  })

/** What a node is to be, before anything of its directory but its key is looked at. */
const identityOf = Effect.fnUntraced(function* <B extends Block, M extends Databases>({
  application,
  chainId,
  participants,
  directory,
  hasher = nodeHasher,
  ed25519 = nodeEd25519,
}: NodeOptions<B, M>) {
  const paths = nodePaths(directory)
  const keys = keyPairFromSeed(ed25519, yield* secretOf(paths))
  const { genesis } = yield* bound(() => bindSet({ application, chainId, hasher }))
  const config: NodeConfig = {
    format: DIRECTORY_FORMAT,
    chain: chainId,
    genesis: toHex(genesis.digest),
    application: application.name,
    validator: participants.indexOf(keys.publicKey) ?? null,
  }
  return { paths, keys, genesis, config }
})

const checkConfig = Effect.fnUntraced(function* (paths: NodePaths, config: NodeConfig) {
  const held = yield* readConfig(paths)
  if (held !== undefined) yield* requireConfig(paths, config, held)
  return held
})

/** Refuses a block store of another chain or genesis. An empty one is fine. */
const checkBlocks = Effect.fnUntraced(function* (storage: StorageShape, { chain, genesis }: NodeConfig) {
  const held = yield* describeMarshal(storage)
  if (held === undefined) return
  const rows = [
    { field: "chain", expected: chain, actual: held.chainId },
    { field: "genesis", expected: genesis, actual: toHex(held.genesis) },
  ] as const
  for (const row of rows) if (row.expected !== row.actual) return yield* new ForeignEnvironment(row)
})

/** Opens an environment that is put back as it was unless the directory is accepted. */
const openGuarded = <B extends Block, M extends Databases>(
  { openEnvironment = openLmdb }: NodeOptions<B, M>,
  isAccepted: () => boolean,
  directory: string,
  maps: ReadonlyArray<string>,
) => Effect.andThen(guardEnvironment(directory, isAccepted), openEnvironment({ directory, maps }))

/** Everything that can refuse a directory. What it opens ends with the scope. */
export const enter = Effect.fnUntraced(function* <B extends Block, M extends Databases>(
  options: NodeOptions<B, M>,
  isAccepted: () => boolean,
) {
  const { application, chainId, hasher = nodeHasher } = options
  const identity = yield* identityOf(options)
  const { paths, config } = identity
  yield* checkConfig(paths, config)
  yield* acquireLock(paths)
  const held = yield* checkConfig(paths, config)
  const setStorage = yield* openGuarded(options, isAccepted, setPath(paths, application.name), SET_MAPS)
  yield* openSyncPlan({ application, chainId, hasher, storage: setStorage })
  const marshalStorage = yield* openGuarded(options, isAccepted, paths.marshal, MARSHAL_MAPS)
  yield* checkBlocks(marshalStorage, config)
  return { ...identity, held, setStorage, marshalStorage }
})

/**
 * Whether a directory would be let in by `openNode`, as far as it says whose it is. A new one is.
 *
 * Errors: those of `openNode`. Whatever the answer, every byte stays as it was: for who opens several nodes or none.
 */
export const checkNode = Effect.fn("Node.check")(function* <B extends Block, M extends Databases>(
  options: NodeOptions<B, M>,
): Effect.fn.Return<void, NodeOpenError> {
  const { paths, config } = yield* identityOf(options)
  yield* checkConfig(paths, config)
  const isMade = [setPath(paths, options.application.name), paths.marshal].every((directory) => existsSync(directory))
  if (isMade) yield* Effect.scoped(enter(options, () => false))
})
