/**
 * Goal: operations, floors, active keys and roots equal the published vectors byte for byte.
 * Method: every case of any-unordered.json and any-ordered.json is run batch by batch, with and without a flush and a reopen
 * between batches; every tree of batch-chains.json that concerns `any` is sealed as layers and applied in its order; its
 * ordered re-creation has one root whether its parent is pending, applied or stored.
 */
import { readFileSync } from "node:fs"
import { Blob, Bytes, type Codec } from "@coppice/codec"
import { describe, expect, it } from "vitest"
import {
  createRig,
  type Encoding,
  type KeyedBatch,
  type KeyedReader,
  type Layer,
  Location,
  Qmdb,
  type Rig,
  StaleBatch,
} from "./support/api.ts"

interface Operation {
  readonly location: number
  readonly encoded: string
}
interface After {
  readonly size: number
  readonly floor: number
  readonly ops_root: string
  readonly new_operations: ReadonlyArray<Operation>
  readonly active: Record<string, number>
}
interface Mutation {
  readonly key: string
  readonly value: string | null
}
interface Step {
  readonly genesis?: After
  readonly mutations?: ReadonlyArray<Mutation>
  readonly metadata?: string | null
  readonly after?: After
}
interface Case {
  readonly family: "mmr" | "mmb"
  readonly encoding: string
  readonly script: string
  readonly steps: ReadonlyArray<Step>
}
interface Batch {
  readonly id: string
  readonly parent: string | null
  readonly mutations: ReadonlyArray<Mutation>
  readonly result: After
}
interface Tree {
  readonly database: string
  readonly start: After
  readonly batches: ReadonlyArray<Batch>
  readonly applies: ReadonlyArray<{ readonly apply: string; readonly root?: string; readonly error?: string }>
}
interface Recreation {
  readonly applied: Readonly<Record<string, string>>
  readonly parent_deletes: string
  readonly child_writes: Readonly<Record<string, string>>
  readonly child: After
}

const read = (file: string): unknown =>
  JSON.parse(readFileSync(new URL(`../../../conformance/vectors/${file}`, import.meta.url), "utf8"))

const chains = read("batch-chains.json") as {
  readonly trees: ReadonlyArray<Tree>
  readonly ordered_recreate_after_pending_delete: Recreation
}

const hexToBytes = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, "hex"))
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex")

type Bytewise = Rig<KeyedBatch<Uint8Array, Uint8Array>, KeyedReader<Uint8Array, Uint8Array>>

const open = (family: "mmr" | "mmb", encoding: string, ordered: boolean): Bytewise => {
  const fixed = encoding === "fixed 32/32"
  const value: Codec<Uint8Array> = fixed ? Bytes(32) : Blob(1024)
  const kind: Encoding = fixed ? "fixed" : "variable"
  return createRig(Qmdb.any({ key: Bytes(32), value, ordered, family, encoding: kind }))
}

const stage = (rig: Bytewise, parent: Layer, mutations: ReadonlyArray<Mutation>, metadata?: string | null): Layer => {
  return rig.seal((batch) => {
    for (const { key, value } of mutations) {
      if (value === null) batch.remove(hexToBytes(key))
      else batch.put(hexToBytes(key), hexToBytes(value))
    }
    if (metadata !== undefined && metadata !== null) batch.withMetadata(hexToBytes(metadata))
  }, parent)
}

const check = (rig: Bytewise, layer: Layer, after: After): void => {
  expect({ size: layer.target.end, floor: layer.target.start, root: hex(layer.target.root) }).toEqual({
    size: after.size,
    floor: after.floor,
    root: after.ops_root,
  })
  const start = after.new_operations[0]!.location
  const { operations } = rig.member.reader.prove(Location(start), after.new_operations.length)
  expect(operations.map(hex)).toEqual(after.new_operations.map((operation) => operation.encoded))
  expect(rig.member.reader.active).toBe(Object.keys(after.active).length)
  for (const [key, location] of Object.entries(after.active)) {
    expect(rig.member.reader.locate(hexToBytes(key)), key).toBe(location)
  }
}

const flushings = ["never flushed", "flushed after each batch", "reopened after each batch"] as const

for (const ordered of [false, true]) {
  const kind = ordered ? "ordered" : "unordered"

  describe(`any-${kind}.json`, () => {
    const { cases } = read(`any-${kind}.json`) as { readonly cases: ReadonlyArray<Case> }
    for (const { family, encoding, script, steps } of cases) {
      for (const flushing of flushings) {
        it(`${family}, ${encoding}, ${script}: every batch equals its vector, ${flushing}`, () => {
          let rig = open(family, encoding, ordered)
          for (const step of steps) {
            if (step.genesis !== undefined) {
              check(rig, rig.member.tip, step.genesis)
              continue
            }
            const layer = stage(rig, rig.member.tip, step.mutations!, step.metadata)
            rig.member.apply(layer)
            check(rig, layer, step.after!)
            if (flushing !== "never flushed") rig.flush()
            if (flushing === "reopened after each batch") rig = rig.reopen()
            check(rig, rig.member.tip, step.after!)
          }
        })
      }
    }
  })

  describe("batch-chains.json", () => {
    for (const tree of chains.trees.filter(({ database }) => database === `any ${kind}`)) {
      it(`${kind}: sealed chains have their roots whatever is applied, and stale ones are refused`, () => {
        const rig = open("mmr", "fixed 32/32", ordered)
        rig.member.apply(stage(rig, rig.member.tip, startingWrites(tree)))
        check(rig, rig.member.tip, tree.start)
        const layers = new Map<string, Layer>()
        for (const { id, parent, mutations, result } of tree.batches) {
          const layer = stage(rig, parent === null ? rig.member.tip : layers.get(parent)!, mutations)
          layers.set(id, layer)
          expect(hex(layer.target.root), id).toBe(result.ops_root)
          expect([layer.target.end, layer.target.start], id).toEqual([result.size, result.floor])
        }
        for (const { apply, root, error } of tree.applies) {
          const layer = layers.get(apply)!
          if (error !== undefined) expect(() => rig.member.apply(layer), apply).toThrow(StaleBatch)
          else rig.member.apply(layer)
          if (root !== undefined) expect(hex(rig.member.tip.target.root), apply).toBe(root)
          rig.flush()
        }
      })
    }
  })
}

describe("batch-chains.json, a key created again that its parent deleted", () => {
  const { applied, parent_deletes, child_writes, child } = chains.ordered_recreate_after_pending_delete
  const mutationsOf = (writes: Readonly<Record<string, string>>): ReadonlyArray<Mutation> =>
    Object.entries(writes).map(([key, value]) => ({ key: key.repeat(32), value: value.repeat(32) }))

  for (const standing of ["pending", "applied", "stored"] as const) {
    it(`the child over its ${standing} parent has the published operations and root`, () => {
      const rig = open("mmr", "fixed 32/32", true)
      rig.member.apply(stage(rig, rig.member.tip, mutationsOf(applied)))
      const parent = stage(rig, rig.member.tip, [{ key: parent_deletes.repeat(32), value: null }])
      if (standing !== "pending") rig.member.apply(parent)
      if (standing === "stored") rig.flush()
      const layer = stage(rig, parent, mutationsOf(child_writes))
      rig.member.apply(layer)
      check(rig, layer, child)
    })
  }
})

/** The tree starts from one batch: its updates before the first move. */
const startingWrites = (tree: Tree): ReadonlyArray<Mutation> => {
  const seen = new Map<string, string>()
  for (const operation of tree.start.new_operations as ReadonlyArray<Operation & Partial<Mutation>>) {
    if (operation.key !== undefined && !seen.has(operation.key)) seen.set(operation.key, operation.value!)
  }
  return [...seen].map(([key, value]) => ({ key, value }))
}
