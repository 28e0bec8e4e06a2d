/**
 * Laws of `SetSync`, the port of state sync: what a join relies on, whatever brings the databases.
 *
 *   start tip, newer tips --> sync --> set, durable at one of them      interrupted --> the next attempt goes on
 *
 * Terms: an *attempt* is one run of a sync on an environment that outlives it.
 */
import {
  type DatabaseSet,
  type Databases,
  type SetSync,
  type SyncTip,
  type SyncUpdates,
  targetsEqual,
} from "@coppice/stateful"
import { Cause, Effect, Exit, Fiber, type Scope } from "effect"
import { chanceOf, claim, type Law, LawBroken, type Subject, seededLaw } from "../law.ts"

/** A chain whose states can be synced, and an environment to bring them to. */
export interface SyncWorld {
  /** Final blocks from height 0 on with what their headers commit to. */
  readonly tips: ReadonlyArray<SyncTip<Databases>>
  /** Opens the environment for an attempt; it is closed with the scope, and lasts. */
  readonly attempt: Effect.Effect<SetSync<Databases>, unknown, Scope.Scope>
}

/** A sync under test. */
export type SyncSubject = Subject<SyncWorld, never>

/** One law of syncs. */
export type SyncLaw = Law<SyncWorld, never>

const TURNS_MAX = 5_000

/** Tips that are offered one after the other, and what became of them. */
class Offers {
  readonly recorded: number[] = []
  taken = 0
  readonly updates: SyncUpdates<Databases>
  readonly #tips: Array<SyncTip<Databases>>

  constructor(tips: ReadonlyArray<SyncTip<Databases>>) {
    this.#tips = [...tips]
    const poll: SyncUpdates<Databases>["poll"] = () => {
      const tip = this.#tips.shift()
      if (tip === undefined) return undefined
      this.taken++
      return { ...tip, recorded: () => void this.recorded.push(tip.anchor.height) }
    }
    this.updates = {
      poll,
      arrival: Effect.suspend(() => (this.#tips.length === 0 ? Effect.never : Effect.void)),
    }
  }
}

/** Fails a law unless a set stands, durably, at one of the tips in every member. */
const claimAt = (set: DatabaseSet<Databases>, tips: ReadonlyArray<SyncTip<Databases>>, what: string): void => {
  const { height } = set.anchor
  const tip = tips.find(({ anchor }) => anchor.height === height)
  claim(tip !== undefined, `${what}: the set stands at ${height}, at ${tips.map(({ anchor }) => anchor.height)} it may`)
  claim(set.durable.height === height, `${what}: the set stands at ${height}, durable is ${set.durable.height}`)
  for (const [member, target] of Object.entries(tip.targets)) {
    const found = set.tip.targets[member]
    claim(found !== undefined && targetsEqual(found, target), `${what}: member ${member} is not at height ${height}`)
  }
}

/** Runs an attempt to its end, or interrupts it after so many turns. */
const attempted = Effect.fnUntraced(function* (
  world: SyncWorld,
  start: SyncTip<Databases>,
  offers: Offers,
  look: (set: DatabaseSet<Databases>) => void,
  turns = TURNS_MAX,
) {
  const attempt = Effect.flatMap(world.attempt, (sync) => Effect.map(sync.run(start, offers.updates), look))
  const fiber = yield* Effect.forkChild(Effect.scoped(attempt), { startImmediately: true })
  for (let turn = 0; turn < turns && fiber.pollUnsafe() === undefined; turn++) yield* Effect.yieldNow
  const exit = fiber.pollUnsafe()
  if (exit === undefined) yield* Fiber.interrupt(fiber)
  claim(exit !== undefined || turns < TURNS_MAX, `a sync to height ${start.anchor.height} does not end`)
  const failure = exit !== undefined && Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined
  if (failure instanceof LawBroken) throw failure
  claim(failure === undefined, `a sync to height ${start.anchor.height} fails: ${failure}`)
})

const arrives: SyncLaw = seededLaw<SyncWorld>(
  "the set comes out durable at a tip that it was given, in every member, at or above what was recorded (INV-23, INV-24)",
  () => ({
    body: (world, seed) =>
      Effect.gen(function* () {
        const { tips } = world
        const chance = chanceOf(seed)
        const from = 1 + Math.floor(chance() * (tips.length - 4))
        const offers = new Offers(tips.slice(from + 1).filter(() => chance() < 0.6))
        yield* attempted(world, tips[from]!, offers, (set) => {
          const what = `seed ${seed}, from ${from}`
          const least = Math.max(from, ...offers.recorded)
          claimAt(set, tips.slice(least), `${what}, ${offers.recorded} recorded`)
          claim(
            offers.recorded.length === offers.taken,
            `${what}: ${offers.taken} taken, ${offers.recorded.length} recorded`,
          )
          const { height } = set.anchor
          claim(height === from || offers.recorded.includes(height), `${what}: at ${height}, which nobody gave`)
        })
      }),
  }),
)

const goesOn: SyncLaw = seededLaw<SyncWorld>(
  "interrupted wherever it is, a sync leaves an environment from which the next attempt arrives",
  () => ({
    body: (world, seed) =>
      Effect.gen(function* () {
        const { tips } = world
        const chance = chanceOf(seed)
        for (let attempt = 0, turns = 1; attempt < 12; attempt++, turns *= 2) {
          const start = tips[1 + Math.floor(chance() * (tips.length - 1))]!
          const offers = new Offers(tips.slice(start.anchor.height + 1))
          const what = `seed ${seed}, attempt ${attempt} from ${start.anchor.height}`
          const look = (set: DatabaseSet<Databases>) => claimAt(set, tips.slice(start.anchor.height), what)
          yield* attempted(world, start, offers, look, turns)
        }
        const last = tips.at(-1)!
        yield* attempted(world, last, new Offers([]), (set) => claimAt(set, [last], `seed ${seed}, in the end`))
      }),
  }),
)

/** Every law of syncs. */
export const SYNC_LAWS: ReadonlyArray<SyncLaw> = [arrives, goesOn]
