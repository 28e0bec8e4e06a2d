/**
 * Goal: every SHA-256 provider computes the same function and touches only what a job names.
 * Method: one law, the same published vectors, random jobs, jobs above every internal buffer and wrong offsets against
 * each provider. Canaries: providers with one wrong bit, place, lane or count must break the law.
 */
import { type Hasher, nobleHasher } from "@coppice/crypto"
import { nodeHasher, opensslHasher } from "@coppice/crypto/node"
import { createLaneHasher, wasmHasher } from "@coppice/crypto/wasm"
import { fc, test } from "@fast-check/vitest"
import { describe, expect } from "vitest"
import { jobOf, jobViolation, largeShapes, shapes } from "./hasher-law.ts"

const providers: ReadonlyArray<Hasher> = [nobleHasher, wasmHasher, opensslHasher, nodeHasher]

// FIPS 180-4 examples, and the empty string.
const vectors: ReadonlyArray<readonly [string, string]> = [
  ["", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"],
  ["abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"],
  [
    "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
    "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
  ],
  ["a".repeat(1_000_000), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"],
]

const encoder = new TextEncoder()
const hexOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex")

for (const hasher of providers) {
  describe(`SHA-256 by ${hasher.name}`, () => {
    test("gives the published digests, alone and in one job", async () => {
      const preimages = vectors.map(([text]) => encoder.encode(text))
      const expected = vectors.map(([, digest]) => digest)
      expect(preimages.map((preimage) => hexOf(hasher.hash(preimage)))).toEqual(expected)
      const lengths = preimages.map((preimage) => preimage.length)
      const job = jobOf({ lengths, gaps: [0], first: 0, salt: 0, isReversed: false })
      for (const [i, preimage] of preimages.entries()) job.input.set(preimage, job.inputOffsets[i])
      await hasher.run(job)
      expect(expected.map((_, i) => hexOf(job.output.subarray(i * 32, i * 32 + 32)))).toEqual(expected)
    })

    test.prop([shapes])("runs any job as the law says", async (shape) => {
      expect(await jobViolation(hasher, jobOf(shape))).toBeUndefined()
    })

    test("runs jobs larger than its buffers as the law says", async () => {
      for (const shape of largeShapes) expect(await jobViolation(hasher, jobOf(shape))).toBeUndefined()
    })

    test("gives a fresh plain array that keeps nothing else alive", () => {
      const digest = hasher.hash(new Uint8Array(72))
      expect(digest.constructor).toBe(Uint8Array)
      expect(digest.buffer.byteLength).toBe(32)
      digest.fill(0)
      expect(hexOf(hasher.hash(new Uint8Array(72)))).not.toBe(hexOf(digest))
    })

    test("refuses a job whose places lie outside its buffers, and writes nothing", async () => {
      const shape = { lengths: [72, 72, 72, 72, 72], gaps: [0], first: 0, salt: 1, isReversed: false }
      const job = jobOf(shape)
      const wrong = [
        { ...job, count: 6 },
        { ...job, input: job.input.subarray(0, 359) },
        { ...job, output: job.output.subarray(0, 159) },
        { ...job, inputOffsets: Uint32Array.of(0, 72, 71, 216, 288, 360) },
        { ...job, outputOffsets: job.outputOffsets.subarray(1) },
      ]
      for (const one of wrong) await expect((async () => hasher.run(one))()).rejects.toThrow(RangeError)
      expect(job.output.every((byte) => byte === job.output[0])).toBe(true)
    })

    test("an empty job is no work", async () => {
      const none = new Uint32Array(0)
      await hasher.run({
        count: 0,
        input: new Uint8Array(0),
        inputOffsets: none,
        output: new Uint8Array(0),
        outputOffsets: none,
      })
    })
  })
}

describe("lanes over a base", () => {
  const inverted: Hasher = {
    name: "inverted",
    hash: (preimage) => nobleHasher.hash(preimage).map((byte) => ~byte),
    run: (job) => {
      nobleHasher.run(job)
      for (let i = 0; i < job.count; i++) {
        for (let k = 0; k < 32; k++) job.output[job.outputOffsets[i]! + k]! ^= 0xff
      }
    },
  }

  test("short preimages never reach the base, long ones always do", () => {
    const sizes: number[] = []
    const counting: Hasher = {
      ...nobleHasher,
      run: (job) => {
        for (let i = 0; i < job.count; i++) sizes.push(job.inputOffsets[i + 1]! - job.inputOffsets[i]!)
        nobleHasher.run(job)
      },
    }
    createLaneHasher("lanes", counting).run(jobOf(largeShapes[0]!))
    expect(sizes).toEqual([])
    createLaneHasher("lanes", counting).run(jobOf(largeShapes[2]!))
    expect(sizes).toEqual(new Array(50).fill(5000))
  })

  test("a kernel whose known answers differ from the base is never used", () => {
    const job = jobOf(largeShapes[0]!)
    const ours = jobOf(largeShapes[0]!)
    inverted.run(job)
    createLaneHasher("lanes", inverted).run(ours)
    expect(hexOf(ours.output)).toBe(hexOf(job.output))
  })
})

describe("canaries", () => {
  const after = (name: string, spoil: (job: Parameters<Hasher["run"]>[0]) => void): Hasher => ({
    ...nobleHasher,
    name,
    run: (job) => {
      nobleHasher.run(job)
      if (job.count > 0) spoil(job)
    },
  })
  const before = (
    name: string,
    change: (job: Parameters<Hasher["run"]>[0]) => Parameters<Hasher["run"]>[0],
  ): Hasher => ({
    ...nobleHasher,
    name,
    run: (job) => nobleHasher.run(change(job)),
  })
  const broken: ReadonlyArray<Hasher> = [
    after("one flipped bit of the last digest", ({ output, outputOffsets, count }) => {
      output[outputOffsets[count - 1]! + 31]! ^= 1
    }),
    after("one byte written behind the last digest", ({ output, outputOffsets, count }) => {
      output[outputOffsets[count - 1]! + 32]! ^= 1
    }),
    after("an input left changed", ({ input }) => {
      input[0]! ^= 1
    }),
    before("digests one byte too far", (job) => ({ ...job, outputOffsets: job.outputOffsets.map((at) => at + 1) })),
    before("the last preimage forgotten", (job) => ({ ...job, count: Math.max(0, job.count - 1) })),
    before("preimages one byte too far", (job) => ({ ...job, inputOffsets: job.inputOffsets.map((at) => at + 1) })),
    { ...nobleHasher, name: "a wrong single digest", hash: (preimage) => nobleHasher.hash(preimage).reverse() },
  ]
  for (const hasher of broken) {
    test(`canary: ${hasher.name} breaks the law`, async () => {
      const law = fc.asyncProperty(shapes, async (shape) => (await jobViolation(hasher, jobOf(shape))) === undefined)
      expect((await fc.check(law)).failed).toBe(true)
    })
  }
})
