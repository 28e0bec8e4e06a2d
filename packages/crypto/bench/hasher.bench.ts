/**
 * What a SHA-256 costs in the job that Merkle trees give a provider, beside the other ways to compute it (ADR 0001).
 *
 * The job is that of one block of 32,768 updates: 131,072 preimages of 72 and 73 bytes in one buffer, digests in order.
 * Smaller jobs show where vector lanes stop paying: few preimages, or long ones.
 */
import { createHash } from "node:crypto"
import { digest as asSha256 } from "@chainsafe/as-sha256"
import { alternate, type Bench, type Figure, figure } from "@coppice/bench"
import { type HashJob, nobleHasher } from "@coppice/crypto"
import { nodeHasher, opensslHasher } from "@coppice/crypto/node"
import { wasmHasher } from "@coppice/crypto/wasm"
import { createSHA256 } from "hash-wasm"

const PREIMAGES = 131_072

const jobOf = (count: number, lengthOf: (i: number) => number, stride = 32): HashJob => {
  const inputOffsets = new Uint32Array(count + 1)
  for (let i = 0; i < count; i++) inputOffsets[i + 1] = inputOffsets[i]! + lengthOf(i)
  const input = new Uint8Array(inputOffsets[count]!).map((_, i) => Math.imul(i, 2654435761) >>> 13)
  const outputOffsets = new Uint32Array(count).map((_, i) => i * stride)
  return { count, input, inputOffsets, output: new Uint8Array(count * stride), outputOffsets }
}

/** A job run by a function of one preimage. */
const oneByOne = (job: HashJob, digest: (preimage: Uint8Array) => Uint8Array): void => {
  const { count, input, inputOffsets, output, outputOffsets } = job
  for (let i = 0; i < count; i++) {
    output.set(digest(input.subarray(inputOffsets[i], inputOffsets[i + 1])), outputOffsets[i])
  }
}

const providers = async (): Promise<ReadonlyArray<Figure>> => {
  const job = jobOf(PREIMAGES, (i) => 72 + (i % 2))
  const scattered = jobOf(PREIMAGES, (i) => 72 + (i % 2), 64)
  const hashWasm = await createSHA256()
  const timings = await alternate(
    {
      node: { run: () => nodeHasher.run(job) },
      "node, digests apart": { run: () => nodeHasher.run(scattered) },
      wasm: { run: () => wasmHasher.run(job) },
      openssl: { run: () => opensslHasher.run(job) },
      noble: { run: () => nobleHasher.run(job) },
      "node:crypto createHash": { run: () => oneByOne(job, (bytes) => createHash("sha256").update(bytes).digest()) },
      "as-sha256": { run: () => oneByOne(job, asSha256) },
      "hash-wasm": { run: () => oneByOne(job, (bytes) => hashWasm.init().update(bytes).digest("binary")) },
    },
    { rounds: 15, warmup: 3 },
  )
  return Object.entries(timings).map(([name, timing]) =>
    figure(`crypto::hash/provider=${name}`, timing, {
      unit: "ns",
      per: PREIMAGES,
      ...(name !== "openssl" && { against: { name: "one native call each", timing: timings.openssl } }),
    }),
  )
}

const repeated = (times: number, run: () => unknown) => ({
  run: () => {
    for (let i = 0; i < times; i++) run()
  },
})

/** Lanes against native calls for one size of job. */
const crossover = async (label: string, job: HashJob): Promise<Figure> => {
  const times = Math.ceil(8192 / job.count)
  const { lanes, native } = await alternate(
    { lanes: repeated(times, () => nodeHasher.run(job)), native: repeated(times, () => opensslHasher.run(job)) },
    { rounds: 30, warmup: 5 },
  )
  const against = { name: "one native call each", timing: native }
  return figure(`crypto::hash/${label}`, lanes, { unit: "ns", per: times * job.count, against })
}

const crossovers = async (): Promise<ReadonlyArray<Figure>> => {
  const figures: Figure[] = []
  for (const count of [1, 2, 3, 4, 8, 64])
    figures.push(
      await crossover(
        `preimages=${count}`,
        jobOf(count, () => 72),
      ),
    )
  for (const bytes of [40, 64, 100, 128, 192, 256, 257, 1024]) {
    figures.push(
      await crossover(
        `bytes=${bytes}`,
        jobOf(4096, () => bytes),
      ),
    )
  }
  return figures
}

/** The benchmarks of the hasher port. */
export const benches: ReadonlyArray<Bench> = [
  { name: "crypto::hash/providers", run: providers },
  { name: "crypto::hash/crossovers", run: crossovers },
]
