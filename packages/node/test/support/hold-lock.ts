/** A process that takes the lock of the directory given to it, says so, and holds it until it is killed. */
import { Console, Effect } from "effect"
import { acquireLock, announceHolder, nodePaths } from "../../src/index.ts"

const paths = nodePaths(process.argv[2]!)

Effect.runFork(
  Effect.scoped(
    Effect.gen(function* () {
      yield* acquireLock(paths)
      yield* announceHolder(paths)
      yield* Console.log("held")
      return yield* Effect.never
    }),
  ),
)
