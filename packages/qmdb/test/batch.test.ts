/**
 * Goal: an open batch stages exactly what it was given, within its limits, and marks undo exactly what came after them.
 * Method: examples, each read back through the batch and through the layer that it seals into; a property that compares
 * marks and reverts with a stack of copied maps.
 */
import { Blob, Bytes, Struct, Text, U8, U32, Varint } from "@coppice/codec"
import { Effect } from "effect"
import fc from "fast-check"
import { describe, expect, it, vi } from "vitest"
import {
  BATCH_BYTES_MAX,
  BatchTooLarge,
  createRig,
  decodeOperation,
  KEY_BYTES_MAX,
  KeyTooLong,
  keyedFormat,
  Location,
  OutsideType,
  Qmdb,
  StaleBatch,
  VALUE_BYTES_MAX,
  ValueTooLong,
} from "./support/api.ts"

const key = (n: number): Uint8Array => new Uint8Array(32).fill(n)
const words = () => createRig(Qmdb.any({ key: Text(KEY_BYTES_MAX + 8), value: Blob(VALUE_BYTES_MAX + 8) }))
const raw = () => createRig(Qmdb.any({ key: Bytes(32), value: Bytes(32) }))

describe("staged values", () => {
  it("a value changed by its owner after put is stored as it was put", () => {
    const rig = raw()
    const value = key(7)
    rig.commit((batch) => {
      batch.put(key(1), value)
      value.fill(9)
      expect(batch.get(key(1))).toEqual(key(7))
    })
    expect(rig.member.reader.get(key(1))).toEqual(key(7))
  })

  it("a key and a value that use the database while they are encoded are stored as they are", () => {
    const pair = Struct({ low: U32, high: U32 })
    const rig = createRig(Qmdb.any({ key: pair, value: pair }))
    const of = (low: number) => ({ low, high: 1 })
    const keys = [1, 3, 5, 90, 92]
    const values = [of(2), of(4), of(6), of(91), undefined]
    rig.commit((batch) => {
      const asking = (low: number) => ({
        low,
        get high() {
          batch.put(of(90), of(91))
          expect(batch.get(of(90))).toEqual(of(91))
          expect(rig.member.reader.get(of(92))).toBeUndefined()
          return 1
        },
      })
      batch.put(asking(1), of(2))
      batch.put(of(3), asking(4))
      batch.put(asking(5), asking(6))
      expect(batch.getMany(keys.map(of))).toEqual(values)
      expect(batch.get(asking(5))).toEqual(of(6))
    })
    expect(keys.map((low) => rig.member.reader.get(of(low)))).toEqual(values)
    expect(rig.member.reader.active).toBe(4)
  })

  it("metadata changed by its owner afterwards is sealed as it was given", () => {
    const rig = raw()
    const metadata = key(7)
    const layer = rig.commit((batch) => {
      batch.withMetadata(metadata)
      metadata.fill(9)
    })
    const { operations } = rig.member.reader.prove(Location(layer.target.end - 1), 1)
    const operation = decodeOperation(keyedFormat({ key: Bytes(32), value: Bytes(32) }), operations[0]!)
    expect(operation).toMatchObject({ tag: "commit", metadata: key(7) })
  })

  it("a value read from a batch or a database belongs to the reader", () => {
    const rig = raw()
    rig.commit((batch) => {
      batch.put(key(1), key(2))
      batch.get(key(1))!.fill(0)
      expect(batch.get(key(1))).toEqual(key(2))
    })
    rig.member.reader.get(key(1))!.fill(0)
    expect(rig.member.reader.get(key(1))).toEqual(key(2))
    rig.flush()
    rig.member.reader.get(key(1))!.fill(0)
    expect(rig.member.reader.get(key(1))).toEqual(key(2))
  })

  it("the last write of a key wins, whichever lengths the values have", () => {
    const rig = words()
    rig.commit((batch) => {
      for (const length of [3, 3, 900, 2, 0, 5]) batch.put("k", new Uint8Array(length).fill(length))
      batch.put("other", new Uint8Array(4))
      expect(batch.getMany(["k", "other", "none"])).toEqual([new Uint8Array(5).fill(5), new Uint8Array(4), undefined])
    })
    expect(rig.member.reader.get("k")).toEqual(new Uint8Array(5).fill(5))
  })

  it("writing one key again and again takes no more room than writing it once", () => {
    const rig = words()
    const value = new Uint8Array(VALUE_BYTES_MAX - 8)
    rig.commit((batch) => {
      for (let i = 0; i < 2 * (BATCH_BYTES_MAX / VALUE_BYTES_MAX); i++) batch.put("k", value)
      for (let i = 0; i < 2 * (BATCH_BYTES_MAX / VALUE_BYTES_MAX); i++) {
        const mark = batch.mark()
        batch.put("k", value)
        batch.revert(mark)
      }
      for (let i = 0; i < 2 * (BATCH_BYTES_MAX / VALUE_BYTES_MAX); i++) batch.put("k", value)
    })
    expect(rig.member.reader.get("k")).toEqual(value)
  })
})

describe("limits leave the batch unchanged", () => {
  it("a key above KEY_BYTES_MAX is refused, one at it is not", () => {
    const rig = words()
    rig.commit((batch) => {
      const mark = batch.mark()
      expect(() => batch.put("x".repeat(KEY_BYTES_MAX + 1), key(1))).toThrow(KeyTooLong)
      expect(() => batch.remove("x".repeat(KEY_BYTES_MAX + 1))).toThrow(KeyTooLong)
      batch.put("x".repeat(KEY_BYTES_MAX), key(1))
      batch.revert(mark)
      batch.put("x".repeat(KEY_BYTES_MAX), key(2))
    })
    expect(rig.member.reader.active).toBe(1)
    expect(rig.member.reader.get("x".repeat(KEY_BYTES_MAX))).toEqual(key(2))
  })

  it("a value above VALUE_BYTES_MAX is refused as a value and as metadata", () => {
    const rig = words()
    rig.commit((batch) => {
      batch.put("k", key(1))
      expect(() => batch.put("k", new Uint8Array(VALUE_BYTES_MAX))).toThrow(ValueTooLong)
      expect(() => batch.withMetadata(new Uint8Array(VALUE_BYTES_MAX))).toThrow(ValueTooLong)
      expect(batch.get("k")).toEqual(key(1))
    })
    expect(rig.member.reader.get("k")).toEqual(key(1))
  })

  it("values beyond BATCH_BYTES_MAX in all are refused", () => {
    const rig = words()
    const batch = rig.member.openBatch(rig.member.tip)
    const value = new Uint8Array(VALUE_BYTES_MAX - 8)
    const fitting = BATCH_BYTES_MAX / VALUE_BYTES_MAX - 1
    for (let i = 0; i < fitting; i++) batch.put(`${i}`, value)
    expect(() => batch.put("one more", value)).toThrow(BatchTooLarge)
    expect(batch.get("one more")).toBeUndefined()
    batch.put("small", key(1))
    expect(batch.get("small")).toEqual(key(1))
    rig.member.closeBatch(batch)
  })

  it("a key or value outside its type is refused as such and changes nothing", () => {
    const rig = raw()
    rig.commit((batch) => {
      expect(() => batch.put(new Uint8Array(31), key(1))).toThrow(OutsideType)
      expect(() => batch.put(key(1), new Uint8Array(33))).toThrow(OutsideType)
    })
    expect(rig.member.reader.active).toBe(0)
  })
})

describe("marks", () => {
  it("a revert undoes writes, deletes and overwrites since the mark, and nothing before it", () => {
    const rig = raw()
    rig.commit((batch) => batch.put(key(1), key(1)))
    rig.commit((batch) => {
      batch.put(key(2), key(2))
      const mark = batch.mark()
      batch.put(key(2), key(3))
      batch.remove(key(1))
      batch.put(key(4), key(4))
      batch.revert(mark)
      expect(batch.getMany([key(1), key(2), key(4)])).toEqual([key(1), key(2), undefined])
      batch.put(key(2), key(5))
      batch.revert(mark)
      expect(batch.get(key(2)), "a mark can be reverted to twice").toEqual(key(2))
    })
    expect(rig.member.reader.active).toBe(2)
  })

  it("a mark that a revert has voided, or that no batch made, is refused and nothing is undone", () => {
    const batch = (() => {
      const rig = raw()
      return rig.member.openBatch(rig.member.tip)
    })()
    const first = batch.mark()
    batch.put(key(1), key(1))
    const voided = batch.mark()
    batch.revert(first)
    batch.put(key(1), key(1))
    batch.put(key(2), key(2))
    for (const mark of [voided, -1, 0.5, Number.NaN, 99]) {
      expect(() => batch.revert(mark), `${mark}`).toThrow(RangeError)
      expect(batch.getMany([key(1), key(2)])).toEqual([key(1), key(2)])
    }
  })

  it("marks and reverts behave as a stack of copies", () => {
    const command = fc.oneof(
      fc.record({ tag: fc.constant("put" as const), at: fc.nat(5), length: fc.nat(40) }),
      fc.record({ tag: fc.constant("remove" as const), at: fc.nat(5) }),
      fc.record({ tag: fc.constant("mark" as const) }),
      fc.record({ tag: fc.constant("revert" as const), back: fc.nat(3) }),
    )
    fc.assert(
      fc.property(fc.array(command, { maxLength: 60 }), (commands) => {
        const rig = createRig(Qmdb.any({ key: U8, value: Blob(64) }))
        const batch = rig.member.openBatch(rig.member.tip)
        let model = new Map<number, Uint8Array>()
        const marks: Array<{ readonly mark: number; readonly copy: Map<number, Uint8Array> }> = []
        commands.forEach((step, i) => {
          if (step.tag === "put") {
            const value = new Uint8Array(step.length).fill(i)
            batch.put(step.at, value)
            model.set(step.at, value)
          } else if (step.tag === "remove") {
            batch.remove(step.at)
            model.delete(step.at)
          } else if (step.tag === "mark") marks.push({ mark: batch.mark(), copy: new Map(model) })
          else if (marks.length > 0) {
            marks.length = Math.max(1, marks.length - step.back)
            const { mark, copy } = marks.at(-1)!
            batch.revert(mark)
            model = new Map(copy)
          }
          for (let at = 0; at < 6; at++) expect(batch.get(at), `step ${i}`).toEqual(model.get(at))
        })
      }),
    )
  })
})

describe("a batch that is over", () => {
  it("refuses every call once it is closed, sealed or its branch has lost", () => {
    const rig = raw()
    const closed = rig.member.openBatch(rig.member.tip)
    rig.member.closeBatch(closed)
    rig.member.closeBatch(closed)
    const sealed = rig.member.openBatch(rig.member.tip)
    rig.member.seal(sealed)
    const lost = rig.member.openBatch(rig.member.tip)
    rig.commit((batch) => batch.put(key(1), key(1)))
    for (const batch of [closed, sealed, lost]) {
      expect(() => batch.get(key(1))).toThrow(StaleBatch)
      expect(() => batch.getMany([])).toThrow(StaleBatch)
      expect(() => batch.put(key(1), new Uint8Array(1))).toThrow(StaleBatch)
      expect(() => batch.remove(key(1))).toThrow(StaleBatch)
      expect(() => batch.mark()).toThrow(StaleBatch)
      expect(() => batch.revert(0)).toThrow(StaleBatch)
      expect(() => batch.withMetadata(undefined)).toThrow(StaleBatch)
      expect(() => batch.prefetch([])).toThrow(StaleBatch)
      expect(() => rig.member.seal(batch)).toThrow(StaleBatch)
    }
  })
})

describe("prefetch", () => {
  it("asks for the row of each key that a batch has not written, whatever is encoded in between", () => {
    const rig = createRig(Qmdb.any({ key: U32, value: U32 }))
    const asked: Array<Uint8Array> = []
    const prefetch = vi.spyOn(rig.home.storage, "prefetch").mockImplementation((map, keys) => {
      if (map === "keys") asked.push(...keys)
      return Effect.void
    })
    const batch = rig.member.openBatch(rig.member.tip)
    batch.put(3, 0)
    const [ofBatch, ofReader] = [batch.prefetch([1, 2, 3]), rig.member.reader.prefetch([4, 5])]
    batch.put(9, 9)
    Effect.runSync(Effect.andThen(ofBatch, ofReader))
    prefetch.mockRestore()
    expect(asked.map((row) => row.at(-1))).toEqual([1, 2, 4, 5])
  })
})

describe("keys of every shape", () => {
  const structured = Struct({ owner: Text(20), index: Varint, part: U32 })
  it("blob, text, struct, varint and fixed keys come back after a flush and a reopen", () => {
    const check = <K>(spec: Parameters<typeof Qmdb.any<K, Uint8Array>>[0]["key"], keys: ReadonlyArray<K>) => {
      let rig = createRig(Qmdb.any({ key: spec, value: Blob(80) }))
      for (let round = 0; round < 3; round++) {
        rig.commit((batch) => {
          keys.forEach((k, i) => void batch.put(k, new Uint8Array(i + round).fill(round)))
        })
        rig.flush()
        if (round === 1) rig = rig.reopen()
        keys.forEach((k, i) => {
          expect(rig.member.reader.get(k), `${spec.name} ${i}`).toEqual(new Uint8Array(i + round).fill(round))
        })
      }
      expect(rig.member.reader.active).toBe(keys.length)
    }
    check(Blob(300), [
      new Uint8Array(0),
      Uint8Array.of(0),
      Uint8Array.of(0, 0),
      new Uint8Array(128),
      new Uint8Array(300),
    ])
    check(Text(64), ["", "a", "a\u0000", "b", "\u00e9", "\u{1f332}"])
    check(structured, [
      { owner: "", index: 0, part: 0 },
      { owner: "a", index: 0, part: 0 },
      { owner: "a", index: 300, part: 2 ** 32 - 1 },
      { owner: "ab", index: 2 ** 53 - 1, part: 1 },
    ])
    check(Varint, [0, 127, 128, 2 ** 31, 2 ** 53 - 1])
  })
})
