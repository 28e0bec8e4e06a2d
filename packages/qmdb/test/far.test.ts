/**
 * Goal: nothing assumes that a location, a position or a log size fits 32 bits.
 * Method: the rows of a database whose log has 2^33 operations, all but the last inactive, written by hand: a head, the
 * peaks, the last commit. Then blocks over it as over any other, with flushes, reopenings, proofs and undo records.
 */
import { Bytes } from "@coppice/codec"
import { opensslHasher } from "@coppice/crypto/node"
import { family as familyOf, inactivePeaks, Location, pinPositions, root, verifyRangeProof } from "@coppice/merkle"
import { keyedFormat } from "@coppice/verify"
import { commitOperation } from "@coppice/verify/log"
import { describe, expect, it } from "vitest"
import { keyedRecord } from "../src/internal/keyed-state.ts"
import { headChange, MEMBER_VERSION, readHead, readUndo } from "../src/internal/log-state.ts"
import { PackedRecords, Space } from "../src/internal/space.ts"
import { openRig, Qmdb } from "./support/api.ts"
import { applyChanges, homeOver, type Rows } from "./support/harness.ts"

const SIZE = Location(2 ** 33 + 12_345)
const FLOOR = Location(SIZE - 1)
const key = (n: number): Uint8Array => Uint8Array.of(n >> 8, n, 1, 2)

/** Rows of a log of `SIZE` operations without an active key. */
const farRows = (name: "mmr" | "mmb"): Rows => {
  const rows: Rows = new Map()
  const family = familyOf(name)
  const space = new Space(homeOver(rows))
  const format = keyedFormat({ key: Bytes(4), value: Bytes(4) })
  const digest = (position: number): Uint8Array => opensslHasher.hash(Buffer.from(`${position}`))
  const nodes = new PackedRecords(space, "nodes", 32)
  const put = (records: PackedRecords, map: string, at: number, record: Uint8Array): void => {
    const row = Math.floor(at / records.recordsPerRow)
    const from = (at % records.recordsPerRow) * records.recordBytes
    const before = rows.get(map)?.get(Buffer.from(space.rowKey(row)).toString("latin1")) ?? new Uint8Array(0)
    const value = new Uint8Array(Math.max(before.length, from + records.recordBytes))
    value.set(before)
    value.set(record, from)
    applyChanges(rows, [{ tag: "put", map, key: space.rowKey(row), value }])
  }
  const pins = pinPositions(family, SIZE)
  for (const position of pins) put(nodes, "nodes", position, digest(position))
  const last = commitOperation(format, undefined, FLOOR)
  put(new PackedRecords(space, "log", last.length), "log", FLOOR, last)
  put(new PackedRecords(space, "owners", 4), "owners", FLOOR, new Uint8Array(4))
  const frontier = { family, leaves: SIZE, peaks: pins.map(digest) }
  const rootDigest = root(opensslHasher, frontier, inactivePeaks(family, SIZE, FLOOR), "backward")
  const index = keyedRecord({ slots: 0, active: 0, current: undefined })
  const rest = { pruned: 0, trimmed: 0, checkpoint: SIZE, index, commits: [] }
  applyChanges(rows, [
    headChange(space, { version: MEMBER_VERSION, size: SIZE, floor: FLOOR, root: rootDigest, ...rest }),
  ])
  return rows
}

for (const name of ["mmr", "mmb"] as const) {
  describe(`a log of more than 2^32 operations, ${name}`, () => {
    it("reads, seals, flushes, reopens, proves and undoes as any other", () => {
      const spec = Qmdb.any({ key: Bytes(4), value: Bytes(4), family: name })
      let rig = openRig(spec, farRows(name))
      const values = new Map<number, number>()
      const before: Array<Map<number, number>> = []
      for (let block = 0; block < 12; block++) {
        before.push(new Map(values))
        rig.commit((batch) => {
          for (let n = 0; n < 40; n++) {
            const k = (n * 7 + block * 13) % 90
            if ((n + block) % 6 === 0) {
              batch.remove(key(k))
              values.delete(k)
            } else {
              batch.put(key(k), key(block))
              values.set(k, block)
            }
          }
        })
        if (block % 2 === 0) rig.flush()
        if (block % 4 === 0) rig = rig.reopen()
        const { reader, tip } = rig.member
        expect(reader.active).toBe(values.size)
        for (let k = 0; k < 90; k++) {
          const value = values.get(k)
          expect(reader.get(key(k)), `key ${k} after block ${block}`).toEqual(
            value === undefined ? undefined : key(value),
          )
          if (value !== undefined) expect(reader.locate(key(k))).toBeGreaterThanOrEqual(tip.target.start)
        }
        expect(tip.target.start).toBeGreaterThan(2 ** 33)
        const proven = reader.prove(SIZE, 100)
        const claim = { proof: proven.proof, start: proven.start, elements: proven.operations }
        const valid = verifyRangeProof(
          opensslHasher,
          { family: familyOf(name), bagging: "backward", ...claim },
          tip.target.root,
        )
        expect(valid, `proof after block ${block}`).toBe(true)
      }
      rig.flush()
      const space = new Space(rig.home)
      const locations = new Map<number, number>()
      for (const { value } of rig.home.storage.scan("slots", {})) {
        new Float64Array(value.buffer).forEach(
          (location, slot) => void (location !== 0 && locations.set(slot, location)),
        )
      }
      const { commits } = readHead(space)
      expect(commits.length).toBe(8)
      for (const [i, commit] of [...commits].reverse().entries()) {
        readUndo(space, commit, locations)
        const active = [...locations.values()].filter((location) => location !== 0)
        expect(active.length, `${i + 1} commits undone`).toBe(before[before.length - 1 - i]!.size)
      }
    })
  })
}
