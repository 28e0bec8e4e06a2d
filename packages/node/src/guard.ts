/**
 * Leaves the files of a refused environment as they were found.
 *
 * Reading an LMDB environment changes one file: `lock.mdb`, its table of readers, which holds nothing that outlives the
 * processes that read. A node that looks into an environment only to refuse it puts that file back.
 *
 * Invariant: only under the directory's lock, and only after the environment is closed.
 */
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { Effect, type Scope } from "effect"
import { fileOperation } from "./directory.ts"
import type { DirectoryFailed } from "./errors.ts"

/**
 * Remembers an environment's table of readers; when the scope closes and `isAccepted` says no, it is put back.
 *
 * To be called before the environment is opened in the same scope. One that did not exist is not guarded.
 */
export const guardEnvironment = (
  directory: string,
  isAccepted: () => boolean,
): Effect.Effect<void, DirectoryFailed, Scope.Scope> => {
  if (!existsSync(directory)) return Effect.void
  const path = join(directory, "lock.mdb")
  const remember = fileOperation("read", path, () => (existsSync(path) ? readFileSync(path) : undefined))
  const putBack = (found: Uint8Array | undefined): void => {
    if (isAccepted()) return
    if (found === undefined) rmSync(path, { force: true })
    else writeFileSync(path, found)
  }
  return Effect.asVoid(
    Effect.acquireRelease(remember, (found) => Effect.ignore(fileOperation("write", path, () => putBack(found)))),
  )
}
