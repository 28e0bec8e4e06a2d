/**
 * A process that writes until it is killed.
 *
 *   writer.ts DIRECTORY FROM        batch n puts n under "last" in map a, and a row of 4,000 bytes for each n in map b
 *
 * Prints n once batch n has succeeded.
 */
import { writeSync } from "node:fs"
import { Effect } from "effect"
import { openLmdb } from "../../src/lmdb.ts"

const [directory = "", from = "0"] = process.argv.slice(2)
const LAST = new TextEncoder().encode("last")
const STDOUT = 1

const rowKey = (n: number, row: number) => Uint8Array.of(n >> 16, n >> 8, n, row)

const writing = Effect.gen(function* () {
  const storage = yield* openLmdb({ directory, maps: ["a", "b"] })
  for (let n = Number(from); ; n++) {
    const rows = Array.from({ length: 1 + (n % 20) * 10 }, (_, row) => rowKey(n, row))
    yield* storage.write([
      ...rows.map((key) => ({ tag: "put" as const, map: "b", key, value: new Uint8Array(4000).fill(n) })),
      { tag: "put", map: "a", key: LAST, value: rowKey(n, rows.length) },
    ])
    writeSync(STDOUT, `${n}\n`)
  }
})

await Effect.runPromise(Effect.scoped(writing))
