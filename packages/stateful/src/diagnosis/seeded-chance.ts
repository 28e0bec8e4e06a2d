/**
 * Seeded streams of chance that are plain values.
 *
 * Terms: a *stream* is named, so that a draw added in one part of a simulation does not move the others.
 *
 * Invariant: a stream's draws depend on its seed and name alone, on every machine.
 */

/** Where a stream stands: 32 bits. */
export type Chance = number

/** A stream by seed and name. */
export const chance = (seed: number, name: string): Chance => {
  let state = mix(seed >>> 0) ^ mix(Math.floor(seed / 0x1_0000_0000) >>> 0)
  for (let i = 0; i < name.length; i++) state = mix(state ^ name.charCodeAt(i))
  return state >>> 0
}

/** The next draw, 0 up to 1, and where the stream stands after it. */
export const draw = (state: Chance): readonly [number, Chance] => {
  const next = (state + 0x9e37_79b9) >>> 0
  return [mix(next) / 0x1_0000_0000, next]
}

/** A stream as a function with a memory, for code that is not a reducer. */
export const drawer = (seed: number, name: string): (() => number) => {
  let state = chance(seed, name)
  return () => {
    const [value, next] = draw(state)
    state = next
    return value
  }
}

/** Spreads 32 bits over 32 bits, one to one. */
export const mix = (x: number): number => {
  let h = x ^ (x >>> 16)
  h = Math.imul(h, 0x85eb_ca6b)
  h ^= h >>> 13
  h = Math.imul(h, 0xc2b2_ae35)
  return (h ^ (h >>> 16)) >>> 0
}
