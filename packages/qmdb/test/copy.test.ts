/**
 * Goal: a state that was copied out of a database and restored in an empty place is that state: same roots, same reads, and
 * every batch over it seals to the same operations and roots. That holds for every family, pruned, un-flushed or not.
 * Method: random blocks on a database of each kind; its newest layer is copied and restored, and both go on side by side.
 */
import { Blob, Bytes } from "@coppice/codec"
import fc from "fast-check"
import { describe, expect, it, test } from "vitest"
import {
  createRig,
  finish,
  type Layer,
  Location,
  type LogReader,
  type MemberSpec,
  openRig,
  Qmdb,
  type Rig,
  StaleBatch,
  type StateCopy,
} from "./support/api.ts"
import { applyChanges, homeOver, type Rows, runSeal } from "./support/harness.ts"

interface Write {
  readonly key: number
  readonly value: number
}

interface Kind {
  readonly name: string
  // biome-ignore lint/suspicious/noExplicitAny: one table for members of every batch and reader type
  readonly spec: MemberSpec<any, any>
  // biome-ignore lint/suspicious/noExplicitAny: see above
  readonly write: (batch: any, writes: ReadonlyArray<Write>) => void
  // biome-ignore lint/suspicious/noExplicitAny: see above
  readonly read: (reader: any, target: Layer["target"]) => unknown
}

const key = (n: number): Uint8Array => Uint8Array.of(0, n)
const value = (n: number): Uint8Array => Uint8Array.of(n, 1, 2)

const KEYS = Array.from({ length: 24 }, (_, n) => key(n))

const keyed = (name: string, spec: Kind["spec"]): Kind => ({
  name,
  spec,
  write: (batch, writes) => {
    for (const { key: k, value: v } of writes) {
      if (v % 4 === 0) batch.remove(key(k))
      else batch.put(key(k), value(v))
    }
  },
  read: (reader) => [reader.getMany(KEYS), reader.entries?.()],
})

const raiseFloor = (batch: { readonly size: number; withFloor: (floor: Location) => void }, by: number): void => {
  if (by % 5 === 0) batch.withFloor(Location(Math.max(0, batch.size - 2)))
}

const immutable = (name: string, spec: Kind["spec"]): Kind => ({
  name,
  spec,
  write: (batch, writes) => {
    // The size of the log is part of the key, so that no key is set twice.
    const seen = new Set(writes.map(({ key: k }) => k))
    for (const k of seen) batch.set(Uint8Array.of(batch.size >> 8, batch.size, k), value(k))
    raiseFloor(batch, writes.length)
  },
  read: (reader, { end }) =>
    Array.from({ length: end }, (_, at) => reader.get?.(Uint8Array.of(at >> 8, at, at % 24)) ?? null),
})

const keyless = (name: string, spec: Kind["spec"]): Kind => ({
  name,
  spec,
  write: (batch, writes) => {
    for (const { value: v } of writes) batch.append(value(v))
    raiseFloor(batch, writes.length)
  },
  read: (reader, { start, end }) => Array.from({ length: end - start }, (_, i) => reader.get?.(start + i) ?? null),
})

const KINDS: ReadonlyArray<Kind> = (["mmr", "mmb"] as const).flatMap((family) => {
  const options = { key: Bytes(2), value: Bytes(3), family }
  const blobs = { key: Blob(8), value: Blob(8), family }
  return [
    keyed(`any, ${family}`, Qmdb.any(options)),
    keyed(`any of varying length, ${family}`, Qmdb.any(blobs)),
    keyed(`ordered any, ${family}`, Qmdb.any({ ...blobs, ordered: true })),
    keyed(`current, ${family}`, Qmdb.current(options)),
    keyed(`ordered current, ${family}`, Qmdb.current({ ...options, ordered: true })),
    immutable(`immutable, ${family}`, Qmdb.immutable({ key: Bytes(3), value: Bytes(3), family })),
    immutable(`compact immutable, ${family}`, Qmdb.compactImmutable({ key: Blob(3), value: Blob(3), family })),
    keyless(`keyless, ${family}`, Qmdb.keyless({ value: Bytes(3), family })),
    keyless(`keyless of varying length, ${family}`, Qmdb.keyless({ value: Blob(3), family })),
    keyless(`compact keyless, ${family}`, Qmdb.compactKeyless({ value: Bytes(3), family })),
  ]
})

type AnyRig = Rig<unknown, unknown>

const copyOf = (rig: AnyRig, layer: Layer, bytesMax = Number.POSITIVE_INFINITY): StateCopy | undefined =>
  finish(rig.member.copy(layer, bytesMax))

const restored = (spec: Kind["spec"], copy: StateCopy): AnyRig => {
  const rows: Rows = new Map()
  applyChanges(rows, spec.restore(homeOver(rows), copy))
  return openRig(spec, rows)
}

const block = fc.array(fc.record({ key: fc.nat(23), value: fc.nat(255) }), { maxLength: 24 })
const blocks = fc.array(block, { minLength: 1, maxLength: 40, size: "max" })

/** A database after some blocks: some flushed and pruned, the last ones pending. */
const life = ({ spec, write }: Kind, past: ReadonlyArray<ReadonlyArray<Write>>, pending: number): [AnyRig, Layer] => {
  const rig = createRig(spec)
  const flushed = Math.max(0, past.length - pending)
  for (const writes of past.slice(0, flushed)) rig.commit((batch) => write(batch, writes))
  rig.flush()
  const prune = rig.member.prune(rig.member.tip.target.start)
  if (prune !== undefined) {
    const pruned = finish(prune)
    applyChanges(rig.rows, pruned.changes)
    pruned.settled()
  }
  let layer = rig.member.tip
  for (const writes of past.slice(flushed)) layer = rig.seal((batch) => write(batch, writes), layer)
  return [rig, layer]
}

const sealBoth = (kind: Kind, rig: AnyRig, parent: Layer, copy: AnyRig, writes: ReadonlyArray<Write>) =>
  [rig.seal((batch) => kind.write(batch, writes), parent), copy.seal((batch) => kind.write(batch, writes))] as const

describe("a restored copy is the state", () => {
  for (const kind of KINDS) {
    it(kind.name, () => {
      fc.assert(
        fc.property(blocks, fc.nat(3), block, block, (past, pending, one, two) => {
          const [rig, layer] = life(kind, past, pending)
          const copy = restored(kind.spec, copyOf(rig, layer)!)
          expect(copy.member.tip.target).toEqual(layer.target)
          let parent = layer
          for (const writes of [one, two]) {
            const [there, here] = sealBoth(kind, rig, parent, copy, writes)
            expect(here.target).toEqual(there.target)
            const operations = copy.member.appended(here, Number.POSITIVE_INFINITY)
            expect(operations).toEqual(rig.member.appended(there, Number.POSITIVE_INFINITY))
            expect(operations).toHaveLength(here.target.end - parent.target.end)
            copy.member.apply(here)
            parent = there
          }
          rig.member.apply(parent)
          expect(kind.read(copy.member.reader, parent.target)).toEqual(kind.read(rig.member.reader, parent.target))
          copy.flush()
          expect(copy.reopen().member.tip.target).toEqual(parent.target)
        }),
        { numRuns: 12 },
      )
    })
  }
})

const KEYED = KINDS[0]!
const WRITES = Array.from({ length: 20 }, (_, n) => ({ key: n, value: 1 }))

test("a copy of more bytes than allowed is none", () => {
  const [rig, layer] = life(KEYED, [WRITES], 1)
  const bytes = copyOf(rig, layer)!.operations.reduce((sum, { length }) => sum + length, 0)
  expect(copyOf(rig, layer, bytes)).toBeDefined()
  expect(copyOf(rig, layer, bytes - 1)).toBeUndefined()
})

test("of the operations of a layer there are as many whole ones as fit", () => {
  const [rig, layer] = life(KEYED, [WRITES], 1)
  const all = rig.member.appended(layer, Number.POSITIVE_INFINITY)
  const { length } = all[0]!
  expect(rig.member.appended(layer, 2 * length)).toEqual(all.slice(0, 2))
  expect(rig.member.appended(layer, 2 * length - 1)).toEqual(all.slice(0, 1))
})

test("what is closed or flushed has nothing to give; a copy ends when its branch loses between two steps", () => {
  const rig = createRig(KEYED.spec) as AnyRig
  const many = Array.from({ length: 600 }, (_, n) => n)
  const large = runSeal(
    rig.home.hasher,
    rig.member.seal(
      (() => {
        const batch = rig.member.openBatch(rig.member.tip) as { readonly put: (k: Uint8Array, v: Uint8Array) => void }
        for (const n of many) batch.put(Uint8Array.of(n >> 8, n), value(n))
        return batch
      })(),
    ),
  )
  const copying = rig.member.copy(large, Number.POSITIVE_INFINITY)
  expect(copying.next().done).toBe(false)
  rig.commit(() => {})
  expect(() => finish(copying)).toThrow(StaleBatch)
  expect(() => rig.member.appended(large, 1)).toThrow(StaleBatch)
})

describe("operations are in a layer until it is flushed", () => {
  for (const kind of KINDS) {
    it(kind.name, () => {
      const [rig, layer] = life(kind, [WRITES], 1)
      rig.member.apply(layer)
      expect(rig.member.appended(layer, Number.POSITIVE_INFINITY)).toHaveLength(layer.target.end - 1)
      rig.flush()
      expect(() => rig.member.appended(layer, 1)).toThrow(StaleBatch)
      expect(rig.member.bytes).toBe(0)
    })
  }
})

describe("what is no state of the database is refused", () => {
  for (const kind of KINDS) {
    it(kind.name, () => {
      const [rig, layer] = life(kind, [WRITES, WRITES.slice(0, 5)], 0)
      const copy = copyOf(rig, layer)!
      const refuse = (changed: StateCopy): void => {
        expect(() => kind.spec.restore(homeOver(new Map()), changed)).toThrow()
      }
      refuse({ ...copy, operations: [] })
      refuse({ ...copy, operations: [...copy.operations, copy.operations.at(-1)!.subarray(1)] })
      refuse({ ...copy, operations: [Uint8Array.of(0xff), ...copy.operations] })
      refuse({ ...copy, pins: [...copy.pins, new Uint8Array(32)] })
      refuse({ ...copy, pins: copy.pins.map(() => new Uint8Array(31)), start: Location(copy.start + 1) })
      const { pins } = rig.member.reader as Partial<LogReader>
      if (pins === undefined) return
      // Right as far as it goes, but operations above the floor are not in it.
      const start = Location(layer.target.end - 1)
      refuse({ start, pins: pins(start), operations: copy.operations.slice(start - copy.start) })
    })
  }
})
