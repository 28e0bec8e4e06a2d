/**
 * The proofs of `current` databases, as records.
 *
 *   range        proof || pending slot || option(partial) || ops root        a range of the log, with the activity of each
 *   operation    varint(location) || chunk || range                          an operation is active
 *   key-value    operation [|| next key, if ordered]                         a key has a value now
 *   exclusion    00 || operation || update  |  01 || operation || option(v)  a key has no value now (ordered databases)
 *   ops root     grafted root || pending slot || 00  |  .. || 01 varint(bits) digest      an ops root belongs to a root
 *
 * Terms: the *pending slot* is an option in an MMB, and no byte at all in an MMR. The *owner* of a key is the active key in
 * whose span it lies: from the owner up to, and without, the owner's next key.
 *
 * Source: spec qmdb §10.
 */
import { Bytes, type Codec, DecodeError, Option, Struct } from "@coppice/codec"
import { DIGEST_BYTES, type Digest } from "@coppice/crypto"
import {
  type Family,
  type Integers,
  type Location,
  type ProofRecord,
  proofRecord,
  RANGE_PROOF_DIGESTS_MAX,
  safeIntegers,
} from "@coppice/merkle"
import { type CanonicalParts, type Grafting, grafting } from "./grafting.ts"
import { type KeyedFormat, type KeyedFormatOptions, keyedFormat, type Update } from "./keyed-format.ts"
import { boundedKey, boundedValue } from "./operation-format.ts"

/** Proof of a range of the log and of its chunks. `L` stands for locations, `N` for other integers. */
export interface CurrentRangeProof<L = Location, N = number> {
  readonly proof: ProofRecord<L, N>
  /** Digest of the pending chunk. */
  readonly pending: Digest | undefined
  /** Digest of the partial chunk. */
  readonly partial: Digest | undefined
  readonly opsRoot: Digest
}

/** Proof that the operation at a location is active. */
export interface OperationProof<L = Location, N = number> {
  readonly location: L
  /** The chunk of activity bits that holds the location's. */
  readonly chunk: Uint8Array
  readonly range: CurrentRangeProof<L, N>
}

/** Proof that a key has a value; `nextKey` is undefined in an unordered database. */
export interface KeyValueProof<K, L = Location, N = number> {
  readonly operation: OperationProof<L, N>
  readonly nextKey: K | undefined
}

/** Proof that a key has no value: the update of its owner, or, when no key is active, the last commit. */
export type ExclusionProof<K, V, L = Location, N = number> =
  | { readonly tag: "owner"; readonly operation: OperationProof<L, N>; readonly update: Update<K, V> }
  | { readonly tag: "empty"; readonly operation: OperationProof<L, N>; readonly metadata: V | undefined }

/** That an ops root belongs to a canonical root. */
export type OpsRootWitness = CanonicalParts

const Digest32 = Bytes(DIGEST_BYTES)

const Nothing: Codec<undefined> = {
  name: "nothing",
  size: 0,
  sizeMax: 0,
  write: (_, value) => {
    if (value !== undefined) throw new RangeError("nothing: a value is outside")
  },
  read: () => undefined,
}

/** The pending slot of a family. */
const pendingSlot = ({ name }: Family): Codec<Digest | undefined> =>
  name === "mmb" ? Option(Digest32) : (Nothing as Codec<Digest | undefined>)

/** Range proofs over given integers. */
export const currentRangeProof = <L, N>(family: Family, integers: Integers<L, N>): Codec<CurrentRangeProof<L, N>> =>
  Struct({
    proof: proofRecord(integers, RANGE_PROOF_DIGESTS_MAX),
    pending: pendingSlot(family),
    partial: Option(Digest32),
    opsRoot: Digest32,
  })

/** Operation proofs over given integers. */
export const operationProof = <L, N>(
  family: Family,
  chunkBytes: number,
  integers: Integers<L, N>,
): Codec<OperationProof<L, N>> =>
  Struct({ location: integers.location, chunk: Bytes(chunkBytes), range: currentRangeProof(family, integers) })

/** Key-value proofs; `nextKey` is undefined for an unordered database. */
export const keyValueProof = <K, L, N>(
  operation: Codec<OperationProof<L, N>>,
  nextKey: Codec<K> | undefined,
): Codec<KeyValueProof<K, L, N>> =>
  Struct({ operation, nextKey: nextKey ?? (Nothing as Codec<K | undefined>) } as {
    operation: Codec<OperationProof<L, N>>
    nextKey: Codec<K | undefined>
  })

/** Exclusion proofs. */
export const exclusionProof = <K, V, L, N>(
  operation: Codec<OperationProof<L, N>>,
  update: Codec<Update<K, V>>,
  value: Codec<V>,
): Codec<ExclusionProof<K, V, L, N>> => {
  const metadata = Option(value)
  return {
    name: `exclusionProof(${update.name})`,
    size: undefined,
    sizeMax: 1 + operation.sizeMax + Math.max(update.sizeMax, metadata.sizeMax),
    write: (writer, proof) => {
      operation.write(writer.u8(proof.tag === "owner" ? 0 : 1), proof.operation)
      if (proof.tag === "owner") update.write(writer, proof.update)
      else metadata.write(writer, proof.metadata)
    },
    read: (reader) => {
      const at = reader.offset
      const tag = reader.u8()
      if (tag > 1) throw new DecodeError("unknown kind of exclusion proof", at)
      const proven = operation.read(reader)
      return tag === 0
        ? { tag: "owner", operation: proven, update: update.read(reader) }
        : { tag: "empty", operation: proven, metadata: metadata.read(reader) }
    },
  }
}

/** Ops-root witnesses over given integers. */
export const opsRootWitness = <L, N>(family: Family, integers: Integers<L, N>, bitsMax: number) =>
  Struct({
    graftedRoot: Digest32,
    pending: pendingSlot(family),
    partial: Option(Struct({ bits: integers.varint(bitsMax), digest: Digest32 })),
  })

/** What a `current` database is: its operations, how they are grafted, and codecs of its proofs. */
export interface CurrentFormat<K, V> extends KeyedFormat<K, V> {
  readonly grafting: Grafting
  readonly rangeProof: Codec<CurrentRangeProof>
  readonly operationProof: Codec<OperationProof>
  readonly keyValueProof: Codec<KeyValueProof<K>>
  readonly exclusionProof: Codec<ExclusionProof<K, V>>
  readonly opsRootWitness: Codec<OpsRootWitness>
}

/** What is declared of a `current` database. */
export interface CurrentFormatOptions<K, V> extends KeyedFormatOptions<K, V> {
  /** Bytes of a chunk of activity bits, a power of two; 32 when not given. */
  readonly chunkBytes?: number | undefined
}

/** The format of a `current` database. Throws `RangeError` for what cannot be one. */
export const currentFormat = <K, V>(options: CurrentFormatOptions<K, V>): CurrentFormat<K, V> => {
  const format = keyedFormat(options)
  const { family, ordered } = format
  const shape = grafting(family, options.chunkBytes ?? DIGEST_BYTES)
  const integers = safeIntegers(family)
  const operation = operationProof(family, shape.chunkBytes, integers)
  return {
    ...format,
    grafting: shape,
    rangeProof: currentRangeProof(family, integers),
    operationProof: operation,
    keyValueProof: keyValueProof(operation, ordered ? boundedKey(format.key) : undefined),
    exclusionProof: exclusionProof(operation, format.update, boundedValue(format.value)),
    opsRootWitness: opsRootWitness(family, integers, shape.span - 1),
  }
}
