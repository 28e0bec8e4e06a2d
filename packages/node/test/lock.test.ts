/**
 * Goal: one opening of a directory at a time, whatever became of the one before.
 * Method: the lock is taken in this process and in child processes, one of which is killed with SIGKILL.
 */
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { readdirSync } from "node:fs"
import { join } from "node:path"
import { it } from "@effect/vitest"
import { Effect, Exit, Scope } from "effect"
import { describe, expect } from "vitest"
import { acquireLock, announceHolder, nodePaths } from "../src/index.ts"
import { temporaryDirectory } from "./support/temporary.ts"

const CHILD = join(import.meta.dirname, "support", "hold-lock.ts")

const holdInChild = (directory: string) =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const child = spawn(process.execPath, [CHILD, directory], { stdio: ["pipe", "pipe", "inherit"] })
      child.stdin.write("collect\n")
      await once(child.stdout, "data")
      return child
    }),
    kill,
  )

const kill = (child: ChildProcess) =>
  Effect.promise(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return
    const exited = once(child, "exit")
    child.kill("SIGKILL")
    await exited
  })

describe("the lock", () => {
  it.live("held by another process is refused at once, with who holds it and where", () =>
    Effect.gen(function* () {
      const paths = nodePaths(yield* temporaryDirectory)
      const child = yield* holdInChild(paths.root)
      const refused = yield* Effect.flip(Effect.scoped(acquireLock(paths)))
      expect(refused).toMatchObject({ _tag: "DirectoryLocked", directory: paths.root, holder: { pid: child.pid } })
    }),
  )

  it.live("of a process killed with SIGKILL is free again", () =>
    Effect.gen(function* () {
      const paths = nodePaths(yield* temporaryDirectory)
      yield* kill(yield* holdInChild(paths.root))
      expect(readdirSync(paths.root)).toContain("lock.json")
      yield* Effect.scoped(Effect.andThen(acquireLock(paths), announceHolder(paths)))
      expect(readdirSync(paths.root)).toEqual(["lock"])
    }),
  )

  it.live("is not given twice to one process, and again after its scope closed", () =>
    Effect.gen(function* () {
      const paths = nodePaths(yield* temporaryDirectory)
      const scope = yield* Scope.make()
      yield* Scope.provide(acquireLock(paths), scope)
      expect(readdirSync(paths.root)).toEqual(["lock"])
      const refused = yield* Effect.flip(Effect.scoped(acquireLock(paths)))
      expect(refused).toMatchObject({ _tag: "DirectoryLocked", holder: undefined })
      const still = yield* Effect.flip(Effect.scoped(acquireLock(paths)))
      expect(still._tag).toBe("DirectoryLocked")
      yield* Scope.close(scope, Exit.void)
      yield* Effect.scoped(acquireLock(paths))
    }),
  )

  it.live("on a path that cannot be locked is no lock held by somebody", () =>
    Effect.gen(function* () {
      const paths = nodePaths(yield* temporaryDirectory)
      const refused = yield* Effect.flip(Effect.scoped(acquireLock({ ...paths, lock: paths.root })))
      expect(refused).toMatchObject({ _tag: "DirectoryFailed", operation: "lock" })
    }),
  )
})
