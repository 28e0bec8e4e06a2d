/**
 * Goal: pruning and rewinding are exact. What is pruned is refused from the very location on and its rows go, all but one
 * segment; a rewind stands in every byte where the commit stood; whatever cannot be done is refused and changes nothing.
 * Method: a database with a rewind window of six commits and small rows, every location and every log size tried; proofs
 * at each retained commit verified against the root that it had then; the log after a rewind compared, row by row, with
 * that of a database that never went further. Random orders of all this are in world.test.ts.
 */
import { Blob, Bytes } from "@coppice/codec"
import { opensslHasher } from "@coppice/crypto/node"
import { family, verifyRangeProof } from "@coppice/merkle"
import { describe, expect, it, vi } from "vitest"
import {
  createRig,
  finish,
  type KeyedBatch,
  type KeyedReader,
  Location,
  type MemberSpec,
  type MemberWrite,
  ProofUnavailable,
  PruneRefused,
  Qmdb,
  RewindRefused,
  type Rig,
  type SyncTarget,
} from "./support/api.ts"
import { applyChanges, copyRows } from "./support/harness.ts"

vi.mock("../src/internal/layout.ts", () => ({ ROW_BYTES: 96, PACKED_OPERATIONS: 3, SLICE_ITEMS: 2, ROUND_FLUSHES: 3 }))

type Spec = MemberSpec<KeyedBatch<Uint8Array, Uint8Array>, KeyedReader<Uint8Array, Uint8Array>>
type AnyRig = Rig<KeyedBatch<Uint8Array, Uint8Array>, KeyedReader<Uint8Array, Uint8Array>>

const REWIND = 6

const specs = (["mmr", "mmb"] as const).flatMap((name) => [
  [name, "fixed", Qmdb.any({ key: Bytes(2), value: Bytes(5), family: name })] as const,
  [name, "variable", Qmdb.any({ key: Blob(3), value: Blob(9), family: name })] as const,
])

const block = (rig: AnyRig, n: number): void => {
  rig.commit((batch) => {
    for (let k = 0; k < 8; k++) {
      if ((k + n) % 4 === 0) batch.remove(Uint8Array.of(k, 1))
      else batch.put(Uint8Array.of(k, 1), new Uint8Array(5).fill(n))
    }
  })
  rig.flush()
}

/** `blocks` flushed blocks; the target after each, genesis first. */
const history = (spec: Spec, blocks: number) => {
  const rig = createRig(spec, { rewindCommits: REWIND })
  const targets: Array<SyncTarget> = [rig.member.tip.target]
  for (let n = 1; n <= blocks; n++) {
    block(rig, n)
    targets.push(rig.member.tip.target)
  }
  return { rig, targets }
}

const write = (rig: AnyRig, planning: Generator<undefined, MemberWrite, void> | undefined): void => {
  if (planning === undefined) return
  const planned = finish(planning)
  applyChanges(rig.rows, planned.changes)
  planned.settled()
}

const outcome = (call: () => unknown): unknown => {
  try {
    call()
    return "done"
  } catch (error) {
    return (error as { readonly _tag: string; readonly reason?: string }).reason ?? (error as { _tag: string })._tag
  }
}

const contents = (rig: AnyRig) =>
  Array.from({ length: 8 }, (_, k) => {
    const key = Uint8Array.of(k, 1)
    return [rig.member.reader.get(key), rig.member.reader.locate(key)]
  })

const rowCount = (rig: AnyRig, map: string): number => rig.rows.get(map)!.size

for (const [name, encoding, spec] of specs) {
  describe(`${name}, ${encoding}: pruning`, () => {
    it("refuses what is pruned from that location on, keeps every root, and proves the rest at every retained commit", () => {
      const { rig, targets } = history(spec, 14)
      const floor = rig.member.tip.target.start
      for (let location = 0; location <= floor; location++) {
        write(rig, rig.member.prune(Location(location)))
        const { reader } = rig.member
        expect(reader.pruned).toBe(location)
        for (const target of targets) {
          for (let start = 0; start < target.end; start += 3) {
            const where = `[${start}, ..) of ${target.end}, pruned to ${location}`
            if (start < location) {
              expect(
                outcome(() => reader.prove(Location(start), 4, target.end)),
                where,
              ).toBe("pruned")
              continue
            }
            const { operations, proof } = reader.prove(Location(start), 4, target.end)
            const claim = { family: family(name), bagging: "backward", proof, start: Location(start) } as const
            expect(verifyRangeProof(opensslHasher, { ...claim, elements: operations }, target.root), where).toBe(true)
          }
        }
      }
      const before = contents(rig)
      const { root } = rig.member.tip.target
      for (let next = rig.member.trim(); next !== undefined; next = rig.member.trim()) write(rig, next)
      for (const next of [rig, rig.reopen()]) {
        expect(next.member.tip.target.root).toEqual(root)
        expect(contents(next)).toEqual(before)
        block(next, 15)
        expect(next.member.reader.pruned).toBe(floor)
      }
    })

    it("removes rows by whole segments, and no row that the replay of the index still needs", () => {
      const { rig } = history(spec, 40)
      const { start, end } = rig.member.tip.target
      for (let next = rig.member.prune(start); next !== undefined; next = rig.member.trim()) write(rig, next)
      const operationBytes = rig.member.reader.prove(start, 1).operations[0]!.length
      const perRow = encoding === "fixed" ? Math.floor(96 / operationBytes) : 3
      // Rows from the floor's on are needed; those before it go but for what a round of the sweep has not reached.
      expect(rowCount(rig, "log")).toBeGreaterThanOrEqual(Math.ceil(end / perRow) - Math.floor(start / perRow))
      expect(rowCount(rig, "log")).toBeLessThan(Math.ceil(end / perRow) / 2)
      expect(rig.member.trim()).toBe(undefined)
      expect(contents(rig.reopen())).toEqual(contents(rig))
    })

    it("refuses a location above the floor and changes nothing", () => {
      const { rig } = history(spec, 5)
      const { start, end } = rig.member.tip.target
      const rows = copyRows(rig.rows)
      for (let location = start + 1; location <= end + 1; location++) {
        expect(() => rig.member.prune(Location(location))).toThrow(PruneRefused)
      }
      expect(rig.rows).toEqual(rows)
      expect(rig.member.reader.pruned).toBe(0)
    })
  })

  describe(`${name}, ${encoding}: rewinding`, () => {
    it("stands where the commit stood, row by row, and goes on as if nothing had been after it", () => {
      for (let undone = 1; undone <= REWIND; undone++) {
        const { rig, targets } = history(spec, 12)
        const target = targets.at(-1 - undone)!
        // What was read of the rows that are cut is in memory.
        contents(rig)
        write(rig, rig.member.rewind(target.end))
        const { rig: short } = history(spec, 12 - undone)
        for (const next of [rig, rig.reopen()]) {
          expect(next.member.tip.target).toEqual(target)
          expect(contents(next)).toEqual(contents(short))
          expect(next.member.reader.active).toBe(short.member.reader.active)
        }
        for (const map of ["log", "nodes"])
          expect(rig.rows.get(map), `${map}, ${undone} undone`).toEqual(short.rows.get(map))
        for (let n = 0; n < 4; n++) {
          block(rig, 50 + n)
          block(short, 50 + n)
          const at = `block ${n} after ${undone} undone`
          expect(rig.member.tip.target, at).toEqual(short.member.tip.target)
          expect(contents(rig), at).toEqual(contents(short))
        }
      }
    })

    it("is refused, with its reason, at every log size that is no retained commit", () => {
      const { rig, targets } = history(spec, 12)
      const { end } = targets.at(-1)!
      const ends = targets.map((target) => target.end as number)
      const before = copyRows(rig.rows)
      for (let size = 0; size <= end + 1; size++) {
        const at = ends.indexOf(size)
        if (size === end || (at >= 0 && at >= ends.length - 1 - REWIND)) continue
        const reason =
          size === 0 || size > end ? "size beyond log" : at < 0 ? "not a commit boundary" : "outside the window"
        expect(
          outcome(() => rig.member.rewind(Location(size))),
          `size ${size}`,
        ).toBe(reason)
      }
      expect(rig.member.rewind(end as never)).toBe(undefined)
      expect(rig.rows).toEqual(before)
      block(rig, 13)
    })

    it("is refused below what is pruned: the commit itself, or the operations from its floor on", () => {
      const { rig, targets } = history(spec, 12)
      const { start } = targets.at(-1)!
      write(rig, rig.member.prune(start))
      for (let undone = 1; undone <= REWIND; undone++) {
        const target = targets.at(-1 - undone)!
        const expected = target.end - 1 < start ? "commit pruned" : target.start < start ? "floor pruned" : "done"
        expect(expected, "the floor rises with every block").not.toBe("done")
        expect(
          outcome(() => rig.member.rewind(target.end)),
          `${undone} undone`,
        ).toBe(expected)
      }
      expect(() => rig.member.rewind(targets.at(-2)!.end)).toThrow(RewindRefused)
    })

    it("closes what is pending at once, and waits for nothing else to be written meanwhile", () => {
      const { rig, targets } = history(spec, 6)
      const pending = rig.seal((batch) => batch.put(Uint8Array.of(1, 1), new Uint8Array(5)))
      const batch = rig.member.openBatch(pending)
      const planning = rig.member.rewind(targets.at(-3)!.end)!
      expect(outcome(() => batch.get(Uint8Array.of(1, 1)))).toBe("StaleBatch")
      expect(outcome(() => rig.member.openBatch(pending))).toBe("StaleBatch")
      expect(outcome(() => rig.member.openBatch(rig.member.tip))).toBe("StaleBatch")
      for (const other of [() => rig.member.flush(), () => rig.member.trim(), () => rig.member.prune(Location(1))]) {
        expect(other).toThrow("not settled")
      }
      write(rig, planning)
      expect(outcome(() => rig.member.apply(pending))).toBe("StaleBatch")
      block(rig, 9)
    })
  })
}

it("pins of a location are the digests that a peer needs to append from there", () => {
  const { rig } = history(specs[0]![2], 9)
  const { reader } = rig.member
  const { end } = reader.target
  expect(reader.pins(Location(0))).toEqual([])
  expect(reader.pins(end).length).toBe(family("mmr").peaks(end).length)
  expect(() => reader.pins(Location(end + 1))).toThrow(ProofUnavailable)
})

it("a commit right below the pruned location is refused, also where no floor is needed", () => {
  const rig = createRig(Qmdb.keyless({ value: Bytes(5) }), { rewindCommits: REWIND })
  const ends: Array<Location> = []
  for (let n = 0; n < 3; n++) {
    rig.commit((batch) => {
      batch.append(new Uint8Array(5).fill(n))
      batch.withFloor(ends.at(0) ?? Location(0))
    })
    rig.flush()
    ends.push(rig.member.tip.target.end)
  }
  const pruning = finish(rig.member.prune(ends[0]!)!)
  applyChanges(rig.rows, pruning.changes)
  pruning.settled()
  expect(outcome(() => rig.member.rewind(ends[0]!))).toBe("commit pruned")
  expect(outcome(() => rig.member.rewind(ends[1]!))).toBe("done")
})
