/**
 * Verification of the proofs of `current` databases, against a canonical root that the caller trusts.
 *
 *   operations --> leaves --> parents, grafted at height G with the given chunks --> grafted root \
 *   ops root, digests of the pending and partial chunks, as given ------------------------------> canonical root
 *
 * Nothing of a proof is believed: which chunks and digests there must be follows from the leaf count, which the root
 * binds; all that shows without hashing is checked first.
 *
 * Invariant: a claim is accepted only when the recomputed canonical root equals the trusted one, and each given chunk has
 * a part in it.
 * Source: spec qmdb §10.
 */
import { bytesEqual, compareBytes } from "@coppice/codec"
import { DIGEST_BYTES, type Digest, type Hasher } from "@coppice/crypto"
import { type Location, type ProofRejection, reconstructRoot } from "@coppice/merkle"
import { identityOf } from "./byte-shape.ts"
import type {
  CurrentFormat,
  CurrentRangeProof,
  ExclusionProof,
  KeyValueProof,
  OperationProof,
  OpsRootWitness,
} from "./current-proof.ts"
import { canonicalRoot, chunkCounts, type Grafting } from "./grafting.ts"
import type { KeyedOperation } from "./keyed-format.ts"
import { encodeOperation } from "./operation-format.ts"

/** Why a proof of a `current` database is refused, with the evidence. */
export type CurrentRejection =
  | ProofRejection
  | { readonly _tag: "ChunkCount"; readonly expected: number; readonly actual: number }
  | { readonly _tag: "PartLength"; readonly part: string; readonly expected: number; readonly actual: number }
  | { readonly _tag: "PartPresence"; readonly part: "pending" | "partial"; readonly expected: boolean }
  | { readonly _tag: "PartialBits"; readonly bits: number; readonly max: number }
  | { readonly _tag: "ChunkMismatch"; readonly chunk: number; readonly expected: Digest; readonly actual: Digest }
  | { readonly _tag: "Inactive"; readonly location: number }
  | { readonly _tag: "KeyActive"; readonly location: number }
  | { readonly _tag: "KeyOutsideSpan"; readonly location: number }

/** That operations stand from `start` on, with these chunks of activity bits over them. */
export interface CurrentRangeClaim<O> {
  readonly start: Location
  readonly operations: ReadonlyArray<O>
  /** Every chunk that the range reaches into, in order. */
  readonly chunks: ReadonlyArray<Uint8Array>
  readonly proof: CurrentRangeProof
}

type ElementsClaim = CurrentRangeClaim<Uint8Array>

const partLength = (part: string, bytes: Uint8Array | undefined, expected: number): CurrentRejection | undefined =>
  bytes === undefined || bytes.length === expected
    ? undefined
    : { _tag: "PartLength", part, expected, actual: bytes.length }

const presence = (
  part: "pending" | "partial",
  digest: Digest | undefined,
  expected: boolean,
): CurrentRejection | undefined =>
  (digest !== undefined) === expected
    ? partLength(part, digest, DIGEST_BYTES)
    : { _tag: "PartPresence", part, expected }

/** What shows of a claim without hashing, but for what `reconstructRoot` looks at. */
const checkShape = (grafting: Grafting, { start, operations, chunks, proof }: ElementsClaim) => {
  const { chunkBytes, span } = grafting
  const end = start + operations.length
  const { leaves } = proof.proof
  if (operations.length === 0) return { _tag: "RangeOutsideTree", start, end, leaves } as const
  const expected = Math.floor((end - 1) / span) - Math.floor(start / span) + 1
  if (chunks.length !== expected) return { _tag: "ChunkCount", expected, actual: chunks.length } as const
  for (const chunk of chunks) {
    const rejection = partLength("chunk", chunk, chunkBytes)
    if (rejection !== undefined) return rejection
  }
  const { complete, graftable, remainder } = chunkCounts(grafting, leaves)
  return (
    presence("pending", proof.pending, complete > graftable) ??
    presence("partial", proof.partial, remainder > 0) ??
    partLength("opsRoot", proof.opsRoot, DIGEST_BYTES)
  )
}

/** Chunks that are not grafted are bound by their digests alone. */
const checkUngrafted = (
  hasher: Hasher,
  grafting: Grafting,
  { start, chunks, proof }: ElementsClaim,
): CurrentRejection | undefined => {
  const first = Math.floor(start / grafting.span)
  const { complete, graftable } = chunkCounts(grafting, proof.proof.leaves)
  for (let chunk = Math.max(first, graftable); chunk < first + chunks.length; chunk++) {
    const expected = (chunk === complete ? proof.partial : proof.pending)!
    const actual = hasher.hash(chunks[chunk - first]!)
    if (!bytesEqual(actual, expected)) return { _tag: "ChunkMismatch", chunk, expected, actual }
  }
  return undefined
}

const graft = (hasher: Hasher, chunk: Uint8Array, digest: Digest): Digest => {
  if (chunk.every((byte) => byte === 0)) return digest
  const preimage = new Uint8Array(chunk.length + DIGEST_BYTES)
  preimage.set(chunk)
  preimage.set(digest, chunk.length)
  return hasher.hash(preimage)
}

const compareRoots = (expected: Digest, actual: Digest): CurrentRejection | undefined =>
  bytesEqual(expected, actual) ? undefined : { _tag: "RootMismatch", expected, actual }

const checkElements = (
  hasher: Hasher,
  grafting: Grafting,
  claim: ElementsClaim,
  root: Digest,
): CurrentRejection | undefined => {
  const { family, height, span } = grafting
  const { start, operations: elements, chunks, proof } = claim
  const { leaves } = proof.proof
  // A leaf count that no tree has would have no chunks to speak of.
  if (!(Number.isInteger(leaves) && leaves >= 0 && leaves <= family.leavesMax)) {
    return { _tag: "LeavesAboveMax", leaves, max: family.leavesMax }
  }
  if (!(start + elements.length <= leaves)) {
    return { _tag: "RangeOutsideTree", start, end: start + elements.length, leaves }
  }
  const rejection = checkShape(grafting, claim) ?? checkUngrafted(hasher, grafting, claim)
  if (rejection !== undefined) return rejection

  const first = Math.floor(start / span)
  const tree = { family, bagging: "backward", proof: proof.proof, start, elements } as const
  const grafted = reconstructRoot(hasher, tree, (node, digest) =>
    node.height === height ? graft(hasher, chunks[node.start / span - first]!, digest) : digest,
  )
  if (grafted._tag !== "Root") return grafted
  const { pending, partial: digest } = proof
  const partial = digest === undefined ? undefined : { bits: leaves % span, digest }
  return compareRoots(root, canonicalRoot(hasher, proof.opsRoot, { graftedRoot: grafted.root, pending, partial }))
}

/**
 * Why operations do not stand in the log with this activity; undefined when they do.
 *
 * Cost: at most three hashes an operation, and one per digest of the proof and chunk.
 * Source: spec qmdb §10.1.
 */
export const checkCurrentRange = <K, V>(
  hasher: Hasher,
  format: CurrentFormat<K, V>,
  claim: CurrentRangeClaim<KeyedOperation<K, V>>,
  root: Digest,
): CurrentRejection | undefined => {
  const operations = claim.operations.map((operation) => encodeOperation(format, operation))
  return checkElements(hasher, format.grafting, { ...claim, operations }, root)
}

/** Why an operation is not active at its location; undefined when it is. Source: spec qmdb §10.2. */
export const checkActive = <K, V>(
  hasher: Hasher,
  format: CurrentFormat<K, V>,
  operation: KeyedOperation<K, V>,
  { location, chunk, range }: OperationProof,
  root: Digest,
): CurrentRejection | undefined => {
  const { span } = format.grafting
  const bit = location % span
  if (((chunk[Math.floor(bit / 8)] ?? 0) & (1 << (bit % 8))) === 0) return { _tag: "Inactive", location }
  const claim = { start: location, operations: [encodeOperation(format, operation)], chunks: [chunk], proof: range }
  return checkElements(hasher, format.grafting, claim, root)
}

/** That a key has a value. */
export interface KeyValueClaim<K, V> {
  readonly key: K
  readonly value: V
  readonly proof: KeyValueProof<K>
}

/** Why a key does not have a value; undefined when it has. Source: spec qmdb §10.3. */
export const checkKeyValue = <K, V>(
  hasher: Hasher,
  format: CurrentFormat<K, V>,
  { key, value, proof }: KeyValueClaim<K, V>,
  root: Digest,
): CurrentRejection | undefined =>
  checkActive(hasher, format, { tag: "update", key, value, nextKey: proof.nextKey }, proof.operation, root)

const isInSpan = (key: Uint8Array, from: Uint8Array, to: Uint8Array): boolean => {
  const above = compareBytes(key, from) >= 0
  const below = compareBytes(key, to) < 0
  return compareBytes(from, to) < 0 ? above && below : above || below
}

/** That a key has no value. */
export interface ExclusionClaim<K, V> {
  readonly key: K
  readonly proof: ExclusionProof<K, V>
}

/**
 * Why a key may have a value; undefined when it has none.
 *
 * Errors: throws `RangeError` for a format that is not ordered: unordered databases do not prove absence.
 * Source: spec qmdb §10.4.
 */
export const checkExclusion = <K, V>(
  hasher: Hasher,
  format: CurrentFormat<K, V>,
  { key, proof }: ExclusionClaim<K, V>,
  root: Digest,
): CurrentRejection | undefined => {
  if (!format.ordered) throw new RangeError("an unordered database does not prove absence")
  const { operation } = proof
  const { location } = operation
  // Only the last commit is active, and only when no key is does its floor equal its own location.
  if (proof.tag === "empty") {
    const commit = { tag: "commit", metadata: proof.metadata, floor: location } as const
    return checkActive(hasher, format, commit, operation, root)
  }
  const identity = identityOf(format.key, key)
  const owner = identityOf(format.key, proof.update.key)
  if (bytesEqual(identity, owner)) return { _tag: "KeyActive", location }
  if (!isInSpan(identity, owner, identityOf(format.key, proof.update.nextKey!))) {
    return { _tag: "KeyOutsideSpan", location }
  }
  return checkActive(hasher, format, { tag: "update", ...proof.update }, operation, root)
}

/** Why an ops root does not belong to a canonical root; undefined when it does. Source: spec qmdb §10.5. */
export const checkOpsRoot = <K, V>(
  hasher: Hasher,
  { family, grafting }: CurrentFormat<K, V>,
  opsRoot: Digest,
  witness: OpsRootWitness,
  root: Digest,
): CurrentRejection | undefined => {
  const { graftedRoot, pending, partial } = witness
  const max = grafting.span - 1
  if (pending !== undefined && family.name === "mmr") return { _tag: "PartPresence", part: "pending", expected: false }
  if (partial !== undefined && !(Number.isInteger(partial.bits) && partial.bits > 0 && partial.bits <= max)) {
    return { _tag: "PartialBits", bits: partial.bits, max }
  }
  return (
    partLength("opsRoot", opsRoot, DIGEST_BYTES) ??
    partLength("graftedRoot", graftedRoot, DIGEST_BYTES) ??
    partLength("pending", pending, DIGEST_BYTES) ??
    partLength("partial", partial?.digest, DIGEST_BYTES) ??
    compareRoots(root, canonicalRoot(hasher, opsRoot, witness))
  )
}
