/**
 * Goal: operations decode to what was encoded and nothing else decodes.
 * Method: the published operations of codec.json, typed and in place; then each of them cut, lengthened or with one byte
 * changed; then keys, values and floors around their limits.
 */
import { readFileSync } from "node:fs"
import { Blob, Bytes, type Codec, DecodeError, decode, encode, keyBytes, Struct, U64, Varint } from "@coppice/codec"
import { describe, expect, it } from "vitest"
import { decodeOperation, KEY_BYTES_MAX, type KeyedFormat, keyedFormat, VALUE_BYTES_MAX } from "../src/index.ts"
import {
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
  writeKeyHead,
  writeMutationHead,
} from "../src/log.ts"

interface Vector {
  readonly variant: string
  readonly operation: {
    readonly op: string
    readonly key?: string
    readonly value?: string
    readonly next_key?: string
    readonly metadata?: string | null
    readonly floor?: number | string
  }
  readonly fixed_key32_value32: string
  readonly variable_raw_32_byte_key_and_value: string
  readonly variable_length_prefixed_key_and_value: string
}

const file = new URL("../../../conformance/vectors/codec.json", import.meta.url)
const { operations } = JSON.parse(readFileSync(file, "utf8")) as { readonly operations: ReadonlyArray<Vector> }

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex")
const bytes = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, "hex"))

type Column = keyof Vector & `${"fixed" | "variable"}_${string}`
type Format = KeyedFormat<Uint8Array, Uint8Array>
const formats: ReadonlyArray<readonly [Column, Format]> = [false, true].flatMap((ordered) => [
  ["fixed_key32_value32", keyedFormat({ key: Bytes(32), value: Bytes(32), ordered })] as const,
  [
    "variable_raw_32_byte_key_and_value",
    keyedFormat({ key: Bytes(32), value: Bytes(32), encoding: "variable", ordered }),
  ] as const,
  ["variable_length_prefixed_key_and_value", keyedFormat({ key: Blob(64), value: Blob(64), ordered })] as const,
])
const published = ({ ordered }: Format): ReadonlyArray<Vector> =>
  operations.filter(({ variant }) => variant === (ordered ? "any ordered" : "any unordered"))

/** The encoding of a published operation, made as the database makes it. */
const written = (format: Format, { operation }: Vector): Uint8Array => {
  const { op, key, value, next_key: next, metadata, floor } = operation
  const encoded = (hexValue: string): Uint8Array => encode(format.value.codec, bytes(hexValue))
  if (op === "commit") return commitOperation(format, metadata ? encoded(metadata) : undefined, Number(floor))
  const identity = bytes(key!)
  const nextIdentity = next === undefined ? undefined : bytes(next)
  const valueBytes = value === undefined ? undefined : encoded(value)
  const length = mutationBytes(format, identity.length, valueBytes?.length, nextIdentity?.length)
  const target = new Uint8Array(length)
  let at = writeMutationHead(format, target, 0, identity.length, valueBytes !== undefined)
  target.set(identity, at)
  at += identity.length
  if (valueBytes !== undefined) target.set(valueBytes, at)
  if (nextIdentity !== undefined) {
    target.set(nextIdentity, writeKeyHead(format, target, at + valueBytes!.length, nextIdentity.length))
  }
  return target
}

describe("published operations", () => {
  for (const [column, format] of formats) {
    const title = `${format.ordered ? "ordered" : "unordered"}, ${column}`

    it(`are there: ${title}`, () => {
      expect(new Set(published(format).map(({ operation }) => operation.op))).toEqual(
        new Set(["update", "delete", "commit"]),
      )
    })

    it(`decode: ${title}`, () => {
      for (const vector of published(format)) {
        const { op, key, value, next_key: next, metadata, floor } = vector.operation
        const decoded = decodeOperation(format, bytes(vector[column]))
        expect(decoded.tag).toBe(op)
        if (decoded.tag === "commit") {
          expect(decoded.floor).toBe(Number(floor))
          expect(decoded.metadata === undefined ? null : hex(decoded.metadata)).toBe(metadata ?? null)
        } else expect(hex(decoded.key)).toBe(key)
        if (decoded.tag === "update") {
          expect(hex(decoded.value)).toBe(value)
          expect(decoded.nextKey === undefined ? undefined : hex(decoded.nextKey)).toBe(next)
        }
      }
    })

    it(`are written and read in place: ${title}`, () => {
      for (const vector of published(format)) {
        const { op, key, value, next_key: next, metadata, floor } = vector.operation
        const operation = bytes(vector[column])
        const part = ({ start, end }: Extent): string => hex(operation.subarray(start, end))
        expect(hex(written(format, vector))).toBe(vector[column])
        expect(isCommit(format, operation)).toBe(op === "commit")
        expect(commitFloor(format, operation)).toBe(op === "commit" ? Number(floor) : undefined)
        if (op === "commit") {
          const found = commitMetadata(format, operation)
          expect(found && hex(decode(format.value.codec, found))).toBe(metadata ?? undefined)
          continue
        }
        expect(part(keyExtent(format, operation))).toBe(key)
        expect(hex(keyBytes(operationKey(format, operation)))).toBe(key)
        if (op === "update") expect(hex(decode(format.value.codec, operationValue(format, operation)))).toBe(value)
        if (next !== undefined) expect(part(nextKeyExtent(format, operation))).toBe(next)
      }
    })

    it(`are refused when cut, lengthened, or changed where nothing is free: ${title}`, () => {
      for (const vector of published(format)) {
        const encoded = bytes(vector[column])
        expect(() => decodeOperation(format, encoded.slice(0, -1))).toThrow(DecodeError)
        expect(() => decodeOperation(format, Uint8Array.of(...encoded, 0))).toThrow(DecodeError)
        expect(() => decodeOperation(format, encoded.with(0, 0xd4))).toThrow(DecodeError)
        if (vector.operation.op === "commit")
          expect(() => decodeOperation(format, encoded.with(1, 2))).toThrow(DecodeError)
        const padded = format.encoding === "fixed" && vector.operation.op === "delete"
        if (padded) expect(() => decodeOperation(format, encoded.with(encoded.length - 1, 1))).toThrow(DecodeError)
      }
    })
  }

  it("an absent metadata that is not zero is refused", () => {
    const format = formats[0]![1]
    const commit = commitOperation(format, undefined, 5)
    expect(() => decodeOperation(format, commit.with(10, 1))).toThrow(DecodeError)
  })
})

describe("commits", () => {
  it("carry every floor up to the leaf maximum of the family, and none above", () => {
    for (const family of ["mmr", "mmb"] as const) {
      for (const encoding of ["fixed", "variable"] as const) {
        const format = keyedFormat({ key: Bytes(32), value: Bytes(32), encoding, family })
        const { leavesMax } = format.family
        for (const floor of [0, 127, 128, 2 ** 32 - 1, 2 ** 32, leavesMax]) {
          const encoded = commitOperation(format, undefined, floor)
          expect(decodeOperation(format, encoded)).toEqual({ tag: "commit", metadata: undefined, floor })
          expect(commitFloor(format, encoded)).toBe(floor)
        }
        const above = commitOperation(format, undefined, leavesMax + 1)
        expect(() => decodeOperation(format, above)).toThrow(DecodeError)
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
