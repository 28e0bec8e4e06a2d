/**
 * Values drawn from a stream of bytes, as the published encodings draw them.
 *
 * Terms: a draw is a function of a stream; composite draws take their parts in the order written.
 *
 * Invariant: a draw that runs out of bytes is made anew with twice the limit, from the first byte on.
 * Source: conformance/README.md, "Draws".
 */
import { opensslHasher } from "@coppice/crypto/node"
import { ByteStream, OutOfBytes } from "./byte-stream.ts"

const BYTES_LIMIT = 4096
const DIGEST_PREIMAGE_MAX = 256
const U64_BYTES = 8
const CHOICE_BYTES = 4

/** Makes a value of a stream. */
export type Draw<T> = (stream: ByteStream) => T

/** The value that a seed draws. */
export const drawn = <T>(seed: number, draw: Draw<T>): T => {
  for (let limit = BYTES_LIMIT; ; limit *= 2) {
    try {
      return draw(new ByteStream(seed, limit))
    } catch (error) {
      if (!(error instanceof OutOfBytes)) throw error
    }
  }
}

/** The lowest bit of a byte. */
export const flag: Draw<boolean> = (stream) => stream.u8() % 2 === 1

/** Eight bytes, least significant first. */
export const u64: Draw<bigint> = (stream) => {
  let value = 0n
  for (let i = 0; i < U64_BYTES; i++) value |= BigInt(stream.u8()) << BigInt(8 * i)
  return value
}

/** An integer from `low` to `high`, of as many bytes as their difference has, `width` at most. */
const range =
  (low: bigint, high: bigint, width: number): Draw<bigint> =>
  (stream) => {
    const difference = high - low
    let drawnValue = 0n
    for (let j = 0; j < width && difference >> BigInt(8 * j) !== 0n && stream.remaining > 0; j++) {
      drawnValue = (drawnValue << 8n) | BigInt(stream.u8())
    }
    return low + (drawnValue % (difference + 1n))
  }

/** A location from `low` to `high`. */
export const location = (low: bigint, high: bigint): Draw<bigint> => range(low, high, U64_BYTES)

/** A number below `count`. */
export const choice = (count: number): Draw<number> => {
  const draw = range(0n, BigInt(count - 1), CHOICE_BYTES)
  return (stream) => Number(draw(stream))
}

/** A value, or undefined. */
export const option =
  <T>(draw: Draw<T>): Draw<T | undefined> =>
  (stream) =>
    flag(stream) ? draw(stream) : undefined

/** Values, each behind a flag. */
export const list =
  <T>(draw: Draw<T>): Draw<ReadonlyArray<T>> =>
  (stream) => {
    const values: Array<T> = []
    while (flag(stream)) values.push(draw(stream))
    return values
  }

/** `count` bytes as they come. */
export const raw =
  (count: number): Draw<Uint8Array> =>
  (stream) =>
    stream.raw(count)

const bytesOfAnyLength = list<number>((stream) => stream.u8())

/** Bytes, each behind a flag. */
export const blob: Draw<Uint8Array> = (stream) => Uint8Array.from(bytesOfAnyLength(stream))

const preimageLength = range(0n, BigInt(DIGEST_PREIMAGE_MAX), U64_BYTES)

/** The digest of up to 256 bytes. */
export const digest: Draw<Uint8Array> = (stream) => opensslHasher.hash(stream.bytes(Number(preimageLength(stream))))
