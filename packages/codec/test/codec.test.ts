/**
 * Goal: every codec, however composed, is a bijection between its values and its bytes, and bounded.
 * Method: random codecs with random values of them; their encodings, those encodings damaged, and random bytes are put
 * to the canonical law. Canaries: codecs that accept a second form, lose a byte or crash must break it.
 */
import {
  Blob,
  Bool,
  type ByteReader,
  Bytes,
  type Codec,
  DecodeError,
  decode,
  encode,
  List,
  Option,
  Struct,
  Text,
  Tuple,
  U8,
  U32,
  U64,
  U64Safe,
  Varint,
  Varint64,
  VarintUpTo,
} from "@coppice/codec"
import { fc, test } from "@fast-check/vitest"
import { describe, expect, expectTypeOf } from "vitest"
import { hex, violation } from "./canonical-law.ts"

/** A codec together with values of its type. */
interface Sample {
  readonly codec: Codec<unknown>
  readonly values: fc.Arbitrary<unknown>
}

const sample = <T>(codec: Codec<T>, values: fc.Arbitrary<T>): Sample => ({ codec: codec as Codec<unknown>, values })

const leaves = fc.oneof(
  fc.constantFrom(
    sample(U8, fc.nat(255)),
    sample(U32, fc.nat(0xffff_ffff)),
    sample(U64, fc.bigInt({ min: 0n, max: (1n << 64n) - 1n })),
    sample(U64Safe, fc.maxSafeNat()),
    sample(Varint, fc.maxSafeNat()),
    sample(Varint64, fc.bigInt({ min: 0n, max: (1n << 64n) - 1n })),
    sample(Bool, fc.boolean()),
  ),
  fc.nat().map((max) => sample(VarintUpTo(max), fc.nat(max))),
  fc.nat(40).map((n) => sample(Bytes(n), fc.uint8Array({ minLength: n, maxLength: n }))),
  fc.nat(200).map((n) => sample(Blob(n), fc.uint8Array({ maxLength: n }))),
  fc.nat(40).map((n) => sample(Text(4 * n), fc.string({ unit: "binary", maxLength: n }))),
)

const { samples } = fc.letrec<{ samples: Sample }>((tie) => ({
  samples: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    leaves,
    tie("samples").map((s) => sample(Option(s.codec), fc.option(s.values, { nil: undefined }))),
    fc
      .tuple(tie("samples"), fc.nat(5))
      .map(([s, max]) => sample(List(s.codec, max), fc.array(s.values, { maxLength: max }))),
    fc
      .array(tie("samples"), { maxLength: 4 })
      .map((parts) =>
        sample(Tuple(...parts.map((s) => s.codec)), fc.tuple(...parts.map((s) => s.values)) as fc.Arbitrary<never>),
      ),
    fc
      .dictionary(fc.stringMatching(/^[a-z]{1,4}$/), tie("samples"), { maxKeys: 4, noNullPrototype: true })
      .map((fields) => {
        const of = <T>(pick: (s: Sample) => T): Record<string, T> =>
          Object.fromEntries(Object.entries(fields).map(([name, s]) => [name, pick(s)]))
        return sample(Struct(of((s) => s.codec)), fc.record(of((s) => s.values)) as fc.Arbitrary<never>)
      }),
  ),
}))

const withValue = samples.chain(({ codec, values }) => values.map((value) => ({ codec, value })))

/** One way to damage bytes. */
const damage = fc.record({
  kind: fc.constantFrom("flip", "cut", "insert", "repeat"),
  at: fc.double({ min: 0, max: 1, noNaN: true }),
  byte: fc.oneof(fc.nat(255), fc.constantFrom(0, 1, 2, 0x7f, 0x80, 0xff)),
})

const damaged = (bytes: Uint8Array, { kind, at, byte }: { kind: string; at: number; byte: number }): Uint8Array => {
  const place = Math.floor(at * bytes.length)
  const [head, tail] = [bytes.subarray(0, place), bytes.subarray(place)]
  if (kind === "cut") return head.slice()
  if (kind === "insert") return Uint8Array.of(...head, byte, ...tail)
  if (kind === "repeat") return Uint8Array.of(...bytes, ...tail)
  return Uint8Array.of(...head, ...tail.map((old, i) => (i === 0 ? old ^ byte : old)))
}

describe("round trip", () => {
  test.prop([withValue])("a value comes back from its bytes, within the sizes its codec states", ({ codec, value }) => {
    const bytes = encode(codec, value)
    expect(decode(codec, bytes)).toEqual(value)
    expect(bytes.length).toBeLessThanOrEqual(codec.sizeMax)
    if (codec.size !== undefined) expect(bytes.length).toBe(codec.size)
  })

  test("the layouts are those of the format", () => {
    const Record = Struct({ tag: U8, id: U32, name: Text(8), note: Option(Bytes(2)), list: List(Varint, 4), on: Bool })
    const value = { tag: 0xd2, id: 300, name: "hé", note: Uint8Array.of(0xb1, 0xb2), list: [0, 300], on: true }
    expect(Buffer.from(encode(Record, value)).toString("hex")).toBe(
      "d2" + "0000012c" + "0368c3a9" + "01b1b2" + "0200ac02" + "01",
    )
    expect(Buffer.from(encode(Tuple(U64, Blob(4)), [1n, Uint8Array.of(7)])).toString("hex")).toBe(
      "00000000000000010107",
    )
    expect(decode(Record, encode(Record, { ...value, note: undefined })).note).toBeUndefined()
  })

  test("a codec may encode inside, throw inside, and write more than is kept", () => {
    const inner = Struct({ a: Blob(9), b: U64 })
    const Sealed: Codec<bigint> = {
      ...Blob(99),
      write: (writer, value) => writer.u8(7).blob(encode(inner, { a: hex("aabb"), b: value })),
      read: (reader) => reader.be64(),
    }
    const digits = "07" + "0b" + "02aabb" + "0000000000000005"
    expect(Buffer.from(encode(Sealed, 5n)).toString("hex")).toBe(digits)
    expect(() => encode(Tuple(Sealed, U8), [5n, 256])).toThrow(RangeError)
    const large = new Uint8Array(200_000).fill(3)
    expect(decode(Blob(200_000), encode(Blob(200_000), large))).toEqual(large)
    expect(Buffer.from(encode(Sealed, 5n)).toString("hex")).toBe(digits)
  })

  test("fixed parts make a fixed whole", () => {
    expect(Struct({ a: U8, b: Bytes(32), c: Tuple(U64, U32) }).size).toBe(45)
    expect(Struct({ a: U8, b: Varint }).size).toBeUndefined()
    expect(Option(U8).size).toBeUndefined()
    expect(Struct({}).size).toBe(0)
  })

  test("types follow the codecs", () => {
    const codec = Struct({ id: U64, tags: List(Text(4), 2), pair: Tuple(U8, Option(Bool)) })
    type Expected = {
      readonly id: bigint
      readonly tags: ReadonlyArray<string>
      readonly pair: readonly [number, boolean | undefined]
    }
    expectTypeOf(decode(codec, encode(codec, { id: 1n, tags: [], pair: [1, true] }))).toEqualTypeOf<Expected>()
  })
})

describe("hostile input", () => {
  test.prop([withValue, damage])(
    "a damaged encoding is refused or is another value's only form",
    ({ codec, value }, how) => {
      expect(violation(codec, damaged(encode(codec, value), how))).toBeUndefined()
    },
  )

  test.prop([samples, fc.uint8Array({ maxLength: 60 })])(
    "any bytes are refused or are a value's only form",
    ({ codec }, bytes) => {
      expect(violation(codec, bytes)).toBeUndefined()
    },
  )

  test("input above sizeMax is refused before it is looked at", () => {
    expect(() => decode(Blob(2), new Uint8Array(100_000).fill(1))).toThrow("longer than its type allows at byte 0")
  })

  test("a count above its limit, or above what the input can hold, is refused before its items are", () => {
    let reads = 0
    const counted: Codec<number> = {
      ...U8,
      read: (reader) => {
        reads++
        return reader.u8()
      },
    }
    expect(() => decode(List(counted, 3), hex("0401020304"))).toThrow(DecodeError)
    expect(() => decode(List(counted, 0xffff_ffff), hex("ffffffff0f01"))).toThrow("truncated at byte 0")
    expect(reads).toBe(0)
  })

  test("a varint above its limit is refused", () => {
    expect(decode(VarintUpTo(300), Uint8Array.of(0xac, 2))).toBe(300)
    expect(() => decode(VarintUpTo(300), Uint8Array.of(0xad, 2))).toThrow(DecodeError)
    expect(() => encode(VarintUpTo(300), 301)).toThrow(RangeError)
  })

  test("text that is not well-formed UTF-8 is refused, and a byte order mark is kept", () => {
    for (const digits of ["01ff", "02c080", "03eda080", "04f5808080", "02c3"]) {
      expect(() => decode(Text(8), hex(digits)), digits).toThrow(DecodeError)
    }
    expect(decode(Text(8), hex("04efbbbf61"))).toBe("\ufeffa")
  })

  test("a present option of an absent option is refused: it would be a second form of absence", () => {
    expect(() => decode(Option(Option(U8)), hex("0100"))).toThrow("option holds an absent value at byte 0")
    expect(decode(Option(Option(U8)), hex("010107"))).toBe(7)
  })
})

describe("programmer errors", () => {
  const outside: ReadonlyArray<() => unknown> = [
    () => encode(Bytes(2), new Uint8Array(3)),
    () => encode(Blob(2), new Uint8Array(3)),
    () => encode(Text(2), "abc"),
    () => encode(Text(2), "é1"),
    () => encode(Text(9), "\ud800"),
    () => encode(List(U8, 1), [1, 2]),
    () => encode(Tuple(U8), [] as never),
    () => encode(Struct({ a: U8 }), {} as never),
    () => encode(Bool, 1 as never),
    () => Bytes(-1),
    () => Blob(1.5),
    () => Blob(2 ** 32),
    () => Text(Number.NaN),
    () => List(U8, 2 ** 32),
    () => Struct({ b: U8, 1: U8 }),
    () => Struct(Object.fromEntries([["__proto__", U8]])),
  ]
  test("a value outside the type, and a codec that cannot be canonical, are RangeErrors", () => {
    for (const run of outside) expect(run, String(run)).toThrow(RangeError)
  })
})

describe("canaries", () => {
  const loose = (read: (reader: ByteReader) => number): Codec<number> => ({ ...Varint, sizeMax: 99, read })
  const late = (): never => {
    throw new DecodeError("late", 9)
  }
  const crash = (): never => {
    throw new TypeError("crash")
  }
  const broken: ReadonlyArray<readonly [string, string, Codec<unknown>]> = [
    ["a varint reader that accepts padding", "8100", loose((r) => (r.u8() & 0x7f) | (r.u8() << 7)) as Codec<unknown>],
    ["a flag reader that accepts any byte", "02", { ...Bool, read: (r) => r.u8() !== 0 } as Codec<unknown>],
    ["a reader that crashes", "00", loose(crash) as Codec<unknown>],
    ["a reader that takes bytes it ignores", "0707", loose((r) => r.raw(r.remaining).length) as Codec<unknown>],
    ["a size that is not the size", "07", { ...Varint, size: 2 } as Codec<unknown>],
    ["an offset outside the input", "07", loose(late) as Codec<unknown>],
  ]
  for (const [name, digits, codec] of broken) {
    test(`canary: ${name} breaks the law`, () => {
      expect(violation(codec, hex(digits))).toBeTypeOf("string")
    })
  }
})
