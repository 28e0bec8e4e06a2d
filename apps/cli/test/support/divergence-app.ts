/** Counters with a bug on request: the application of the replay test. */
import { Struct, Text, U64 } from "@coppice/codec"
import { Qmdb } from "@coppice/qmdb"
import { Application } from "@coppice/stateful"

/** Counters that `plus` is added to by mistake where a name begins with "b". */
export const makeCounters = (plus: bigint) =>
  Application.make({
    name: "counters",
    databases: { counts: Qmdb.any({ key: Text(8), value: U64 }) },
    transaction: Struct({ name: Text(8), amount: U64 }),
    execute: ({ counts }, { name, amount }) =>
      counts.put(name, (counts.get(name) ?? 0n) + amount + (name.startsWith("b") ? plus : 0n)),
  })
