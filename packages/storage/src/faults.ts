/**
 * Faulty storage: a memory disk whose calls meet what a script or chance says.
 *
 *   before | call | visible | durable | settled | after          where power can be lost, for a write
 *
 * Terms: a *fault* befalls one call. Power loss takes every environment and handle of the disk with it; "io" fails the
 * call by the port's error for it, "disk full" fails what needs room and leaves reads alone.
 *
 * Invariant: what a fault leaves is what the port lets a real disk leave, and every fault shows as an error of the port.
 */
import type { StorageShape } from "./storage.ts"

/**
 * What can befall a call.
 *
 * "crash before": power is lost before it does anything. "crash visible": once reads show the write and before it is
 * durable, so that chance decides whether it survives. "crash durable": once the write is durable and before reads show it
 * or its caller knows. "crash after": when the call has succeeded. What is no write loses power before, or after it.
 */
export const FAULTS = ["crash before", "crash visible", "crash durable", "crash after", "io", "disk full"] as const

/** One of `FAULTS`. */
export type Fault = (typeof FAULTS)[number]

/** A call of a handle. */
export interface StorageCall {
  readonly environment: string
  readonly name: keyof StorageShape
}

/** Decides what befalls each call, asked in the order in which the calls are made. */
export type Faults = (call: StorageCall) => Fault | undefined

/** A script of one fault: it befalls the n-th call (1 = the next) of those that `of` describes, and no other. */
export const faultAt = (n: number, fault: Fault, of: Partial<StorageCall> = {}): Faults => {
  let left = n
  return ({ environment, name }) => {
    if ((of.environment ?? environment) !== environment || (of.name ?? name) !== name) return undefined
    left -= 1
    return left === 0 ? fault : undefined
  }
}

/** Faults by chance: of each call, each fault has the probability that `rates` gives it. Bounds: their sum is at most 1. */
export const faultsByChance =
  (chance: () => number, rates: Partial<Readonly<Record<Fault, number>>>): Faults =>
  () => {
    let drawn = chance()
    return FAULTS.find((fault) => {
      drawn -= rates[fault] ?? 0
      return drawn < 0
    })
  }
