/**
 * Goal: operations, roots, bits and proofs of `current` databases equal the published vectors byte for byte.
 * Method: every case of current-unordered.json and current-ordered.json is run batch by batch, never flushed, flushed, reopened, and rewound and
 * run again after each batch.
 */
import { readFileSync } from "node:fs"
import { Bytes, encode } from "@coppice/codec"
import { currentFormat } from "@coppice/verify"
import { describe, expect, it } from "vitest"
import type { CurrentReader, OrderedCurrentReader } from "../src/current-reader.ts"
import { currentSpec } from "../src/internal/current-spec.ts"
import { createRig, finish, type KeyedBatch, type Layer, Location, type Rig } from "./support/api.ts"
import { applyChanges } from "./support/harness.ts"

interface Mutation {
  readonly key: string
  readonly value: string | null
}
interface After {
  readonly size: number
  readonly floor: number
  readonly ops_root: string
  readonly root: string
  readonly new_operations: ReadonlyArray<{ readonly location: number; readonly encoded: string }>
  readonly active: Record<string, number>
}
interface RangeProof {
  readonly start: number
  readonly operations: ReadonlyArray<string>
  readonly chunks: ReadonlyArray<string>
  readonly encoded: string
}
interface KeyProof {
  readonly key: string
  readonly value: string
  readonly encoded: string
}
interface Proofs {
  readonly sync_boundary: number
  readonly ops_root_witness: string
  readonly range_proofs: ReadonlyArray<RangeProof>
  readonly key_value_proofs: ReadonlyArray<KeyProof>
  readonly exclusion_proofs: ReadonlyArray<Omit<KeyProof, "value">>
}
interface Step {
  readonly genesis?: After
  readonly mutations?: ReadonlyArray<Mutation>
  readonly metadata?: string | null
  readonly after?: After
  readonly proofs?: Proofs
}
interface Case {
  readonly ordered: boolean
  readonly family: "mmr" | "mmb"
  readonly chunk_bytes: number
  readonly encoding: string
  readonly steps: ReadonlyArray<Step>
}

const cases = ["current-unordered", "current-ordered"].flatMap((file) => {
  const url = new URL(`../../../conformance/vectors/${file}.json`, import.meta.url)
  const vectors = JSON.parse(readFileSync(url, "utf8")) as {
    readonly ordered: boolean
    readonly cases: ReadonlyArray<Omit<Case, "ordered">>
  }
  return vectors.cases.map((vector): Case => ({ ...vector, ordered: vectors.ordered }))
})

const hexToBytes = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, "hex"))
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex")

type Bytewise = Rig<KeyedBatch<Uint8Array, Uint8Array>, CurrentReader<Uint8Array, Uint8Array>>

/** The variable encoding of the vectors has raw keys and values: bytes of one length have no length before them. */
const optionsOf = ({ ordered, family, encoding, chunk_bytes }: Case) => ({
  key: Bytes(32),
  value: Bytes(32),
  ordered,
  family,
  encoding: encoding === "fixed 32/32" ? ("fixed" as const) : ("variable" as const),
  chunkBytes: chunk_bytes,
})

const commit = (rig: Bytewise, { mutations, metadata }: Step): Layer =>
  rig.commit((batch) => {
    for (const { key, value } of mutations!) {
      if (value === null) batch.remove(hexToBytes(key))
      else batch.put(hexToBytes(key), hexToBytes(value))
    }
    if (metadata !== undefined && metadata !== null) batch.withMetadata(hexToBytes(metadata))
  })

const check = (rig: Bytewise, after: After): void => {
  const { target, reader } = { target: rig.member.tip.target, reader: rig.member.reader }
  expect({ size: target.end, ops_root: hex(target.root), root: hex(target.canonical!) }).toEqual({
    size: after.size,
    ops_root: after.ops_root,
    root: after.root,
  })
  const start = after.new_operations[0]!.location
  const { operations } = reader.prove(Location(start), after.new_operations.length)
  expect(operations.map(hex)).toEqual(after.new_operations.map((operation) => operation.encoded))
  for (const [key, location] of Object.entries(after.active)) {
    expect(reader.locate(hexToBytes(key)), key).toBe(location)
  }
}

const checkProofs = (vector: Case, { member }: Bytewise, published: Proofs): void => {
  const reader = member.reader as OrderedCurrentReader<Uint8Array, Uint8Array>
  const format = currentFormat(optionsOf(vector))
  expect(reader.target.start).toBe(published.sync_boundary)
  expect(hex(encode(format.opsRootWitness, reader.witness()))).toBe(published.ops_root_witness)
  for (const { start, operations, chunks, encoded } of published.range_proofs) {
    const found = reader.proveRange(Location(start), operations.length)
    expect(found.operations.map(hex)).toEqual(operations)
    expect(found.chunks.map(hex)).toEqual(chunks)
    expect(hex(encode(format.rangeProof, found.proof))).toBe(encoded)
  }
  for (const { key, value, encoded } of published.key_value_proofs) {
    expect(hex(reader.get(hexToBytes(key))!)).toBe(value)
    expect(hex(encode(format.keyValueProof, reader.proveKey(hexToBytes(key))!))).toBe(encoded)
  }
  for (const { key, encoded } of published.exclusion_proofs) {
    expect(hex(encode(format.exclusionProof, reader.proveAbsence(hexToBytes(key))!))).toBe(encoded)
  }
}

const flushings = ["never flushed", "flushed", "reopened", "rewound and sealed again"] as const

describe.each(cases)("ordered $ordered, $family, chunks of $chunk_bytes, $encoding", (vector) => {
  it.each(flushings)("every batch equals its vector, %s", (flushing) => {
    let rig: Bytewise = createRig(currentSpec(optionsOf(vector)))
    const after = (step: Step): void => {
      check(rig, (step.genesis ?? step.after)!)
      if (step.proofs !== undefined) checkProofs(vector, rig, step.proofs)
    }
    for (const step of vector.steps) {
      if (step.mutations !== undefined) commit(rig, step)
      after(step)
      if (flushing !== "never flushed") rig.flush()
      if (flushing === "reopened") rig = rig.reopen()
      if (flushing === "rewound and sealed again" && step.mutations !== undefined) {
        const sizes = rig.member.reader.retained
        const write = finish(rig.member.rewind(sizes.at(-2)!)!)
        applyChanges(rig.rows, write.changes)
        write.settled()
        commit(rig, step)
        rig.flush()
      }
      after(step)
    }
  })
})
