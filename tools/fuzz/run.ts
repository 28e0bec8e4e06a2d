/**
 * One case after another: a claim is changed, encoded, decoded, checked, and what came of it is compared with the truth.
 *
 *   subject --change its fields--> claim --encode--> bytes --change bytes--> bytes --decode--> claim --check--> verdict
 *                                    \-- without an encoding: checked as it is ---------------------^
 *
 * Terms: a case is *decoded* when its bytes were accepted by the codec, *shaped* when the claim has no encoding and is
 * checked as it is, as an object that never was bytes. A *break* is anything that must not happen: an error of another
 * kind, a claim accepted that is not true, bytes accepted that are not canonical.
 *
 * Invariant: a case follows from seed and number alone.
 */
import { bytesEqual, type Codec, DecodeError, decode, encode } from "@coppice/codec"
import { byteStrings, mutateBytes, mutateClaim } from "./mutate.ts"
import { Random } from "./random.ts"
import type { Subject } from "./subject.ts"

/** Something that must not happen. */
export interface Break {
  readonly index: number
  readonly kind: string
  readonly what: string
}

/** What came of many cases. */
export interface Report {
  cases: number
  decoded: number
  shaped: number
  accepted: number
  /** Refusals by the reason of the decoder, or by the tag of the check. */
  readonly refused: Map<string, number>
  readonly kinds: Map<string, number>
  readonly breaks: Array<Break>
}

/** How bytes and claims are judged: by the package, or by a canary in its place. */
export interface Judge {
  readonly decode: <C>(codec: Codec<C>, bytes: Uint8Array) => C
  readonly check: <C>(subject: Subject<C>, claim: C) => { readonly _tag: string } | undefined
}

/** The verifier of the package. */
export const verifier: Judge = { decode, check: (subject, claim) => subject.check(claim) }

/** A report of no cases. */
export const emptyReport = (): Report => ({
  cases: 0,
  decoded: 0,
  shaped: 0,
  accepted: 0,
  refused: new Map(),
  kinds: new Map(),
  breaks: [],
})

const BREAKS_MAX = 20

const count = (counts: Map<string, number>, name: string, by = 1): void => {
  counts.set(name, (counts.get(name) ?? 0) + by)
}

/** Adds what another report counted. */
export const addReport = (to: Report, from: Report): void => {
  to.cases += from.cases
  to.decoded += from.decoded
  to.shaped += from.shaped
  to.accepted += from.accepted
  for (const [name, by] of from.refused) count(to.refused, name, by)
  for (const [name, by] of from.kinds) count(to.kinds, name, by)
  to.breaks.push(...from.breaks.slice(0, BREAKS_MAX - to.breaks.length))
}

/** A subject with what its cases need over and over. */
interface Prepared {
  readonly subject: Subject<unknown>
  readonly bytes: Uint8Array
  readonly donors: ReadonlyArray<Uint8Array>
}

/** Runs cases of some subjects under one judge. */
export class Fuzz {
  readonly report = emptyReport()
  readonly #prepared: ReadonlyArray<Prepared>
  readonly #seed: number
  readonly #judge: Judge

  constructor(subjects: ReadonlyArray<Subject>, seed: number, judge: Judge = verifier) {
    this.#prepared = subjects.map((given) => {
      const subject = given as unknown as Subject<unknown>
      return { subject, bytes: encode(subject.codec, subject.claim), donors: byteStrings(subject.claim) }
    })
    this.#seed = seed
    this.#judge = judge
  }

  /** Checks every subject as it is: an honest one is accepted, a near miss refused by the check it is meant for. */
  unchanged(): void {
    for (const { subject, bytes } of this.#prepared) {
      const rejection = this.#judge.check(subject, this.#judge.decode(subject.codec, bytes))
      if (rejection?._tag === subject.nearMiss) continue
      this.#break(-1, subject, `unchanged: expected ${subject.nearMiss ?? "acceptance"}, got ${rejection?._tag}`)
    }
  }

  /** Runs the case of a number. */
  run(index: number): void {
    const random = new Random(this.#seed, index)
    const { subject, bytes, donors } = random.of(this.#prepared)
    this.report.cases += 1
    count(this.report.kinds, subject.kind)
    try {
      this.#judgeCase(index, random, subject, bytes, donors)
    } catch (error) {
      this.#break(index, subject, `threw ${(error as Error).stack}`)
    }
  }

  #judgeCase(
    index: number,
    random: Random,
    subject: Subject<unknown>,
    honest: Uint8Array,
    donors: ReadonlyArray<Uint8Array>,
  ): void {
    let encoded = honest
    const way = random.below(8)
    if (way > 0) {
      let claim = subject.claim
      for (let more = true; more; more = random.below(3) === 0) claim = mutateClaim(random, claim, donors)
      const written = encodedOrNot(subject.codec, claim)
      if (written === undefined) {
        this.#shaped(index, subject, claim)
        return
      }
      encoded = written
    }
    if (way < 2) {
      const other = random.of(this.#prepared).bytes
      for (let more = true; more; more = random.below(3) === 0) encoded = mutateBytes(random, encoded, other)
    }
    this.#decoded(index, subject, encoded)
  }

  /** Judges a claim that has no encoding. Its operations may be outside their types, which is an error of the caller. */
  #shaped(index: number, subject: Subject<unknown>, claim: unknown): void {
    this.report.shaped += 1
    try {
      this.#verdict(index, subject, claim)
    } catch (error) {
      if (!(error instanceof RangeError || error instanceof TypeError)) throw error
      count(this.report.refused, "outside its type")
    }
  }

  #decoded(index: number, subject: Subject<unknown>, encoded: Uint8Array): void {
    let claim: unknown
    try {
      claim = this.#judge.decode(subject.codec, encoded)
    } catch (error) {
      if (!(error instanceof DecodeError)) throw error
      count(this.report.refused, `decode: ${error.reason}`)
      return
    }
    this.report.decoded += 1
    if (!bytesEqual(encode(subject.codec, claim), encoded)) this.#break(index, subject, "bytes are not canonical")
    this.#verdict(index, subject, claim)
  }

  #verdict(index: number, subject: Subject<unknown>, claim: unknown): void {
    const rejection = this.#judge.check(subject, claim)
    if (rejection !== undefined) {
      count(this.report.refused, rejection._tag)
      return
    }
    this.report.accepted += 1
    if (!subject.isTrue(claim)) this.#break(index, subject, "accepted a claim that is not true")
  }

  #break(index: number, { kind }: Subject<unknown>, what: string): void {
    if (this.report.breaks.length < BREAKS_MAX) this.report.breaks.push({ index, kind, what })
  }
}

const encodedOrNot = (codec: Codec<unknown>, claim: unknown): Uint8Array | undefined => {
  try {
    return encode(codec, claim)
  } catch (error) {
    if (error instanceof RangeError || error instanceof TypeError) return undefined
    throw error
  }
}
