/**
 * Codecs: values of a type, their canonical bytes, and a bound on the size of both.
 *
 * Terms: the size of a codec is the length that all its encodings share, when they do; its `sizeMax` is a length that
 * none exceeds. Composite codecs write their parts in declared order, with nothing between them.
 *
 *   option(x)  00 | 01 x          list(x)  varint(count) x*          blob, text  varint(length) byte*
 *
 * Invariant: a codec is a bijection between its type and the byte strings it reads whole. `decode` accepts nothing that
 * `encode` would not produce, so a digest of an encoding identifies the value.
 */
import { ByteReader } from "./byte-reader.ts"
import { ByteWriter, varintBytes } from "./byte-writer.ts"
import { DecodeError } from "./decode-error.ts"
import { BLOB_BYTES_MAX, LIST_COUNT_MAX, VARINT_BYTES_MAX, WRITER_BYTES_KEPT_MAX } from "./limits.ts"

/**
 * How values of `T` are encoded.
 *
 * Shape: `size` is the exact length of every encoding when all have the same one, else undefined. `sizeMax` bounds it
 * and is compared before anything is read or allocated; Infinity means that only the parts bound it.
 * Errors: `write` throws RangeError on a value outside the type (ours to fix), `read` throws `DecodeError` (theirs).
 */
export interface Codec<T> {
  readonly name: string
  readonly size: number | undefined
  readonly sizeMax: number
  readonly write: (writer: ByteWriter, value: T) => void
  readonly read: (reader: ByteReader) => T
}

/** The type that a codec encodes. */
export type ValueOf<C> = C extends Codec<infer T> ? T : never

// An array above 64 bytes is allocated outside the engine's heap, which takes longer than filling it. Encoding into one
// writer that is kept leaves a single allocation, that of the result.
let idle: ByteWriter | undefined

/** Canonical bytes of a value. Errors: RangeError when it is outside the codec's type. */
export const encode = <T>(codec: Pick<Codec<T>, "write">, value: T): Uint8Array => {
  // A codec that itself encodes finds no idle writer and makes one.
  const writer = idle ?? new ByteWriter()
  idle = undefined
  try {
    codec.write(writer, value)
    return writer.finish()
  } finally {
    if (writer.capacity <= WRITER_BYTES_KEPT_MAX) idle = writer.reset()
  }
}

/** The value whose canonical encoding is the whole of `bytes`. Errors: `DecodeError`. */
export const decode = <T>(codec: Codec<T>, bytes: Uint8Array): T => {
  if (bytes.length > codec.sizeMax) throw new DecodeError("longer than its type allows", 0)
  const reader = new ByteReader(bytes)
  const value = codec.read(reader)
  reader.end()
  return value
}

const requireLimit = (name: string, limit: number, most: number): void => {
  if (!Number.isInteger(limit) || limit < 0 || limit > most) throw new RangeError(`${name}: limit outside 0..${most}`)
}

const prefixed = (max: number): number => varintBytes(max) + max

const fixed = <T>(
  name: string,
  size: number,
  write: (writer: ByteWriter, value: T) => void,
  read: (reader: ByteReader) => T,
): Codec<T> => ({ name, size, sizeMax: size, write, read })

/** A byte string of one length, raw. */
export const Bytes = (length: number): Codec<Uint8Array> => {
  const name = `bytes(${length})`
  requireLimit(name, length, BLOB_BYTES_MAX)
  return fixed(
    name,
    length,
    (writer, value) => {
      if (value.length !== length) throw new RangeError(`${name}: ${value.length} bytes is outside`)
      writer.raw(value)
    },
    (reader) => reader.raw(length),
  )
}

/** A byte string of at most `max` bytes behind its length. */
export const Blob = (max: number): Codec<Uint8Array> => {
  const name = `blob(${max})`
  requireLimit(name, max, BLOB_BYTES_MAX)
  return {
    name,
    size: undefined,
    sizeMax: prefixed(max),
    write: (writer, value) => {
      if (value.length > max) throw new RangeError(`${name}: ${value.length} bytes is outside`)
      writer.blob(value)
    },
    read: (reader) => reader.blob(max),
  }
}

/** One byte, 0..255. */
export const U8: Codec<number> = fixed(
  "u8",
  1,
  (writer, value) => writer.u8(value),
  (reader) => reader.u8(),
)

/** Four bytes, most significant first, 0..2^32-1. */
export const U32: Codec<number> = fixed(
  "u32",
  4,
  (writer, value) => writer.be32(value),
  (reader) => reader.be32(),
)

/** Eight bytes, most significant first, 0..2^64-1. */
export const U64: Codec<bigint> = fixed(
  "u64",
  8,
  (writer, value) => writer.be64(value),
  (reader) => reader.be64(),
)

/** Eight bytes, most significant first, of a safe integer, 0..2^53-1. */
export const U64Safe: Codec<number> = fixed(
  "u64Safe",
  8,
  (writer, value) => writer.be64(value),
  (reader) => reader.be64Safe(),
)

/** A varint of an integer, 0..2^64-1. */
export const Varint64: Codec<bigint> = {
  name: "varint64",
  size: undefined,
  sizeMax: VARINT_BYTES_MAX,
  write: (writer, value) => writer.varint(value),
  read: (reader) => reader.varint(),
}

const varintUpTo = (name: string, max: number): Codec<number> => ({
  name,
  size: undefined,
  sizeMax: varintBytes(max),
  write: (writer, value) => {
    if (value > max) throw new RangeError(`${name}: ${value} is outside`)
    writer.varint(value)
  },
  read: (reader) => reader.varintSafe(max),
})

/** A varint of a safe integer, 0..2^53-1. */
export const Varint: Codec<number> = varintUpTo("varint", Number.MAX_SAFE_INTEGER)

/** A varint of an integer, 0..`max`, at most 2^53-1. */
export const VarintUpTo = (max: number): Codec<number> => varintUpTo(`varint(${max})`, max)

/** One byte, 00 or 01. */
export const Bool: Codec<boolean> = fixed(
  "bool",
  1,
  (writer, value) => writer.flag(value),
  (reader) => reader.flag(),
)

const utf8 = new TextEncoder()
// Without `ignoreBOM` a leading U+FEFF would be dropped and two inputs would give one value.
const utf8Strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })

/** A string as UTF-8 of at most `maxBytes` bytes behind its length; lone surrogates have no encoding. */
export const Text = (maxBytes: number): Codec<string> => {
  const name = `text(${maxBytes})`
  requireLimit(name, maxBytes, BLOB_BYTES_MAX)
  return {
    name,
    size: undefined,
    sizeMax: prefixed(maxBytes),
    write: (writer, value) => {
      if (value.length > maxBytes || !value.isWellFormed()) throw new RangeError(`${name}: a string is outside`)
      const bytes = utf8.encode(value)
      if (bytes.length > maxBytes) throw new RangeError(`${name}: ${bytes.length} bytes is outside`)
      writer.blob(bytes)
    },
    read: (reader) => {
      const at = reader.offset
      const bytes = reader.blob(maxBytes)
      try {
        return utf8Strict.decode(bytes)
      } catch {
        throw new DecodeError("text is not well-formed UTF-8", at)
      }
    },
  }
}

/** A value or undefined. A present value that decodes to undefined is refused, so `Option(Option(x))` stays canonical. */
export const Option = <T>(c: Codec<T>): Codec<T | undefined> => ({
  name: `option(${c.name})`,
  size: undefined,
  sizeMax: 1 + c.sizeMax,
  write: (writer, value) => {
    writer.flag(value !== undefined)
    if (value !== undefined) c.write(writer, value)
  },
  read: (reader) => {
    const at = reader.offset
    if (!reader.flag()) return undefined
    const value = c.read(reader)
    if (value === undefined) throw new DecodeError("option holds an absent value", at)
    return value
  },
})

/** At most `maxCount` values behind their count. Cost: an item is allocated only after the bytes of those before it. */
export const List = <T>(c: Codec<T>, maxCount: number): Codec<ReadonlyArray<T>> => {
  const name = `list(${c.name}, ${maxCount})`
  requireLimit(name, maxCount, LIST_COUNT_MAX)
  return {
    name,
    size: undefined,
    sizeMax: varintBytes(maxCount) + (maxCount === 0 ? 0 : maxCount * c.sizeMax),
    write: (writer, value) => {
      if (value.length > maxCount) throw new RangeError(`${name}: ${value.length} items is outside`)
      writer.varint(value.length)
      for (const item of value) c.write(writer, item)
    },
    read: (reader) => {
      const at = reader.offset
      const count = reader.varintSafe(maxCount)
      if (c.size !== undefined && count * c.size > reader.remaining) throw new DecodeError("truncated", at)
      const items: T[] = []
      for (let i = 0; i < count; i++) items.push(c.read(reader))
      return items
    },
  }
}

// biome-ignore lint/suspicious/noExplicitAny: a record of codecs of any types; `unknown` is not assignable both ways
type AnyCodec = Codec<any>

const sizes = (parts: ReadonlyArray<AnyCodec>): Pick<AnyCodec, "size" | "sizeMax"> => ({
  size: parts.reduce<number | undefined>(
    (sum, { size }) => (sum === undefined || size === undefined ? undefined : sum + size),
    0,
  ),
  sizeMax: parts.reduce((sum, { sizeMax }) => sum + sizeMax, 0),
})

/**
 * Named values in declared order.
 *
 * Shape: fixed size when every field is. Field names are not encoded.
 * Errors: RangeError at construction for a name that looks like an array index or is `__proto__`: the language would
 * reorder or drop it.
 */
export const Struct = <F extends Record<string, AnyCodec>>(
  fields: F,
): Codec<{ readonly [K in keyof F]: ValueOf<F[K]> }> => {
  type Value = { readonly [K in keyof F]: ValueOf<F[K]> }
  const names = Object.keys(fields)
  const parts = names.map((name) => fields[name]!)
  const misnamed = names.find((name) => /^\d+$/.test(name) || name === "__proto__")
  if (misnamed !== undefined) throw new RangeError(`struct: field name ${misnamed} is outside`)
  return {
    name: `struct(${names.map((name, i) => `${name}: ${parts[i]!.name}`).join(", ")})`,
    ...sizes(parts),
    write: (writer, value) => {
      for (let i = 0; i < parts.length; i++) parts[i]!.write(writer, value[names[i]!])
    },
    read: (reader) => {
      const value: Record<string, unknown> = {}
      for (let i = 0; i < parts.length; i++) value[names[i]!] = parts[i]!.read(reader)
      return value as Value
    },
  }
}

/** Values by position. Fixed size when every part is. Errors: RangeError when a value has another number of parts. */
export const Tuple = <C extends ReadonlyArray<AnyCodec>>(
  ...parts: C
): Codec<{ readonly [K in keyof C]: ValueOf<C[K]> }> => {
  type Value = { readonly [K in keyof C]: ValueOf<C[K]> }
  const name = `tuple(${parts.map((part) => part.name).join(", ")})`
  return {
    name,
    ...sizes(parts),
    write: (writer, value) => {
      const items = value as ReadonlyArray<unknown>
      if (items.length !== parts.length) throw new RangeError(`${name}: ${items.length} parts is outside`)
      for (let i = 0; i < parts.length; i++) parts[i]!.write(writer, items[i])
    },
    read: (reader) => {
      const items: unknown[] = []
      for (const part of parts) items.push(part.read(reader))
      return items as unknown as Value
    },
  }
}
