/**
 * A process for one law: LMDB where files may not grow beyond a limit that was set from outside.
 *
 *   full-disk.ts DIRECTORY        prints "kept" and exits with 0, or the reason and exits with 1
 */
import { applies, STORAGE_LAWS, type StorageSubject } from "@coppice/laws"
import { Effect, Exit } from "effect"
import { openLmdb } from "../../src/lmdb.ts"

const [directory = ""] = process.argv.slice(2)

process.on("unhandledRejection", (error) => {
  console.log(`unhandled rejection: ${error}`)
  process.exitCode = 2
})

const subject: StorageSubject = {
  make: () =>
    Effect.succeed({
      open: (maps) => openLmdb({ directory: `${directory}/main`, maps }),
      spare: directory,
      openSpare: (maps) => openLmdb({ directory: `${directory}/spare`, maps }),
      turn: Effect.yieldNow,
      use: () => undefined,
    }),
  powers: ["disk full"],
  seeds: 1,
}

const law = STORAGE_LAWS.find((each) => each.needs.length > 0 && applies(each, subject))!
const exit = await Effect.runPromiseExit(law.check(subject))
console.log(Exit.isSuccess(exit) ? "kept" : `broken: ${exit.cause}`)
if (Exit.isFailure(exit)) process.exitCode = 1
