/** The command as a child process, and directories that are removed. */
import { type ChildProcess, spawn } from "node:child_process"
import { createHash } from "node:crypto"
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Deferred, Effect } from "effect"

const MAIN = join(import.meta.dirname, "..", "..", "src", "main.ts")

/** A directory that is removed when the scope closes. */
export const temporaryDirectory = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "coppice-cli-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true })),
)

/** Every file with the hash of its bytes. */
export const imageOf = (directory: string): ReadonlyArray<string> =>
  readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort()
    .map((path) => `${path} ${createHash("sha256").update(readFileSync(path)).digest("hex")}`)

/** What a process has written, and how it ended. */
export interface Output {
  readonly out: string
  readonly err: string
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

/** A running command. */
export interface Running {
  readonly child: ChildProcess
  /** Succeeds with a match in what was written so far, or will be; fails when the process ends without one. */
  readonly until: (pattern: RegExp) => Effect.Effect<RegExpExecArray, Error>
  readonly ended: Effect.Effect<Output>
}

/** Starts `coppice` with arguments; killed when the scope closes. */
export const start = (...args: ReadonlyArray<string>) =>
  Effect.acquireRelease(
    Effect.sync((): Running => {
      const child = spawn(process.execPath, [MAIN, ...args], { stdio: ["ignore", "pipe", "pipe"] })
      const ended = Deferred.makeUnsafe<Output>()
      let [out, err] = ["", ""]
      const watchers = new Set<() => void>()
      const changed = (): void => {
        for (const watcher of watchers) watcher()
      }
      child.stdout!.setEncoding("utf8").on("data", (text: string) => {
        out += text
        changed()
      })
      child.stderr!.setEncoding("utf8").on("data", (text: string) => {
        err += text
        changed()
      })
      child.on("close", (code, signal) => {
        Deferred.doneUnsafe(ended, Effect.succeed({ out, err, code, signal }))
        changed()
      })
      const until = (pattern: RegExp): Effect.Effect<RegExpExecArray, Error> =>
        Effect.callback((resume) => {
          const look = (): void => {
            const found = pattern.exec(`${out}\n${err}`)
            if (found !== null) resume(Effect.succeed(found))
            else if (child.exitCode !== null || child.signalCode !== null)
              resume(Effect.fail(new Error(`ended without ${pattern}: ${out}${err}`)))
          }
          watchers.add(look)
          look()
          return Effect.sync(() => watchers.delete(look))
        })
      return { child, until, ended: Deferred.await(ended) }
    }),
    ({ child, ended }) =>
      Effect.andThen(
        Effect.sync(() => child.kill("SIGKILL")),
        ended,
      ),
  )

/** Runs `coppice` with arguments to its end. */
export const runToEnd = (...args: ReadonlyArray<string>) =>
  Effect.scoped(Effect.flatMap(start(...args), ({ ended }) => ended))
