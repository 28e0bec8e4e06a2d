/**
 * Goal: published files, and the checks that every kind of proof is put to.
 */
import { readFileSync } from "node:fs"
import { DecodeError } from "@coppice/codec"
import { expect } from "vitest"

export const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex")
export const unhex = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, "hex"))

/** A published file of vectors. */
export const vectors = (file: string): unknown =>
  JSON.parse(readFileSync(new URL(`../../../../conformance/vectors/${file}`, import.meta.url), "utf8"))

/** Whether bytes are refused: they do not decode, or what they decode to is rejected. */
export const isRefused = (check: (bytes: Uint8Array) => { readonly _tag: string } | undefined, bytes: Uint8Array) => {
  try {
    return check(bytes) !== undefined
  } catch (error) {
    if (error instanceof DecodeError) return true
    throw error
  }
}

/** Bits of a byte string: all of them, or one of each byte. */
export type Bits = "every bit" | "a bit a byte"

/** Expects bytes to be accepted, and refused with any one of the bits flipped, cut short or lengthened. */
export const expectBitsToMatter = (
  check: (bytes: Uint8Array) => { readonly _tag: string } | undefined,
  bytes: Uint8Array,
  bits: Bits,
  note: string,
): void => {
  expect(check(bytes), note).toBeUndefined()
  for (let bit = 0; bit < bytes.length * 8; bit += bits === "every bit" ? 1 : 9) {
    const flipped = bytes.with(bit >> 3, bytes[bit >> 3]! ^ (1 << (bit & 7)))
    if (!isRefused(check, flipped)) throw new Error(`${note}: accepted with bit ${bit} flipped`)
  }
  expect(isRefused(check, bytes.slice(0, -1)), `${note}: cut`).toBe(true)
  expect(isRefused(check, Uint8Array.of(...bytes, 0)), `${note}: lengthened`).toBe(true)
}
