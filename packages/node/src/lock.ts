/**
 * The process lock of a node's directory.
 *
 *   lock        an empty file; who holds an exclusive SQLite transaction on it uses the directory
 *   lock.json   who that is, for people; written once a node has accepted the directory, removed at the end
 *
 * SQLite locks by the kernel's advisory file locks, so a lock ends with its process however that ends: SIGKILL leaves
 * nothing stale, and neither recycled process numbers nor containers with their own numbering confuse it. SQLite also
 * keeps two openings in one process apart. The transaction writes nothing and keeps its journal in memory: the file stays
 * empty and no other appears.
 *
 * Invariant: at most one opening of a directory in all processes of a machine. No code of this process opens `lock`
 * otherwise: closing any handle of a file drops the kernel's locks on it.
 */
import { DatabaseSync } from "node:sqlite"
import { DateTime, Effect, Schema, type Scope } from "effect"
import {
  fileOperation,
  makeDirectory,
  type NodePaths,
  readSmallFile,
  removeSmallFile,
  writeSmallFile,
} from "./directory.ts"
import { type DirectoryFailed, DirectoryLocked, type Holder } from "./errors.ts"

const SQLITE_BUSY = 5

const HolderSchema = Schema.Struct({ pid: Schema.Int, since: Schema.String, command: Schema.String })

/** Keeps open transactions reachable: the collector closes a database that nothing refers to, and the lock with it. */
const held = new Set<DatabaseSync>()

const isBusy = (cause: unknown): boolean =>
  cause instanceof Error && "errcode" in cause && cause.errcode === SQLITE_BUSY

const lockFile = (path: string): DatabaseSync => {
  const database = new DatabaseSync(path, { timeout: 0 })
  try {
    database.exec("PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE")
    held.add(database)
    return database
  } catch (error) {
    database.close()
    throw error
  }
}

const unlock = (database: DatabaseSync): void => {
  database.close()
  held.delete(database)
}

/** Who holds a directory, as far as it said. */
export const readHolder = (paths: NodePaths): Effect.Effect<Holder | undefined> =>
  readSmallFile(paths.holder).pipe(
    Effect.flatMap((file) => Schema.decodeEffect(Schema.fromJsonString(HolderSchema))(file?.text ?? "")),
    Effect.orElseSucceed(() => undefined),
  )

/**
 * Takes the lock of a directory, which is created when it is missing; released when the scope closes, or with the process.
 *
 * Errors: `DirectoryLocked` at once when it is held; nothing was changed then. Other files are not touched.
 */
export const acquireLock = (paths: NodePaths): Effect.Effect<void, DirectoryLocked | DirectoryFailed, Scope.Scope> => {
  const acquire = fileOperation("lock", paths.lock, () => {
    makeDirectory(paths.root)
    return lockFile(paths.lock)
  })
  const refused = (failed: DirectoryFailed): Effect.Effect<never, DirectoryLocked | DirectoryFailed> =>
    isBusy(failed.cause)
      ? Effect.flatMap(readHolder(paths), (holder) =>
          Effect.fail(new DirectoryLocked({ directory: paths.root, holder })),
        )
      : Effect.fail(failed)
  return Effect.asVoid(
    Effect.acquireRelease(Effect.catch(acquire, refused), (database) => Effect.sync(() => unlock(database))),
  )
}

/** Says who holds the directory until the scope closes. Only for who has its lock. */
export const announceHolder = (paths: NodePaths): Effect.Effect<void, DirectoryFailed, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.flatMap(DateTime.now, (now) => {
      const holder: Holder = { pid: process.pid, since: DateTime.formatIso(now), command: process.argv.join(" ") }
      return writeSmallFile(paths.holder, `${JSON.stringify(holder)}\n`)
    }),
    () => Effect.ignore(removeSmallFile(paths.holder)),
  )
