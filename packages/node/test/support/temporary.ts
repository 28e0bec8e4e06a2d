/** Temporary directories, and the contents of one as text that is equal exactly when the contents are. */
import { createHash } from "node:crypto"
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Effect } from "effect"

/** A directory that is removed when the scope closes. */
export const temporaryDirectory = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "coppice-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true })),
)

/** Every file with its mode and the hash of its bytes. Only while nobody in this process holds the lock. */
export const imageOf = (directory: string): ReadonlyArray<string> =>
  readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort()
    .map((path) => {
      const hash = createHash("sha256").update(readFileSync(path)).digest("hex")
      return `${path.slice(directory.length)} ${(statSync(path).mode & 0o777).toString(8)} ${hash}`
    })
