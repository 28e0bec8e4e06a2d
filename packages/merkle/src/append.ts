/**
 * Batched append. (Bodies follow; the signatures stand.)
 */
import type { Hasher, HashJob } from "@coppice/crypto"
import type { Frontier } from "./frontier.ts"

/** Elements in one buffer: element `i` is `bytes[offsets[i] .. offsets[i + 1])`. Borrowed until the append is done. */
export interface LeafSource {
  readonly count: number
  readonly bytes: Uint8Array
  readonly offsets: Uint32Array | Float64Array
}

/** What an append makes: the frontier after it, and 32 bytes per new node from `size(before)` to `size(after)`. */
export interface Appended {
  readonly frontier: Frontier
  readonly nodes: Uint8Array
}

/** Appends leaves in slices: yields hash jobs, returns what was made. Resume only after the yielded job has run. */
export const appendLeaves: (frontier: Frontier, source: LeafSource) => Generator<HashJob, Appended, void> = () => {
  throw new Error("unbuilt")
}

/** Drives a generator of hash jobs to its end with a synchronous hasher. */
export const runJobs: <A>(hasher: Hasher, jobs: Generator<HashJob, A, void>) => A = () => {
  throw new Error("unbuilt")
}
