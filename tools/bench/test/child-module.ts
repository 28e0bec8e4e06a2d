/**
 * Exports that the tests of `inChild` call in another process.
 */
import { anonymousBytes } from "../harness.ts"

/** Twice every byte, and the process it was computed in. */
export const double = (bytes: Uint8Array): { pid: number; doubled: Uint8Array } => ({
  pid: process.pid,
  doubled: bytes.map((byte) => byte * 2),
})

/** Fails. */
export const broken = (): never => {
  throw new Error("broken on purpose")
}

/** Ends the process without an answer. */
export const dies = (): never => process.exit(3)

/** Anonymous memory of a process that holds `megabytes` of written bytes. */
export const holding = async (megabytes: number): Promise<number> => {
  const held = new Uint8Array(megabytes * 2 ** 20).fill(1)
  const bytes = await anonymousBytes()
  return held.length >= 0 ? bytes : 0
}
