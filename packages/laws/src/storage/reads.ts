/** Laws of reading: order, values, scans, and whose the arrays are. */
import { compareBytes } from "@coppice/codec"
import { type Entry, KEY_BYTES_MAX, type ScanRange } from "@coppice/storage"
import { Effect } from "effect"
import { chanceOf, claim, law, seededLaw } from "../law.ts"
import {
  bytes,
  contents,
  MAPS,
  Model,
  put,
  remove,
  type StorageLaw,
  type StorageWorld,
  shown,
  thrown,
} from "./world.ts"

const KEYS = [
  bytes(0),
  bytes(0, 0),
  bytes(0, 255),
  bytes(1),
  bytes(1, 0),
  bytes(9),
  bytes(16),
  bytes(127),
  bytes(128),
  bytes(128, 128, 128),
  bytes(255),
  bytes(255, 255, 255),
]

const withKeys = (keys: ReadonlyArray<Uint8Array>) => (world: StorageWorld) =>
  Effect.gen(function* () {
    const storage = yield* world.open(MAPS)
    yield* storage.write(keys.map((key, i) => put("a", key, bytes(i))))
    return storage
  })

const byteOrder: StorageLaw = law("keys come in byte order, a prefix before what it begins", (world) =>
  Effect.gen(function* () {
    const storage = yield* withKeys(KEYS.toReversed())(world)
    const found = storage.scan("a", {}).map(({ key }) => key)
    const expected = KEYS.toSorted(compareBytes)
    claim(found.join(" ") === expected.join(" "), `order of keys: ${found.join(" ")}`)
  }),
)

const values: StorageLaw = law("a value is read as it was written, of any length, and absent is undefined", (world) =>
  Effect.gen(function* () {
    const storage = yield* world.open(MAPS)
    const sizes = [0, 1, 63, 64, 65, 512, 513, 4080, 70_000, 1 << 20]
    const key = (i: number) => new Uint8Array(i % 2 === 0 ? 1 + i : KEY_BYTES_MAX - i).fill(i + 1)
    const value = (i: number) => new Uint8Array(sizes[i]!).fill(200 - i)
    yield* storage.write(sizes.map((_, i) => put("a", key(i), value(i))))
    for (const [i, size] of sizes.entries()) {
      const found = storage.get("a", key(i))
      claim(found !== undefined, `a value of ${size} bytes is absent`)
      claim(
        found.length === size && found.every((byte) => byte === 200 - i),
        `a value of ${size} bytes came back other`,
      )
      claim(storage.get("b", key(i)) === undefined, "a key of one map is in another")
      for (const room of [0, 1, size, size + 3]) {
        const target = new Uint8Array(room + 1)
        claim(
          storage.getInto("a", key(i), target.subarray(0, room)) === size,
          `getInto of ${size} bytes tells another length`,
        )
        const copied = Math.min(room, size)
        claim(
          target.every((byte, at) => byte === (at < copied ? 200 - i : 0)),
          `getInto of ${size} bytes into ${room} copied other bytes`,
        )
      }
      claim(storage.getInto("b", key(i), new Uint8Array(1)) === -1, "getInto finds a key of one map in another")
    }
    yield* storage.write([put("a", key(9), bytes(7)), remove("a", key(8)), remove("a", bytes(99))])
    claim(storage.get("a", key(9))?.join() === "7", "a shorter value does not replace a longer one")
    claim(storage.get("a", key(8)) === undefined, "a removed key is there")
    claim(storage.get("a", bytes(99)) === undefined, "a key that was never there is there")
  }),
)

const owned: StorageLaw = law("the arrays that reads return belong to the caller", (world) =>
  Effect.gen(function* () {
    const storage = yield* world.open(MAPS)
    const small = new Uint8Array(40).fill(1)
    const large = new Uint8Array(4080).fill(2)
    yield* storage.write([put("a", bytes(1), small), put("a", bytes(2), large)])
    const before = contents(storage)
    const first = storage.get("a", bytes(1))!
    const second = storage.get("a", bytes(2))!
    claim(first[0] === 1 && first.length === 40, "a later read overwrote what an earlier one returned")
    const entries = storage.scan("a", {})
    for (const array of [first, second, ...entries.flatMap(({ key, value }) => [key, value])]) {
      claim(Object.getPrototypeOf(array) === Uint8Array.prototype, "a read returned a subclass of Uint8Array")
      array.fill(0xee)
    }
    claim(contents(storage) === before, "writing into a returned array changed the storage")
  }),
)

const into: StorageLaw = law(
  "a value is read into the caller's array as far as it fits, and its whole length is told",
  (world) =>
    Effect.gen(function* () {
      const storage = yield* world.open(MAPS)
      const sizes = [0, 1, 15, 16, 17, 64, 4080, 70_000]
      yield* storage.write(sizes.map((size, i) => put("a", bytes(i), new Uint8Array(size).fill(i + 1))))
      for (const [i, size] of sizes.entries()) {
        for (const room of [0, 1, 16, 100, 4080, 70_001]) {
          const memory = new Uint8Array(room + 20).fill(99)
          const length = storage.getInto("a", bytes(i), memory.subarray(10, 10 + room))
          claim(length === size, `a value of ${size} bytes has the length ${length} in an array of ${room}`)
          const fits = 10 + Math.min(size, room)
          const isRight = memory.every((byte, at) => byte === (at >= 10 && at < fits ? i + 1 : 99))
          claim(isRight, `a value of ${size} bytes came other into an array of ${room}, or went beyond it`)
        }
      }
      const target = bytes(1, 2, 3)
      claim(storage.getInto("a", bytes(200), target) === -1, "a key that is absent has a length")
      claim(target.join() === "1,2,3", "a key that is absent changed the array")
    }),
)

const expectedScan = (entries: ReadonlyArray<Entry>, { start, end, reverse, limit }: ScanRange): string => {
  const [low, high] = reverse ? [end, start] : [start, end]
  const inside = entries.filter(({ key }) => {
    const above = low === undefined || (reverse ? compareBytes(key, low) > 0 : compareBytes(key, low) >= 0)
    const below = high === undefined || (reverse ? compareBytes(key, high) <= 0 : compareBytes(key, high) < 0)
    return above && below
  })
  return shown((reverse ? inside.toReversed() : inside).slice(0, limit))
}

const scans: StorageLaw = law(
  "a scan gives what its bounds, direction and limit say, for bounds of every kind",
  (world) =>
    Effect.gen(function* () {
      const storage = yield* withKeys(KEYS)(world)
      const entries = KEYS.map((key, i) => ({ key, value: bytes(i) })).sort((a, b) => compareBytes(a.key, b.key))
      const between = [bytes(), bytes(0, 1), bytes(2), bytes(128, 128), new Uint8Array(KEY_BYTES_MAX).fill(255)]
      const bounds = [undefined, ...KEYS, ...between]
      for (const start of bounds) {
        for (const end of bounds) {
          for (const reverse of [false, true]) {
            for (const limit of [undefined, 0, 1, 3, 100]) {
              const range = {
                ...(start && { start }),
                ...(end && { end }),
                ...(reverse && { reverse }),
                ...(limit === undefined ? {} : { limit }),
              }
              const found = shown(storage.scan("a", range))
              const expected = expectedScan(entries, range)
              claim(found === expected, `scan ${JSON.stringify(range)}: ${found}, expected ${expected}`)
            }
          }
        }
      }
      claim(storage.scan("b", {}).length === 0, "an empty map has entries")
      claim(thrown(() => storage.scan("a", { limit: -1 })) instanceof RangeError, "a negative limit is accepted")
    }),
)

const model: StorageLaw = seededLaw("any sequence of batches reads as plain maps would", () => ({
  body: (world, seed) =>
    Effect.gen(function* () {
      const chance = chanceOf(seed)
      const below = (count: number) => Math.floor(chance() * count)
      const storage = yield* world.open(MAPS)
      const expected = new Model()
      const key = () => bytes(...Array.from({ length: 1 + below(3) }, () => below(3) * 127))
      for (let i = 0; i < 12; i++) {
        const batch = Array.from({ length: below(40) }, () => {
          const map = MAPS[below(MAPS.length)]!
          return chance() < 0.7 ? put(map, key(), bytes(below(256), i)) : remove(map, key())
        })
        yield* storage.write(batch)
        expected.write(batch)
        claim(contents(storage) === expected.contents(), `seed ${seed}, batch ${i}: ${contents(storage)}`)
        const probe = key()
        const entry = expected.entries("a").find((row) => compareBytes(row.key, probe) === 0)
        claim(storage.get("a", probe)?.join() === entry?.value.join(), `seed ${seed}, batch ${i}: get ${probe}`)
      }
    }),
}))

const many: StorageLaw = law("a map of many keys, written out of order and thinned out, stays whole", (world) =>
  Effect.gen(function* () {
    const count = 5000
    const key = (i: number) => bytes(i >> 8, i & 255)
    const storage = yield* world.open(MAPS)
    const shuffled = Array.from({ length: count }, (_, i) => (i * 2741) % count)
    yield* storage.write(shuffled.map((i) => put("a", key(i), key(i))))
    yield* storage.write(shuffled.filter((i) => i % 3 !== 0).map((i) => remove("a", key(i))))
    const found = storage.scan("a", {})
    const expected = Array.from({ length: count }, (_, i) => i).filter((i) => i % 3 === 0)
    claim(shown(found) === shown(expected.map((i) => ({ key: key(i), value: key(i) }))), `${found.length} entries`)
    const middle = storage.scan("a", { start: key(2400), reverse: true, limit: 2 })
    claim(shown(middle) === shown([2400, 2397].map((i) => ({ key: key(i), value: key(i) }))), "a reverse scan")
    yield* storage.write(expected.map((i) => remove("a", key(i))))
    claim(storage.scan("a", {}).length === 0, "a map that was emptied has entries")
  }),
)

/** Laws of reading. */
export const readLaws: ReadonlyArray<StorageLaw> = [byteOrder, values, owned, into, scans, model, many]
