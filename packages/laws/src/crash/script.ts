/** Scripts of a database's life: what is done to it, in an order that a seed picks. */
import { chanceOf } from "../law.ts"

/**
 * One step. "block" seals a block over the tip and applies it, "fork" seals two that will lose, "flush" makes all that is
 * applied durable while the next block is being sealed, so do "prune" and "trim" what they plan; "rewind" flushes and goes
 * back, "reopen" closes the environment and opens it again.
 */
export type Step = SessionStep | "reopen"

/** A step of an open environment. */
export type SessionStep = "block" | "fork" | "flush" | "prune" | "trim" | "rewind"

/** What one round of a script holds, in parts that stay together. */
const ROUND: ReadonlyArray<ReadonlyArray<Step>> = [
  ["block", "flush"],
  ["fork", "block", "flush"],
  ["block", "block", "flush", "prune"],
  ["trim"],
  ["rewind", "block", "flush"],
  ["block", "flush", "reopen"],
]

/** A script of so many rounds: the same steps for every seed, in another order. */
export const scriptOf = (seed: number, rounds: number): ReadonlyArray<Step> => {
  const chance = chanceOf(seed)
  return Array.from({ length: rounds }, () =>
    ROUND.map((steps) => ({ steps, at: chance() }))
      .sort((a, b) => a.at - b.at)
      .flatMap(({ steps }) => steps),
  ).flat()
}

/** The parts of a script between two openings of its environment. */
export const sessionsOf = (script: ReadonlyArray<Step>): ReadonlyArray<ReadonlyArray<SessionStep>> => {
  const sessions: Array<Array<SessionStep>> = [[]]
  for (const step of script) {
    if (step === "reopen") sessions.push([])
    else sessions.at(-1)!.push(step)
  }
  return sessions
}
