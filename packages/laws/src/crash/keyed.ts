/** `any` and `current` databases under the sweep: a few keys, written and deleted again and again. */
import { compareBytes } from "@coppice/codec"
import { type KeyedBatch, type KeyedReader, type MemberSpec, type OrderedReader, Qmdb } from "@coppice/qmdb"
import { currentFormat } from "@coppice/verify"
import { chanceOf, claim } from "../law.ts"
import { KEY_BYTES, nameOf, type Variant, valueFrom } from "./database.ts"
import { claimCurrent, claimLog } from "./proofs.ts"
import { type CrashFamily, crashFamily } from "./sweep.ts"

type Batch = KeyedBatch<Uint8Array, Uint8Array>
type Reader = KeyedReader<Uint8Array, Uint8Array>

/** How much a block writes, over how many keys. */
interface Load {
  readonly keys: number
  readonly writes: number
}

const FEW: Load = { keys: 20, writes: 7 }
/** So much that chunks of activity bits fill up and are pruned. */
const MANY: Load = { keys: 32, writes: 90 }

const DELETE_SHARE = 0.3

const keyOf = (n: number): Uint8Array => Uint8Array.from({ length: KEY_BYTES }, (_, i) => n + i * 31)

const keysOf = ({ keys }: Load): ReadonlyArray<Uint8Array> => Array.from({ length: keys }, (_, n) => keyOf(n))

/** What a block writes, by number of the key; undefined deletes. */
const writesOf = (
  block: number,
  { keys, writes }: Load,
  variant: Variant,
): ReadonlyMap<number, Uint8Array | undefined> => {
  const chance = chanceOf(block)
  return new Map(
    Array.from({ length: writes }, () => {
      const key = Math.floor(chance() * keys)
      return [key, chance() < DELETE_SHARE ? undefined : valueFrom(chance, variant)] as const
    }),
  )
}

const keyed = <B extends Batch, R extends Reader>(
  family: string,
  spec: MemberSpec<B, R>,
  load: Load,
  variant: Variant,
  prove: (reader: R) => void,
): CrashFamily => {
  const shown = (valueOf: (key: number) => Uint8Array | undefined): string =>
    Array.from({ length: load.keys }, (_, key) => `${key}=${valueOf(key)?.join(".") ?? "none"}`).join(" ")
  return crashFamily<B, R>({
    name: nameOf(family, variant),
    spec,
    write: (batch, block) => {
      for (const [key, value] of writesOf(block, load, variant)) {
        if (value === undefined) batch.remove(keyOf(key))
        else batch.put(keyOf(key), value)
      }
    },
    contents: (reader) => shown((key) => reader.get(keyOf(key))),
    expected: ({ blocks }) => {
      const rows = new Map(blocks.flatMap((block) => [...writesOf(block, load, variant)]))
      return shown((key) => rows.get(key))
    },
    prove,
  })
}

/** Claims that the entries in order, and the spans, are those of the keys that have a value. */
const claimOrder = (keys: ReadonlyArray<Uint8Array>, reader: OrderedReader<Uint8Array, Uint8Array>): void => {
  const active = keys.filter((key) => reader.get(key) !== undefined).sort(compareBytes)
  const entries = reader.entries().map(([key]) => key.join())
  claim(entries.join(" ") === active.join(" "), `the entries in order are ${entries.join(" ")}`)
  for (const [i, key] of active.entries()) {
    const span = reader.span(key)
    const next = active[(i + 1) % active.length]!
    claim(span?.nextKey.join() === next.join(), `the span of ${key} ends at ${span?.nextKey}, not ${next}`)
  }
}

/** The keyed families in one variant. */
export const keyedFamilies = (variant: Variant): ReadonlyArray<CrashFamily> => {
  const { merkle, key, value } = variant
  const unordered = { key, value, family: merkle }
  const ordered = { ...unordered, ordered: true } as const
  const [few, many] = [keysOf(FEW), keysOf(MANY)]
  return [
    keyed("any unordered", Qmdb.any(unordered), FEW, variant, (reader) => claimLog(merkle, reader)),
    keyed("any ordered", Qmdb.any(ordered), FEW, variant, (reader) => {
      claimLog(merkle, reader)
      claimOrder(few, reader)
    }),
    keyed("current unordered", Qmdb.current(unordered), MANY, variant, (reader) => {
      claimLog(merkle, reader)
      claimCurrent(currentFormat(unordered), many, reader)
    }),
    keyed("current ordered", Qmdb.current(ordered), MANY, variant, (reader) => {
      claimLog(merkle, reader)
      claimOrder(many, reader)
      claimCurrent(currentFormat(ordered), many, reader)
    }),
  ]
}
