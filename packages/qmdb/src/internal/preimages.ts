/**
 * Preimages of one length, filled in and hashed job after job into records.
 *
 * Invariant: a job holds at most as many preimages and bytes as the jobs of an append do, so a slice stays as short.
 */
import { DIGEST_BYTES, type HashJob } from "@coppice/crypto"
import { HASH_JOB_BYTES_MAX, HASH_JOB_PREIMAGES_MAX } from "@coppice/merkle"
import type { Pages } from "./pages.ts"

const multiples = (step: number, count: number): Uint32Array => {
  const offsets = new Uint32Array(count)
  for (let i = 0; i < count; i++) offsets[i] = i * step
  return offsets
}

/** Preimages of one length for one hash job after another, and the nodes whose digests they make. */
export class Preimages {
  /** Preimage `i` is to be written at `i` times the length. */
  readonly view: DataView
  /** For each preimage, the record that its digest becomes. */
  readonly nodes: Float64Array
  /** Preimages filled in. */
  count = 0
  private readonly output: DataView
  private readonly job: HashJob

  constructor(length: number, nodes: number) {
    const most = Math.max(1, Math.min(nodes, HASH_JOB_PREIMAGES_MAX, Math.floor(HASH_JOB_BYTES_MAX / length)))
    const input = new Uint8Array(most * length)
    const output = new Uint8Array(most * DIGEST_BYTES)
    this.view = new DataView(input.buffer)
    this.output = new DataView(output.buffer)
    this.nodes = new Float64Array(most)
    this.job = {
      count: 0,
      input,
      inputOffsets: multiples(length, most + 1),
      output,
      outputOffsets: multiples(DIGEST_BYTES, most),
    }
  }

  /** Hashes what was filled in and puts the digests where they belong; empty then. */
  *hash(digests: Pages): Generator<HashJob, void, void> {
    if (this.count > 0) yield { ...this.job, count: this.count }
    for (let i = 0; i < this.count; i++) digests.copyFrom(this.nodes[i]!, this.output, i * DIGEST_BYTES)
    this.count = 0
  }
}
