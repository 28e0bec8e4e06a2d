/**
 * Goal: operations, roots, bits and proofs of `current` databases equal the published vectors byte for byte.
 * Method: every case of current-unordered.json is run batch by batch, never flushed, flushed, reopened, and rewound and
 * run again after each batch.
 */
import { readFileSync } from "node:fs"
import { Bytes, type Codec } from "@coppice/codec"
import { describe, expect, it } from "vitest"
import type { CurrentReader } from "../src/current-reader.ts"
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
interface Proofs {
  readonly sync_boundary: number
  readonly range_proofs: ReadonlyArray<RangeProof>
  readonly key_value_proofs: ReadonlyArray<KeyValueProof>
}
interface RangeProof {
  readonly start: number
  readonly operations: ReadonlyArray<string>
  readonly chunks: ReadonlyArray<string>
  readonly inactive_peaks: number
  readonly digests: ReadonlyArray<string>
}
interface KeyValueProof {
  readonly key: string
  readonly value: string
  readonly location: number
  readonly chunk: string
  readonly proof_inactive_peaks: number
  readonly proof_digests: ReadonlyArray<string>
}
interface Step {
  readonly genesis?: After
  readonly mutations?: ReadonlyArray<Mutation>
  readonly metadata?: string | null
  readonly after?: After
  readonly proofs?: Proofs
}
interface Case {
  readonly family: "mmr" | "mmb"
  readonly chunk_bytes: number
  readonly encoding: string
  readonly steps: ReadonlyArray<Step>
}

const file = new URL("../../../conformance/vectors/current-unordered.json", import.meta.url)
const { cases } = JSON.parse(readFileSync(file, "utf8")) as { readonly cases: ReadonlyArray<Case> }

const hexToBytes = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, "hex"))
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex")

type Bytewise = Rig<KeyedBatch<Uint8Array, Uint8Array>, CurrentReader<Uint8Array, Uint8Array>>

/** Raw: the reference's keys and values without lengths; ours are digests all the same. */
const open = ({ family, encoding, chunk_bytes }: Case): Bytewise => {
  const value: Codec<Uint8Array> = Bytes(32)
  const kind = encoding === "fixed 32/32" ? "fixed" : "variable"
  return createRig(currentSpec({ key: Bytes(32), value, family, encoding: kind }, chunk_bytes))
}

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

const checkProofs = ({ member }: Bytewise, { sync_boundary, range_proofs, key_value_proofs }: Proofs): void => {
  const { reader } = member
  expect(reader.target.start).toBe(sync_boundary)
  for (const published of range_proofs) {
    const found = reader.proveRange(Location(published.start), published.operations.length)
    expect({
      operations: found.operations.map(hex),
      chunks: found.chunks.map(hex),
      inactive_peaks: found.proof.proof.inactivePeaks,
      digests: found.proof.proof.digests.map(hex),
    }).toEqual({
      operations: published.operations,
      chunks: published.chunks,
      inactive_peaks: published.inactive_peaks,
      digests: published.digests.map((digest) => (typeof digest === "string" ? digest : (digest as never)["digest"])),
    })
  }
  for (const published of key_value_proofs) {
    const { operation } = reader.proveKey(hexToBytes(published.key))!
    expect(operation.location).toBe(published.location)
    expect(hex(operation.chunk)).toBe(published.chunk)
    expect(operation.range.proof.digests.map(hex)).toEqual(published.proof_digests)
    expect(operation.range.proof.inactivePeaks).toBe(published.proof_inactive_peaks)
  }
}

const flushings = ["never flushed", "flushed", "reopened", "rewound and sealed again"] as const

describe.each(cases)("current-unordered.json, $family, chunks of $chunk_bytes, $encoding", (vector) => {
  it.each(flushings)("every batch equals its vector, %s", (flushing) => {
    let rig = open(vector)
    const after = (step: Step): void => {
      check(rig, (step.genesis ?? step.after)!)
      if (step.proofs !== undefined) checkProofs(rig, step.proofs)
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
