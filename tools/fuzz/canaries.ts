/**
 * Verifiers with one check removed, each of which the fuzz must catch.
 *
 * Three sorts: a reader that lets one kind of second form pass; a verifier that does not look at one field of a claim, but
 * takes what is true; a verifier without one of the checks that no hash makes.
 */
import { ByteReader, type Codec, DecodeError, encode } from "@coppice/codec"
import { type Judge, verifier } from "./run.ts"
import type { Subject } from "./subject.ts"

/** A canary, and the kinds of claim that can show it. */
export interface Canary {
  readonly name: string
  readonly kinds: RegExp
  readonly judge: Judge
}

class LongVarints extends ByteReader {
  override varintSafe(max = Number.MAX_SAFE_INTEGER): number {
    const at = this.offset
    let value = 0
    for (let scale = 1; ; scale *= 0x80) {
      const byte = this.u8()
      value += (byte & 0x7f) * scale
      if (byte < 0x80) break
    }
    if (value > max) throw new DecodeError("integer above its limit", at)
    return value
  }
}

class AnyFlag extends ByteReader {
  override flag(): boolean {
    return this.u8() !== 0
  }
}

class AnyEnd extends ByteReader {
  override end(): void {}
}

class AnySize extends ByteReader {
  override varintSafe(): number {
    return super.varintSafe()
  }
}

const reading = (name: string, Reader: typeof ByteReader, kinds = /./): Canary => ({
  name,
  kinds,
  judge: {
    ...verifier,
    decode: <C>(codec: Codec<C>, bytes: Uint8Array): C => {
      const reader = new Reader(bytes)
      const value = codec.read(reader)
      reader.end()
      return value
    },
  },
})

/** Takes whatever stands where zeros should for zeros. */
const zeroing = (reason: string, countOf: (bytes: Uint8Array, from: number) => number): Canary => ({
  name: reason,
  kinds: /\/operation$/,
  judge: {
    ...verifier,
    decode: <C>(codec: Codec<C>, bytes: Uint8Array): C => {
      try {
        return verifier.decode(codec, bytes)
      } catch (error) {
        if (!(error instanceof DecodeError) || error.reason !== reason) throw error
        const { offset } = error
        const zeroed = Uint8Array.from(bytes).fill(0, offset, offset + countOf(bytes, offset))
        return verifier.decode(codec, zeroed)
      }
    },
  },
})

type Tree = Readonly<Record<string, unknown>>

const isTree = (value: unknown): value is Tree =>
  typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array)

const at = (value: unknown, path: ReadonlyArray<string>): unknown =>
  path.reduce<unknown>((part, name) => (isTree(part) ? part[name] : undefined), value)

const withPart = (value: unknown, [name, ...rest]: ReadonlyArray<string>, part: unknown): unknown => {
  if (name === undefined) return part
  return isTree(value) ? { ...value, [name]: withPart(value[name], rest, part) } : value
}

/** Every field of a claim that is not a struct itself. */
export const fieldsOf = (value: unknown, path: ReadonlyArray<string> = []): ReadonlyArray<ReadonlyArray<string>> =>
  isTree(value)
    ? Object.entries(value).flatMap(([name, part]) =>
        typeof part === "string" || part === undefined ? [] : fieldsOf(part, [...path, name]),
      )
    : [path]

/** A verifier that takes the true value for a field, whatever the claim has there. */
export const ignoring = (kind: string, path: ReadonlyArray<string>): Canary => ({
  name: `${kind} without ${path.join(".")}`,
  kinds: new RegExp(`^${kind}$`),
  judge: {
    ...verifier,
    check: (subject, claim) => {
      const truth = at(subject.claim, path)
      if (truth === undefined) return verifier.check(subject, claim)
      return verifier.check(subject, withPart(claim, path, truth) as typeof claim)
    },
  },
})

/** A verifier that lets one rejection pass where nothing else is wrong. */
const letting = (tag: string): Canary => ({
  name: `without ${tag}`,
  kinds: /./,
  judge: {
    ...verifier,
    check: (subject, claim) => {
      const rejection = verifier.check(subject, claim)
      const isOnlyFault = rejection?._tag === tag && subject.nearMiss === tag && isUnchanged(subject, claim)
      return isOnlyFault ? undefined : rejection
    },
  },
})

const isUnchanged = <C>(subject: Subject<C>, claim: C): boolean => {
  const [a, b] = [encode(subject.codec, subject.claim), encode(subject.codec, claim)]
  return Buffer.compare(a, b) === 0
}

/** The canaries that are the same for all kinds. */
export const CANARIES: ReadonlyArray<Canary> = [
  reading("varints in longer form", LongVarints),
  reading("flags above 01", AnyFlag, /operation|current/),
  reading("trailing bytes", AnyEnd),
  reading("integers above their limit", AnySize),
  zeroing("padding is not zero", (bytes, from) => bytes.length - from),
  zeroing("absent metadata is not zero", () => 32),
  ...[
    "Inactive",
    "KeyActive",
    "KeyOutsideSpan",
    "FloorAboveCommit",
    "NotACommit",
    "KindMismatch",
    "OperationCount",
  ].map(letting),
]
