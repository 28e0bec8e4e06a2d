/** The smallest chain: counters by name, that anyone can add to. Run it again: it goes on where it stopped. */
import { Struct, Text, U32, U64 } from "@coppice/codec"
import { Qmdb } from "@coppice/qmdb"
import { withDevnet } from "@coppice/simulate/devnet"
import { Application, reject } from "@coppice/stateful"
import { Effect } from "effect"

/** The whole application: one database, one kind of transaction, one transition. */
export const Counter = Application.make({
  name: "counter",
  databases: { counts: Qmdb.any({ key: Text(32), value: U64 }) },
  transaction: Struct({ name: Text(32), amount: U32, nonce: U64 }),
  execute: ({ counts }, { name, amount }) => {
    const sum = (counts.get(name) ?? 0n) + BigInt(amount)
    if (sum >= 2n ** 64n) return reject("the counter is full")
    counts.put(name, sum)
  },
})

if (import.meta.main) {
  const chain = { application: Counter, directory: process.argv[2] ?? ".coppice" }
  const program = withDevnet(chain, ({ submit, read }) =>
    Effect.gen(function* () {
      const nonce = BigInt(read((_, anchor) => anchor.height))
      const height = yield* submit({ name: "starts", amount: 1, nonce })
      const starts = read(({ counts }) => counts.get("starts"))
      console.log(`start number ${starts} of this chain, in block ${height} of four validators`)
    }),
  )
  await Effect.runPromise(program)
}
