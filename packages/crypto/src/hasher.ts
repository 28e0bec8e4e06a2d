/**
 * The hasher port: SHA-256 behind one small interface with a batch form.
 *
 * Terms: a preimage is the byte string that is hashed; a digest is its 32-byte SHA-256. A hash job names many preimages
 * that lie in one buffer and says where in another buffer each digest goes, so that a provider can hash thousands of
 * them in one call and the Merkle code never allocates per node.
 *
 * Invariant: every provider computes the same function. A provider may be asynchronous; callers that run in slices
 * await the returned promise, callers that cannot must use a provider whose `runs` is "sync".
 */

/** The 32-byte output of the hash function. */
export type Digest = Uint8Array

/** Bytes in a digest. */
export const DIGEST_BYTES = 32

/**
 * Many preimages and the places of their digests.
 *
 * Shape: preimage `i` is `input[inputOffsets[i] .. inputOffsets[i + 1])`; its digest is written to
 * `output[outputOffsets[i] .. + 32)`. `inputOffsets` has at least `count + 1` entries, `outputOffsets` at least `count`.
 * `input` and `output` must not overlap.
 */
export interface HashJob {
  readonly count: number
  readonly input: Uint8Array
  readonly inputOffsets: Uint32Array
  readonly output: Uint8Array
  readonly outputOffsets: Uint32Array
}

/** A provider of SHA-256. */
export interface Hasher {
  /** Provider name, for benchmarks and status. */
  readonly name: string
  /** Digest of one preimage, in a fresh array. */
  readonly hash: (preimage: Uint8Array) => Digest
  /** Runs a whole job. Returns a promise only when the provider works elsewhere; the job's buffers are borrowed until then. */
  readonly run: (job: HashJob) => void | Promise<void>
}

/**
 * Asserts that every preimage and digest of a job lies inside its buffers.
 *
 * Errors: RangeError, before anything is hashed. Every provider calls it first, so that a wrong offset fails the same
 * way everywhere instead of hashing or overwriting something else. Cost: about 1 ns per preimage.
 */
export const requireJob = ({ count, input, inputOffsets, output, outputOffsets }: HashJob): void => {
  if (count === 0) return
  if (inputOffsets.length <= count || outputOffsets.length < count) {
    throw new RangeError(`hash job: offsets for fewer than ${count} preimages`)
  }
  const lastOutput = output.length - DIGEST_BYTES
  let start = inputOffsets[0]!
  for (let i = 0; i < count; i++) {
    const end = inputOffsets[i + 1]!
    if (end < start || outputOffsets[i]! > lastOutput) throw new RangeError(`hash job: preimage ${i} is outside`)
    start = end
  }
  if (start > input.length) throw new RangeError("hash job: the last preimage is outside")
}
