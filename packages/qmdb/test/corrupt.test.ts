/**
 * Goal: storage that is not what this code wrote raises `MemberCorrupt`, never another error and never a wrong answer.
 * Method: after a workload every row is removed, emptied, cut short or lengthened, one at a time; then the member is
 * opened, every key read, every operation proven, a batch over all keys sealed and every retained commit undone. The
 * outcome must be `MemberCorrupt` or equal in every byte. What no length shows is out of scope: rows have no checksum.
 */
import { Blob, Bytes } from "@coppice/codec"
import { describe, expect, it, vi } from "vitest"
import { headChange, readHead, readUndo } from "../src/internal/log-state.ts"
import { Space } from "../src/internal/space.ts"
import {
  createRig,
  type KeyedBatch,
  type KeyedReader,
  Location,
  MemberCorrupt,
  type MemberSpec,
  openRig,
  Qmdb,
  type Rig,
} from "./support/api.ts"
import { applyChanges, copyRows, type Rows } from "./support/harness.ts"

vi.mock("../src/internal/layout.ts", () => ({
  ROW_BYTES: 128,
  PACKED_OPERATIONS: 3,
  SLICE_ITEMS: 2,
  ROUND_FLUSHES: 2,
  PAGE_BYTES: 64,
}))

type Spec = MemberSpec<KeyedBatch<Uint8Array, Uint8Array>, KeyedReader<Uint8Array, Uint8Array>>

const key = (n: number): Uint8Array => Uint8Array.of(n, 7, 0)

const workload = (spec: Spec): Rig<KeyedBatch<Uint8Array, Uint8Array>, KeyedReader<Uint8Array, Uint8Array>> => {
  const rig = createRig(spec)
  for (let round = 1; round <= 6; round++) {
    rig.commit((batch) => {
      for (let n = 0; n < 12; n++) {
        if ((n + round) % 5 === 0) batch.remove(key(n))
        else if ((n * round) % 3 !== 1) batch.put(key(n), new Uint8Array(9).fill(round))
      }
    })
    rig.flush()
  }
  return rig
}

/** Everything that can be read, as one string. */
const readAll = (spec: Spec, rows: Rows): string => {
  const rig = openRig(spec, rows)
  const { reader, tip } = rig.member
  const seen: Array<unknown> = [tip.target, reader.active]
  for (let n = 0; n < 12; n++) seen.push(reader.get(key(n)), reader.locate(key(n)))
  for (let start = 0; start < tip.target.end; start += 40) seen.push(reader.prove(Location(start), 40))
  const sealed = rig.seal((batch) => {
    for (let n = 0; n < 12; n++) batch.put(key(n), new Uint8Array(9))
  })
  seen.push(sealed.target)
  const space = new Space(rig.home)
  const locations = new Map<number, number>()
  for (const commit of [...readHead(space).commits].reverse()) readUndo(space, commit, locations)
  seen.push([...locations])
  return JSON.stringify(seen, (_, value) => (value instanceof Uint8Array ? Buffer.from(value).toString("hex") : value))
}

const damages: Record<string, (row: Uint8Array) => Uint8Array | undefined> = {
  removed: () => undefined,
  emptied: () => new Uint8Array(0),
  "cut by one byte": (row) => row.slice(0, -1),
  "cut in half": (row) => row.slice(0, row.length / 2),
  "lengthened by one byte": (row) => Uint8Array.of(...row, 0),
}

for (const [encoding, spec] of [
  ["fixed", Qmdb.any({ key: Bytes(3), value: Bytes(9) })],
  ["variable", Qmdb.any({ key: Blob(4), value: Blob(12) })],
  ["fixed, current", Qmdb.current({ key: Bytes(3), value: Bytes(9) })],
] as const) {
  describe(`${encoding} encoding`, () => {
    const { rows } = workload(spec)
    const sound = readAll(spec, copyRows(rows))
    for (const [name, damage] of Object.entries(damages)) {
      it(`a row ${name} is corrupt or of no consequence`, () => {
        let refused = 0
        for (const [map, entries] of rows) {
          for (const [at, row] of entries) {
            // A missing key row says that the key is absent: nothing but the next root can tell.
            if (map === "keys" && name === "removed") continue
            const damaged = copyRows(rows)
            const value = damage(row)
            if (value === undefined) damaged.get(map)!.delete(at)
            else damaged.get(map)!.set(at, value)
            const where = `${map} ${Buffer.from(at, "latin1").toString("hex")}`
            try {
              expect(readAll(spec, damaged), where).toBe(sound)
            } catch (error) {
              if (!(error instanceof MemberCorrupt)) throw error
              refused += 1
            }
          }
        }
        expect(refused).toBeGreaterThan(name === "lengthened by one byte" ? 5 : 20)
      })
    }
  })
}

describe("the head row", () => {
  const spec = Qmdb.any({ key: Bytes(3), value: Bytes(9) })
  it("of another version, or of nothing, is refused", () => {
    const { rows } = workload(spec)
    const [at, head] = [...rows.get("meta")!].find(([name]) => name.endsWith("h"))!
    for (const version of [0, 1, 3, 255]) {
      rows.get("meta")!.set(at, Uint8Array.of(version, ...head.slice(1)))
      expect(() => openRig(spec, rows)).toThrow(MemberCorrupt)
    }
    expect(() => openRig(spec, new Map())).toThrow(MemberCorrupt)
  })

  it("with any one byte changed opens or is refused, and raises nothing else", () => {
    const { rows } = workload(spec)
    const [at, head] = [...rows.get("meta")!].find(([name]) => name.endsWith("h"))!
    let refused = 0
    for (let i = 0; i < head.length; i++) {
      const damaged = copyRows(rows)
      damaged.get("meta")!.set(at, head.with(i, head[i]! ^ 0x01))
      try {
        readAll(spec, damaged)
      } catch (error) {
        if (!(error instanceof MemberCorrupt)) throw error
        refused += 1
      }
    }
    expect(refused).toBeGreaterThan(head.length / 2)
  })

  it("with a floor other than the last commit's is refused", () => {
    const rig = workload(spec)
    const space = new Space(rig.home)
    const head = readHead(space)
    applyChanges(rig.rows, [headChange(space, { ...head, floor: head.floor + 1 })])
    expect(() => openRig(spec, rig.rows)).toThrow(MemberCorrupt)
  })
})

it("a slot row that names another location is refused where a canonical root can tell", () => {
  const spec = Qmdb.current({ key: Bytes(3), value: Bytes(9) })
  const rig = createRig(spec)
  for (let round = 0; round < 12; round++) {
    rig.commit((batch) => {
      // Small blocks after a large one: most keys stand where no replay of the log comes.
      for (let n = 0; n < (round === 0 ? 60 : 1); n++) batch.put(key(n), new Uint8Array(9).fill(round))
    })
    rig.flush()
  }
  const { rows } = rig
  const sound = openRig(spec, copyRows(rows)).member.tip.target.canonical
  let moved = 0
  for (const [at, row] of rows.get("slots")!) {
    const locations = new Float64Array(row.slice().buffer)
    for (const [i, location] of locations.entries()) {
      if (location === 0) continue
      const damaged = copyRows(rows)
      damaged.get("slots")!.set(at, new Uint8Array(locations.with(i, location - 1).buffer))
      try {
        // What the replay of the log sets again is of no consequence.
        expect(openRig(spec, damaged).member.tip.target.canonical).toEqual(sound)
      } catch (error) {
        if (!(error instanceof MemberCorrupt)) throw error
        moved += 1
      }
    }
  }
  expect(moved).toBeGreaterThan(0)
})
