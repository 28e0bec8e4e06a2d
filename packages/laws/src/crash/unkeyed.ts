/**
 * `immutable` and `keyless` databases under the sweep: every block brings new rows, and the floor follows a few blocks behind.
 *
 *   commit | rows of block 1, commit | rows of block 2, commit | ...         blocks of one size: a location tells its block
 */
import { opensslHasher } from "@coppice/crypto/node"
import { Location } from "@coppice/merkle"
import {
  type AppendBatch,
  type CompactReader,
  type ImmutableBatch,
  type ImmutableReader,
  type KeylessBatch,
  type KeylessReader,
  LocationPruned,
  type MemberSpec,
  Qmdb,
  type SetBatch,
} from "@coppice/qmdb"
import {
  type CommitOperation,
  checkCompactAnswer,
  checkCompactRecord,
  immutableFormat,
  keylessFormat,
  type OperationFormat,
} from "@coppice/verify"
import { chanceOf, claim } from "../law.ts"
import { KEY_BYTES, nameOf, type Variant, valueFrom } from "./database.ts"
import { claimLog } from "./proofs.ts"
import { type CrashFamily, crashFamily } from "./sweep.ts"

/** Rows of a block. */
const ROWS = 7
/** Operations of a block. */
const OPERATIONS = ROWS + 1
/** Blocks before the newest one that lie above the floor. */
const BLOCKS_ABOVE_FLOOR = 3

const keyOf = (block: number, row: number): Uint8Array => {
  const key = new Uint8Array(KEY_BYTES).fill(row)
  new DataView(key.buffer).setUint32(0, block)
  return key
}

const valuesOf = (block: number, variant: Variant): ReadonlyArray<Uint8Array> => {
  const chance = chanceOf(block)
  return Array.from({ length: ROWS }, () => valueFrom(chance, variant))
}

/** The floor of a block over a log of so many operations: where a block begins, or the first commit. */
const floorOver = (size: number): Location => Location(Math.max(0, size - BLOCKS_ABOVE_FLOOR * OPERATIONS))

const shownValue = (value: Uint8Array | undefined): string => value?.join(".") ?? "none"

const setBlock =
  (variant: Variant) =>
  (batch: SetBatch<Uint8Array, Uint8Array>, block: number, size: Location): void => {
    for (const [row, value] of valuesOf(block, variant).entries()) batch.set(keyOf(block, row), value)
    batch.withFloor(floorOver(size))
  }

const appendBlock =
  (variant: Variant) =>
  (batch: AppendBatch<Uint8Array>, block: number, size: Location): void => {
    for (const value of valuesOf(block, variant)) batch.append(value)
    batch.withFloor(floorOver(size))
  }

const immutable = (variant: Variant): CrashFamily =>
  crashFamily<ImmutableBatch<Uint8Array, Uint8Array>, ImmutableReader<Uint8Array, Uint8Array>>({
    name: nameOf("immutable", variant),
    spec: Qmdb.immutable({ key: variant.key, value: variant.value, family: variant.merkle }),
    write: setBlock(variant),
    contents: (reader, { blocks }) =>
      [0, ...blocks]
        .flatMap((block) => valuesOf(block, variant).map((_, row) => reader.get(keyOf(block, row))))
        .map(shownValue)
        .join(" "),
    expected: ({ blocks }) =>
      [0, ...blocks]
        .flatMap((block, i) => {
          const isThere = i > 0 && i >= blocks.length - BLOCKS_ABOVE_FLOOR
          return valuesOf(block, variant).map((value) => (isThere ? value : undefined))
        })
        .map(shownValue)
        .join(" "),
    prove: (reader) => claimLog(variant.merkle, reader),
  })

/** What a keyless database tells of a location. */
const shownAt = (reader: KeylessReader<Uint8Array>, location: number): string => {
  try {
    return shownValue(reader.get(Location(location)))
  } catch (error) {
    if (error instanceof LocationPruned) return "pruned"
    throw error
  }
}

const keyless = (variant: Variant): CrashFamily =>
  crashFamily<KeylessBatch<Uint8Array>, KeylessReader<Uint8Array>>({
    name: nameOf("keyless", variant),
    spec: Qmdb.keyless({ value: variant.value, family: variant.merkle }),
    write: appendBlock(variant),
    contents: (reader) =>
      Array.from({ length: reader.target.end + 1 }, (_, location) => shownAt(reader, location)).join(" "),
    expected: ({ blocks, pruned }) =>
      [undefined, ...blocks.flatMap((block) => [...valuesOf(block, variant), undefined]), undefined]
        .map((value, location) => (location < pruned ? "pruned" : shownValue(value)))
        .join(" "),
    prove: (reader) => claimLog(variant.merkle, reader),
  })

/** A compact database reads nothing: its roots, and the records of the commits that it keeps, say everything. */
const compact = <B, O extends { readonly tag: string }>(
  family: string,
  variant: Variant,
  format: OperationFormat<Uint8Array, O | CommitOperation<Uint8Array>>,
  spec: MemberSpec<B, CompactReader<Uint8Array>>,
  write: (batch: B, block: number, size: Location) => void,
): CrashFamily =>
  crashFamily<B, CompactReader<Uint8Array>>({
    name: nameOf(family, variant),
    spec,
    write,
    contents: () => "",
    expected: () => "",
    prove: ({ retained, commit }) => {
      for (const size of retained) {
        const answer = { ...commit(size), size }
        const target = { root: answer.root, size }
        const rejected =
          checkCompactRecord(opensslHasher, format, answer.record, target) ??
          checkCompactAnswer(opensslHasher, format, answer, target)
        claim(rejected === undefined, `the record of size ${size}: ${rejected?._tag}`)
      }
    },
  })

/** The unkeyed families in one variant. */
export const unkeyedFamilies = (variant: Variant): ReadonlyArray<CrashFamily> => {
  const { key, value, merkle: family } = variant
  const options = { key, value, family }
  return [
    immutable(variant),
    compact("immutable compact", variant, immutableFormat(options), Qmdb.compactImmutable(options), setBlock(variant)),
    keyless(variant),
    compact("keyless compact", variant, keylessFormat(options), Qmdb.compactKeyless(options), appendBlock(variant)),
  ]
}
