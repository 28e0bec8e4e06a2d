/**
 * What a hook asked of its batches and what it was answered, written down and played back.
 *
 *   recorded   counts.get("a") -> 3, counts.put("a", 4), ...                 over a real fork
 *   played     the same answers, as long as the same calls are made          over nothing but the record
 *
 * Terms: a *call* is one use of a batch: a method with its arguments, or a property read. The *answers* in a record are all
 * of the parent state that an execution depends on, so they are all that a second one needs: up to the first call that
 * differs, it cannot tell the record from the databases.
 *
 * Invariant: a record holds at most `DIVERGENCE_CALLS_BYTES_MAX` of text. One that was cut says so.
 */
import * as Qmdb from "@coppice/qmdb"
import { Effect } from "effect"
import type { Batches, Databases } from "../database-set.ts"
import { DIVERGENCE_CALLS_BYTES_MAX } from "../limits.ts"
import type { Intercept } from "./batches.ts"
import { fromPlain, type Json, toPlain } from "./plain-values.ts"

/** One use of a batch. */
export interface BatchCall {
  readonly member: string
  readonly method: string
  /** Absent where a property was read. */
  readonly args?: ReadonlyArray<Json>
}

/** A call with what it came to. */
export interface AnsweredCall extends BatchCall {
  readonly returned?: Json
  readonly thrown?: { readonly name: string; readonly message: string; readonly fields: Json }
}

/** A record of calls in the order they were made. */
export interface CallLog {
  readonly calls: ReadonlyArray<AnsweredCall>
  /** False when the record was cut at its bound. */
  readonly complete: boolean
}

const callOf = (member: string, method: string, args: ReadonlyArray<unknown> | undefined): BatchCall =>
  args === undefined ? { member, method } : { member, method, args: args.map(toPlain) }

const thrownOf = (error: unknown): NonNullable<AnsweredCall["thrown"]> => {
  if (!(error instanceof Error)) return { name: "unknown", message: String(error), fields: {} }
  const { message, cause: _cause, stack: _stack, ...fields } = error as Error & Record<string, unknown>
  return { name: error.constructor.name, message, fields: toPlain(fields) }
}

/** Writes down every call that passes through its `intercept`. */
export class CallRecorder {
  readonly #calls: Array<AnsweredCall> = []
  #bytes = 0
  #complete = true

  get log(): CallLog {
    return { calls: this.#calls, complete: this.#complete }
  }

  readonly intercept: Intercept = (member, method, args, make) => {
    try {
      const result = make()
      // What a prefetch brings in is read by other calls.
      if (!Effect.isEffect(result)) this.#keep(() => ({ ...callOf(member, method, args), returned: toPlain(result) }))
      return result
    } catch (error) {
      this.#keep(() => ({ ...callOf(member, method, args), thrown: thrownOf(error) }))
      throw error
    }
  }

  #keep(call: () => AnsweredCall): void {
    if (!this.#complete) return
    const kept = plainOrNothing(call)
    this.#bytes += kept === undefined ? 0 : JSON.stringify(kept).length
    if (kept === undefined || this.#bytes > DIVERGENCE_CALLS_BYTES_MAX) this.#complete = false
    else this.#calls.push(kept)
  }
}

const plainOrNothing = (call: () => AnsweredCall): AnsweredCall | undefined => {
  try {
    return call()
  } catch {
    return undefined
  }
}

/** Where an execution leaves its record: the first call that differs. */
export interface CallDifference {
  /** Number of the call, from 0. */
  readonly at: number
  /** Undefined: the record ends there. */
  readonly recorded: BatchCall | undefined
  /** Undefined: the execution ends there. */
  readonly replayed: BatchCall | undefined
}

/** Where two records part: another call, or another answer to the same call. */
export type LogDifference =
  | ({ readonly tag: "call" } & CallDifference)
  | { readonly tag: "answer"; readonly at: number; readonly recorded: AnsweredCall; readonly replayed: AnsweredCall }
  /** Nothing differs as far as both records go, and one of them was cut there. */
  | { readonly tag: "cut"; readonly at: number }

const answerOf = ({ returned, thrown }: AnsweredCall): string => JSON.stringify([returned, thrown])

/** Where a second record parts from a first; undefined when it is the same. */
export const differenceOfLogs = (recorded: CallLog, replayed: CallLog): LogDifference | undefined => {
  for (let at = 0; ; at++) {
    const [there, here] = [recorded.calls[at], replayed.calls[at]]
    const isCut = (there === undefined && !recorded.complete) || (here === undefined && !replayed.complete)
    if (isCut) return { tag: "cut", at }
    if (there === undefined && here === undefined) return undefined
    if (there === undefined || here === undefined || !sameCall(there, here)) {
      return { tag: "call", at, recorded: there && bare(there), replayed: here && bare(here) }
    }
    if (answerOf(there) !== answerOf(here)) return { tag: "answer", at, recorded: there, replayed: here }
  }
}

/** Ends an execution that has left its record. */
class LeftRecord extends Error {}

const sameCall = (one: BatchCall, other: BatchCall): boolean =>
  JSON.stringify([one.member, one.method, one.args]) === JSON.stringify([other.member, other.method, other.args])

/** An error like the one that was thrown, of the same class where it is one of the databases' own. */
const rebuilt = ({ name, message, fields }: NonNullable<AnsweredCall["thrown"]>): Error => {
  const found: unknown = (Qmdb as Readonly<Record<string, unknown>>)[name]
  const prototype = typeof found === "function" ? (found.prototype as object) : Error.prototype
  return Object.assign(Object.create(prototype) as Error, fromPlain(fields), { message })
}

/** Answers calls from a record. */
export class CallPlayer {
  readonly #log: CallLog
  #at = 0
  #difference: CallDifference | undefined

  constructor(log: CallLog) {
    this.#log = log
  }

  /** Calls answered. */
  get played(): number {
    return this.#at
  }

  /** Whether the execution ran past the end of a record that was cut: nothing is known from there on. */
  get isBeyond(): boolean {
    return !this.#log.complete && this.#difference !== undefined && this.#difference.recorded === undefined
  }

  /** The first difference, looked at when the execution has ended. */
  get difference(): CallDifference | undefined {
    if (this.#difference !== undefined) return this.#difference
    const recorded = this.#log.calls[this.#at]
    return recorded === undefined ? undefined : { at: this.#at, recorded: bare(recorded), replayed: undefined }
  }

  /** Batches that know nothing but the record. */
  batches<M extends Databases>(names: ReadonlyArray<string>): Batches<M> {
    return Object.freeze(Object.fromEntries(names.map((name) => [name, this.#batch(name)]))) as Batches<M>
  }

  #batch(member: string): object {
    return new Proxy(
      {},
      {
        get: (_, key) => {
          if (typeof key !== "string" || key === "then") return undefined
          if (key === "prefetch") return () => Effect.void
          const next = this.#log.calls[this.#at]
          if (next?.args === undefined && next?.member === member && next.method === key) {
            return this.#answer({ member, method: key })
          }
          return (...args: ReadonlyArray<unknown>) => this.#answer(callOf(member, key, args))
        },
      },
    )
  }

  #answer(replayed: BatchCall): unknown {
    const recorded = this.#log.calls[this.#at]
    if (this.#difference === undefined && recorded !== undefined && sameCall(recorded, replayed)) {
      this.#at++
      if (recorded.thrown !== undefined) throw rebuilt(recorded.thrown)
      return fromPlain(recorded.returned ?? null)
    }
    this.#difference ??= { at: this.#at, recorded: recorded && bare(recorded), replayed }
    throw new LeftRecord(`call ${this.#at} is not the one recorded`)
  }
}

const bare = ({ member, method, args }: AnsweredCall): BatchCall =>
  args === undefined ? { member, method } : { member, method, args }
