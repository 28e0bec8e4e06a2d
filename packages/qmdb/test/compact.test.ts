/**
 * Goal: compact databases have the roots of the full ones, keep the records of the published vectors, hand out what proves
 * a durable commit, and can go back to the commits that they keep.
 * Method: every compact case of sync-compact.json, as a record that is opened; the same random batches in a compact and a
 * full database side by side, with forks, flushes, reopenings and rewinds; damaged rows.
 */
import { readFileSync } from "node:fs"
import { Blob, Bytes, encode } from "@coppice/codec"
import { opensslHasher } from "@coppice/crypto/node"
import {
  checkCompactAnswer,
  checkCompactRecord,
  compactRecordCodec,
  immutableFormat,
  type KeylessFormat,
  keylessFormat,
} from "@coppice/verify"
import fc from "fast-check"
import { describe, expect, it } from "vitest"
import { Space } from "../src/internal/space.ts"
import {
  type AppendBatch,
  type CompactReader,
  createRig,
  finish,
  type KeylessBatch,
  type KeylessReader,
  Location,
  MemberCorrupt,
  type MemberSpec,
  openRig,
  ProofUnavailable,
  PruneRefused,
  Qmdb,
  RewindRefused,
  type Rig,
  StaleBatch,
} from "./support/api.ts"
import { applyChanges, copyRows, homeOver, type Rows } from "./support/harness.ts"

interface Case {
  readonly family: "mmr" | "mmb"
  readonly size: number
  readonly floor: number
  readonly root: string
  readonly commit_operation: string
  readonly commit_proof: string
  readonly peaks_at_size: ReadonlyArray<string>
  readonly durable_record: string
}

const file = new URL("../../../conformance/vectors/sync-compact.json", import.meta.url)
const { compact } = JSON.parse(readFileSync(file, "utf8")) as { readonly compact: ReadonlyArray<Case> }

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex")
const bytes = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, "hex"))

const REWIND = 3

/** Rows of a database that keeps one record, which is what a peer hands over. */
const rowsOf = (record: Uint8Array, size: number): Rows => {
  const rows: Rows = new Map()
  const space = new Space(homeOver(rows))
  const spec = Qmdb.compactKeyless({ value: Bytes(8), family: "mmr" })
  applyChanges(rows, spec.create(homeOver(rows)))
  const meta = rows.get("meta")!
  const key = (tail: string): string => Buffer.from(space.textKey(tail)).toString("latin1")
  meta.delete(key("c\0\0\0\0\0\x01"))
  const head = meta.get(key("h"))!
  meta.set(key("h"), Uint8Array.of(head[0]!, 1, size))
  meta.set(key(`c\0\0\0\0\0${String.fromCharCode(size)}`), record)
  return rows
}

describe("sync-compact.json", () => {
  for (const { family, size, floor, root, commit_operation, commit_proof, peaks_at_size, durable_record } of compact) {
    const name = `${family}, ${size} operations, root ${root.slice(0, 8)}`
    it(`${name}: the record opens to its root and proves its commit`, () => {
      const spec = Qmdb.compactKeyless({ value: Bytes(8), family })
      const rig = openRig(spec, rowsOf(bytes(durable_record), size))
      const { target } = rig.member.tip
      expect([hex(target.root), target.start, target.end]).toEqual([root, floor, size])
      const commit = rig.member.reader.commit()
      const format = keylessFormat({ value: Bytes(8), family })
      expect(hex(encode(compactRecordCodec(format), commit.record))).toBe(durable_record)
      expect(hex(commit.record.commit)).toBe(commit_operation)
      expect(commit.peaks.map(hex)).toEqual(peaks_at_size)
      const { leaves, inactivePeaks, digests } = commit.proof
      expect(commit_proof).toBe(
        hex(Uint8Array.of(leaves, inactivePeaks, digests.length, ...Buffer.concat([...digests]))),
      )
    })
  }
})

type FullRig = Rig<KeylessBatch<Uint8Array>, KeylessReader<Uint8Array>>
type CompactRig = Rig<AppendBatch<Uint8Array>, CompactReader<Uint8Array>>

const value = (n: number): Uint8Array => Uint8Array.of(n, n >> 8, 1)

const commands = fc.array(
  fc.record({
    tag: fc.constantFrom("block", "block", "block", "flush", "reopen", "rewind"),
    a: fc.nat(60),
    b: fc.nat(9),
  }),
  { minLength: 5, maxLength: 40, size: "max" },
)

const rewindTo = <B, R>(rig: Rig<B, R>, size: Location): void => {
  const write = finish(rig.member.rewind(size)!)
  applyChanges(rig.rows, write.changes)
  write.settled()
}

for (const family of ["mmr", "mmb"] as const) {
  for (const codec of [Bytes(3), Blob(9)]) {
    it(`${family}, ${codec.name}: roots are those of the full database, through forks, reopenings and rewinds`, () => {
      const format = keylessFormat({ value: codec, family })
      fc.assert(
        fc.property(commands, (list) => {
          let full: FullRig = createRig(Qmdb.keyless({ value: codec, family }), { rewindCommits: REWIND })
          let small: CompactRig = createRig(Qmdb.compactKeyless({ value: codec, family }), { rewindCommits: REWIND })
          for (const { tag, a, b } of list) {
            if (tag === "block") {
              const floor = Location(full.member.tip.target.end - 1)
              const write = (batch: AppendBatch<Uint8Array>): void => {
                for (let i = 0; i < a; i++) batch.append(value(a * 64 + i))
                if (b % 4 === 0) batch.withMetadata(value(b))
                if (b % 3 === 0) batch.withFloor(floor)
              }
              const lost = small.seal((batch) => void batch.append(value(b)))
              full.commit(write)
              small.commit(write)
              expect(() => small.member.apply(lost)).toThrow(StaleBatch)
            } else {
              full.flush()
              small.flush()
            }
            if (tag === "reopen") {
              full = full.reopen()
              small = small.reopen()
            }
            if (tag === "rewind") {
              const { retained } = small.member.reader
              expect(retained).toEqual(full.member.reader.retained)
              const undone = b % retained.length
              if (undone > 0) {
                rewindTo(full, retained.at(-1 - undone)!)
                rewindTo(small, retained.at(-1 - undone)!)
              }
            }
            expect(small.member.tip.target).toEqual(full.member.tip.target)
            checkCommits(format, small)
          }
        }),
        { numRuns: 30 },
      )
    })
  }
}

/** Every kept commit is what a peer accepts for its target; the bytes kept do not grow with the log. */
const checkCommits = (format: KeylessFormat<Uint8Array>, { member, rows }: CompactRig): void => {
  const { reader } = member
  for (const size of reader.retained) {
    const { record, root, peaks, commit, proof } = reader.commit(size)
    const target = { root, size }
    expect(checkCompactRecord(opensslHasher, format, record, target)).toBe(undefined)
    expect(checkCompactAnswer(opensslHasher, format, { size, peaks, commit, proof }, target)).toBe(undefined)
    const other = { root: new Uint8Array(32), size }
    expect(checkCompactRecord(opensslHasher, format, record, other)?._tag).toBe("RootMismatch")
  }
  expect(rows.get("meta")!.size).toBe(1 + reader.retained.length)
  expect([...rows.keys()]).toEqual(["meta"])
}

describe("a compact database", () => {
  const spec: MemberSpec<AppendBatch<Uint8Array>, CompactReader<Uint8Array>> = Qmdb.compactKeyless({ value: Bytes(3) })
  const grown = (): CompactRig => {
    const rig = createRig(spec, { rewindCommits: REWIND })
    for (let n = 1; n <= 6; n++) {
      rig.commit((batch) => {
        for (let i = 0; i < n; i++) batch.append(value(i))
        batch.withFloor(Location(n))
      })
      rig.flush()
    }
    return rig
  }

  it("hands out durable commits alone, and those that it keeps", () => {
    const rig = grown()
    const { retained } = rig.member.reader
    const durable = retained.at(-1)!
    const layer = rig.commit((batch) => void batch.append(value(9)))
    expect(rig.member.reader.commit().record.size).toBe(durable)
    expect(() => rig.member.reader.commit(layer.target.end)).toThrow(ProofUnavailable)
    expect(() => rig.member.reader.commit(Location(1))).toThrow(ProofUnavailable)
  })

  it("goes back to what it keeps and refuses everything else; it has nothing to prune", () => {
    const rig = grown()
    const { retained, target } = rig.member.reader
    const rows = copyRows(rig.rows)
    for (let size = 0; size <= target.end + 1; size++) {
      if (!retained.includes(Location(size))) expect(() => rig.member.rewind(Location(size))).toThrow(RewindRefused)
    }
    expect(rig.member.rewind(target.end)).toBe(undefined)
    expect(rig.member.prune(target.start)).toBe(undefined)
    expect(() => rig.member.prune(Location(target.start + 1))).toThrow(PruneRefused)
    expect(rig.rows).toEqual(rows)
  })

  it("refuses rows that are not its own: missing, cut, of another version, of another size", () => {
    const { rows } = grown()
    const meta = rows.get("meta")!
    for (const [key, row] of meta) {
      for (const damaged of [undefined, row.slice(0, -1), Uint8Array.of((row[0]! + 1) % 256, ...row.slice(1))]) {
        const copy = copyRows(rows)
        if (damaged === undefined) copy.get("meta")!.delete(key)
        else copy.get("meta")!.set(key, damaged)
        const open = (): void => {
          const { reader } = openRig(spec, copy).member
          for (const size of reader.retained) reader.commit(size)
        }
        expect(open, `row ${Buffer.from(key, "latin1").toString("hex")}`).toThrow(MemberCorrupt)
      }
    }
  })

  it("of immutable keys refuses a key twice in one batch, and has the root of the full one", () => {
    const options = { key: Bytes(2), value: Bytes(3) }
    const small = createRig(Qmdb.compactImmutable(options))
    const full = createRig(Qmdb.immutable(options))
    for (const rig of [small, full]) {
      rig.commit((batch) => {
        batch.set(Uint8Array.of(9, 9), value(1))
        const mark = batch.mark()
        batch.set(Uint8Array.of(1, 1), value(2))
        batch.revert(mark)
        batch.set(Uint8Array.of(1, 1), value(3))
        expect(() => batch.set(Uint8Array.of(1, 1), value(3))).toThrow("once")
      })
      rig.flush()
    }
    expect(small.member.tip.target).toEqual(full.member.tip.target)
    const { record, root } = small.member.reader.commit()
    const format = immutableFormat(options)
    expect(checkCompactRecord(opensslHasher, format, record, { root, size: record.size })).toBe(undefined)
  })
})
