/**
 * The workloads of the encoding rows: the bytes of one value of a kind, drawn from the seed.
 *
 * The values have integers of 64 bits, so records are built over `bigint`s: the same layouts that the package reads with
 * numbers. Commits, whose typed form has a number, are written by the function that databases write theirs with.
 */
import { Blob, Bytes, type Codec, encode, U64, Varint64 } from "@coppice/codec"
import { family as familyOf, type Integers, proofRecord, RANGE_PROOF_DIGESTS_MAX } from "@coppice/merkle"
import {
  type CommitOperation,
  type CurrentRangeProof,
  compactRecord,
  compactTarget,
  currentRangeProof,
  type ExclusionProof,
  encodeOperation,
  exclusionProof,
  immutableFormat,
  keyedFormat,
  keylessFormat,
  keyValueProof,
  type OperationFormat,
  type OperationProof,
  operationProof,
  opsRootWitness,
  type SyncRequest,
  type SyncResponse,
  syncRequest,
  syncResponse,
  syncTarget,
  type Update,
} from "@coppice/verify"
import { commitOperation } from "@coppice/verify/log"
import { blob, choice, type Draw, digest, drawn, flag, list, location, option, raw, u64 } from "./draws.ts"
import type { Workload, Workloads } from "./rows.ts"

type FamilyName = "mmr" | "mmb"
type Wide = bigint

const BLOB_MAX = 1 << 20
const CHUNK_BYTES = 32
const KEY = Bytes(8)
const key8 = raw(8)

/** Integers of 64 bits, none refused. */
const wide: Integers<Wide, Wide> = { location: Varint64, varint: () => Varint64, be64: U64 }

/** The leaf maximum of the format, which is above that of the package. */
const leavesMax: Readonly<Record<FamilyName, Wide>> = { mmr: 2n ** 62n, mmb: 2n ** 62n + 30n }
const loc = (family: FamilyName): Draw<Wide> => location(0n, leavesMax[family])

const encoded =
  <T>(codec: Codec<T>, draw: Draw<T>): Workload =>
  (seed) =>
    encode(codec, drawn(seed, draw))

type Valued = "fixed" | "variable"
const valueOf = (encoding: Valued) =>
  encoding === "fixed" ? { codec: KEY, draw: key8 } : { codec: Blob(BLOB_MAX), draw: blob }

const proof =
  (family: FamilyName): Draw<{ leaves: Wide; inactivePeaks: Wide; digests: ReadonlyArray<Uint8Array> }> =>
  (stream) => ({ leaves: loc(family)(stream), inactivePeaks: u64(stream), digests: list(digest)(stream) })

const pending = (family: FamilyName): Draw<Uint8Array | undefined> =>
  family === "mmb" ? option(digest) : () => undefined

const currentRange =
  (family: FamilyName): Draw<CurrentRangeProof<Wide, Wide>> =>
  (stream) => ({
    proof: proof(family)(stream),
    pending: pending(family)(stream),
    partial: option(digest)(stream),
    opsRoot: digest(stream),
  })

const active =
  (family: FamilyName): Draw<OperationProof<Wide, Wide>> =>
  (stream) => ({ location: loc(family)(stream), chunk: raw(CHUNK_BYTES)(stream), range: currentRange(family)(stream) })

const update =
  (encoding: Valued, ordered: boolean): Draw<Update<Uint8Array, Uint8Array>> =>
  (stream) => ({
    key: key8(stream),
    value: valueOf(encoding).draw(stream),
    nextKey: ordered ? key8(stream) : undefined,
  })

/** Draws an operation and encodes it: a commit by its parts, anything else typed. */
const operations =
  <O>(
    format: OperationFormat<Uint8Array, O | CommitOperation<Uint8Array>>,
    variants: ReadonlyArray<Draw<O>>,
    metadata: Draw<Uint8Array>,
    family: FamilyName,
  ): Workload =>
  (seed) =>
    drawn(seed, (stream) => {
      const variant = variants[choice(variants.length + 1)(stream)]
      if (variant !== undefined) return encodeOperation(format, variant(stream))
      const value = option(metadata)(stream)
      return commitOperation(format, value && encode(format.value.codec, value), loc(family)(stream))
    })

const keyed = (ordered: boolean, family: FamilyName, encoding: Valued): Workload => {
  const { codec, draw } = valueOf(encoding)
  const format = keyedFormat({ key: KEY, value: codec, family, encoding, ordered })
  return operations(
    format,
    [
      (stream) => ({ tag: "delete", key: key8(stream) }) as const,
      (stream) => ({ tag: "update", ...update(encoding, ordered)(stream) }) as const,
    ],
    draw,
    family,
  )
}

const immutable = (encoding: Valued, key: Codec<Uint8Array>, draw: Draw<Uint8Array>): Workload =>
  operations(
    immutableFormat({ key, value: KEY, encoding }),
    [(stream) => ({ tag: "set", key: draw(stream), value: key8(stream) }) as const],
    key8,
    "mmr",
  )

const keyless = (encoding: Valued): Workload =>
  operations(
    keylessFormat({ value: KEY, encoding }),
    [(stream) => ({ tag: "append", value: key8(stream) }) as const],
    key8,
    "mmr",
  )

const updates = (ordered: boolean, encoding: Valued): Workload =>
  encoded(
    keyedFormat({ key: KEY, value: valueOf(encoding).codec, encoding, ordered }).update,
    update(encoding, ordered),
  )

const exclusion = (name: FamilyName, encoding: Valued): Workload => {
  const { codec, draw } = valueOf(encoding)
  const format = keyedFormat({ key: KEY, value: codec, encoding, ordered: true })
  const record = exclusionProof(operationProof(familyOf(name), CHUNK_BYTES, wide), format.update, codec)
  return encoded(record, (stream): ExclusionProof<Uint8Array, Uint8Array, Wide, Wide> => {
    const operation = active(name)(stream)
    return flag(stream)
      ? { tag: "owner", operation, update: update(encoding, true)(stream) }
      : { tag: "empty", operation, metadata: option(draw)(stream) }
  })
}

const request =
  (max: Wide): Draw<SyncRequest<Wide, Wide>> =>
  (stream) => {
    for (;;) {
      const size = location(1n, max)(stream)
      const start = location(0n, size - 1n)(stream)
      if (flag(stream)) return { tag: "boundary", size, start }
      const most = u64(stream)
      if (most > 0n) return { tag: "operations", size, start, max: most }
    }
  }

const response =
  (family: FamilyName): Draw<SyncResponse<Wide, Wide, Wide>> =>
  (stream) =>
    flag(stream)
      ? { tag: "boundary", proof: proof(family)(stream), operation: u64(stream), pins: list(digest)(stream) }
      : { tag: "operations", proof: proof(family)(stream), operations: list(u64)(stream) }

/** The rows of a family. */
const ofFamily = (name: FamilyName): Workloads => {
  const family = familyOf(name)
  const max = leavesMax[name]
  const operation = operationProof(family, CHUNK_BYTES, wide)
  return {
    [`operation-proof/${name}`]: encoded(operation, active(name)),
    [`key-value-proof/${name}`]: encoded(keyValueProof(operation, KEY), (stream) => ({
      operation: active(name)(stream),
      nextKey: key8(stream),
    })),
    [`current-range-proof/${name}`]: encoded(currentRangeProof(family, wide), currentRange(name)),
    [`ops-root-witness/${name}`]: encoded(opsRootWitness(family, wide, 0), (stream) => ({
      graftedRoot: digest(stream),
      pending: pending(name)(stream),
      partial: option((rest) => ({ bits: u64(rest), digest: digest(rest) }))(stream),
    })),
    [`sync-target/${name}`]: encoded(syncTarget(wide.location), (stream) => {
      const root = digest(stream)
      const start = location(0n, max - 1n)(stream)
      return { root, start, end: location(start + 1n, max)(stream) }
    }),
    [`compact-target/${name}`]: encoded(compactTarget(wide.location), (stream) => ({
      root: digest(stream),
      size: location(1n, max)(stream),
    })),
    [`compact-record/${name}`]: encoded(compactRecord(wide.location), (stream) => ({
      commit: blob(stream),
      size: location(1n, max)(stream),
      pins: list(digest)(stream),
    })),
    [`sync-request/${name}`]: encoded(syncRequest(wide), request(max)),
    [`sync-response/${name}`]: encoded(syncResponse(wide, U64), response(name)),
    ...Object.fromEntries(
      (["fixed", "variable"] as const).flatMap((encoding) => [
        [`exclusion-proof/${name}/${encoding}`, exclusion(name, encoding)],
        [`any-operation/ordered/${name}/${encoding}`, keyed(true, name, encoding)],
        [`any-operation/unordered/${name}/${encoding}`, keyed(false, name, encoding)],
      ]),
    ),
  }
}

/** Every encoding row's workload, by the row's name. */
export const encodingWorkloads: Workloads = {
  "proof/mmr": encoded(proofRecord(wide, RANGE_PROOF_DIGESTS_MAX), proof("mmr")),
  ...ofFamily("mmr"),
  ...ofFamily("mmb"),
  ...Object.fromEntries(
    (["fixed", "variable"] as const).flatMap((encoding) => [
      [`any-update/ordered/${encoding}`, updates(true, encoding)],
      [`any-update/unordered/${encoding}`, updates(false, encoding)],
      [`immutable-operation/${encoding}`, immutable(encoding, KEY, key8)],
      [`keyless-operation/${encoding}`, keyless(encoding)],
    ]),
  ),
  "immutable-operation/variable-key": immutable("variable", Blob(BLOB_MAX), blob),
}
