/**
 * Goal: operations decode to what was encoded and nothing else decodes.
 * Method: the published operations of codec.json; then every published operation cut, lengthened or with one byte changed
 * must be refused or encode back to itself through a database.
 */
import { readFileSync } from "node:fs"
import { Blob, Bytes, type Codec, DecodeError, Struct, U64, Varint } from "@coppice/codec"
import { describe, expect, it } from "vitest"
import { commitOperation } from "../src/internal/keyed-format.ts"
import { decodeOperation, KEY_BYTES_MAX, type KeyedFormat, keyedFormat, VALUE_BYTES_MAX } from "./support/api.ts"

interface Vector {
  readonly variant: string
  readonly operation: {
    readonly op: string
    readonly key?: string
    readonly value?: string
    readonly metadata?: string | null
    readonly floor?: number | string
  }
  readonly fixed_key32_value32: string
  readonly variable_raw_32_byte_key_and_value: string
  readonly variable_length_prefixed_key_and_value: string
}

const file = new URL("../../../conformance/vectors/codec.json", import.meta.url)
const { operations } = JSON.parse(readFileSync(file, "utf8")) as { readonly operations: ReadonlyArray<Vector> }
const unordered = operations.filter(({ variant }) => variant === "any unordered")

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex")
const bytes = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, "hex"))

type Column = keyof Vector & `${"fixed" | "variable"}_${string}`
const formats: ReadonlyArray<readonly [Column, KeyedFormat<Uint8Array, Uint8Array>]> = [
  ["fixed_key32_value32", keyedFormat(Bytes(32), Bytes(32), "fixed")],
  ["variable_raw_32_byte_key_and_value", keyedFormat(Bytes(32), Bytes(32), "variable")],
  ["variable_length_prefixed_key_and_value", keyedFormat(Blob(64), Blob(64), "variable")],
]

describe("published operations", () => {
  it("are there for the unordered database", () => {
    expect(new Set(unordered.map(({ operation }) => operation.op))).toEqual(new Set(["update", "delete", "commit"]))
  })

  for (const [column, format] of formats) {
    it(`decode: ${column}`, () => {
      for (const vector of unordered) {
        const { op, key, value, metadata, floor } = vector.operation
        const decoded = decodeOperation(format, bytes(vector[column]))
        expect(decoded.tag).toBe(op)
        if (decoded.tag === "commit") {
          expect(decoded.floor).toBe(Number(floor))
          expect(decoded.metadata === undefined ? null : hex(decoded.metadata)).toBe(metadata ?? null)
        } else expect(hex(decoded.key)).toBe(key)
        if (decoded.tag === "update") expect(hex(decoded.value)).toBe(value)
      }
    })

    it(`are refused when cut, lengthened, or changed where nothing is free: ${column}`, () => {
      for (const vector of unordered) {
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
  it("carry every floor up to 2^53 - 1", () => {
    for (const [, format] of formats) {
      for (const floor of [0, 127, 128, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1]) {
        const encoded = commitOperation(format, undefined, floor)
        expect(decodeOperation(format, encoded)).toEqual({ tag: "commit", metadata: undefined, floor })
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
      const format = keyedFormat(codec, Varint, "variable")
      const value = Uint8Array.of(1)
      expect(decodeOperation(format, update(make(KEY_BYTES_MAX), value)).tag).toBe("update")
      expect(() => decodeOperation(format, update(make(KEY_BYTES_MAX + 1), value)), codec.name).toThrow(DecodeError)
    }
    check(Blob(4096), blob)
    check(Struct({ part: U64, rest: Blob(4096) }), (n) => Uint8Array.of(...new Uint8Array(8), ...blob(n - 10)))
  })

  it("a value above VALUE_BYTES_MAX is refused, as metadata too", () => {
    const format = keyedFormat(Varint, Blob(VALUE_BYTES_MAX * 2), "variable")
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
    expect(() => keyedFormat(Blob(8), Bytes(8), "fixed")).toThrow(RangeError)
    expect(() => keyedFormat(Bytes(KEY_BYTES_MAX + 1), Bytes(8), "fixed")).toThrow(RangeError)
    expect(() => keyedFormat(Bytes(8), Bytes(VALUE_BYTES_MAX + 1), "fixed")).toThrow(RangeError)
  })
})
