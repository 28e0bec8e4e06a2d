/**
 * A process that takes the lock of the directory given to it, collects garbage, says so, and holds the lock until it is
 * killed or its standard input ends. Nothing refers to the scope of the lock any more then: it must hold all the same.
 */
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { Effect, Scope } from "effect"
import { acquireLock, announceHolder, nodePaths } from "../../src/index.ts"

const hold = (directory: string): Promise<void> => {
  const paths = nodePaths(directory)
  const take = Effect.andThen(acquireLock(paths), announceHolder(paths))
  return Effect.runPromise(Effect.flatMap(Scope.make(), (scope) => Scope.provide(take, scope)))
}

setFlagsFromString("--expose-gc")
const collect = runInNewContext("gc") as () => void

await hold(process.argv[2]!)
process.stdin.on("data", () => {
  collect()
  process.stdout.write("held\n")
})
