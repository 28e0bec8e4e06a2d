/**
 * Goal: operations decode to what was encoded, and nothing else decodes.
 * Method: the published operations of codec.json and of spec qmdb §1.2, typed and in place; then each of them cut,
 * lengthened or with one byte changed; then keys, values and floors around their limits.
 */
import { readFileSync } from "node:fs"
import { Blob, Bytes, type Codec, DecodeError, decode, encode, keyBytes, Struct, U64, Varint } from "@coppice/codec"
import { Location } from "@coppice/merkle"
import { describe, expect, it } from "vitest"
import {
  decodeOperation,
  type Encoding,
  encodeOperation,
  type ImmutableFormat,
  immutableFormat,
  KEY_BYTES_MAX,
  type KeyedFormat,
  type KeylessFormat,
  keyedFormat,
  keylessFormat,
  VALUE_BYTES_MAX,
} from "../src/index.ts"
import {
  appendBytes,
  appendedValue,
  commitFloor,
  commitMetadata,
  commitOperation,
  type Extent,
  isCommit,
  keyExtent,
  mutationBytes,
  nextKeyExtent,
  operationKey,
  operationValue,
  setBytes,
  writeAppendHead,
  writeKeyHead,
  writeMutationHead,
  writeSetHead,
} from "../src/log.ts"

interface Published {
  readonly op: string
  readonly key?: string
  readonly value?: string
  readonly next_key?: string
  readonly metadata?: string | null
  readonly floor?: number
}

type Column = `${"fixed" | "variable"}_${string}`
type Vector = { readonly variant: string; readonly operation: Published } & Readonly<Record<Column, string>>

const file = new URL("../../../conformance/vectors/codec.json", import.meta.url)
const { operations } = JSON.parse(readFileSync(file, "utf8")) as { readonly operations: ReadonlyArray<Vector> }

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex")
const bytes = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, "hex"))

type Keyed = KeyedFormat<Uint8Array, Uint8Array>
type Immutable = ImmutableFormat<Uint8Array, Uint8Array>
type Keyless = KeylessFormat<Uint8Array>
type Format = Keyed | Immutable | Keyless

interface Types {
  readonly key: Codec<Uint8Array>
  readonly value: Codec<Uint8Array>
  readonly encoding?: Encoding
}
const types: ReadonlyArray<readonly [Column, Types]> = [
  ["fixed_key32_value32", { key: Bytes(32), value: Bytes(32) }],
  ["variable_raw_32_byte_key_and_value", { key: Bytes(32), value: Bytes(32), encoding: "variable" }],
  ["variable_length_prefixed_key_and_value", { key: Blob(64), value: Blob(64) }],
]
const variants: Readonly<Record<string, (of: Types) => Format>> = {
  "any unordered": keyedFormat,
  "any ordered": (of) => keyedFormat({ ...of, ordered: true }),
  immutable: immutableFormat,
  keyless: keylessFormat,
}

const isKeyed = (format: Format): format is Keyed => "ordered" in format
const isKeyless = (format: Format): format is Keyless => !("key" in format)

/** A decoded operation in the words of the published file. */
const told = (format: Format, encoded: Uint8Array): Published => {
  const operation = isKeyed(format)
    ? decodeOperation(format, encoded)
    : isKeyless(format)
      ? decodeOperation(format, encoded)
      : decodeOperation(format, encoded)
  const { tag: op } = operation
  if (op === "commit") {
    const { metadata, floor } = operation
    return { op, metadata: metadata === undefined ? null : hex(metadata), floor }
  }
  const { key, value, nextKey }: { key?: Uint8Array; value?: Uint8Array; nextKey?: Uint8Array | undefined } = operation
  return {
    op,
    ...(key && { key: hex(key) }),
    ...(value && { value: hex(value) }),
    ...(nextKey && { next_key: hex(nextKey) }),
  }
}

/** The encoding of the typed operation. */
const encoded = (format: Format, operation: Uint8Array): Uint8Array => {
  if (isKeyed(format)) return encodeOperation(format, decodeOperation(format, operation))
  if (isKeyless(format)) return encodeOperation(format, decodeOperation(format, operation))
  return encodeOperation(format, decodeOperation(format, operation))
}

/** The encoding of a published operation, made in place as databases make it. */
const written = (format: Format, { op, key, value, next_key: next, metadata, floor }: Published): Uint8Array => {
  const inType = (hexValue: string): Uint8Array => encode(format.value.codec, bytes(hexValue))
  if (op === "commit") return commitOperation(format, metadata ? inType(metadata) : undefined, Number(floor))
  const identity = bytes(key ?? "")
  const valueBytes = value === undefined ? new Uint8Array(0) : inType(value)
  const { length } = identity
  if (isKeyless(format)) {
    const target = new Uint8Array(appendBytes(format, valueBytes.length))
    target.set(valueBytes, writeAppendHead(target, 0))
    return target
  }
  const nextIdentity = next === undefined ? undefined : bytes(next)
  const target = new Uint8Array(
    isKeyed(format)
      ? mutationBytes(format, length, op === "update" ? valueBytes.length : undefined, nextIdentity?.length)
      : setBytes(format, length, valueBytes.length),
  )
  const at = isKeyed(format)
    ? writeMutationHead(format, target, 0, length, op === "update")
    : writeSetHead(format, target, 0, length)
  target.set(identity, at)
  target.set(valueBytes, at + length)
  if (isKeyed(format) && nextIdentity !== undefined) {
    target.set(nextIdentity, writeKeyHead(format, target, at + length + valueBytes.length, nextIdentity.length))
  }
  return target
}

/** What is read in place of an operation, in the words of the published file. */
const read = (format: Format, operation: Uint8Array): Published => {
  const value = (found: Uint8Array): string => hex(decode(format.value.codec, found))
  const part = ({ start, end }: Extent): string => hex(operation.subarray(start, end))
  if (isCommit(format, operation)) {
    const metadata = commitMetadata(format, operation)
    return { op: "commit", metadata: metadata ? value(metadata) : null, floor: commitFloor(format, operation)! }
  }
  if (isKeyless(format)) return { op: "append", value: value(appendedValue(format, operation)) }
  const key = hex(keyBytes(operationKey(format, operation)))
  expect(part(keyExtent(format, operation))).toBe(key)
  if (isKeyed(format) && operation[0] === 0xd1) return { op: "delete", key }
  const found = { key, value: value(operationValue(format, operation)) }
  if (!isKeyed(format)) return { op: "set", ...found }
  return { op: "update", ...found, ...(format.ordered && { next_key: part(nextKeyExtent(format, operation)) }) }
}

describe.each(Object.keys(variants))("%s", (variant) => {
  const published = (column: Column) =>
    operations.flatMap((vector) => {
      const text = vector[column]
      return vector.variant === variant && text !== undefined ? [{ operation: vector.operation, text }] : []
    })

  it("has published operations", () => {
    expect(published("fixed_key32_value32").length).toBeGreaterThanOrEqual(3)
  })

  it.each(types)("decodes to what is published, and encodes back: %s", (column, of) => {
    const format = variants[variant]!(of)
    for (const { operation, text } of published(column)) {
      expect(told(format, bytes(text))).toEqual(operation)
      expect(hex(encoded(format, bytes(text)))).toBe(text)
    }
  })

  it.each(types)("is written and read in place: %s", (column, of) => {
    const format = variants[variant]!(of)
    for (const { operation, text } of published(column)) {
      expect(hex(written(format, operation))).toBe(text)
      expect(read(format, bytes(text))).toEqual(operation)
    }
  })

  it.each(types)("is refused when cut, lengthened, or changed where nothing is free: %s", (column, of) => {
    const format = variants[variant]!(of)
    const refused = (operation: Uint8Array, note: string): void =>
      expect(() => told(format, operation), note).toThrow(DecodeError)
    for (const { operation, text } of published(column)) {
      const whole = bytes(text)
      refused(whole.slice(0, -1), "cut")
      refused(Uint8Array.of(...whole, 0), "lengthened")
      refused(whole.with(0, 0xd4), "tag")
      if (operation.op === "commit") refused(whole.with(1, 2), "flag")
      // No published operation that fills its length ends in zero.
      if (format.encoding === "fixed" && whole.at(-1) === 0) refused(whole.with(whole.length - 1, 1), "padding")
    }
  })

  it("an absent metadata that is not zero is refused", () => {
    const format = variants[variant]!(types[0]![1])
    const commit = commitOperation(format, undefined, 5)
    expect(() => told(format, commit.with(10, 1))).toThrow(DecodeError)
  })
})

describe("spec qmdb §1.2", () => {
  const [key, value, nextKey] = ["aaaaaaaa", "b1b2", "cccccccc"].map(bytes) as [Uint8Array, Uint8Array, Uint8Array]
  const none = { tag: "commit", metadata: undefined, floor: Location(300) } as const
  const some = { ...none, metadata: value }

  it("prints these operations", () => {
    const fixed = { key: Bytes(4), value: Bytes(2) }
    const variable = { key: Blob(9), value: Blob(9) }
    const printed = [fixed, variable].map((of) => {
      const unordered = keyedFormat(of)
      return [
        encodeOperation(unordered, { tag: "delete", key }),
        encodeOperation(unordered, { tag: "update", key, value, nextKey: undefined }),
        encodeOperation(keyedFormat({ ...of, ordered: true }), { tag: "update", key, value, nextKey }),
        encodeOperation(unordered, none),
        encodeOperation(unordered, some),
        encodeOperation(immutableFormat(of), { tag: "set", key, value }),
        encodeOperation(immutableFormat(of), none),
        encodeOperation(keylessFormat(of), { tag: "append", value }),
        encodeOperation(keylessFormat(of), some),
      ].map(hex)
    })
    expect(printed).toEqual([
      [
        "d1aaaaaaaa00000000000000",
        "d2aaaaaaaab1b20000000000",
        "d2aaaaaaaab1b2cccccccc00",
        "d3000000000000000000012c",
        "d301b1b2000000000000012c",
        "00aaaaaaaab1b20000000000",
        "01000000000000000000012c",
        "01b1b2000000000000000000",
        "0001b1b2000000000000012c",
      ],
      [
        "d104aaaaaaaa",
        "d204aaaaaaaa02b1b2",
        "d204aaaaaaaa02b1b204cccccccc",
        "d300ac02",
        "d30102b1b2ac02",
        "0004aaaaaaaa02b1b2",
        "0100ac02",
        "0102b1b2",
        "000102b1b2ac02",
      ],
    ])
  })

  it("an operation outside the types has no encoding", () => {
    const format = keyedFormat({ key: Bytes(4), value: Bytes(2) })
    const outside = [
      { tag: "update", key, value, nextKey } as const,
      { tag: "delete", key: value } as const,
      { ...none, floor: Location(format.family.leavesMax + 1) },
    ]
    for (const operation of outside) expect(() => encodeOperation(format, operation)).toThrow(RangeError)
  })
})

describe("commits", () => {
  it("carry every floor up to the leaf maximum of the family, and none above", () => {
    for (const family of ["mmr", "mmb"] as const) {
      for (const encoding of ["fixed", "variable"] as const) {
        for (const make of Object.values(variants)) {
          const format = make({ key: Bytes(32), value: Bytes(32), encoding, ...{ family } })
          const { leavesMax } = format.family
          for (const floor of [0, 127, 128, 2 ** 32 - 1, 2 ** 32, leavesMax]) {
            const commit = commitOperation(format, undefined, floor)
            expect(told(format, commit)).toEqual({ op: "commit", metadata: null, floor })
            expect(commitFloor(format, commit)).toBe(floor)
          }
          expect(() => told(format, commitOperation(format, undefined, leavesMax + 1))).toThrow(DecodeError)
        }
      }
    }
  })
})

describe("limits at decode", () => {
  const update = (key: Uint8Array, value: Uint8Array): Uint8Array => Uint8Array.of(0xd2, ...key, ...value)
  const length = (n: number): ReadonlyArray<number> =>
    n < 128 ? [n] : [(n % 128) + 128, ...length(Math.floor(n / 128))]
  const blob = (n: number): Uint8Array => {
    const prefix = length(n)
    const whole = new Uint8Array(prefix.length + n)
    whole.set(prefix)
    return whole
  }

  it("a key above KEY_BYTES_MAX is refused, one at it is not, whatever the shape of its type", () => {
    const check = <K>(codec: Codec<K>, make: (n: number) => Uint8Array): void => {
      const format = keyedFormat({ key: codec, value: Varint, encoding: "variable" })
      const value = Uint8Array.of(1)
      expect(decodeOperation(format, update(make(KEY_BYTES_MAX), value)).tag).toBe("update")
      expect(() => decodeOperation(format, update(make(KEY_BYTES_MAX + 1), value)), codec.name).toThrow(DecodeError)
    }
    check(Blob(4096), blob)
    check(Struct({ part: U64, rest: Blob(4096) }), (n) => Uint8Array.of(...new Uint8Array(8), ...blob(n - 10)))
  })

  it("a value above VALUE_BYTES_MAX is refused, as metadata too", () => {
    const format = keyedFormat({ key: Varint, value: Blob(VALUE_BYTES_MAX * 2), encoding: "variable" })
    const inside = blob(VALUE_BYTES_MAX - 3)
    const outside = blob(VALUE_BYTES_MAX + 1)
    const whole = (head: ReadonlyArray<number>, value: Uint8Array, tail: ReadonlyArray<number>): Uint8Array =>
      Buffer.concat([Buffer.from(head), value, Buffer.from(tail)])
    expect(decodeOperation(format, whole([0xd2, 5], inside, [])).tag).toBe("update")
    expect(() => decodeOperation(format, whole([0xd2, 5], outside, []))).toThrow(DecodeError)
    expect(decodeOperation(format, whole([0xd3, 1], inside, [0])).tag).toBe("commit")
    expect(() => decodeOperation(format, whole([0xd3, 1], outside, [0]))).toThrow(DecodeError)
  })

  it("a fixed encoding of types without a size is refused when it is declared", () => {
    expect(() => keyedFormat({ key: Blob(8), value: Bytes(8), encoding: "fixed" })).toThrow(RangeError)
    expect(() => keyedFormat({ key: Bytes(KEY_BYTES_MAX + 1), value: Bytes(8) })).toThrow(RangeError)
    expect(() => keyedFormat({ key: Bytes(8), value: Bytes(VALUE_BYTES_MAX + 1) })).toThrow(RangeError)
  })
})
