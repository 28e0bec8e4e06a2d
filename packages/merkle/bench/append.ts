/**
 * What batched append costs beyond hashing.
 *
 *   node packages/merkle/bench/append.ts [leaves] [bytes per leaf]
 *
 * Method: for each hasher and family, rounds alternate between (a) append and root on an empty frontier and (b) the same
 * hasher run over jobs of the same preimage lengths, filled beforehand and written side by side. The ratio is the median
 * over the rounds of (a) / (b); `outside` is the time of (a) per node with a hasher that does nothing. The difference
 * between the two is what fresh memory and digests that do not lie side by side cost the hasher.
 */
import { type Hasher, type HashJob, nobleHasher } from "@coppice/crypto"
import { nodeHasher } from "@coppice/crypto/node"
import { wasmHasher } from "@coppice/crypto/wasm"
import {
  appendLeaves,
  emptyFrontier,
  type Family,
  HASH_JOB_PREIMAGES_MAX,
  Location,
  mmb,
  mmr,
  root,
  runJobs,
} from "../src/index.ts"

const [leaves = 65_537, elementBytes = 65] = process.argv.slice(2).map(Number)
const ROUNDS = 15

const source = {
  count: leaves,
  bytes: new Uint8Array(leaves * elementBytes).map((_, i) => i * 31),
  offsets: new Float64Array(leaves + 1).map((_, i) => i * elementBytes),
}

const filledJob = (preimageBytes: number): HashJob => ({
  count: HASH_JOB_PREIMAGES_MAX,
  input: new Uint8Array(HASH_JOB_PREIMAGES_MAX * preimageBytes).map((_, i) => i * 17),
  inputOffsets: new Uint32Array(HASH_JOB_PREIMAGES_MAX + 1).map((_, i) => i * preimageBytes),
  output: new Uint8Array(HASH_JOB_PREIMAGES_MAX * 32),
  outputOffsets: new Uint32Array(HASH_JOB_PREIMAGES_MAX).map((_, i) => i * 32),
})
const leafJob = filledJob(8 + elementBytes)
const parentJob = filledJob(72)

const hashAlone = (hasher: Hasher, job: HashJob, total: number): void => {
  for (let left = total; left > 0; left -= job.count) {
    void hasher.run(left >= job.count ? job : { ...job, count: left })
  }
}

const appendAndRoot = (hasher: Hasher, family: Family): void => {
  const { frontier } = runJobs(hasher, appendLeaves(emptyFrontier(family), source))
  root(hasher, frontier, 0, "backward")
}

const timed = (run: () => void): number => {
  const from = performance.now()
  run()
  return performance.now() - from
}

const median = (times: ReadonlyArray<number>): number => times.toSorted((a, b) => a - b)[times.length >> 1]!

const idleHasher: Hasher = { name: "idle", hash: () => new Uint8Array(32), run: () => undefined }

console.log(`${leaves} leaves of ${elementBytes} bytes, median of ${ROUNDS} rounds`)
for (const hasher of [wasmHasher, nodeHasher, nobleHasher]) {
  for (const family of [mmr, mmb]) {
    const parents = family.size(Location(leaves)) - leaves
    const whole: Array<number> = []
    const alone: Array<number> = []
    const outside: Array<number> = []
    for (let round = 0; round < ROUNDS; round++) {
      whole.push(timed(() => appendAndRoot(hasher, family)))
      alone.push(
        timed(() => {
          hashAlone(hasher, leafJob, leaves)
          hashAlone(hasher, parentJob, parents)
        }),
      )
      outside.push(timed(() => appendAndRoot(idleHasher, family)))
    }
    const ratio = median(whole.map((time, round) => time / alone[round]!))
    console.log(
      `${family.name} ${hasher.name}: append and root ${median(whole).toFixed(1)} ms, hashing alone ` +
        `${median(alone).toFixed(1)} ms, ratio ${ratio.toFixed(3)}, outside ` +
        `${((median(outside) * 1e6) / (leaves + parents)).toFixed(0)} ns/node`,
    )
  }
}
