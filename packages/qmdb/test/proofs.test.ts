/**
 * Goal: every operation of every state, stored or not, can be proven, at the size of any commit that is still known.
 * Method: a database that is sometimes flushed; every range around layer and row boundaries, verified against the root of
 * that size with the verifier of the merkle package; forged operations and wrong roots must be refused.
 */
import { Blob, Bytes } from "@coppice/codec"
import { opensslHasher } from "@coppice/crypto/node"
import { family, verifyRangeProof } from "@coppice/merkle"
import { describe, expect, it, vi } from "vitest"
import {
  createRig,
  type KeyedBatch,
  type KeyedReader,
  Location,
  type MemberSpec,
  type OperationsProof,
  PROOF_BYTES_MAX,
  PROOF_OPS_MAX,
  ProofUnavailable,
  Qmdb,
  type SyncTarget,
} from "./support/api.ts"

vi.mock("../src/internal/layout.ts", () => ({ ROW_BYTES: 96, PACKED_OPERATIONS: 3, SLICE_ITEMS: 2, ROUND_FLUSHES: 3 }))

type Spec = MemberSpec<KeyedBatch<Uint8Array, Uint8Array>, KeyedReader<Uint8Array, Uint8Array>>

const verified = (name: "mmr" | "mmb", proven: OperationsProof, root: Uint8Array): boolean =>
  verifyRangeProof(
    opensslHasher,
    {
      family: family(name),
      bagging: "backward",
      proof: proven.proof,
      start: proven.start,
      elements: proven.operations,
    },
    root,
  )

/** Twelve commits, the last five un-flushed; the target of each. */
const history = (spec: Spec) => {
  const rig = createRig(spec)
  const targets: Array<SyncTarget> = [rig.member.tip.target]
  for (let n = 1; n <= 12; n++) {
    rig.commit((batch) => {
      for (let k = 0; k < 6; k++) {
        if ((k + n) % 4 === 0) batch.remove(Uint8Array.of(k, 1))
        else batch.put(Uint8Array.of(k, 1), new Uint8Array(5).fill(n))
      }
    })
    targets.push(rig.member.tip.target)
    if (n <= 7 && n % 2 === 1) rig.flush()
  }
  return { rig, targets }
}

const specs = (["mmr", "mmb"] as const).flatMap((name) => [
  [name, "fixed", Qmdb.any({ key: Bytes(2), value: Bytes(5), family: name })] as const,
  [name, "variable", Qmdb.any({ key: Blob(3), value: Blob(9), family: name })] as const,
])

for (const [name, encoding, spec] of specs) {
  describe(`${name}, ${encoding}`, () => {
    it("every range of every commit verifies against its root, and against no other", () => {
      const { rig, targets } = history(spec)
      for (const [i, target] of targets.entries()) {
        for (let start = 0; start < target.end; start += 5) {
          for (const max of [1, 4, 1000]) {
            const proven = rig.member.reader.prove(Location(start), max, target.end)
            expect(proven.operations.length).toBe(Math.min(max, target.end - start))
            expect(verified(name, proven, target.root), `[${start}, +${max}) at ${target.end}`).toBe(true)
            expect(verified(name, proven, targets[(i + 1) % targets.length]!.root)).toBe(false)
          }
        }
      }
    })

    it("is the same before, during and after the flush of what it proves, and after a reopen", () => {
      const { rig, targets } = history(spec)
      const all = () =>
        targets.map((target) => rig.member.reader.prove(Location(Math.floor(target.end / 2)), 9, target.end))
      const before = all()
      const flush = rig.plan()!
      expect(all()).toEqual(before)
      for (const change of flush.changes) {
        if (change.tag === "put")
          rig.rows.get(change.map)!.set(Buffer.from(change.key).toString("latin1"), change.value)
      }
      expect(all()).toEqual(before)
      flush.settled()
      expect(all()).toEqual(before)
      const { reader } = rig.reopen().member
      const again = targets.map((target) => reader.prove(Location(Math.floor(target.end / 2)), 9, target.end))
      expect(again).toEqual(before)
    })

    it("belongs to who asked: changing it changes nothing else", () => {
      const { rig, targets } = history(spec)
      const ask = () => targets.slice(1).map((target) => rig.member.reader.prove(Location(1), 1000, target.end))
      const sound = ask()
      for (const { operations, proof } of ask()) {
        for (const operation of operations) operation.fill(0xaa)
        for (const digest of proof.digests) digest.fill(0xaa)
      }
      expect(ask()).toEqual(sound)
      rig.flush()
      for (const { operations } of ask()) for (const operation of operations) operation.fill(0xaa)
      expect(rig.reopen().member.reader.prove(Location(1), 1000)).toEqual(sound.at(-1))
    })
  })
}

describe("what cannot be proven", () => {
  it("is refused with its reason", () => {
    const { rig, targets } = history(specs[0]![2])
    const { prove } = rig.member.reader
    const { end } = targets.at(-1)!
    const refusal = (start: number, size?: number): string => {
      try {
        prove(Location(start), 1, size === undefined ? undefined : Location(size))
        return "proven"
      } catch (error) {
        expect(error).toBeInstanceOf(ProofUnavailable)
        return (error as ProofUnavailable).reason
      }
    }
    expect(refusal(end)).toBe("start beyond size")
    expect(refusal(0, end + 1)).toBe("size beyond log")
    expect(refusal(0, 0)).toBe("not a commit boundary")
    expect(refusal(targets[3]!.end, targets[3]!.end)).toBe("start beyond size")
    const commits = new Set(targets.map((target) => target.end as number))
    for (let size = 1; size <= end; size++) {
      expect(refusal(0, size), `size ${size}`).toBe(commits.has(size) ? "proven" : "not a commit boundary")
    }
  })

  it("a proof holds at most PROOF_OPS_MAX operations and about PROOF_BYTES_MAX bytes of them, at least one", () => {
    const rig = createRig(Qmdb.any({ key: Bytes(2), value: Blob(1 << 20) }))
    rig.commit((batch) => {
      for (let n = 0; n < PROOF_OPS_MAX + 50; n++) batch.put(Uint8Array.of(n >> 8, n), new Uint8Array(2))
    })
    expect(rig.member.reader.prove(Location(0), 1e9).operations.length).toBe(PROOF_OPS_MAX)
    const start = rig.member.tip.target.end
    rig.commit((batch) => {
      for (let n = 0; n < 12; n++) batch.put(Uint8Array.of(255, n), new Uint8Array(1 << 19))
    })
    const proven = rig.member.reader.prove(start, 100)
    const size = proven.operations.reduce((sum, { length }) => sum + length, 0)
    expect(size).toBeGreaterThan(PROOF_BYTES_MAX - (1 << 20))
    expect(size).toBeLessThanOrEqual(PROOF_BYTES_MAX)
    expect(verified("mmb", proven, rig.member.tip.target.root)).toBe(true)
    expect(rig.member.reader.prove(start, 0).operations.length).toBe(1)
  })
})
