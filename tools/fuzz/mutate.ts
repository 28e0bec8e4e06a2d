/**
 * Changes to a claim that know its structure, and changes to its bytes that do not.
 *
 *   claim --descend by field--> number | bytes | list | absent --> another one there, the rest as it was
 *   bytes --> bits flipped, bytes put in and taken out, a varint made longer than it need be, a part of another record
 *
 * Invariant: what is given is never changed; the result shares what was not.
 */
import type { Random } from "./random.ts"

type Tree = Readonly<Record<string, unknown>>

const isTree = (value: unknown): value is Tree =>
  typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array)

/** Every byte string of a claim, to be put in place of another. */
export const byteStrings = (value: unknown, found: Array<Uint8Array> = []): ReadonlyArray<Uint8Array> => {
  if (value instanceof Uint8Array) found.push(value)
  else if (Array.isArray(value)) for (const item of value) byteStrings(item, found)
  else if (isTree(value)) for (const item of Object.values(value)) byteStrings(item, found)
  return found
}

const otherNumber = (random: Random, n: number): number => {
  switch (random.below(8)) {
    case 0:
      return n + 1
    case 1:
      return n - 1
    case 2:
      return 0
    case 3:
      return n ^ (1 << random.below(12))
    case 4:
      return 2 * n
    case 5:
      return 2 ** random.below(54)
    case 6:
      return Number.MAX_SAFE_INTEGER - random.below(4)
    default:
      return random.below(64)
  }
}

const flipBit = (random: Random, bytes: Uint8Array): Uint8Array => {
  if (bytes.length === 0) return Uint8Array.of(random.next())
  const bit = random.below(bytes.length * 8)
  return bytes.with(bit >> 3, bytes[bit >> 3]! ^ (1 << (bit & 7)))
}

const otherBytes = (random: Random, bytes: Uint8Array, donors: ReadonlyArray<Uint8Array>): Uint8Array => {
  switch (random.below(7)) {
    case 0:
      return bytes.map(() => 0)
    case 1:
      return random.bytes(bytes.length)
    case 2:
      return bytes.slice(0, -1)
    case 3:
      return Uint8Array.of(...bytes, random.next())
    case 4:
    case 5: {
      const donor = random.of(donors)
      return donor?.length === bytes.length ? donor : flipBit(random, bytes)
    }
    default:
      return flipBit(random, bytes)
  }
}

const otherList = (random: Random, list: ReadonlyArray<unknown>): ReadonlyArray<unknown> => {
  const at = random.below(list.length || 1)
  switch (random.below(6)) {
    case 0:
      return list.toSpliced(at, 1)
    case 1:
      return list.toSpliced(at, 0, list[at] ?? random.bytes(32))
    case 2: {
      const other = random.below(list.length || 1)
      return list.length === 0 ? [random.bytes(32)] : list.with(at, list[other]).with(other, list[at])
    }
    case 3:
      return list.toReversed()
    case 4:
      return random.below(4) === 0 ? [] : list.slice(0, -1)
    default:
      return [...list, list.at(-1) ?? random.bytes(32)]
  }
}

/** A claim with one thing changed. */
export const mutateClaim = (random: Random, value: unknown, donors: ReadonlyArray<Uint8Array>): unknown => {
  if (typeof value === "number") return otherNumber(random, value)
  if (value === undefined) return random.below(2) === 0 ? random.bytes(32) : (random.of(donors) ?? random.bytes(8))
  if (value instanceof Uint8Array) return otherBytes(random, value, donors)
  if (Array.isArray(value)) {
    if (value.length === 0 || random.below(3) === 0) return otherList(random, value)
    const at = random.below(value.length)
    return value.with(at, mutateClaim(random, value[at], donors))
  }
  if (!isTree(value)) return value
  const field = random.of(Object.keys(value).filter((name) => typeof value[name] !== "string"))
  // What may be absent is taken away now and then.
  const isOptional = field === "pending" || field === "partial" || field === "metadata"
  const isDropped = isOptional && value[field] !== undefined && random.below(4) === 0
  return { ...value, [field]: isDropped ? undefined : mutateClaim(random, value[field], donors) }
}

/** A byte string with one thing changed; `other` is the encoding of another claim. */
export const mutateBytes = (random: Random, bytes: Uint8Array, other: Uint8Array): Uint8Array => {
  const at = random.below(bytes.length || 1)
  const put = (count: number, ...items: ReadonlyArray<number>): Uint8Array =>
    Uint8Array.from(Array.from(bytes).toSpliced(at, count, ...items))
  switch (random.below(9)) {
    case 0:
      return put(0, random.next() & 0xff)
    case 6:
      return put(1, ...random.bytes(3 + random.below(6)).map((byte) => byte | 0x80), 1 + random.below(0x7f))
    case 1:
      return put(1)
    case 2:
      return Uint8Array.of(...bytes, ...random.bytes(1 + random.below(3)))
    case 3:
      return bytes.slice(0, at)
    case 4:
      return put(1, (bytes[at] ?? 0) | 0x80, 0)
    case 5: {
      const length = 1 + random.below(40)
      return put(length, ...other.subarray(at, at + length))
    }
    default:
      return flipBit(random, bytes)
  }
}
