/**
 * Goal: the primitives of the wire format are exact, canonical and bounded.
 * Method: the published varint vectors, every edge of 7, 32, 53 and 64 bits, round trips over random integers, and one
 * table of hostile inputs with the reason and offset that each must be refused with.
 */
import { readFileSync } from "node:fs"
import { ByteReader, ByteWriter, bytesEqual, DecodeError, toSafeInteger, varintBytes } from "@coppice/codec"
import { fc, test } from "@fast-check/vitest"
import { describe, expect } from "vitest"
import { hex } from "./canonical-law.ts"

const vectorsUrl = new URL("../../../conformance/vectors/codec.json", import.meta.url)
const { varint: vectors } = JSON.parse(readFileSync(vectorsUrl, "utf8")) as {
  varint: ReadonlyArray<{ value: string; encoded: string }>
}

const written = (write: (writer: ByteWriter) => void): string => {
  const writer = new ByteWriter()
  write(writer)
  return Buffer.from(writer.finish()).toString("hex")
}

const refusal = (read: () => unknown): { reason: string; offset: number } => {
  try {
    read()
  } catch (error) {
    expect(error).toBeInstanceOf(DecodeError)
    const { _tag, reason, offset, message } = error as DecodeError
    expect(_tag).toBe("DecodeError")
    expect(message).toBe(`${reason} at byte ${offset}`)
    return { reason, offset }
  }
  throw new Error("was accepted")
}

const edges = [7, 8, 14, 21, 28, 31, 32, 33, 35, 42, 48, 49, 50, 52, 53, 56, 63, 64].flatMap((bits) =>
  [-1n, 0n, 1n].map((delta) => (1n << BigInt(bits)) + delta),
)
const u64s = [0n, 1n, ...edges].filter((n) => n < 1n << 64n)
const safe = u64s.filter((n) => n <= BigInt(Number.MAX_SAFE_INTEGER)).map(Number)
const anyU64 = fc.oneof(fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }), fc.constantFrom(...u64s))
const anySafe = fc.oneof(fc.maxSafeNat(), fc.constantFrom(...safe))

describe("varint", () => {
  test("the published vectors hold in both directions and for both kinds of integer", () => {
    expect(vectors.length).toBeGreaterThan(0)
    for (const { value, encoded } of vectors) {
      const n = BigInt(value)
      expect(written((w) => w.varint(n))).toBe(encoded)
      expect(new ByteReader(hex(encoded)).varint()).toBe(n)
      expect(varintBytes(n)).toBe(encoded.length / 2)
      if (n > BigInt(Number.MAX_SAFE_INTEGER)) continue
      expect(written((w) => w.varint(Number(n)))).toBe(encoded)
      expect(new ByteReader(hex(encoded)).varintSafe()).toBe(Number(n))
    }
  })

  test.prop([anyU64])("every 64-bit integer comes back, in as many bytes as varintBytes says", (n) => {
    const writer = new ByteWriter().varint(n)
    const reader = new ByteReader(writer.finish())
    expect(writer.length).toBe(varintBytes(n))
    expect(reader.varint()).toBe(n)
    reader.end()
  })

  test.prop([anySafe])("a number and the bigint of the same value have the same bytes", (n) => {
    expect(written((w) => w.varint(n))).toBe(written((w) => w.varint(BigInt(n))))
    expect(varintBytes(n)).toBe(varintBytes(BigInt(n)))
    expect(new ByteReader(new ByteWriter().varint(n).finish()).varintSafe()).toBe(n)
  })

  test.prop([anyU64, anySafe])("varintSafe accepts exactly what is not above its maximum", (n, max) => {
    const bytes = new ByteWriter().varint(n).finish()
    if (n <= BigInt(max)) expect(new ByteReader(bytes).varintSafe(max)).toBe(Number(n))
    else expect(refusal(() => new ByteReader(bytes).varintSafe(max)).offset).toBe(0)
  })
})

describe("fixed integers", () => {
  test.prop([anyU64])("be64 is exact for every 64-bit integer", (n) => {
    const digits = written((w) => w.be64(n))
    expect(digits).toBe(n.toString(16).padStart(16, "0"))
    expect(new ByteReader(hex(digits)).be64()).toBe(n)
  })

  test.prop([anySafe])("be64 of a number is exact up to 2^53-1", (n) => {
    const digits = written((w) => w.be64(n))
    expect(digits).toBe(n.toString(16).padStart(16, "0"))
    expect(new ByteReader(hex(digits)).be64Safe()).toBe(n)
  })

  test.prop([fc.nat(0xffff_ffff)])("be32 keeps its top bit", (n) => {
    const digits = written((w) => w.be32(n))
    expect(digits).toBe(n.toString(16).padStart(8, "0"))
    expect(new ByteReader(hex(digits)).be32()).toBe(n)
  })
})

describe("hostile input", () => {
  const read = {
    u8: (r: ByteReader) => r.u8(),
    be32: (r: ByteReader) => r.be32(),
    be64: (r: ByteReader) => r.be64(),
    be64Safe: (r: ByteReader) => r.be64Safe(),
    varint: (r: ByteReader) => r.varint(),
    varint32: (r: ByteReader) => r.varint32(),
    varintSafe: (r: ByteReader) => r.varintSafe(),
    flag: (r: ByteReader) => r.flag(),
    end: (r: ByteReader) => r.end(),
    raw: (r: ByteReader) => r.raw(4),
    blob: (r: ByteReader) => r.blob(4),
  }
  const cases: ReadonlyArray<readonly [keyof typeof read, string, string]> = [
    ["u8", "", "truncated"],
    ["be32", "000000", "truncated"],
    ["be64", "00000000000000", "truncated"],
    ["be64Safe", "0020000000000000", "integer above 2^53-1"],
    ["be64Safe", "ffffffffffffffff", "integer above 2^53-1"],
    ["varint", "", "truncated"],
    ["varint", "80", "truncated"],
    ["varint", "ffffffffffffffffff", "truncated"],
    ["varint", "8000", "varint not in shortest form"],
    ["varint", "ff00", "varint not in shortest form"],
    ["varint", "80808080808080808000", "varint not in shortest form"],
    ["varint", "ffffffffffffffffff02", "varint above 64 bits"],
    ["varint", "ffffffffffffffffff7f", "varint above 64 bits"],
    ["varint", "8080808080808080808001", "varint above 64 bits"],
    ["varint32", "8080808010", "integer above its limit"],
    ["varint32", "808000", "varint not in shortest form"],
    ["varintSafe", "8080808080808010", "integer above its limit"],
    ["varintSafe", "ffffffffffffffffff01", "integer above its limit"],
    ["varintSafe", "8080808080808080808080808001", "varint above 64 bits"],
    ["flag", "02", "flag is neither 00 nor 01"],
    ["flag", "ff", "flag is neither 00 nor 01"],
    ["flag", "", "truncated"],
    ["end", "00", "trailing bytes"],
    ["raw", "000000", "truncated"],
    ["blob", "0400", "truncated"],
    ["blob", "050000000000", "integer above its limit"],
    ["blob", "ffffffff0f", "integer above its limit"],
  ]
  for (const [method, digits, reason] of cases) {
    test(`${method} of ${digits || "nothing"} is refused: ${reason}`, () => {
      expect(refusal(() => read[method](new ByteReader(hex(digits))))).toEqual({ reason, offset: 0 })
      const shifted = new ByteReader(hex(`0000${digits}`))
      shifted.raw(2)
      expect(refusal(() => read[method](shifted))).toEqual({ reason, offset: 2 })
      expect(shifted.offset).toBe(2)
    })
  }

  test("a blob that claims 4 GiB allocates nothing for it", () => {
    expect(refusal(() => new ByteReader(hex("ffffffff0f00")).blob(0xffff_ffff)).reason).toBe("truncated")
  })

  test.prop([fc.uint8Array({ maxLength: 40 }), fc.array(fc.constantFrom(...Object.values(read)))])(
    "any sequence of reads of any bytes ends, moves forward only, and raises DecodeError alone",
    (bytes, reads) => {
      const reader = new ByteReader(bytes)
      for (const step of reads) {
        const before = reader.offset
        try {
          step(reader)
        } catch (error) {
          expect(error).toBeInstanceOf(DecodeError)
          expect(reader.offset).toBe(before)
        }
        expect(reader.offset).toBeGreaterThanOrEqual(before)
        expect(reader.offset + reader.remaining).toBe(bytes.length)
      }
    },
  )

  test("what a reader returns does not alias its input, be it a Buffer or a view", () => {
    const buffer = Buffer.from([9, 2, 1, 2, 9])
    for (const input of [buffer.subarray(1), new Uint8Array(buffer).subarray(1)]) {
      const blob = new ByteReader(input).blob(8)
      input.fill(0)
      expect(blob.constructor).toBe(Uint8Array)
      expect([...blob]).toEqual([1, 2])
    }
  })
})

describe("programmer errors", () => {
  const outside: ReadonlyArray<(w: ByteWriter) => unknown> = [
    (w) => w.u8(256),
    (w) => w.u8(-1),
    (w) => w.u8(1.5),
    (w) => w.u8(Number.NaN),
    (w) => w.be32(2 ** 32),
    (w) => w.be32(-1),
    (w) => w.be64(2 ** 53),
    (w) => w.be64(-1),
    (w) => w.be64(1n << 64n),
    (w) => w.be64(-1n),
    (w) => w.varint(2 ** 53),
    (w) => w.varint(-1),
    (w) => w.varint(0.5),
    (w) => w.varint(1n << 64n),
    (w) => w.varint(-1n),
    (w) => w.flag(1 as unknown as boolean),
  ]
  test("a value without an encoding is a RangeError and writes nothing", () => {
    for (const write of outside) {
      const writer = new ByteWriter()
      expect(() => write(writer), String(write)).toThrow(RangeError)
      expect(writer.length, String(write)).toBe(0)
    }
  })

  test("a length that is no length is a RangeError of the caller", () => {
    for (const length of [-1, 0.5, Number.NaN])
      expect(() => new ByteReader(hex("0000")).raw(length)).toThrow(RangeError)
  })
})

describe("writer", () => {
  test.prop([fc.array(fc.uint8Array({ maxLength: 200 })), fc.nat(300)])(
    "grows over any first capacity without losing a byte",
    (parts, capacity) => {
      const writer = new ByteWriter(capacity)
      for (const part of parts) writer.raw(part)
      expect(bytesEqual(writer.finish(), Uint8Array.from(parts.flatMap((part) => [...part])))).toBe(true)
    },
  )

  test("reset forgets what was written", () => {
    expect([...new ByteWriter(1).raw(hex("0102030405")).reset().u8(9).finish()]).toEqual([9])
  })

  test("finish returns an array of its own, and the writer goes on", () => {
    const writer = new ByteWriter(2).u8(1).u8(2)
    const first = writer.finish()
    first.fill(0)
    expect([...writer.u8(3).finish()]).toEqual([1, 2, 3])
    expect(first.buffer.byteLength).toBe(2)
  })

  test.prop([fc.array(fc.tuple(fc.constantFrom(0, 1, 2, 60, 200), fc.boolean(), fc.boolean())), fc.nat(50)])(
    "written shows what finish copies, before and after the buffer grows or is reset, looked at in between or not",
    (parts, capacity) => {
      const writer = new ByteWriter(capacity)
      for (const [i, [length, isReset, isLook]] of parts.entries()) {
        if (isReset) writer.reset()
        writer.raw(new Uint8Array(length).fill(i))
        if (isLook) expect(bytesEqual(writer.written, writer.finish())).toBe(true)
      }
    },
  )
})

describe("toSafeInteger", () => {
  test("converts 0 to 2^53-1 and refuses all else at the offset it is given", () => {
    expect(toSafeInteger(0n)).toBe(0)
    expect(toSafeInteger((1n << 53n) - 1n)).toBe(Number.MAX_SAFE_INTEGER)
    for (const n of [-1n, 1n << 53n, 1n << 64n]) expect(refusal(() => toSafeInteger(n, 7)).offset).toBe(7)
  })
})
