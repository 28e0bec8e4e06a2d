/**
 * The workloads of the bare trees: `seed` elements, element `i` is `sha256(be8(i))`, forward bagging, nothing inactive.
 */
import { createHash } from "node:crypto"
import { nobleHasher } from "@coppice/crypto"
import { appendLeaves, emptyFrontier, type Family, mmb, mmr, root, runJobs } from "@coppice/merkle"
import type { Workload, Workloads } from "./rows.ts"

const ELEMENT_BYTES = 32

const element = (i: number): Buffer => {
  const be8 = Buffer.alloc(8)
  be8.writeBigUInt64BE(BigInt(i))
  return createHash("sha256").update(be8).digest()
}

const treeRoot =
  (family: Family): Workload =>
  (seed) => {
    const source = {
      count: seed,
      bytes: Buffer.concat(Array.from({ length: seed }, (_, i) => element(i))),
      offsets: new Uint32Array(seed + 1).map((_, i) => i * ELEMENT_BYTES),
    }
    const { frontier } = runJobs(nobleHasher, appendLeaves(emptyFrontier(family), source))
    return root(nobleHasher, frontier, 0, "forward")
  }

/** `merkle-root/{mmr,mmb}`. */
export const merkleWorkloads: Workloads = {
  "merkle-root/mmr": treeRoot(mmr),
  "merkle-root/mmb": treeRoot(mmb),
}
