/**
 * What a law is.
 *
 *   subject --make(seed)--> world --law--> kept, or broken
 *
 * Terms: a *law* is a plain effect that fails when its subject breaks it, so that a test can assert both: that a sound
 * subject keeps it, and that a *canary*, a subject broken on purpose, does not. A *world* is one fresh instance of what is
 * tested, with what surrounds it. A *power* is something that a world can make happen, such as power loss.
 *
 * Invariant: a law depends on its subject and its seeds alone. It takes no time, no chance and no test runner.
 */
import { drawer } from "@coppice/stateful/diagnosis"
import { Effect, type Scope } from "effect"

/** A subject did what its port forbids. */
export class LawBroken extends Error {
  readonly _tag = "LawBroken"
}

/** Fails a law unless `holds`. `what` says what was seen, with its seed where one led there. */
export const claim: (holds: boolean, what: string) => asserts holds = (holds, what) => {
  if (!holds) throw new LawBroken(what)
}

/** How worlds are made, and what they can do. */
export interface Subject<World, Power extends string> {
  readonly make: (seed: number) => Effect.Effect<World, unknown, Scope.Scope>
  readonly powers: ReadonlyArray<Power>
  /** How many seeds a seeded law tries. */
  readonly seeds: number
}

/** One law. It applies to subjects that have the powers it needs. */
export interface Law<World, Power extends string> {
  readonly name: string
  readonly needs: ReadonlyArray<Power>
  readonly check: (subject: Subject<World, Power>) => Effect.Effect<void, unknown>
}

/** Body of a law in one world, under one seed. Throwing breaks the law. */
export type Body<World> = (world: World, seed: number) => Effect.Effect<unknown, unknown, Scope.Scope>

const tried = <World, Power extends string>(subject: Subject<World, Power>, body: Body<World>, seed: number) =>
  Effect.asVoid(Effect.scoped(Effect.flatMap(subject.make(seed), (world) => body(world, seed))))

/** A law that one world shows. */
export const law = <World, Power extends string = never>(
  name: string,
  body: Body<World>,
  needs: ReadonlyArray<Power> = [],
): Law<World, Power> => ({ name, needs, check: (subject) => tried(subject, body, 0) })

/** A law that is tried under each seed, each in a world of its own. `ended` sees all seeds through and may object. */
export const seededLaw = <World, Power extends string = never>(
  name: string,
  start: () => { readonly body: Body<World>; readonly ended?: () => void },
  needs: ReadonlyArray<Power> = [],
): Law<World, Power> => ({
  name,
  needs,
  check: (subject) =>
    Effect.suspend(() => {
      const { body, ended } = start()
      const seeds = Array.from({ length: subject.seeds }, (_, seed) => seed)
      const all = Effect.forEach(seeds, (seed) => tried(subject, body, seed), { discard: true })
      return Effect.andThen(
        all,
        Effect.sync(() => ended?.()),
      )
    }),
})

/** True when a subject has the powers that a law needs. */
export const applies = <World, Power extends string>(
  { needs }: Law<World, Power>,
  { powers }: Subject<World, Power>,
): boolean => needs.every((power) => powers.includes(power))

/** A stream of numbers in [0, 1) that depends on its seed alone. */
export const chanceOf = (seed: number): (() => number) => drawer(seed, "laws")
