/**
 * The crash sweep: every fault at every storage call of a database's life.
 *
 *   a life without faults: N calls
 *   call 1..N  x  fault  --> a fresh life up to the fault --> open what is durable --> judged --> it goes on, judged again
 *
 * Terms: a *run* is one life with one fault. A *wrong state* is a run that ended with what it must not end with: an error
 * that is not the port's, a state that is neither the one before nor the one after the write under way, a value, root or
 * proof that is not that state's, or a chain that does not go on as it must.
 *
 * Invariant: what is expected comes from models, and from a database that was never closed, never flushed and met no fault.
 */
import type { Layer } from "@coppice/qmdb"
import { FAULTS, type Fault, makeMemoryDisk, type StorageCall, type StorageError } from "@coppice/storage"
import { Cause, Effect, Exit, type Scope } from "effect"
import { chanceOf, claim } from "../law.ts"
import type { DatabaseState, SweptDatabase, SweptReader } from "./database.ts"
import { type Life, type Moment, openSession, type Purpose, play, type Session, type Wrap } from "./life.ts"
import { scriptOf } from "./script.ts"

/** How much is swept. */
export interface SweepOptions {
  readonly seed: number
  /** Rounds of the script. */
  readonly rounds: number
  /** Every write is swept, and one read in so many; 1 sweeps them all. */
  readonly readsEvery: number
  readonly wrap?: Wrap
}

/** A run that ended with a wrong state. */
export interface WrongState {
  readonly call: number
  readonly name: StorageCall["name"]
  readonly fault: Fault
  readonly what: string
}

/** What a sweep of one database came to. */
export interface SweepReport {
  readonly database: string
  /** Storage calls of the life without faults. */
  readonly calls: number
  readonly runs: number
  /** Runs after which the write under way was there, and was not. */
  readonly kept: number
  readonly lost: number
  /** Writes of the life without faults, by purpose. */
  readonly writes: Partial<Readonly<Record<Purpose, number>>>
  readonly wrong: ReadonlyArray<WrongState>
}

/** Number of the first block that a reopened database goes on with: above those of every script. */
const GOES_ON_FROM = 1_000_000

const lifeOf = <B, R extends SweptReader>(database: SweptDatabase<B, R>, seed: number, wrap: Wrap): Life<B, R> => ({
  database,
  disk: makeMemoryDisk({ chance: chanceOf(seed) }),
  wrap,
  durable: undefined,
  flying: undefined,
  next: 1,
  writes: {},
})

const sound: Wrap = (storage) => storage

const hex = (bytes: Uint8Array): string => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")

/** The first word in which two texts differ. */
const difference = (found: string, expected: string): string => {
  const [words, others] = [found.split(" "), expected.split(" ")]
  const at = words.findIndex((word, i) => word !== others[i])
  return `it reads ${words[at]}, not ${others[at]}`
}

const shownTarget = ({ target: { root, canonical, start, end } }: Layer): string =>
  `root ${hex(canonical ?? root)} over ${hex(root)}, start ${start}, size ${end}`

/** Targets of chains, from a database in which every chain is a branch of pending layers. */
class Reference<B, R extends SweptReader> {
  private readonly session: Session<B, R>
  private readonly layers: Map<string, Layer>

  constructor(session: Session<B, R>) {
    this.session = session
    this.layers = new Map([["", session.member.tip]])
  }

  private readonly layer = (blocks: ReadonlyArray<number>): Effect.Effect<Layer> =>
    Effect.gen({ self: this }, function* () {
      const known = this.layers.get(blocks.join())
      if (known !== undefined) return known
      const layer = yield* this.session.seal(yield* this.layer(blocks.slice(0, -1)), blocks.at(-1)!)
      this.layers.set(blocks.join(), layer)
      return layer
    })

  readonly target = (blocks: ReadonlyArray<number>): Effect.Effect<string> =>
    Effect.map(this.layer(blocks), shownTarget)
}

/** Claims that a session stands at its state and reads exactly it. */
const claimState = Effect.fnUntraced(function* <B, R extends SweptReader>(
  { database }: Life<B, R>,
  session: Session<B, R>,
  reference: Reference<B, R>,
  when: string,
) {
  const { state } = session
  const target = yield* reference.target(state.blocks)
  claim(shownTarget(session.member.tip) === target, `${when}: at ${shownTarget(session.member.tip)}, not ${target}`)
  const contents = database.contents(session.member.reader, state)
  const expected = database.expected(state)
  claim(contents === expected, `${when}, after blocks ${state.blocks.join()}: ${difference(contents, expected)}`)
})

/** What may be there after a fault, which met a call when the life stood at `met`. */
const legalAfter = (
  { durable }: Moment,
  met: Moment,
  name: StorageCall["name"],
  fault: Fault,
): ReadonlyArray<DatabaseState | undefined> => {
  // The write under way has told its success since then.
  if (durable !== met.durable) return [durable]
  if (met.flying === undefined) return [durable]
  if (name !== "write") return [durable, met.flying]
  if (fault === "crash before" || fault === "disk full") return [durable]
  return fault === "crash durable" || fault === "crash after" ? [met.flying] : [durable, met.flying]
}

/** Opens what a fault left, claims that it is a legal state, and that the chain goes on. True when the last write is there. */
const judge = Effect.fnUntraced(function* <B, R extends SweptReader>(
  life: Life<B, R>,
  legal: ReadonlyArray<DatabaseState | undefined>,
  reference: Reference<B, R>,
) {
  const found = yield* Effect.scoped(
    Effect.gen(function* () {
      const { session, created } = yield* openSession(life)
      const at = created
        ? "nothing"
        : `${shownTarget(session.member.tip)}, pruned to ${session.member.reader.pruned ?? 0}`
      const states = yield* Effect.forEach(legal, (state) =>
        state === undefined
          ? Effect.succeed("nothing")
          : Effect.map(reference.target(state.blocks), (target) => `${target}, pruned to ${state.pruned}`),
      )
      claim(states.includes(at), `it stands at ${at}; legal: ${states.join(", or ")}`)
      const state = legal[states.indexOf(at)]
      if (state !== undefined) session.standAt(state)
      yield* claimState(life, session, reference, "opened")
      life.database.prove(session.member.reader)
      life.next = GOES_ON_FROM
      for (const step of ["block", "block", "flush"] as const) yield* session.take(step)
      yield* claimState(life, session, reference, "gone on")
      yield* session.take("rewind")
      yield* claimState(life, session, reference, "gone back")
      return state
    }),
  )
  yield* Effect.scoped(
    Effect.gen(function* () {
      const { session } = yield* openSession(life)
      yield* claimState(life, session, reference, "opened again")
      life.database.prove(session.member.reader)
    }),
  )
  return found
})

const messageOf = (cause: Cause.Cause<unknown>): string => {
  const error = Cause.squash(cause)
  return error instanceof Error ? `${error.name}: ${error.message}` : String(error)
}

const isOfPort = (error: unknown): boolean =>
  typeof error === "object" && error !== null && "_tag" in error && String(error._tag).startsWith("Storage")

/** Faults that make a difference to a call. */
const faultsOf = (name: StorageCall["name"]): ReadonlyArray<Fault> =>
  name === "write" ? FAULTS : ["crash before", "crash after", "io"]

/** Sweeps one database. */
const crashSweep = Effect.fnUntraced(function* <B, R extends SweptReader>(
  database: SweptDatabase<B, R>,
  { seed, rounds, readsEvery, wrap = sound }: SweepOptions,
): Effect.fn.Return<SweepReport, StorageError, Scope.Scope> {
  const script = scriptOf(seed, rounds)
  const reference = new Reference((yield* openSession(lifeOf(database, seed, sound))).session)
  const calls: Array<StorageCall["name"]> = []
  const faultless = lifeOf(database, seed, wrap)
  faultless.disk.faults = ({ name }) => void calls.push(name)
  yield* play(faultless, script)

  const run = Effect.fnUntraced(function* (call: number, fault: Fault) {
    const life = lifeOf(database, seed + runs, wrap)
    let made = 0
    let met: Moment | undefined
    life.disk.faults = () => {
      if (made++ !== call) return undefined
      met = { durable: life.durable, flying: life.flying }
      return fault
    }
    const exit = yield* Effect.exit(play(life, script))
    claim(met !== undefined, "the call was not made again")
    const error = Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined
    claim(error === undefined || isOfPort(error), `it met ${error}`)
    const legal = legalAfter(life, met, calls[call]!, fault)
    life.disk.faults = () => undefined
    const state = yield* judge({ ...life, wrap: sound }, legal, reference)
    if (legal.length > 1) outcomes[state === legal[1] ? "kept" : "lost"] += 1
  })

  const wrong: Array<WrongState> = []
  const outcomes = { kept: 0, lost: 0 }
  let runs = 0
  for (const [call, name] of calls.entries()) {
    if (name !== "write" && (call + seed) % readsEvery !== 0) continue
    for (const fault of faultsOf(name)) {
      const exit = yield* Effect.exit(run(call, fault))
      runs += 1
      if (Exit.isFailure(exit)) wrong.push({ call, name, fault, what: messageOf(exit.cause) })
    }
  }
  return { database: database.name, calls: calls.length, runs, ...outcomes, writes: faultless.writes, wrong }
}, Effect.scoped)

/** A family, its types closed over. */
export interface CrashFamily {
  readonly name: string
  readonly sweep: (options: SweepOptions) => Effect.Effect<SweepReport, StorageError>
}

/** A database family, ready to be swept. */
export const crashFamily = <B, R extends SweptReader>(database: SweptDatabase<B, R>): CrashFamily => ({
  name: database.name,
  sweep: (options) => crashSweep(database, options),
})
