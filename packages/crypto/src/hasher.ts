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
