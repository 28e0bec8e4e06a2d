/**
 * The law every codec obeys, as a function that names what breaks it.
 *
 * Bytes are either refused with a `DecodeError` whose offset lies inside the input or at its end, or they are exactly
 * what encoding the decoded value gives. Anything else is a violation: a crash, a second form, a lost byte.
 */
import { bytesEqual, type Codec, DecodeError, decode, encode } from "@coppice/codec"

/** What is wrong with how `codec` treats `bytes`, or undefined. */
export const violation = <T>(codec: Codec<T>, bytes: Uint8Array): string | undefined => {
  const input = bytes.slice()
  let value: T
  try {
    value = decode(codec, input)
  } catch (error) {
    if (!(error instanceof DecodeError)) return `raised ${String(error)}`
    const isInside = Number.isInteger(error.offset) && error.offset >= 0 && error.offset <= bytes.length
    return isInside ? undefined : `offset ${error.offset} of ${bytes.length}`
  }
  if (!bytesEqual(input, bytes)) return "changed its input"
  if (bytes.length > codec.sizeMax) return `accepted ${bytes.length} bytes, above sizeMax`
  if (codec.size !== undefined && codec.size !== bytes.length) return `accepted ${bytes.length} bytes, not size`
  return bytesEqual(encode(codec, value), bytes) ? undefined : "accepted a second form"
}

/** Bytes from hexadecimal digits. */
export const hex = (digits: string): Uint8Array => new Uint8Array(Buffer.from(digits, "hex"))
