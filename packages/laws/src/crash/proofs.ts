/** Proofs that a database makes, checked against what its target commits to. */
import { opensslHasher } from "@coppice/crypto/node"
import { type FamilyName, family, Location, verifyRangeProof } from "@coppice/merkle"
import { type CurrentReader, type LogReader, PROOF_OPS_MAX, ProofUnavailable } from "@coppice/qmdb"
import { type CurrentFormat, checkKeyValue, checkOpsRoot } from "@coppice/verify"
import { claim } from "../law.ts"

const isRefused = (proving: () => unknown): boolean => {
  try {
    proving()
    return false
  } catch (error) {
    if (error instanceof ProofUnavailable) return true
    throw error
  }
}

/** Claims that all operations that are there can be proven, and the last one alone; and none that was pruned. */
export const claimLog = (merkle: FamilyName, { target, pruned, prove }: LogReader): void => {
  claim(pruned === 0 || isRefused(() => prove(Location(pruned - 1), 1)), "an operation that was pruned is proven")
  for (const start of [pruned, Location(target.end - 1)]) {
    const { operations, proof } = prove(start, PROOF_OPS_MAX)
    claim(operations.length === target.end - start, `${operations.length} operations from ${start} are proven`)
    const range = { family: family(merkle), bagging: "backward" as const, proof, start, elements: operations }
    claim(verifyRangeProof(opensslHasher, range, target.root), `the proof from ${start} does not hold`)
  }
}

/** Claims that each key that has a value is proven to have it, against the canonical root, and that the others are not. */
export const claimCurrent = (
  format: CurrentFormat<Uint8Array, Uint8Array>,
  keys: ReadonlyArray<Uint8Array>,
  { target, get, proveKey, witness }: CurrentReader<Uint8Array, Uint8Array>,
): void => {
  const rejected = checkOpsRoot(opensslHasher, format, target.root, witness(), target.canonical!)
  claim(rejected === undefined, `the witness of the operations root: ${rejected?._tag}`)
  for (const key of keys) {
    const [value, proof] = [get(key), proveKey(key)]
    claim(
      (value === undefined) === (proof === undefined),
      `key ${key} has ${value ?? "no value"}, and it is proven otherwise`,
    )
    if (value === undefined || proof === undefined) continue
    const reason = checkKeyValue(opensslHasher, format, { key, value, proof }, target.canonical!)
    claim(reason === undefined, `the proof of key ${key}: ${reason?._tag}`)
  }
}
