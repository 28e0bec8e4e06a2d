/**
 * The law every SHA-256 provider obeys, as functions that name what breaks it.
 *
 * A provider writes each digest of a job at its place and changes nothing else: neither the preimages nor the bytes
 * between digests. The reference is Node's streaming hash, which no provider uses.
 */
import { createHash } from "node:crypto"
import { bytesEqual } from "@coppice/codec"
import { DIGEST_BYTES, type Hasher, type HashJob } from "@coppice/crypto"
import { fc } from "@fast-check/vitest"

/** What a job looks like: the length of each preimage, and the bytes left free in front of each digest. */
export interface JobShape {
  readonly lengths: ReadonlyArray<number>
  readonly gaps: ReadonlyArray<number>
  readonly first: number
  readonly salt: number
  readonly isReversed: boolean
}

const FREE = 0xa5

/** SHA-256 by the reference. */
export const reference = (preimage: Uint8Array): Uint8Array =>
  new Uint8Array(createHash("sha256").update(preimage).digest())

/** The job of a shape: preimages from offset `first` on, digests in or against their order with gaps between them. */
export const jobOf = ({ lengths, gaps, first, salt, isReversed }: JobShape): HashJob => {
  const count = lengths.length
  const inputOffsets = new Uint32Array(count + 1).fill(first)
  lengths.forEach((length, i) => {
    inputOffsets[i + 1] = inputOffsets[i]! + length
  })
  const input = new Uint8Array(inputOffsets[count]! + 5).map((_, i) => Math.imul(i + salt, 2654435761) >>> 13)
  const outputOffsets = new Uint32Array(count)
  let end = 0
  for (let k = 0; k < count; k++) {
    const i = isReversed ? count - 1 - k : k
    outputOffsets[i] = end + (gaps[k % Math.max(1, gaps.length)] ?? 0)
    end = outputOffsets[i]! + DIGEST_BYTES
  }
  return { count, input, inputOffsets, output: new Uint8Array(end + 3).fill(FREE), outputOffsets }
}

/** What is wrong with how a provider runs a job, or undefined. The job's output must be free. */
export const jobViolation = async (hasher: Hasher, job: HashJob): Promise<string | undefined> => {
  const { count, input, inputOffsets, output, outputOffsets } = job
  const before = input.slice()
  const expected = output.slice()
  for (let i = 0; i < count; i++) {
    const preimage = input.subarray(inputOffsets[i], inputOffsets[i + 1])
    expected.set(reference(preimage), outputOffsets[i])
    if (count < 64 && !bytesEqual(hasher.hash(preimage), reference(preimage))) return `hash differs at ${i}`
  }
  await hasher.run(job)
  if (!bytesEqual(input, before)) return "changed the input"
  const wrong = output.findIndex((byte, i) => byte !== expected[i])
  return wrong < 0 ? undefined : `output differs at byte ${wrong} of ${output.length}`
}

/** Lengths at the edges of padding and of what providers treat specially, and any others up to a few blocks. */
const length = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom(0, 1, 55, 56, 63, 64, 65, 72, 73, 119, 120, 127, 128, 255, 256, 257, 300) },
  { weight: 2, arbitrary: fc.nat(320) },
  { weight: 1, arbitrary: fc.constantFrom(1000, 4096) },
)

/** Shapes of small jobs. */
export const shapes: fc.Arbitrary<JobShape> = fc.record({
  lengths: fc.array(length, { maxLength: 24 }),
  gaps: fc.array(fc.constantFrom(0, 0, 0, 1, 32, 40), { minLength: 1, maxLength: 5 }),
  first: fc.nat(9),
  salt: fc.nat(1 << 20),
  isReversed: fc.boolean(),
})

const repeated = (count: number, of: (i: number) => number): JobShape => ({
  lengths: Array.from({ length: count }, (_, i) => of(i)),
  gaps: [0],
  first: 0,
  salt: count,
  isReversed: false,
})

/** Shapes that are larger than any buffer a provider is likely to have. */
export const largeShapes: ReadonlyArray<JobShape> = [
  repeated(4999, (i) => 72 + (i % 2)),
  repeated(3001, (i) => (i * 37) % 257),
  { ...repeated(2500, (i) => (i % 50 === 0 ? 5000 : 256)), gaps: [0, 0, 7] },
]
