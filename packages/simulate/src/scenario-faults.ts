/**
 * What scenarios are put together from: faults drawn from a stream of chance.
 *
 * Invariant: each draws the same number of times whatever it draws, so that the faults after it stay what they are.
 */
import { FORGERIES, LIES } from "./liars.ts"
import { WAYS, type Way } from "./links.ts"
import { POINTS, type WorldFault, WRITE_POINTS } from "./plan.ts"
import { VALIDATORS } from "./world.ts"

/** Uniform in [0, 1). */
type Chance = () => number

/** All validators. */
export const EVERYONE = Array.from({ length: VALIDATORS }, (_, node) => node)

/** A whole number from `min` up to `max`, without it. */
export const between = (chance: Chance, min: number, max: number): number => Math.floor(min + chance() * (max - min))

/** `count` different validators. */
export const some = (chance: Chance, count: number): ReadonlyArray<number> => {
  const left = [...EVERYONE]
  while (left.length > count) left.splice(between(chance, 0, left.length), 1)
  return left
}

/** Every so many milliseconds, so many validators lose power for a while. */
export const crashing =
  (everyMs: number, downMs: number, count: number, times: number) =>
  (chance: Chance): ReadonlyArray<WorldFault> =>
    Array.from({ length: times }, (_, i) => {
      const atMs = Math.floor(everyMs * (i + 0.5 + chance() * 0.5))
      return { kind: "crash", atMs, nodes: some(chance, count), downMs }
    })

/** Validators lose power for up to 0.3 s, at so many times within a span. */
export const losing = (
  chance: Chance,
  nodes: ReadonlyArray<number>,
  fromMs: number,
  forMs: number,
  times: number,
): ReadonlyArray<WorldFault> =>
  Array.from({ length: times }, () => {
    const atMs = fromMs + between(chance, 0, forMs)
    return { kind: "crash", atMs, nodes, downMs: between(chance, 50, 300) }
  })

/** Another validator than this one. */
export const another = (chance: Chance, node: number): number => (node + between(chance, 1, VALIDATORS)) % VALIDATORS

/** A validator that joins by state sync, and what befalls it meanwhile. */
export const joining =
  (atMs: number, befalls: (chance: Chance, node: number) => ReadonlyArray<WorldFault> = () => []) =>
  (chance: Chance): ReadonlyArray<WorldFault> => {
    const node = between(chance, 0, VALIDATORS)
    return [{ kind: "join", node, atMs }, ...befalls(chance, node)]
  }

/** A group is cut off for a while. */
export const partition = (
  atMs: number,
  nodes: ReadonlyArray<number>,
  forMs: number,
  way: Way = "both",
): WorldFault => ({
  kind: "partition",
  atMs,
  nodes,
  forMs,
  way,
})

/** A way by chance. */
export const anyWay = (chance: Chance): Way => WAYS[between(chance, 0, WAYS.length)]!

/** Validators are cut off one after another, so that they miss blocks and have to fetch them. `wayOf` says which way. */
export const missing = (chance: Chance, wayOf: (chance: Chance) => Way = () => "both"): ReadonlyArray<WorldFault> =>
  [500, 2_500, 4_500].map((atMs) => partition(atMs, some(chance, 1), between(chance, 800, 1_600), wayOf(chance)))

/** A validator, any when not given, lies to those that ask, in a way of its own every second. */
export const lying = (
  chance: Chance,
  seconds: number,
  node = between(chance, 0, VALIDATORS),
): ReadonlyArray<WorldFault> => {
  const how = () => LIES[between(chance, 0, LIES.length)]!
  return Array.from({ length: seconds }, (_, i) => ({ kind: "lie", node, how: how(), atMs: i * 1_000, forMs: 999 }))
}

/** A validator loses power somewhere within its first dozen times at a point. */
export const point = (chance: Chance, name: string): WorldFault => ({
  kind: "point",
  node: between(chance, 0, VALIDATORS),
  point: name,
  nth: between(chance, 1, 12),
  downMs: between(chance, 50, 900),
})

/** A validator loses power at every n-th durable write of its databases or of its marshal. */
export const everyWrite = (
  chance: Chance,
  node: number,
  [everyMin, everyMax]: readonly [number, number],
  times: number,
): ReadonlyArray<WorldFault> => {
  const writes = Object.keys(WRITE_POINTS)
  const [every, name] = [between(chance, everyMin, everyMax + 1), writes[between(chance, 0, writes.length)]!]
  return Array.from({ length: times }, (_, i) => ({
    kind: "point",
    node,
    point: name,
    nth: every * (i + 1),
    downMs: 100,
  }))
}

/** A point by chance. */
export const anyPoint = (chance: Chance): string => POINTS[between(chance, 0, POINTS.length)]!

/** About half of the validators run no finalizer when they lose power. */
export const halting = (chance: Chance): ReadonlyArray<WorldFault> =>
  EVERYONE.flatMap((node) => (chance() < 0.5 ? [{ kind: "halted", node }] : []))

/** Clocks that run up to a fifth faster or slower, and are up to two minutes apart. */
export const drifting = (chance: Chance): ReadonlyArray<WorldFault> =>
  EVERYONE.map((node) => ({
    kind: "clock",
    node,
    rate: 0.8 + chance() * 0.4,
    offsetMs: between(chance, 0, 120_000),
  }))

/** Every so many milliseconds a validator is given a forged finalization. */
export const forging = (chance: Chance, everyMs: number, times: number): ReadonlyArray<WorldFault> =>
  Array.from({ length: times }, (_, i) => ({
    kind: "forgery",
    node: between(chance, 0, VALIDATORS),
    how: FORGERIES[between(chance, 0, FORGERIES.length)]!,
    atMs: (i + 1) * everyMs,
  }))
