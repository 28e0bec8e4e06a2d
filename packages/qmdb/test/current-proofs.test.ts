/**
 * Goal: at every state, proofs of what is current hold against the canonical root and no other claim does: not an old
 * value, not a moved operation, not another state's root.
 * Method: random batches, flushed, pruned, rewound and reopened on the way, beside a plain map; each state's proofs are
 * encoded, decoded and checked by `@coppice/verify`, and kept to be refused by later roots. Chunks of one, two and 32 bytes.
 */
import { Bytes, decode, encode } from "@coppice/codec"
import type { Digest } from "@coppice/crypto"
import { opensslHasher as hasher } from "@coppice/crypto/node"
import {
  type CurrentFormat,
  checkActive,
  checkCurrentRange,
  checkExclusion,
  checkKeyValue,
  checkOpsRoot,
  currentFormat,
  decodeOperation,
  type KeyedOperation,
  type KeyValueProof,
} from "@coppice/verify"
import fc from "fast-check"
import { describe, expect, it } from "vitest"
import type { CurrentReader, OrderedCurrentReader } from "../src/current-reader.ts"
import { currentSpec } from "../src/internal/current-spec.ts"
import { PAGE_BYTES } from "../src/internal/layout.ts"
import { createRig, finish, type KeyedBatch, Location, ProofUnavailable, Qmdb, type Rig } from "./support/api.ts"
import { applyChanges } from "./support/harness.ts"

type Key = Uint8Array
type CurrentRig = Rig<KeyedBatch<Key, Uint8Array>, CurrentReader<Key, Uint8Array>>
type OrderedRig = Rig<KeyedBatch<Key, Uint8Array>, OrderedCurrentReader<Key, Uint8Array>>

interface Variant {
  readonly ordered: boolean
  readonly family: "mmr" | "mmb"
  readonly encoding: "fixed" | "variable"
  readonly chunkBytes: number
}

const keyOf = (i: number): Key => Uint8Array.of(i >> 8, i)
const valueOf = (n: number): Uint8Array => Uint8Array.of(n >> 16, n >> 8, n)

const optionsOf = (variant: Variant) => ({ key: Bytes(2), value: Bytes(3), ...variant })

/** What a key's proof said, at the state whose root it was. */
interface Said {
  readonly key: number
  readonly value: Uint8Array
  readonly proof: KeyValueProof<Key>
  readonly root: Digest
}

/** A database beside a map of what is current. */
class Checked {
  readonly format: CurrentFormat<Key, Uint8Array>
  rig: CurrentRig
  values = new Map<number, Uint8Array>()
  private readonly states = new Map<number, Map<number, Uint8Array>>()
  private readonly said: Array<Said> = []
  private readonly roots: Array<Digest> = []
  private written = 0

  constructor(variant: Variant) {
    this.format = currentFormat(optionsOf(variant))
    this.rig = createRig(currentSpec(optionsOf(variant)))
    this.states.set(1, new Map())
  }

  get root(): Digest {
    return this.rig.member.tip.target.canonical!
  }

  commit(writes: ReadonlyArray<readonly [key: number, removed: boolean]>): void {
    this.values = new Map(this.values)
    this.rig.commit((batch) => {
      for (const [key, removed] of writes) {
        if (removed) batch.remove(keyOf(key))
        else batch.put(keyOf(key), valueOf(++this.written))
        if (removed) this.values.delete(key)
        else this.values.set(key, valueOf(this.written))
      }
    })
    this.states.set(this.rig.member.tip.target.end, this.values)
    this.roots.push(this.root)
  }

  settle(how: number): void {
    this.rig.flush()
    const { member, rows } = this.rig
    if (how === 1) this.rig = this.rig.reopen()
    const { retained } = member.reader
    const planning =
      how === 2 ? member.prune(member.tip.target.start) : how === 3 ? this.planRewind(retained.at(-2)) : undefined
    if (planning === undefined) return
    const planned = finish(planning)
    applyChanges(rows, planned.changes)
    planned.settled()
    this.values = this.states.get(member.tip.target.end)!
  }

  private planRewind(size: Location | undefined) {
    const { member } = this.rig
    try {
      const planning = size === undefined ? undefined : member.rewind(size)
      return planning
    } catch (error) {
      expect(error).toMatchObject({ _tag: "RewindRefused" })
      return undefined
    }
  }

  /** Every claim about a few keys and ranges, and the witness. */
  check(at: number): void {
    const { reader } = this.rig.member
    const { format, root } = this
    const { root: opsRoot, end } = reader.target
    const witness = decode(format.opsRootWitness, encode(format.opsRootWitness, reader.witness()))
    expect(checkOpsRoot(hasher, format, opsRoot, witness, root)).toBeUndefined()
    expect(checkOpsRoot(hasher, format, root, witness, root)?._tag).toBe("RootMismatch")
    for (const key of [at % 40, (at * 7) % 40, ...[...this.values.keys()].slice(0, 2)]) this.checkKey(key)
    for (const start of [reader.pruned, Location(end - 1), Location(reader.pruned + (at % (end - reader.pruned)))]) {
      this.checkRange(start, 1 + (at % 20))
    }
    this.checkSaid()
  }

  private checkKey(key: number): void {
    const { format, root } = this
    const value = this.values.get(key)
    const found = this.rig.member.reader.proveKey(keyOf(key))
    expect(found === undefined, `key ${key} is active`).toBe(value === undefined)
    if (this.format.ordered) this.checkAbsence(key, value === undefined)
    if (found === undefined || value === undefined) return
    const proof = decode(format.keyValueProof, encode(format.keyValueProof, found))
    expect(proof).toEqual(found)
    const claim = { key: keyOf(key), value, proof }
    expect(checkKeyValue(hasher, format, claim, root)).toBeUndefined()
    expect(checkKeyValue(hasher, format, { ...claim, value: valueOf(0) }, root)?._tag).toBe("RootMismatch")
    expect(checkKeyValue(hasher, format, { ...claim, key: keyOf(999) }, root)?._tag).toBe("RootMismatch")
    this.said.push({ key, value, proof, root })
  }

  private checkAbsence(key: number, absent: boolean): void {
    const { format, root } = this
    const { reader } = this.rig.member as OrderedRig["member"]
    const found = reader.proveAbsence(keyOf(key))
    expect(found !== undefined, `key ${key} is absent`).toBe(absent)
    expect(found === undefined || found.tag === "empty").toBe(!absent || this.values.size === 0)
    if (found === undefined) return
    const proof = decode(format.exclusionProof, encode(format.exclusionProof, found))
    expect(checkExclusion(hasher, format, { key: keyOf(key), proof }, root)).toBeUndefined()
    for (const active of this.values.keys()) {
      expect(checkExclusion(hasher, format, { key: keyOf(active), proof }, root), `key ${active}`).toBeDefined()
    }
    for (const other of this.roots.slice(-4)) {
      if (Buffer.compare(other, root) === 0) continue
      expect(checkExclusion(hasher, format, { key: keyOf(key), proof }, other)?._tag).toBe("RootMismatch")
    }
  }

  private checkRange(start: Location, max: number): void {
    const { format, root } = this
    const { operations, chunks, proof } = this.rig.member.reader.proveRange(start, max)
    const decoded = operations.map((operation): KeyedOperation<Key, Uint8Array> => decodeOperation(format, operation))
    const received = decode(format.rangeProof, encode(format.rangeProof, proof))
    const claim = { start, operations: decoded, chunks, proof: received }
    expect(checkCurrentRange(hasher, format, claim, root), `from ${start}`).toBeUndefined()
    const flipped = chunks.map((chunk, i) => (i === 0 ? chunk.map((byte, j) => (j === 0 ? byte ^ 1 : byte)) : chunk))
    expect(checkCurrentRange(hasher, format, { ...claim, chunks: flipped }, root), `from ${start}`).toBeDefined()
    this.checkActivity(start, decoded)
  }

  /** An operation can be proven iff it is the update of a key that is current there, or the last commit. */
  private checkActivity(start: Location, decoded: ReadonlyArray<KeyedOperation<Key, Uint8Array>>): void {
    const { reader, tip } = this.rig.member
    for (const [i, operation] of decoded.entries()) {
      const location = Location(start + i)
      const active =
        operation.tag === "update"
          ? reader.locate(operation.key) === location
          : operation.tag === "commit" && location === tip.target.end - 1
      const proof = reader.proveOperation(location)
      expect(proof !== undefined, `location ${location}`).toBe(active)
      if (proof !== undefined) expect(checkActive(hasher, this.format, operation, proof, this.root)).toBeUndefined()
    }
  }

  /** What earlier states said holds against their roots for ever, and against this one only where it is the same. */
  private checkSaid(): void {
    for (const { key, value, proof, root } of this.said.slice(-6)) {
      const claim = { key: keyOf(key), value, proof }
      expect(checkKeyValue(hasher, this.format, claim, root)).toBeUndefined()
      const now = checkKeyValue(hasher, this.format, claim, this.root)
      if (Buffer.compare(root, this.root) !== 0) expect(now?._tag).toBe("RootMismatch")
    }
  }
}

const command = fc.record({
  writes: fc.array(fc.tuple(fc.nat(39), fc.boolean()), { maxLength: 25 }),
  settle: fc.nat(4),
  at: fc.nat(1000),
})

const variants: ReadonlyArray<Variant> = (["mmr", "mmb"] as const).flatMap((family) =>
  [false, true].flatMap(
    (ordered): ReadonlyArray<Variant> => [
      { ordered, family, encoding: "fixed", chunkBytes: 1 },
      { ordered, family, encoding: "variable", chunkBytes: 2 },
      { ordered, family, encoding: "fixed", chunkBytes: 32 },
    ],
  ),
)

describe.each(variants)("ordered $ordered, $family, $encoding, chunks of $chunkBytes", (variant) => {
  it("proofs of every state hold against its canonical root, and what is not current has none", () => {
    fc.assert(
      fc.property(fc.array(command, { minLength: 1, maxLength: 25, size: "max" }), (commands) => {
        const checked = new Checked(variant)
        checked.check(0)
        for (const { writes, settle, at } of commands) {
          checked.commit(writes)
          checked.check(at)
          checked.settle(settle)
          checked.check(at + 1)
        }
      }),
      { numRuns: 12 },
    )
  })
})

it("an old value is refused although its operation is still in the log", () => {
  const checked = new Checked({ ordered: false, family: "mmb", encoding: "fixed", chunkBytes: 32 })
  checked.commit([[1, false]])
  const { reader } = checked.rig.member
  const old = reader.get(keyOf(1))!
  const before = reader.locate(keyOf(1))!
  checked.commit([[1, false]])
  expect(reader.prove(before, 1).operations.length).toBe(1)
  expect(reader.proveOperation(before)).toBeUndefined()
  const proof = reader.proveKey(keyOf(1))!
  const stale = { ...proof, operation: { ...proof.operation, location: before } }
  for (const given of [proof, stale]) {
    const rejection = checkKeyValue(hasher, checked.format, { key: keyOf(1), value: old, proof: given }, checked.root)
    expect(rejection?._tag).toBe(given === proof ? "RootMismatch" : "Inactive")
  }
})

it("what lies outside the log, or is pruned, has no proof", () => {
  const checked = new Checked({ ordered: false, family: "mmr", encoding: "fixed", chunkBytes: 1 })
  for (let i = 0; i < 12; i++) checked.commit([[i % 3, false]])
  const { reader, tip } = checked.rig.member
  expect(() => reader.proveRange(tip.target.end, 1)).toThrow(ProofUnavailable)
  expect(() => reader.proveOperation(tip.target.end)).toThrow(ProofUnavailable)
  checked.settle(2)
  expect(reader.pruned).toBeGreaterThan(0)
  expect(() => reader.proveRange(Location(reader.pruned - 1), 1)).toThrow(ProofUnavailable)
  expect(() => reader.proveOperation(Location(reader.pruned - 1))).toThrow(ProofUnavailable)
  checked.check(3)
})

it("a layer counts the pages of activity that it does not share with its parent, and no others", () => {
  const declared = { key: Bytes(2), value: Bytes(3) }
  const layers = [currentSpec({ ...declared, chunkBytes: 1 }), Qmdb.any(declared)].map((spec) => {
    const rig = createRig(spec)
    rig.commit((batch) => {
      for (let i = 0; i < 30_000; i++) batch.put(keyOf(i), valueOf(i))
    })
    rig.flush()
    return rig.seal((batch) => batch.put(keyOf(7), valueOf(0)))
  })
  const added = layers[0]!.bytes - layers[1]!.bytes
  // About one page of each height: 14. The 60 pages of grafted chunks alone would be more than 20.
  expect(added).toBeGreaterThan(8 * PAGE_BYTES)
  expect(added).toBeLessThan(20 * PAGE_BYTES)
})
