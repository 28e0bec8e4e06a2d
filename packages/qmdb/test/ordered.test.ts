/**
 * Goal: the ring of an ordered database is the specification's for batches of every shape, over parents that are pending,
 * applied or stored; and what a seal reads is in proportion to its writes, however many keys were deleted.
 * Method: dense random batches over a few keys, as chains, against the model; reads of storage counted. Canaries: a ring
 * that is asked of the stored state, as spec qmdb §15 warns, and one that forgets to write a neighbour again.
 */
import { Blob, Bytes } from "@coppice/codec"
import type { StorageShape } from "@coppice/storage"
import fc from "fast-check"
import { afterEach, describe, expect, it, vi } from "vitest"
import { Branch } from "../src/internal/branches.ts"
import { KeyWalk } from "../src/internal/key-walk.ts"
import { Ring } from "../src/internal/ring.ts"
import {
  createRig,
  KEY_BYTES_MAX,
  KeyTooLong,
  Location,
  OutsideType,
  openRig,
  Qmdb,
  StaleBatch,
} from "./support/api.ts"
import { mapStorage } from "./support/harness.ts"
import { ModelState } from "./support/model.ts"

afterEach(() => {
  vi.restoreAllMocks()
})

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex")

const spec = Qmdb.any({ key: Bytes(1), value: Bytes(1), family: "mmr", ordered: true })
const genesis = ModelState.genesis({ family: "mmr", ordered: true, sizes: { key: 1, value: 1 } })

/** What is done with the layer of a batch before the next batch opens over it. */
type Fate = "pending" | "applied" | "stored" | "reopened"

interface Step {
  readonly writes: ReadonlyArray<readonly [number, number | null]>
  readonly fate: Fate
}

const steps = fc.array(
  fc.record({
    writes: fc.array(fc.tuple(fc.nat(11), fc.option(fc.nat(255))), { maxLength: 14 }),
    fate: fc.constantFrom<Fate>("pending", "pending", "applied", "stored", "reopened"),
  }),
  { minLength: 1, maxLength: 12 },
)

const run = (chain: ReadonlyArray<Step>): void => {
  let rig = createRig(spec)
  let state = genesis
  let parent = rig.member.tip
  for (const { writes, fate } of chain) {
    parent = rig.seal((batch) => {
      for (const [key, value] of writes) {
        if (value === null) batch.remove(Uint8Array.of(key))
        else batch.put(Uint8Array.of(key), Uint8Array.of(value))
      }
    }, parent)
    const staged = writes.map(
      ([key, value]) => [String.fromCharCode(key), value === null ? null : Uint8Array.of(value)] as const,
    )
    state = state.seal(new Map(staged))
    expect([hex(parent.target.root), parent.target.start, parent.target.end]).toEqual([
      hex(state.root),
      state.floor,
      state.size,
    ])
    if (fate === "pending") continue
    rig.member.apply(parent)
    if (fate !== "applied") rig.flush()
    if (fate === "reopened") {
      rig = rig.reopen()
      parent = rig.member.tip
    }
    expect(rig.member.reader.entries().map(([key]) => key[0])).toEqual(state.ring.map((key) => key.charCodeAt(0)))
  }
}

describe("an ordered database", () => {
  it("has the ring of the specification after dense batches, over pending, applied and stored parents", () => {
    fc.assert(
      fc.property(steps, (chain) => run(chain)),
      { numRuns: 400 },
    )
  })

  it("gives typed errors for keys outside their type or limit, and for closed batches", () => {
    const { member } = createRig(spec)
    const batch = member.openBatch(member.tip)
    for (const reads of [batch, member.reader]) {
      expect(() => reads.next(new Uint8Array(2))).toThrow(OutsideType)
      expect(() => reads.entries({ end: new Uint8Array(0) })).toThrow(OutsideType)
      expect(reads.next(Uint8Array.of(1))).toBeUndefined()
      expect(reads.entries()).toEqual([])
    }
    expect(member.reader.span(Uint8Array.of(1))).toBeUndefined()
    member.closeBatch(batch)
    for (const read of ["next", "previous"] as const) expect(() => batch[read](Uint8Array.of(1))).toThrow(StaleBatch)
    expect(() => batch.entries()).toThrow(StaleBatch)
    const long = createRig(Qmdb.any({ key: Blob(2048), value: Bytes(1), ordered: true })).member.reader
    for (const read of [long.next, long.previous, long.span]) {
      expect(() => read(new Uint8Array(KEY_BYTES_MAX + 1))).toThrow(KeyTooLong)
      expect(read(new Uint8Array(KEY_BYTES_MAX))).toBeUndefined()
    }
  })

  it("takes back what `revert` takes back from the order of keys too", () => {
    const { member } = createRig(spec)
    const batch = member.openBatch(member.tip)
    const keys = (): ReadonlyArray<number | undefined> => batch.entries().map(([key]) => key[0])
    batch.put(Uint8Array.of(5), Uint8Array.of(0))
    const mark = batch.mark()
    batch.put(Uint8Array.of(3), Uint8Array.of(0))
    batch.remove(Uint8Array.of(5))
    expect(keys()).toEqual([3])
    batch.revert(mark)
    batch.put(Uint8Array.of(9), Uint8Array.of(0))
    expect(keys()).toEqual([5, 9])
  })
})

describe("what a seal reads", () => {
  const wide = Qmdb.any({ key: Bytes(4), value: Bytes(1), ordered: true })
  const key = (n: number): Uint8Array => Uint8Array.of(n >>> 24, n >>> 16, n >>> 8, n)
  const value = Uint8Array.of(1)

  /** Rows that scans have returned, and a storage that counts them. */
  const counted = () => {
    const count = { rows: 0 }
    const counting = (storage: StorageShape): StorageShape => ({
      ...storage,
      scan: (map, range) => {
        const rows = storage.scan(map, range)
        count.rows += rows.length
        return rows
      },
    })
    return { count, counting }
  }

  it("passes each deleted key once, however many keys come among them", () => {
    const { rows, commit, flush } = createRig(wide)
    const many = 4000
    commit((batch) => {
      for (let n = 0; n < many; n++) batch.put(key(2 * n), value)
    })
    flush()
    const { count, counting } = counted()
    const rig = openRig(wide, rows, { storage: counting(mapStorage(rows)) })
    rig.flush()
    rig.commit((batch) => {
      for (let n = 1; n < many; n++) batch.remove(key(2 * n))
    })
    count.rows = 0
    rig.seal((batch) => {
      for (let n = 1; n < 500; n++) batch.put(key(16 * n + 1), value)
    })
    expect(count.rows).toBeGreaterThan(0)
    expect(count.rows).toBeLessThan(3 * many)
  })

  it("asks for no neighbour where keys are only updated", () => {
    const { rows, commit, flush } = createRig(wide)
    commit((batch) => {
      for (let n = 0; n < 500; n++) batch.put(key(n), value)
    })
    flush()
    const { count, counting } = counted()
    const rig = openRig(wide, rows, { storage: counting(mapStorage(rows)) })
    rig.commit((batch) => {
      for (let n = 0; n < 500; n += 3) batch.put(key(n), value)
    })
    expect(count.rows).toBe(0)
    expect(rig.member.reader.prove(Location(0), 1).operations.length).toBe(1)
  })
})

describe("canaries: the same batches catch", () => {
  const caught = (): void => {
    expect(fc.check(fc.property(steps, run), { numRuns: 400, endOnFailure: true }).failed).toBe(true)
  }

  it("a ring that is looked up in the stored state", () => {
    const pass = KeyWalk.prototype.pass
    vi.spyOn(KeyWalk.prototype, "pass").mockImplementation(function (this: KeyWalk, most) {
      const home = this as unknown as { branch: Branch<unknown> }
      home.branch = Branch.root(0, 0)
      return pass.call(this, most)
    })
    caught()
  })

  it("a ring that leaves the key before a create or delete as it was", () => {
    vi.spyOn(Ring.prototype, "rewrite").mockImplementation(() => {})
    caught()
  })
})
