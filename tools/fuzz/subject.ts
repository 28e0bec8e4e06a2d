/**
 * What is fuzzed: a claim with a codec, a check, and the truth.
 *
 * Terms: a *subject* is a claim with what it is judged by. An *honest* one is accepted as it is. A *near miss* is a claim
 * that is false and fails a single check: only a verifier without that check would accept it.
 *
 * Invariant: `isTrue` knows the state that a claim is about; a check that accepts a claim which is not true is broken.
 */
import { Bytes, bytesEqual, type Codec, encode, List } from "@coppice/codec"

/** A claim of one kind, with what it is judged by. `C` is its type. */
export interface Subject<C = never> {
  readonly kind: string
  readonly claim: C
  readonly codec: Codec<C>
  readonly check: (claim: C) => { readonly _tag: string } | undefined
  /** Whether what a claim says holds in the state that the subject is about. */
  readonly isTrue: (claim: C) => boolean
  /** The single check that a near miss fails. */
  readonly nearMiss?: string
}

/** A subject by its claim. Without `alsoTrue` nothing else is true; of a near miss nothing is. */
export const made = <C>(
  subject: Omit<Subject<C>, "isTrue"> & { readonly alsoTrue?: (claim: C) => boolean },
): Subject => {
  const { codec, alsoTrue } = subject
  const honest = encode(codec, subject.claim)
  const isTrue = (claim: C): boolean => {
    try {
      if (alsoTrue?.(claim) === true) return true
      return subject.nearMiss === undefined && bytesEqual(encode(codec, claim), honest)
    } catch (error) {
      if (error instanceof RangeError) return false
      throw error
    }
  }
  return { ...subject, isTrue } as unknown as Subject
}

/** Whether two values have the same encoding. */
export const same = <T>(codec: Codec<T>, a: T, b: T): boolean => bytesEqual(encode(codec, a), encode(codec, b))

/** Operations, chunks, peaks of one claim at most. */
export const CLAIMED_MAX = 64

/** Digests of one claim. */
export const digests = List(Bytes(32), CLAIMED_MAX)
