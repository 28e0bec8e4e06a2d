/**
 * A hasher that hashes short preimages four at a time, and leaves the rest to another provider.
 *
 * Terms: the base is that other provider. It hashes single preimages, those too long for a lane to be worth it, and
 * what is left over when too few stand together. A batch is a run of consecutive short preimages that fits the memory.
 *
 *   job | short short short ... | LONG | short ...        short: copied to the kernel's memory, hashed, copied back
 *       \------ batch ---------/  base  \- batch -/        LONG: base.hash
 *
 * Invariant: the same digests as the base. The kernel is built at the first job and asked for known answers; where the
 * engine has no vectors, or an answer is wrong, every job goes to the base for good.
 */
import { bytesEqual } from "@coppice/codec"
import { DIGEST_BYTES, type Hasher, type HashJob, requireJob } from "../hasher.ts"
import { BATCH_BYTES_MAX, BATCH_COUNT_MAX, LANE_BYTES_MAX } from "../limits.ts"
import { KERNEL_BYTES, kernelModule, LANES } from "./sha256-kernel.ts"

const PAGE_BYTES = 65_536
const TABLE_AT = KERNEL_BYTES
const OUTPUT_AT = TABLE_AT + 4 * (BATCH_COUNT_MAX + LANES)
const INPUT_AT = OUTPUT_AT + DIGEST_BYTES * BATCH_COUNT_MAX
// A lane that is done early reads on for as long as the longest of its group, and for one block of padding.
const MEMORY_BYTES = INPUT_AT + BATCH_BYTES_MAX + LANE_BYTES_MAX + 128

// The compiler's library for Node does not declare what it uses of the global of this name.
declare const WebAssembly: {
  readonly Module: new (bytes: Uint8Array<ArrayBuffer>) => object
  readonly Instance: new (module: object) => { readonly exports: { readonly memory: unknown; readonly run: unknown } }
}

type Run = (groups: number, table: number, input: number, output: number) => void

/** The kernel and views of its memory. */
interface Kernel {
  readonly run: Run
  readonly bytes: Uint8Array
  readonly words: Uint32Array
}

const createKernel = (): Kernel => {
  const module = new WebAssembly.Module(kernelModule(Math.ceil(MEMORY_BYTES / PAGE_BYTES)))
  const { memory, run } = new WebAssembly.Instance(module).exports
  const { buffer } = memory as { readonly buffer: ArrayBuffer }
  return { run: run as Run, bytes: new Uint8Array(buffer), words: new Uint32Array(buffer) }
}

const isLong = ({ inputOffsets }: HashJob, i: number): boolean =>
  inputOffsets[i + 1]! - inputOffsets[i]! > LANE_BYTES_MAX

/** End of the batch that begins at `from`: the first preimage that is long or no longer fits the memory. */
const batchEnd = (job: HashJob, from: number): number => {
  const last = Math.min(job.count, from + BATCH_COUNT_MAX)
  const bytesEnd = job.inputOffsets[from]! + BATCH_BYTES_MAX
  let end = from
  while (end < last && !isLong(job, end) && job.inputOffsets[end + 1]! <= bytesEnd) end++
  return end
}

const runBase = (base: Hasher, job: HashJob, from: number, to: number): void => {
  if (from === to) return
  base.run({
    ...job,
    count: to - from,
    inputOffsets: job.inputOffsets.subarray(from, to + 1),
    outputOffsets: job.outputOffsets.subarray(from, to),
  })
}

/** Copies digests that lie in order to their places, eight bytes at a time: a Merkle append is a tenth faster by it. */
const scatter = (digests: Uint8Array, { output, outputOffsets }: HashJob, from: number, to: number): void => {
  const source = new DataView(digests.buffer, digests.byteOffset, digests.byteLength)
  const target = new DataView(output.buffer, output.byteOffset, output.byteLength)
  for (let i = from; i < to; i++) {
    const place = outputOffsets[i]!
    const at = (i - from) * DIGEST_BYTES
    for (let k = 0; k < DIGEST_BYTES; k += 8) target.setBigUint64(place + k, source.getBigUint64(at + k))
  }
}

const runBatch = ({ run, bytes, words }: Kernel, job: HashJob, from: number, to: number): void => {
  const { input, inputOffsets } = job
  const first = inputOffsets[from]!
  const end = inputOffsets[to]!
  const groups = Math.ceil((to - from) / LANES)
  const table = TABLE_AT / 4
  bytes.set(input.subarray(first, end), INPUT_AT)
  words.set(inputOffsets.subarray(from, to + 1), table)
  // Lanes without a preimage hash the empty string.
  words.fill(end, table + to - from + 1, table + groups * LANES + 1)
  run(groups, TABLE_AT, INPUT_AT - first, OUTPUT_AT)
  scatter(bytes.subarray(OUTPUT_AT, OUTPUT_AT + (to - from) * DIGEST_BYTES), job, from, to)
}

/** Lengths around every edge of padding, and one lane that outlasts its neighbours. */
const KNOWN_LENGTHS = [0, 1, 55, 56, 63, 64, 65, 72, 73, 119, 120, 128, LANE_BYTES_MAX, 3]

const answersRight = (kernel: Kernel, base: Hasher): boolean => {
  const count = KNOWN_LENGTHS.length
  const inputOffsets = new Uint32Array(count + 1)
  for (let i = 0; i < count; i++) inputOffsets[i + 1] = inputOffsets[i]! + KNOWN_LENGTHS[i]!
  const input = new Uint8Array(inputOffsets[count]!).map((_, i) => i * 167 + (i >>> 8))
  const outputOffsets = Uint32Array.from(KNOWN_LENGTHS, (_, i) => i * DIGEST_BYTES)
  const output = new Uint8Array(count * DIGEST_BYTES)
  runBatch(kernel, { count, input, inputOffsets, output, outputOffsets }, 0, count)
  return KNOWN_LENGTHS.every((_, i) =>
    bytesEqual(
      output.subarray(i * DIGEST_BYTES, (i + 1) * DIGEST_BYTES),
      base.hash(input.subarray(inputOffsets[i], inputOffsets[i + 1])),
    ),
  )
}

const provenKernel = (base: Hasher): Kernel | undefined => {
  try {
    const kernel = createKernel()
    return answersRight(kernel, base) ? kernel : undefined
  } catch {
    return undefined
  }
}

/**
 * A provider that runs jobs in vector lanes, over a base that is synchronous.
 *
 * Shape: `run` returns when all digests are written; it keeps 0.4 MiB of memory, and the last preimages stay in it, so
 * it is not for secrets.
 * Cost: about 150 ns per preimage of 72 bytes on a machine where a native call takes 300 ns (bench/hasher.bench.ts). The
 * first job also builds the kernel, once, in 10 to 20 ms: a small job at startup keeps that out of a block.
 */
export const createLaneHasher = (name: string, base: Hasher): Hasher => {
  let kernel: Kernel | undefined
  let isTried = false
  return {
    name,
    hash: base.hash,
    run: (job) => {
      if (job.count < LANES) return base.run(job)
      requireJob(job)
      if (!isTried) kernel = provenKernel(base)
      isTried = true
      if (kernel === undefined) return base.run(job)
      for (let from = 0; from < job.count; ) {
        const shortEnd = batchEnd(job, from)
        if (shortEnd - from < LANES) runBase(base, job, from, shortEnd)
        else runBatch(kernel, job, from, shortEnd)
        let longEnd = shortEnd
        while (longEnd < job.count && isLong(job, longEnd)) longEnd++
        runBase(base, job, shortEnd, longEnd)
        from = longEnd
      }
    },
  }
}
